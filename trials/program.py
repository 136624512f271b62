"""Config -> program; the step and the evaluation of K lanes.

What shapes the computation (whole numbers, words, switches) is the structure; trials of equal structure
share a program. Floats are tensors the program reads, one per lane, so a new value compiles nothing.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from schedules import spec as schedule_spec
from trials import rows
from trials.kernels.convolution import ConvolutionAsMatmul
from trials.names import hint
from trials.noise import noise, replace_dropout, step_key
from trials.optim import OPTIMIZERS, Optimizer
from trials.seeding import key
from trials.spec import Config, TrialSpec, Value
from trials.task import Batch, Splits, Task, attribute

DEFAULTS: dict[str, Value] = {"optimizer": "adamw", "batch_size": 64}
CLIP = "clip_norm"
RATIO = "lr_ratio_"
_CHUNK = 1024  # examples evaluated at once


class _Structure(Mapping[str, Value]):
    """The part of a config that shapes the model. Asking it for a float says where floats are."""

    def __init__(self, values: Mapping[str, Value], floats: tuple[str, ...], read: set[str]) -> None:
        self._values, self._floats, self._read = dict(values), floats, read

    def __getitem__(self, name: str) -> Value:
        self._read.add(name)
        if name not in self._values and name in self._floats:
            raise ValueError(
                f"hyperparameter {name!r} is a float: it rides in the row and reaches Task.loss in `hyper`. "
                f"If the model itself needs it, list it in the task: structure = ({name!r},)"
            )
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        if name in self._floats and name not in self._values:
            self[str(name)]
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


class _Floats(Mapping[str, Tensor]):
    """The float hyperparameters of a lane; remembers which were asked for, and says where the others are."""

    def __init__(self, values: Mapping[str, Tensor], structure: Mapping[str, Value], read: set[str]) -> None:
        self._values, self._structure, self._read = values, structure, read

    def __getitem__(self, name: str) -> Tensor:
        self._read.add(name)
        if name not in self._values and name in self._structure:
            value = self._structure[name]
            advice = f"; to have it here, write {float(value)} in the study" if isinstance(value, int) else ""
            raise ValueError(
                f"hyperparameter {name!r} is {value!r}, no float: it picks the program and reaches "
                f"Task.model, not Task.loss{advice}"
            )
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


@dataclass(frozen=True)
class Recipe:
    """A config taken apart: what picks the program, what rides in the row, what the schedule is made of."""

    structure: tuple[tuple[str, Value], ...]  # sorted; optimizer and batch size among them
    floats: tuple[tuple[str, float], ...]  # sorted; every float hyperparameter with the optimizer's defaults

    @property
    def key(self) -> tuple[Any, ...]:
        """Equal for trials that share a program."""
        return self.structure, tuple(name for name, _ in self.floats)


def _is_whole_float(name: str, value: Value, defaults: Mapping[str, Value]) -> bool:
    """Whether this is a float hyperparameter written as a whole number, such as dropout = 0."""
    return isinstance(defaults.get(name), float) and isinstance(value, int) and not isinstance(value, bool)


def recipe(task: Task, config: Config) -> Recipe:
    """Take a config apart.

    Raises:
        ValueError: an optimizer, batch size or float hyperparameter that cannot be.
    """
    defaults = attribute(task, "defaults")
    full: dict[str, Value] = {**DEFAULTS, **defaults, **config}
    for name in schedule_spec.HYPERPARAMETERS:
        full.pop(name, None)
    optimizer = OPTIMIZERS.get(str(full["optimizer"]))
    if optimizer is None:
        raise ValueError(
            f"optimizer={full['optimizer']!r} is unknown{hint(str(full['optimizer']), OPTIMIZERS)}"
        )
    batch_size = full["batch_size"]
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size={batch_size!r} must be a whole number of at least 1")
    foreign = {
        name for other in OPTIMIZERS.values() for name in other.defaults if name not in optimizer.defaults
    }
    shaping = set(attribute(task, "structure"))
    groups = attribute(task, "groups")
    floats: dict[str, float] = dict(optimizer.defaults)
    structure: dict[str, Value] = {}
    for name, value in full.items():
        if name in optimizer.defaults or name == CLIP or name.startswith(RATIO):
            if isinstance(value, (bool, str)):
                raise ValueError(f"{name}={value!r} must be a number")
            if name.startswith(RATIO) and name.removeprefix(RATIO) not in groups:
                known = ", ".join(f"{RATIO}{group}" for group in groups) or "none"
                raise ValueError(f"{name}: the task has no such weight group; known: {known}")
            floats[name] = float(value)
        elif name in foreign:
            # Belongs to another optimizer, such as momentum beside AdamW: nothing in this program reads it.
            continue
        elif name not in shaping and (isinstance(value, float) or _is_whole_float(name, value, defaults)):
            floats[name] = float(value)
        else:
            structure[name] = value
    return Recipe(tuple(sorted(structure.items())), tuple(sorted(floats.items())))


class _Loss(nn.Module):
    """Holds the model, so that `functional_call` can swap its weights under any use the task makes of it."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        super().__init__()
        self.task, self.model = task, model

    def forward(self, verb: str, batch: Batch, hyper: Mapping[str, Tensor]) -> Any:
        if verb == "loss":
            return self.task.loss(self.model, batch, hyper)
        return dict(self.task.metrics(self.model, batch))


