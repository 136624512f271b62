"""A module's weights and buffers as one row of numbers, and back; a row on disk.

A row is everything one trial is between two steps. Saving writes safetensors and renames, so a file is
whole or absent.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trials.files import whole


@dataclass(frozen=True)
class Place:
    """Where one tensor lies in a row."""

    name: str
    shape: tuple[int, ...]
    start: int
    size: int
    dtype: torch.dtype


@dataclass(frozen=True)
class Layout:
    """Where every weight and buffer of a structure lies: P numbers of weights, Q of buffers."""

    weights: tuple[Place, ...]
    buffers: tuple[Place, ...]

    @property
    def weight_count(self) -> int:
        """P."""
        return sum(place.size for place in self.weights)

    @property
    def buffer_count(self) -> int:
        """Q."""
        return sum(place.size for place in self.buffers)


def _places(named: list[tuple[str, Tensor]]) -> tuple[Place, ...]:
    start, places = 0, list[Place]()
    for name, tensor in named:
        places.append(Place(name, tuple(tensor.shape), start, tensor.numel(), tensor.dtype))
        start += tensor.numel()
    return tuple(places)


def _named(module: nn.Module) -> tuple[list[tuple[str, Tensor]], list[tuple[str, Tensor]]]:
    """What training changes, and what is only carried along: buffers, and weights the model has frozen."""
    weights = list(module.named_parameters())
    frozen = [(name, tensor) for name, tensor in weights if not tensor.requires_grad]
    return [one for one in weights if one[1].requires_grad], [*module.named_buffers(), *frozen]


def layout(module: nn.Module) -> Layout:
    """Where the module's weights and buffers lie in a row; shared tensors count once.

    Raises:
        ValueError: the module has no weights, or one that is not a real floating-point number.
    """
    weights, buffers = _named(module)
    whole = [name for name, tensor in module.named_parameters() if not tensor.is_floating_point()]
    if not weights:
        frozen = "only frozen weights" if buffers and list(module.parameters()) else "no weights"
        advice = f"; {whole[0]!r} holds whole numbers, make it floating-point" if whole else ""
        raise ValueError(f"{type(module).__name__} has {frozen}: there is nothing to train{advice}")
    for kind, name, tensor in [("weight", *one) for one in weights] + [("buffer", *one) for one in buffers]:
        if tensor.is_complex():
            raise ValueError(
                f"{kind} {name!r} is {tensor.dtype}: rows hold real numbers only. Keep its "
                "real and imaginary parts as a real one (torch.view_as_real)"
            )
    return Layout(_places(weights), _places(buffers))


def _flat(named: list[tuple[str, Tensor]]) -> Tensor:
    if not named:
        return torch.zeros(0)
    for name, tensor in named:
        # Buffers may be whole numbers (a count of batches, positions), which float32 holds up to 2**24.
        if not tensor.is_floating_point() and bool((tensor.to(torch.float64).abs() > 2**24).any()):
            raise ValueError(
                f"buffer {name!r} holds whole numbers beyond 2**24, which a row of float32 rounds: keep it "
                "out of the model's buffers, as a plain attribute, or make it smaller"
            )
    return torch.cat([tensor.detach().reshape(-1).to(torch.float32) for _, tensor in named])


def flatten(module: nn.Module) -> tuple[Tensor, Tensor]:
    """(P,) weights and (Q,) buffers of the module, float32 copies.

    Raises:
        ValueError: a buffer holds whole numbers that float32 does not.
    """
    weights, buffers = _named(module)
    return _flat(weights), _flat(buffers)


def unflatten(places: tuple[Place, ...], row: Tensor) -> dict[str, Tensor]:
    """(P,) -> the named tensors, as views where the dtype is the row's."""
    return {
        place.name: row[place.start : place.start + place.size].view(place.shape).to(place.dtype)
        for place in places
    }


def join(places: tuple[Place, ...], named: Mapping[str, Tensor]) -> Tensor:
    """The named tensors -> (P,), the inverse of `unflatten`."""
    return torch.cat([named[place.name].reshape(-1).to(torch.float32) for place in places])


def _nothing() -> Tensor:
    return torch.zeros(0)


@dataclass(frozen=True)
class Row:
    """One trial between two steps, on the host."""

    weights: Tensor  # (P,) float32
    buffers: Tensor  # (Q,) float32
    state: Tensor  # (slots, P) float32, of the optimizer
    hyper: Mapping[str, float]  # the float hyperparameters that ride along
    step: int  # position on the kept trajectory
    key: int  # of the lane's noise stream
    names: Mapping[str, Any]  # what the row is of: layout, trial, config …; JSON
    memory: Tensor = field(default_factory=_nothing)  # (M,) float32, of a rule; empty where there is none

    def save(self, path: Path) -> None:
        """Write atomically: whoever looks sees the whole row or none."""
        from safetensors.torch import save

        facts = {"hyper": dict(self.hyper), "step": self.step, "key": self.key, "names": dict(self.names)}
        data = save(
            {
                "weights": self.weights.contiguous(),
                "buffers": self.buffers.contiguous(),
                "state": self.state.contiguous(),
                **({"memory": self.memory.contiguous()} if self.memory.numel() else {}),
            },
            metadata={"row": json.dumps(facts)},
        )
        with whole(path, is_synced=True) as file:
            file.write(data)

    @classmethod
    def load(cls, path: Path) -> "Row":
        """The row that `save` wrote.

        Raises:
            ValueError: the file is missing, damaged, or not a row.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["row"])
                weights, buffers, state = (file.get_tensor(name) for name in ("weights", "buffers", "state"))
                names = set(file.keys())
                memory = file.get_tensor("memory") if "memory" in names else _nothing()
            return cls(weights, buffers, state, **facts, memory=memory)
        except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ValueError(f"{path} is not a saved row: {error}") from error


def load_into(module: nn.Module, row: Row) -> nn.Module:
    """The module with the row's weights and buffers in it; changed in place.

    Raises:
        ValueError: the row is of another structure.
    """
    places = layout(module)
    if (places.weight_count, places.buffer_count) != (row.weights.numel(), row.buffers.numel()):
        raise ValueError(
            f"the row has {row.weights.numel()} weights and {row.buffers.numel()} buffers, "
            f"the model {places.weight_count} and {places.buffer_count}: it is of another structure"
        )
    named = {**unflatten(places.weights, row.weights), **unflatten(places.buffers, row.buffers)}
    with torch.no_grad():
        for name, tensor in [one for part in _named(module) for one in part]:
            tensor.copy_(named[name])
    return module
