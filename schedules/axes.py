"""What a search on the fly searches over: rates and other floats, each as a number from 0 to 1."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from schedules.surrogate import Floats, Surrogate

_GOLDEN = 0.6180339887498949  # the fraction whose multiples fill an axis most evenly
_LINE, _CLOUD = 129, 1024  # proposals looked at, on one axis and on several
_SAME = 1e-3  # of an axis: nearer points are one


@dataclass(frozen=True, slots=True)
class Axis:
    """A float from low to high; `scale` says of what equal steps are equal."""

    name: str
    low: float
    high: float
    scale: str = "log"  # or "linear", or "complement": the logarithm of one minus it, for momentum

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"{self.name}: low={self.low:g} must be below high={self.high:g}")
        if self.scale == "complement" and not (self.low >= 0 and self.high < 1):
            raise ValueError(
                f"{self.name}: from {self.low:g} to {self.high:g} must be at least 0 and below 1"
            )
        if self.scale != "complement" and self.low < (0 if self.scale == "linear" else 5e-324):
            raise ValueError(f"{self.name}: low={self.low:g} must be above 0")

    def _ends(self) -> tuple[float, float]:
        match self.scale:
            case "log":
                return math.log(self.low), math.log(self.high)
            case "complement":
                return math.log1p(-self.low), math.log1p(-self.high)
            case _:
                return self.low, self.high

    def value(self, place: float) -> float:
        """The float at a place from 0 to 1, never outside the interval."""
        first, last = self._ends()
        raw = first + place * (last - first)
        found = (
            math.exp(raw) if self.scale == "log" else -math.expm1(raw) if self.scale == "complement" else raw
        )
        return min(max(found, self.low), self.high)

    def place(self, value: float) -> float:
        """Where a float lies, from 0 to 1."""
        first, last = self._ends()
        inside = min(max(value, self.low), self.high)
        match self.scale:
            case "log":
                shown = math.log(inside)
            case "complement":
                shown = math.log1p(-inside)
            case _:
                shown = inside
        return min(max((shown - first) / (last - first), 0.0), 1.0)


Box = tuple[tuple[float, float], ...]  # of each axis, where to look


def around(places: Sequence[float], width: float) -> Box:
    """A box of that width about a point, moved so that it stays within 0 and 1.

    >>> around([0.5, 0.9], 0.5)
    ((0.25, 0.75), (0.5, 1.0))
    """
    begins = [min(max(place - width / 2, 0.0), 1.0 - width) for place in places]
    return tuple((begin, begin + width) for begin in begins)


def spread(count: int, box: Box) -> Floats:
    """Points that fill a box evenly, (count, axes): in the middle of equal parts of the first axis.

    >>> spread(2, ((0.0, 1.0),)).tolist()
    [[0.25], [0.75]]
    """
    order = np.arange(count, dtype=np.float64)
    columns = [(order + 0.5) / count]
    columns += [np.mod(0.5 + (order + 1) * _GOLDEN ** (axis + 1), 1.0) for axis in range(len(box) - 1)]
    lows = np.asarray([low for low, _ in box])
    widths = np.asarray([high - low for low, high in box])
    return lows + np.stack(columns, axis=1) * widths


def propose(
    count: int, surrogate: Surrogate, known: Floats, box: Box, kappa: float, below: float = math.inf
) -> Floats:
    """Where the lower confidence bound, mean - kappa * deviation, is lowest: at most (count, axes).

    After the first, points near those already chosen count as less uncertain. Points already known, and rates
    at or above the place `below`, at which some diverged, are not proposed.
    """
    grid = spread(_LINE if len(box) == 1 else _CLOUD, box)
    grid = grid[grid[:, 0] < below]
    chosen = np.zeros((0, len(box)))
    for _ in range(count):
        taken = np.concatenate([known, chosen])
        apart = np.abs(grid[:, None, :] - taken[None, :, :]).max(axis=2).min(axis=1)
        fresh = grid[apart > _SAME]
        if not len(fresh):
            break
        mean, deviation = surrogate.predict(fresh)
        deviation = deviation * _shrunk(fresh, chosen)
        place = int(np.argmin(mean - kappa * deviation))
        chosen = np.concatenate([chosen, fresh[place : place + 1]])
    return chosen


def _shrunk(points: Floats, chosen: Floats) -> Floats | float:
    """How much less uncertain points are once nearby ones are about to be known, from 0 to 1."""
    if not len(chosen):
        return 1.0
    apart = np.sqrt(np.sum((points[:, None, :] - chosen[None, :, :]) ** 2, axis=2)).min(axis=1)
    return -np.expm1(-((apart / 0.2) ** 2))
