"""What the rows of lanes score: on the validation split, and on its copies under augmentation families.

At a rung before the last, every example under one family: a pass over the split, whatever the number of
families. At the last rung all copies, example by example. Which families a row may be scored on is said by
the row itself: those it trains on are left out, whoever asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trials.lanes import Lanes
from trials.program import CHUNK
from trials.scores import Scores, stacked
from trials.task import Batch
from trials.validation import TRAINS

Found = Mapping[str, NDArray[np.float32]]  # metric -> (K, N)
Row = Mapping[str, NDArray[np.float32]]  # metric -> (N,)
_Glance = tuple[str, ...]  # the examples of the mixed copy that are under these families
_Batch = str | _Glance  # or a family's copy, or "", the validation split
_VAL = ""


@dataclass(frozen=True)
class Asked:
    """A row to be scored."""

    lane: int
    families: tuple[str, ...]  # at most; none of them that the row trains on
    is_last: bool  # of the trial's rungs
    is_fold: bool = False  # scored on families alone


@dataclass(frozen=True)
class Scored:
    """Means of one row: `val_NAME`, and of each family by `of_family`; every example at the last rung."""

    means: Mapping[str, float]
    examples: Scores | None = None


def of_family(family: str, name: str) -> str:
    """How a mean over one family is called until the families of a trial are put together."""
    return f"{family}:{name}"


def untrained(lanes: Lanes, lane: int) -> tuple[str, ...]:
    """Families that the row in a lane may be scored on: those that it does not train on."""
    hyper = lanes.hyper(lane)
    return tuple(name for name in lanes.program.splits.shifted if not hyper.get(f"{TRAINS}{name}", 0.0))


class Scorer:
    """Evaluates rows of lanes."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes, self._splits = lanes, lanes.program.splits
        self.families = tuple(self._splits.shifted)
        self._parts: dict[_Glance, tuple[Batch, NDArray[np.int64]]] = {}  # of the mixed copy

    def score(self, asked: Sequence[Asked]) -> list[Scored]:
        """What each row scores, in the order in which they were asked for."""
        if not self.families:
            return self._plain([one.lane for one in asked])
        wanted: dict[_Batch, list[int]] = {}  # what is evaluated -> places among those that asked
        for place, one in enumerate(asked):
            for batch in self._batches(one):
                wanted.setdefault(batch, []).append(place)
        together: dict[tuple[int, ...], list[_Batch]] = {}
        for batch, places in wanted.items():
            together.setdefault(tuple(places), []).append(batch)
        rows: list[dict[_Batch, Row]] = [{} for _ in asked]
        for places, batches in together.items():
            found = self._evaluated(batches, [asked[place].lane for place in places])
            for batch, scores in zip(batches, found, strict=True):
                for column, place in enumerate(places):
                    rows[place][batch] = {name: values[column] for name, values in scores.items()}
        return [self._told(one, row) for one, row in zip(asked, rows, strict=True)]

    def _plain(self, lanes: list[int]) -> list[Scored]:
        """Means over the validation split."""
        found = self._lanes.evaluate("val", lanes)
        return [
            Scored({f"val_{name}": float(values[column]) for name, values in found.items()})
            for column in range(len(lanes))
        ]

    def _batches(self, one: Asked) -> list[_Batch]:
        """What a row is evaluated on: never a family that it trains on."""
        allowed = tuple(name for name in untrained(self._lanes, one.lane) if name in one.families)
        plain: list[_Batch] = [] if one.is_fold else [_VAL]
        return [*plain, *(allowed if one.is_last else [allowed] * bool(allowed))]

    def _examples(self, batch: _Batch) -> Batch:
        if isinstance(batch, tuple):
            return self._part(batch)[0]
        found = self._splits.shifted[batch] if batch else self._splits.val
        assert isinstance(found, Mapping), "there are no copies of a stream"
        return found

    def _evaluated(self, batches: Sequence[_Batch], lanes: list[int]) -> list[Found]:
        """Metric -> (K, N) on each of these; small ones in one pass, as a pass has a price of its own."""
        found: list[Found] = []
        waiting = [self._examples(batch) for batch in batches]
        while waiting:
            sizes = [len(next(iter(one.values()))) for one in waiting]
            count = max(1, int(np.searchsorted(np.cumsum(sizes), CHUNK, side="right")))
            taken, waiting = waiting[:count], waiting[count:]
            joined = {name: torch.cat([one[name] for one in taken]) for name in taken[0]}
            scores = self._lanes.evaluate(joined if count > 1 else taken[0], lanes, per_example=True)
            ends = np.cumsum(sizes[:count])
            for low, high in zip((0, *ends[:-1]), ends, strict=True):
                found.append({name: values[:, low:high] for name, values in scores.items()})
        return found

    def _told(self, one: Asked, rows: Mapping[_Batch, Row]) -> Scored:
        means: dict[str, float] = {}
        for batch, row in rows.items():
            for name, values in row.items():
                if isinstance(batch, tuple):
                    for number, family in enumerate(batch):
                        here = self._part(batch)[1] == number
                        means[of_family(family, name)] = float(values[here].mean(dtype=np.float64))
                else:
                    key = of_family(batch, name) if batch else f"val_{name}"
                    means[key] = float(values.mean(dtype=np.float64))
        if not one.is_last or not rows:
            return Scored(means)
        whole = {batch: row for batch, row in rows.items() if not isinstance(batch, tuple)}
        return Scored(means, stacked(self.families, whole))

    def _part(self, allowed: _Glance) -> tuple[Batch, NDArray[np.int64]]:
        """The examples of the mixed copy that are under these families, and the number of each one's."""
        if allowed not in self._parts:
            mixed = self._splits.mixed
            assert mixed is not None
            numbers = [self.families.index(name) for name in allowed]
            family = mixed.family.numpy()
            chosen = np.flatnonzero(np.isin(family, numbers))
            batch: dict[str, Tensor] = {name: part[chosen] for name, part in mixed.batch.items()}
            self._parts[allowed] = batch, np.searchsorted(numbers, family[chosen])
        return self._parts[allowed]
