"""What a study validates on, and which augmentation families train and which score. Free of torch.

Validating under crafted shifts as in "Crafting Distribution Shifts for Validation and Training in Single
Source Domain Generalization" (WACV 2025): each family of augmentations gives one fixed copy of the validation
split, and no model is scored on a family that it trained on. A trial that trains on families therefore has
*fold models*: rows with the same seeds that leave a part of its families out of training and are scored on
that part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, cast

from trials.names import hint
from trials.spec import Value

KINDS = ("plain", "shifted", "shifted-kfold", "kfold", "group", "time")
SHIFTED = "shifted_"  # what metrics on shifted copies begin with
TRAIN_FAMILIES, SHIFT_SHARE = "train_families", "shift_share"  # hyperparameters of training with shifts
FOLD_STEPS, NARROW = "fold_steps", "narrow"  # metrics of trials that have fold models
TRAINS = "trains_"  # with a family behind it: 1 in the rows that train on it, else 0


@dataclass(frozen=True, slots=True)
class Validation:
    """The `[validation]` section of a study file, checked by `hpo.validation`."""

    kind: str = "plain"
    families: tuple[str, ...] = ()  # that validate; none named: all of the data's kind
    folds: int = 2
    folds_for: str = (
        "leading"  # trials that get fold models: "leading" ones when the search is over, or "all"
    )
    seed: int = 0  # of the copies, of folds and of groups
    fold: int = 0  # of `folds`, that validates; for kind "kfold"
    group: str = ""  # part that says to which group an example belongs; for kind "group"
    time: str = ""  # part that says when an example was; for kind "time"
    interval: float = 0.0  # half-width of a 95 % interval of accuracy that the split must allow; 0: any
    trained: tuple[str, ...] = ()  # values that `train_families` may have in the study

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Validation":
        """Of a table that may have passed through JSON."""
        known = {place.name for place in fields(cls)}
        values: dict[str, Any] = {name: value for name, value in table.items() if name in known}
        for name in ("families", "trained"):
            values[name] = tuple(cast(Sequence[str], values.get(name, ())))
        return cls(**values)

    @property
    def is_shifted(self) -> bool:
        """Whether trials are scored on shifted copies."""
        return self.kind in ("shifted", "shifted-kfold")


PLAIN = Validation()


def families_of(value: Value, known: Sequence[str], place: str = TRAIN_FAMILIES) -> tuple[str, ...]:
    """The families that "none", "all" or names joined by "+" mean, in the order of `known`.

    >>> families_of("noise+blur", ["blur", "color", "noise"]), families_of("none", ["blur"])
    (('blur', 'noise'), ())

    Raises:
        ValueError: another value, an unknown family, or one named twice.
    """
    if not isinstance(value, str):
        raise ValueError(f"{place}={value!r} must be 'none', 'all' or families joined by '+'")
    if value in ("none", "all"):
        return tuple(known) if value == "all" else ()
    named = [name.strip() for name in value.split("+")]
    for name in named:
        if name not in known:
            raise ValueError(f"{place}={value!r}: unknown family {name!r}{hint(name, known)}")
        if named.count(name) > 1:
            raise ValueError(f"{place}={value!r} names {name!r} twice")
    return tuple(name for name in known if name in named)


def parts(names: Sequence[str], count: int) -> tuple[tuple[str, ...], ...]:
    """The names in `count` runs of nearly equal length, the longer ones last.

    >>> parts(["a", "b", "c", "d", "e"], 2)
    (('a', 'b'), ('c', 'd', 'e'))
    """
    cuts = [len(names) * place // count for place in range(count + 1)]
    return tuple(tuple(names[low:high]) for low, high in pairwise(cuts))


@dataclass(frozen=True, slots=True)
class FoldModel:
    """One fold model of a trial: the families it trains on, and those it is scored on, which are others."""

    trained: tuple[str, ...]
    scored: tuple[str, ...]

    def __post_init__(self) -> None:
        both = [name for name in self.scored if name in self.trained]
        if both:
            raise ValueError(f"a fold model would be scored on {both[0]!r}, which it trains on")


def fold_models(trained: Sequence[str], families: Sequence[str], folds: int) -> tuple[FoldModel, ...]:
    """The fold models of a trial that trains on these of the families; none where it trains on none.

    The folds are runs of the families, the same for all trials of a study. A trial whose families lie in one
    of them has them divided among themselves; a single family is scored by a model that trains on none.

    >>> [model.scored for model in fold_models(["a", "c"], ["a", "b", "c", "d"], 2)]
    [('a',), ('c',)]
    >>> fold_models(["a"], ["a", "b", "c", "d"], 2)
    (FoldModel(trained=(), scored=('a',)),)
    """
    if not trained:
        return ()
    whole = [tuple(name for name in fold if name in trained) for fold in parts(families, folds)]
    held = [part for part in whole if part]
    if len(held) == 1:
        held = list(parts(trained, min(folds, len(trained))))
    return tuple(FoldModel(tuple(one for one in trained if one not in part), part) for part in held)
