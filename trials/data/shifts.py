"""Copies of a task's data under augmentation families: to validate on, and to train on.

A copy has every example under one strong operation of the family, drawn from the seed and the example's
number, so it is the same in every process and session. Copies are made once, on the host, when data is
loaded: validating on them costs a pass each, training on them an index.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trials.data.families.copies import copy
from trials.data.families.kinds import Kind
from trials.data.families.table import FAMILIES
from trials.data.stream import Stream
from trials.names import hint
from trials.seeding import stream
from trials.task import Batch, Mixed, Splits, Task, attribute
from trials.validation import TRAIN_FAMILIES, Validation, families_of


def with_copies(task: Task, splits: Splits, validation: Validation) -> Splits:
    """The splits with the copies that the validation asks for; themselves where it asks for none.

    Raises:
        ValueError: the task's data cannot be shifted, a family that does not exist, or too few for the folds.
    """
    if not validation.is_shifted and not validation.trained:
        return splits
    kinds: Mapping[str, Kind] = attribute(task, "shifts")
    _refuse_unshiftable(task, splits, kinds)
    known = _known(kinds)
    chosen = _chosen(validation, known)
    _refuse_unvalidated(validation, chosen, known)
    trained = {name for value in validation.trained for name in families_of(value, chosen)}
    views = tuple(name for name in chosen if name in trained)
    assert isinstance(splits.val, Mapping)
    assert isinstance(splits.train, Mapping)
    seed, count = validation.seed, len(next(iter(splits.val.values())))
    if validation.is_shifted and count < len(chosen):
        raise ValueError(
            f"[validation] {len(chosen)} families need as many validation examples at least, not {count}"
        )
    shifted: dict[str, Batch] = {}
    if validation.is_shifted:
        shifted = {name: _copied(splits.val, kinds, name, seed, 0) for name in chosen}
    # Numbered on from the validation examples: none shares its draw with one of these.
    copies = [_copied(splits.train, kinds, name, seed, count) for name in views]
    train = {
        name: torch.cat([part, *(one[name] for one in copies)]) if name in kinds else part
        for name, part in splits.train.items()
    }
    mixed = _mixed(splits.val, shifted, kinds, seed) if shifted else None
    tune = splits.val if splits.tune is splits.val else splits.tune
    return Splits(train if views else splits.train, splits.val, splits.test, tune, shifted, mixed, views)


def _refuse_unshiftable(task: Task, splits: Splits, kinds: Mapping[str, Any]) -> None:
    name = type(task).__name__
    if not kinds:
        raise ValueError(
            f"task {name} does not say what of its data can be shifted: give it `shifts`, such as "
            'shifts = {"image": Image(high=255)} with Image from trials.data.families.kinds'
        )
    for place in ("train", "val"):
        split = getattr(splits, place)
        if isinstance(split, Stream):
            raise ValueError(
                f"split {place!r} is a stream: copies under augmentation families need a split that is held "
                "in memory, as tensors"
            )
        for part in kinds:
            if part not in split:
                raise ValueError(
                    f"task {name}: shifts names {part!r}, no part of its data{hint(part, split)}"
                )


def _known(kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    """Families of the task's data; all its parts are of one kind, as one family changes them together."""
    names = {kind.name for kind in kinds.values()}
    if len(names) > 1:
        named = ", ".join(f"{part!r} is {kind.name}" for part, kind in kinds.items())
        raise ValueError(f"shifts: parts of different kinds have no families in common: {named}")
    return tuple(FAMILIES[names.pop()])


def _chosen(validation: Validation, known: Sequence[str]) -> tuple[str, ...]:
    for name in validation.families:
        if name not in known:
            raise ValueError(f"[validation] families: unknown family {name!r}{hint(name, known)}")
    chosen = tuple(name for name in known if name in (validation.families or known))
    if validation.kind == "shifted-kfold" and validation.folds > len(chosen):
        raise ValueError(
            f"[validation] folds = {validation.folds} must be at most the number of families, {len(chosen)}: "
            f"{', '.join(chosen)}"
        )
    return chosen


def _refuse_unvalidated(validation: Validation, chosen: Sequence[str], known: Sequence[str]) -> None:
    """Families that training names and validation leaves out, which are known but unknown to the study."""
    for value in validation.trained:
        for name in families_of(value, known):
            if name not in chosen and value != "all":
                raise ValueError(
                    f"{TRAIN_FAMILIES}={value!r}: family {name!r} is not among [validation] families = "
                    f"{list(chosen)}: add it there, or leave it out here"
                )


def _copied(batch: Batch, kinds: Mapping[str, Kind], family: str, seed: int, start: int) -> Batch:
    return {
        name: copy(kinds[name], family, part, seed, start=start) if name in kinds else part
        for name, part in batch.items()
    }


def _mixed(val: Batch, shifted: Mapping[str, Batch], kinds: Mapping[str, Any], seed: int) -> Mixed:
    """Every validation example under one family, each family equally often but for one example."""
    size = len(next(iter(val.values())))
    order = stream(seed, "mixed").permutation(size)
    family = torch.from_numpy(order % len(shifted))

    def picked(name: str) -> Tensor:
        part = torch.empty_like(val[name])
        for number, one in enumerate(shifted.values()):
            part[family == number] = one[name][family == number]
        return part

    return Mixed({name: picked(name) if name in kinds else part for name, part in val.items()}, family)
