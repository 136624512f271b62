"""What the rows of lanes score: on the validation split, and on its copies under augmentation families.

At a rung before the last, every example under one family: a pass over the split, whatever the number of
families. At the last rung all copies, example by example. Which families a row may be scored on is said by
the row itself: those it trains on are left out, whoever asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from trials.lanes import Lanes
from trials.scores import Scores, stacked
from trials.task import Batch
from trials.validation import TRAINS

Found = Mapping[str, NDArray[np.float32]]  # metric -> (K, N)


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
        self._parts: dict[tuple[str, ...], tuple[Batch, NDArray[np.int64]]] = {}  # of the mixed copy

    def score(self, asked: Sequence[Asked]) -> list[Scored]:
        """What each row scores, in the order in which they were asked for."""
        if not self.families:
            return [Scored(means) for means in self._plain([one.lane for one in asked])]
        means: list[dict[str, float]] = [{} for _ in asked]
        early = [place for place, one in enumerate(asked) if not one.is_last and not one.is_fold]
        for place, found in zip(early, self._plain([asked[place].lane for place in early]), strict=True):
            means[place].update(found)
        whole = self._whole(asked, means)
        self._glance(asked, means)
        return [Scored(one, whole.get(place)) for place, one in enumerate(means)]

    def _plain(self, lanes: list[int]) -> list[dict[str, float]]:
        """Means over the validation split."""
        if not lanes:
            return []
        found = self._lanes.evaluate("val", lanes)
        return [
            {f"val_{name}": float(values[column]) for name, values in found.items()}
            for column in range(len(lanes))
        ]

    def _allowed(self, one: Asked) -> tuple[str, ...]:
        return tuple(name for name in untrained(self._lanes, one.lane) if name in one.families)

    def _whole(self, asked: Sequence[Asked], means: list[dict[str, float]]) -> dict[int, Scores]:
        """Place -> every example's score, of the rows that are at their last rung; their means are added."""
        last = [place for place, one in enumerate(asked) if one.is_last]
        if not last:
            return {}
        allowed = {place: self._allowed(asked[place]) for place in last}
        rows: dict[int, dict[str, Mapping[str, NDArray[np.float32]]]] = {place: {} for place in last}
        for family in ("", *self.families):
            batch = self._splits.shifted[family] if family else "val"
            here = [
                place for place in last if (family in allowed[place] if family else not asked[place].is_fold)
            ]
            if not here:
                continue
            found = self._lanes.evaluate(batch, [asked[place].lane for place in here], per_example=True)
            for column, place in enumerate(here):
                rows[place][family] = {name: values[column] for name, values in found.items()}
                for name, values in rows[place][family].items():
                    key = of_family(family, name) if family else f"val_{name}"
                    means[place][key] = float(values.mean(dtype=np.float64))
        return {place: stacked(self.families, found) for place, found in rows.items() if found}

    def _glance(self, asked: Sequence[Asked], means: list[dict[str, float]]) -> None:
        """Add the means of the rows that are before their last rung."""
        groups: dict[tuple[str, ...], list[int]] = {}
        for place, one in enumerate(asked):
            if not one.is_last and (allowed := self._allowed(one)):
                groups.setdefault(allowed, []).append(place)
        for allowed, places in groups.items():
            batch, family = self._part(allowed)
            found = self._lanes.evaluate(batch, [asked[place].lane for place in places], per_example=True)
            for name, values in found.items():
                for number, one in enumerate(allowed):
                    mean = values[:, family == number].mean(1, dtype=np.float64)
                    for column, place in enumerate(places):
                        means[place][of_family(one, name)] = float(mean[column])

    def _part(self, allowed: tuple[str, ...]) -> tuple[Batch, NDArray[np.int64]]:
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