@dataclass
class Block:
    """The rows of K lanes: four matrices and two vectors. The compiled step changes them in place."""

    weights: Tensor  # (K, P) float32
    buffers: Tensor  # (K, Q) float32
    state: Tensor  # (K, slots, P) float32
    hyper: Tensor  # (K, H) float32
    step: Tensor  # (K,) int64
    key: Tensor  # (K,) int64

    def tensors(self) -> tuple[Tensor, ...]:
        """All six, in the order of the step's arguments."""
        return self.weights, self.buffers, self.state, self.hyper, self.step, self.key

    def lanes(self, start: int, stop: int) -> "Block":
        """Views of some lanes."""
        return Block(*(tensor[start:stop] for tensor in self.tensors()))


@dataclass
class Program:
    """One structure of one task on one device."""

    task: Task
    splits: Splits
    structure: tuple[tuple[str, Value], ...]
    float_names: tuple[str, ...]
    device: torch.device
    layout: rows.Layout = field(init=False)
    optimizer: Optimizer = field(init=False)
    batch_size: int = field(init=False)
    read: set[str] = field(init=False)  # hyperparameters that something has asked for

    def __post_init__(self) -> None:
        values = dict(self.structure)
        self.optimizer = OPTIMIZERS[str(values["optimizer"])]
        self.batch_size = int(values["batch_size"])
        self.read = {"optimizer", "batch_size", CLIP, *self.optimizer.defaults}
        self.read.update(name for name in self.float_names if name.startswith(RATIO))
        with torch.random.fork_rng(devices=[]):
            self._train = _Loss(self.task, self._model()).to(self.device).train()
            self._eval = _Loss(self.task, self._model()).to(self.device).eval()
        self.layout = rows.layout(self._train.model)
        self._groups = self._group_ratios()

    def _model(self) -> nn.Module:
        shaping = {name: value for name, value in self.structure if name not in ("optimizer", "batch_size")}
        model = self.task.model(_Structure(shaping, self.float_names, self.read))
        if not isinstance(model, nn.Module):
            raise TypeError(f"Task.model returned {type(model).__name__}, a torch.nn.Module is wanted")
        return replace_dropout(model)

    def _group_ratios(self) -> Tensor | None:
        """(P,) column of the hyper matrix that scales each weight's rate; H where none does."""
        groups = attribute(self.task, "groups")
        used = [name for name in self.float_names if name.startswith(RATIO)]
        if not used:
            return None
        column = torch.full((self.layout.weight_count,), len(self.float_names), dtype=torch.int64)
        for name in used:
            prefixes = groups[name.removeprefix(RATIO)]
            prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
            found = [place for place in self.layout.weights if place.name.startswith(prefixes)]
            if not found:
                raise ValueError(f"{name}: no weight's name begins with {' or '.join(map(repr, prefixes))}")
            for place in found:
                column[place.start : place.start + place.size] = self.float_names.index(name)
        return column.to(self.device)

    # -- rows ---------------------------------------------------------------------------------------------

    def block(self, lanes: int) -> Block:
        """Rows of zeros for this many lanes."""
        weights = torch.zeros(lanes, self.layout.weight_count, device=self.device)
        return Block(
            weights,
            torch.zeros(lanes, self.layout.buffer_count, device=self.device),
            torch.zeros(lanes, self.optimizer.slots, self.layout.weight_count, device=self.device),
            torch.zeros(lanes, len(self.float_names), device=self.device),
            torch.zeros(lanes, dtype=torch.int64, device=self.device),
            torch.zeros(lanes, dtype=torch.int64, device=self.device),
        )

    def first_row(self, spec: TrialSpec) -> rows.Row:
        """The row of a trial before its first step: initialised from the trial's own stream.

        Raises:
            ValueError: the model built for this trial differs in shape from the program's.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(key(spec.seed, "init"))
            model = self._model()
        if rows.layout(model) != self.layout:
            raise ValueError(
                "Task.model built different shapes for one structure: it must depend on its config alone"
            )
        weights, buffers = rows.flatten(model)
        floats = dict(recipe(self.task, spec.config).floats)
        return rows.Row(
            weights,
            buffers,
            torch.zeros(self.optimizer.slots, self.layout.weight_count),
            floats,
            step=0,
            key=key(spec.seed, "noise") & 0xFFFFFFFF,
            names={"trial": spec.trial, "config": dict(spec.config)},
        )

    # -- the step -----------------------------------------------------------------------------------------

    def _named_hyper(self, hyper: Tensor) -> _Floats:
        values = {name: hyper[index] for index, name in enumerate(self.float_names)}
        return _Floats(values, dict(self.structure), self.read)

    def _loss_of(
        self,
        weights: dict[str, Tensor],
        buffers: Tensor,
        hyper: Tensor,
        stream: Tensor,
        batch: dict[str, Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Loss () and the buffers (Q,) after the forward pass, of one lane."""
        named = rows.unflatten(self.layout.buffers, buffers)
        # Batch normalisation writes into its buffers; a copy keeps the row pure until the step is done.
        named = {name: tensor.clone() for name, tensor in named.items()}
        values = self._named_hyper(hyper)
        tensors = {f"model.{name}": tensor for name, tensor in {**weights, **named}.items()}
        with noise(stream, values):
            loss = functional_call(self._train, tensors, ("loss", batch, values))
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = (
                f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            )
            raise ValueError(f"Task.loss returned {got}; the mean over the batch, a scalar tensor, is wanted")
        # Read from what was handed in: a module may also replace a buffer, and then only this mapping has it.
        named = {name: tensors[f"model.{name}"] for name in named}
        after = rows.join(self.layout.buffers, named) if named else buffers
        return loss, after

    def _gradients(
        self, weights: Tensor, buffers: Tensor, hyper: Tensor, stream: Tensor, batch: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(K, P) gradients, (K,) losses, (K, Q) buffers.

        A lane's loss depends on its own row alone, so the gradient of the sum is every lane's gradient:
        only the forward pass needs `vmap`, and the backward pass is plain autograd.
        """
        with torch.enable_grad():
            named = {
                place.name: weights[:, place.start : place.start + place.size]
                .view(-1, *place.shape)
                .to(place.dtype)
                .detach()
                .requires_grad_()
                for place in self.layout.weights
            }
            losses, after = vmap(self._loss_of)(named, buffers, hyper, stream, batch)
            # A weight that the loss does not touch has a gradient of zero.
            found = torch.autograd.grad(losses.sum(), list(named.values()), materialize_grads=True)
        gradients = torch.cat([part.reshape(len(part), -1).to(torch.float32) for part in found], 1)
        return gradients, losses.detach(), after.detach()

    def step(
        self,
        weights: Tensor,  # (K, P), changed in place, as are the next two and `step`
        buffers: Tensor,  # (K, Q)
        state: Tensor,  # (K, slots, P)
        hyper: Tensor,  # (K, H)
        step: Tensor,  # (K,)
        lane_key: Tensor,  # (K,)
        factor: Tensor,  # (K,) of the learning rate
        index: Tensor,  # (K, B) int64, examples of the training split
        *data: Tensor,  # the training split's tensors
    ) -> Tensor:  # (K,) loss before the update
        """One optimizer step of every lane."""
        batch = {name: part[index] for name, part in zip(self.splits.train, data, strict=True)}
        stream = step_key(lane_key, step)
        gradients, losses, after = self._gradients(weights, buffers, hyper, stream, batch)
        column = {name: hyper[:, i : i + 1] for i, name in enumerate(self.float_names)}
        if CLIP in column:
            norm = gradients.square().sum(1, keepdim=True).sqrt()
            gradients = gradients * (column[CLIP] / (norm + 1e-6)).clamp(max=1.0)
        lr = column["lr"] * factor[:, None]
        if self._groups is not None:
            ratios = torch.cat([hyper, torch.ones_like(hyper[:, :1])], 1)
            lr = lr * ratios[:, self._groups]
        self.optimizer.update(weights, gradients, state, lr, step[:, None], column)
        if self.layout.buffers:
            buffers.copy_(after)
        step.add_(1)
        return losses

    @property
    def data(self) -> tuple[Tensor, ...]:
        """The training split's tensors, in the order of the step's last arguments."""
        return tuple(self.splits.train.values())

    def traced(self, lanes: int) -> "torch.fx.GraphModule":
        """The step of this many lanes as a flat graph, convolutions in their fast form."""
        from torch.fx.experimental.proxy_tensor import make_fx

        block = self.block(lanes)
        factor = torch.ones(lanes, device=self.device)
        index = torch.zeros(lanes, self.batch_size, dtype=torch.int64, device=self.device)
        mode = ConvolutionAsMatmul() if self.device.type == "cpu" else nullcontext()
        with torch.no_grad(), ExitStack() as stack:
            stack.enter_context(mode)
            # A plain function: make_fx counts the arguments of what it is given.
            return make_fx(lambda *args: self.step(*args))(*block.tensors(), factor, index, *self.data)

    # -- evaluation ---------------------------------------------------------------------------------------

    def evaluate(self, block: Block, split: Batch) -> dict[str, Tensor]:
        """Every metric of every lane, each (K,), averaged over the split."""
        size = len(next(iter(split.values())))
        totals: dict[str, Tensor] = {}

        def one(
            weights: Tensor, buffers: Tensor, hyper: Tensor, batch: dict[str, Tensor]
        ) -> dict[str, Tensor]:
            named = {
                **rows.unflatten(self.layout.weights, weights),
                **rows.unflatten(self.layout.buffers, buffers),
            }
            tensors = {f"model.{name}": tensor for name, tensor in named.items()}
            values = self._named_hyper(hyper)
            with noise(None, values):
                return functional_call(self._eval, tensors, ("metrics", batch, values))

        with torch.no_grad():
            for start in range(0, size, _CHUNK):
                batch = {name: part[start : start + _CHUNK] for name, part in split.items()}
                count = min(_CHUNK, size - start)
                found = vmap(one, in_dims=(0, 0, 0, None))(block.weights, block.buffers, block.hyper, batch)
                for name, values in found.items():
                    if values.dim() != 2 or values.shape[1] != count:
                        raise ValueError(
                            f"Task.metrics[{name!r}] has shape {tuple(values.shape[1:])}; one value per "
                            f"example, ({count},), is wanted"
                        )
                    total = values.to(torch.float32).sum(1)
                    totals[name] = totals[name] + total if name in totals else total
        return {name: total / size for name, total in totals.items()}


Step = Callable[..., Tensor]  # the signature of Program.step
