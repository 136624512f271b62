"""Every setting of one source, put together from what its models found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.correlation import Array
from tests.bench.shifts_methods import METHODS, RATES, Method, held_out, model, narrow_methods, rest
from tests.bench.shifts_tasks import NAMES, Domain

_FIELDS = ("numbers", "plain", "loss", "cooled", "families", "leaky", "without", "target", "narrow")


@dataclass(frozen=True)
class Examples:
    """What each image of the validation split scored."""

    plain: Array  # (cells, seeds, images) 1 where right
    shifted: Array  # (cells, seeds, images) share of families where right


@dataclass(frozen=True)
class Case:
    """Every setting of one source: (cells, seeds, …), a cell being a method at a rate."""

    source: str
    methods: tuple[str, ...]  # (cells,)
    examples: Examples  # of all cells that there are
    numbers: Any  # (cells,) which of those each is
    plain: Array  # (cells, seeds) accuracy on the originals
    loss: Array  # (cells, seeds) mean, of the originals
    cooled: Array  # (cells, seeds) the same at the temperature that fits each model best
    families: Array  # (cells, seeds, families) accuracy of models that did not train on the family
    leaky: Array  # (cells, seeds, families), by the final model
    without: Array  # (cells, seeds, families) by the plain method at the same rate
    target: Array  # (cells, seeds) mean accuracy over targets
    narrow: NDArray[np.bool_]  # (cells, families) whether the method trains on this family alone

    @classmethod
    def of(cls, source: str, keys: Sequence[str], arrays: Mapping[str, Any]) -> "Case":
        """Put together what each setting's models found; settings that are not complete are left out."""
        place = {key: number for number, key in enumerate(keys)}
        seeds = 1 + max((int(key.rpartition("|")[2]) for key in keys), default=0)
        cells: list[tuple[Method, float, list[list[int]]]] = []
        for method in (*METHODS, *narrow_methods(NAMES)):
            for lr in RATES:
                found = [_places(place, method, lr, seed) for seed in range(seeds)]
                if all(one is not None for one in found):
                    cells.append((method, lr, [one for one in found if one is not None]))
        numbers = np.array([found for _, _, found in cells])  # (cells, seeds, 1 + families + 1)
        final, scored, plain = numbers[..., 0], numbers[..., 1:-1], numbers[..., -1]
        right = arrays["right"]
        shifted = right[scored, np.arange(len(NAMES)) + 1]  # (cells, seeds, families, images)
        rights = right.mean(-1)
        logits, truth = arrays["logits"].astype(np.float64), _labels(source)
        cooled = np.array([_cooled(one, truth) for one in logits])
        return cls(
            source,
            tuple(method.name for method, _, _ in cells),
            Examples(right[final][:, :, 0].astype(float), shifted.mean(2)),
            np.arange(len(cells)),
            rights[final][:, :, 0],
            arrays["loss"].astype(np.float64).mean(1)[final],
            cooled[final],
            shifted.mean(-1),
            rights[final][:, :, 1:],
            rights[plain][:, :, 1:],
            arrays["target"].mean((1, 2))[final],
            np.array([[method.families == (name,) for name in NAMES] for method, _, _ in cells]),
        )

    def some(self, cells: Any) -> "Case":
        """These cells, perhaps some of them twice."""
        numbers = np.arange(len(self.methods))[cells]
        names = tuple(self.methods[cell] for cell in numbers)
        return replace(self, methods=names, **{name: getattr(self, name)[numbers] for name in _FIELDS})

    def of_seed(self, seed: int) -> "Case":
        """One seed of every cell."""
        names = [name for name in _FIELDS if name not in ("numbers", "narrow")]
        return replace(self, **{name: getattr(self, name)[:, seed : seed + 1] for name in names})

    @property
    def is_narrow(self) -> NDArray[np.bool_]:
        """(cells,)."""
        return np.any(self.narrow, axis=-1)


def _places(place: Mapping[str, int], method: Method, lr: float, seed: int) -> list[int] | None:
    """Which models: the final one, the one that scores each family, the plain method's."""
    final = place.get(model(method, method.families, lr, seed).key)
    found = dict.fromkeys(NAMES, final)
    for part in held_out(method.families):
        found.update(dict.fromkeys(part, place.get(model(method, rest(method, part), lr, seed).key)))
    wanted = [final, *found.values(), place.get(model(METHODS[0], (), lr, seed).key)]
    return None if None in wanted else [int(one) for one in wanted if one is not None]


def _labels(source: str) -> Array:
    return _LABELS.setdefault(source, Domain(source).split()[1]["label"].numpy())


_LABELS: dict[str, Any] = {}
_TEMPERATURES = np.geomspace(0.25, 4.0, 33)


def _cooled(logits: Array, labels: Any) -> float:
    """Mean loss (images, classes) at the temperature that makes it least: a setting's calibration apart."""
    scaled = logits[None] / _TEMPERATURES[:, None, None]
    top = scaled.max(-1, keepdims=True)
    logs = scaled - top - np.log(np.exp(scaled - top).sum(-1, keepdims=True))
    return float(-logs[:, np.arange(len(labels)), labels].mean(1).min())
