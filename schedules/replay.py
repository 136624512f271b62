"""A schedule that was followed, as knots at whole steps: taken from a series of factors, and followed again.

Unlike the family `knots`, whose places are fractions of a horizon, these are the steps themselves: a schedule
that was found is replayed as it was, a jump between two updates included.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schedules.check import FACTOR, Interval, number, whole
from schedules.elementwise import Floats, between, elementwise
from schedules.types import Schedule

TOLERANCE = 0.005  # of the peak
_STEP = Interval(0)
_WINDOW = 64  # steps looked ahead at first; four times as many each time that is not enough


@dataclass(frozen=True, slots=True)
class Knots:
    """Factors at steps: straight between knots, the first and the last one hold outside.

    >>> Knots(steps=(0, 10), factors=(1, 0.5), lr=0.1)
    Knots(steps=(0, 10), factors=(1.0, 0.5), lr=0.1)

    Raises:
        ValueError: no knots, steps that do not increase, factors that are not legal.
    """

    steps: tuple[int, ...]  # 0-based, increasing
    factors: tuple[float, ...]  # as many
    lr: float | None = None  # the rate they were factors of, where it is known

    def __post_init__(self) -> None:
        if not self.steps or len(self.steps) != len(self.factors):
            raise ValueError(
                f"{len(self.steps)} steps and {len(self.factors)} factors: give one factor for each step"
            )
        steps = tuple(whole(f"steps[{place}]", step, _STEP) for place, step in enumerate(self.steps))
        for place in range(1, len(steps)):
            if steps[place] <= steps[place - 1]:
                raise ValueError(
                    f"steps[{place}]={steps[place]} must be above steps[{place - 1}]={steps[place - 1]}"
                )
        factors = tuple(
            number(f"factors[{place}]", factor, FACTOR) for place, factor in enumerate(self.factors)
        )
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "factors", factors)
        if self.lr is not None:
            object.__setattr__(self, "lr", number("lr", self.lr, Interval(0)))

    @property
    def horizon(self) -> int:
        """How many updates they speak of."""
        return self.steps[-1] + 1


def replay(knots: Knots) -> Schedule:
    """The schedule through these knots, exact at each.

    >>> replay(Knots(steps=(0, 4, 5), factors=(0.0, 1.0, 0.5)))([0, 1, 4, 5, 100]).tolist()
    [0.0, 0.25, 1.0, 0.5, 0.5]
    """
    places = np.array(knots.steps, dtype=np.float64)
    heights = np.array(knots.factors)

    @elementwise
    def replayed(steps: Floats) -> Floats:
        after = np.clip(np.searchsorted(places, steps, side="right"), 1, max(1, len(places) - 1))
        first, last = after - 1, np.minimum(after, len(places) - 1)
        length = np.maximum(places[last] - places[first], 1.0)  # 1.0: a single knot has no length
        return between(heights[first], heights[last], np.clip((steps - places[first]) / length, 0.0, 1.0))

    return replayed


def every_step(factors: ArrayLike, lr: float | None = None) -> Knots:
    """A knot at every step of a series of factors, (T,).

    >>> every_step([1.0, 0.5]).steps
    (0, 1)
    """
    series = _series(factors)
    return Knots(tuple(range(len(series))), tuple(series.tolist()), lr)


def thin(factors: ArrayLike, tolerance: float = TOLERANCE, lr: float | None = None) -> Knots:
    """Few knots that hold a series of factors, (T,), within `tolerance` times its peak at every step.

    From each knot the next is the farthest step to which a straight line stays within the tolerance. A jump
    that exceeds the changes beside it by more than four tolerances is kept as two knots, one step apart.
    Factors are written with as many digits as the tolerance is worth, six at least.

    O'Rourke: An On-Line Algorithm for Fitting Straight Lines Between Data Ranges, 1981, with the lines bound
    to points of the series.

    >>> from schedules.shapes import multistep, wsd
    >>> thin(wsd(100)(range(101)))
    Knots(steps=(0, 80, 100), factors=(1.0, 1.0, 0.0), lr=None)
    >>> thin(multistep(100, milestones=[0.5])(range(100)))
    Knots(steps=(0, 49, 50, 99), factors=(1.0, 1.0, 0.1, 0.1), lr=None)

    Raises:
        ValueError: a series that is empty, or not legal factors.
    """
    series = _series(factors)
    tolerance = number("tolerance", tolerance, Interval(0, 1, "()"))
    digits = min(17, max(6, 3 + math.ceil(-math.log10(tolerance))))
    # A hundredth is left for the digits.
    room = 0.99 * tolerance * float(series.max())
    steps = [0]
    while steps[-1] < len(series) - 1:
        steps.append(_farthest(series, steps[-1], room))
    return Knots(tuple(steps), tuple(float(f"{series[step]:.{digits}g}") for step in steps), lr)


def _farthest(series: Floats, start: int, room: float) -> int:
    """The last step to which a line from `start` passes all factors between within `room`."""
    window = _WINDOW
    while True:
        ahead = series[start + 1 : start + 1 + window] - series[start]
        distance = np.arange(1.0, len(ahead) + 1)
        low = np.maximum.accumulate((ahead - room) / distance)
        high = np.minimum.accumulate((ahead + room) / distance)
        slope = ahead / distance
        # A line is judged by the steps before its end, which it meets exactly.
        fits = np.concatenate([[True], (slope[1:] >= low[:-1]) & (slope[1:] <= high[:-1])])
        if low[-1] > high[-1] or start + len(ahead) == len(series) - 1:
            return start + 1 + int(np.flatnonzero(fits)[-1])
        window *= 4


def _series(factors: ArrayLike) -> NDArray[np.float64]:
    series = np.asarray(factors, dtype=np.float64)
    if series.ndim != 1 or not len(series):
        raise ValueError(f"factors of shape {series.shape} must be a series, one for each step")
    legal = np.isfinite(series) & (series >= FACTOR.low) & (series <= FACTOR.high)
    if not legal.all():
        step = int(np.flatnonzero(~legal)[0])
        raise ValueError(f"the factor {series[step]:g} of step {step} must be a number {FACTOR}")
    return series


def pairs(knots: Knots) -> Sequence[tuple[int, float]]:
    """(step, factor) of each knot.

    >>> pairs(Knots((0, 9), (1.0, 0.0)))
    [(0, 1.0), (9, 0.0)]
    """
    return list(zip(knots.steps, knots.factors, strict=True))
