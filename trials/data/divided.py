"""Training and validation examples of a task, divided anew: in folds, by groups, or by time.

By index, after the task has made its splits: what the task computed from its own training examples (means of
columns, a vocabulary) stays as it was. The test split is untouched.
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trials.data.stream import Stream
from trials.names import hint
from trials.seeding import stream
from trials.task import Batch, Splits
from trials.validation import Validation

Chosen = NDArray[np.bool_]  # (N,) of all examples that train or validate, whether each validates


def divided(splits: Splits, validation: Validation) -> Splits:
    """The splits that the validation asks for; themselves where it asks for the task's own.

    *kfold*: one of `folds` equal parts of a seeded order validates. *group*: whole groups validate, in a
    seeded order, until about as many examples do as before. *time*: the latest validate, about as many as
    before, and no moment is on both sides.

    Raises:
        ValueError: a part that the data does not have, or too few examples, groups or moments.
    """
    if validation.kind not in ("kfold", "group", "time"):
        return splits
    if isinstance(splits.train, Stream) or isinstance(splits.val, Stream):
        raise ValueError(
            f"[validation] kind = {validation.kind!r} divides data that is held in memory: the task's is a "
            "stream, divide it in Task.data"
        )
    whole = {name: torch.cat([part, splits.val[name]]) for name, part in splits.train.items()}
    wanted = len(next(iter(splits.val.values())))
    match validation.kind:
        case "kfold":
            validates = of_fold(
                splits.train_size + wanted, validation.fold, validation.folds, validation.seed
            )
        case "group":
            validates = of_groups(_numbers(whole, "group", validation.group), wanted, validation.seed)
        case _:
            validates = of_latest(_numbers(whole, "time", validation.time), wanted)
    train, val = (
        {name: part[torch.from_numpy(here)] for name, part in whole.items()}
        for here in (~validates, validates)
    )
    return Splits(train, val, splits.test, val if splits.tune is splits.val else splits.tune)


def _numbers(whole: Batch, kind: str, part: str) -> NDArray[np.generic]:
    """(N,) what the named part says of each example."""
    if part not in whole:
        raise ValueError(f"[validation] {kind} = {part!r} is no part of the task's data{hint(part, whole)}")
    found: Tensor = whole[part]
    if found.dim() != 1:
        raise ValueError(
            f"[validation] {kind} = {part!r} must be one number for each example, and has shape "
            f"{tuple(found.shape)}"
        )
    return found.cpu().numpy()


def of_fold(size: int, fold: int, folds: int, seed: int) -> Chosen:
    """(size,) whether an example is in the fold: each is in one of the folds, which differ by one at most.

    Raises:
        ValueError: more folds than examples.
    """
    if folds > size:
        raise ValueError(f"[validation] folds = {folds} must be at most the number of examples, {size}")
    return stream(seed, "folds").permutation(size) % folds == fold


def of_groups(groups: NDArray[np.generic], wanted: int, seed: int) -> Chosen:
    """(N,) whether an example's group validates; about `wanted` examples do, and one group at least trains.

    Raises:
        ValueError: all examples are of one group.
    """
    names, number, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < 2:
        raise ValueError(f"[validation] group: all {len(groups)} examples are of one group, two are needed")
    order = stream(seed, "groups").permutation(len(names))
    together = np.cumsum(sizes[order])
    count = 1 + int(np.argmin(np.abs(together[:-1] - wanted)))
    return np.isin(number, order[:count])


def of_latest(times: NDArray[np.generic], wanted: int) -> Chosen:
    """(N,) whether an example is among the latest, about `wanted` of them; all of a moment are together.

    Raises:
        ValueError: all examples are of one moment.
    """
    moments, sizes = np.unique(times, return_counts=True)
    if len(moments) < 2:
        raise ValueError(f"[validation] time: all {len(times)} examples are of one moment, two are needed")
    later = np.cumsum(sizes[::-1])[:-1]  # examples from each moment on, the last moment first
    count = 1 + int(np.argmin(np.abs(later - wanted)))
    return np.asarray(times >= moments[-count])


def refuse_too_few(splits: Splits, interval: float) -> None:
    """Refuse a validation split that does not allow a 95 % interval of accuracy of this half-width.

    At the least favourable accuracy, one half, the normal approximation wants 0.25 (1.96 / h)² examples.

    Raises:
        ValueError: it has too few examples; the message says how many are needed.
    """
    if not interval:
        return
    found = len(splits.val) if isinstance(splits.val, Stream) else len(next(iter(splits.val.values())))
    needed = examples_for(interval)
    if found < needed:
        reached = 1.96 * math.sqrt(0.25 / found)
        raise ValueError(
            f"[validation] interval = {interval:g} needs {needed} validation examples; there are {found}, "
            f"which allow {reached:.3g}"
        )


def examples_for(interval: float) -> int:
    """Examples that a 95 % interval of accuracy of this half-width needs.

    >>> examples_for(0.02)
    2401
    """
    # Rounded first: 0.25 * (1.96 / 0.02)² is 2401 and a little.
    return math.ceil(round(0.25 * (1.96 / interval) ** 2, 6))
