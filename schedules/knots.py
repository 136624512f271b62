"""A schedule through K knots: the form whose shape can itself be searched.

Knot k says that at a fraction of the horizon the factor has a value. Before the first knot and after the last
one its value holds.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from schedules.check import COUNT, FACTOR, UNIT, numbers, one_of, whole
from schedules.elementwise import Floats, between, elementwise
from schedules.types import Schedule

INTERPOLATIONS = ("linear", "cubic")
SCALES = ("linear", "log")
CLOSEST = 1e-6  # of the horizon, between two knots: closer ones would make slopes overflow


def knots(
    horizon: int,
    factors: Sequence[float],
    fractions: Sequence[float] | None = None,
    interpolation: Literal["linear", "cubic"] = "linear",
    scale: Literal["linear", "log"] = "linear",
) -> Schedule:
    """Through at least 2 factors, at increasing fractions of the horizon or evenly spaced from 0 to 1.

    "linear" is straight between knots; "cubic" is smooth, monotone between knots and never beyond them. On
    the "log" scale the logarithm of the factor is interpolated, and every factor must be above 0.

    Fritsch, Carlson: Monotone Piecewise Cubic Interpolation, 1980; slopes by Fritsch, Butland: A Method for
    Constructing Local Monotone Piecewise Cubic Interpolants, 1984.

    >>> knots(100, factors=[0.0, 1.0, 0.5], fractions=[0.0, 0.25, 1.0])([0, 5, 25, 100]).round(3).tolist()
    [0.0, 0.2, 1.0, 0.5]
    >>> knots(100, factors=[1.0, 0.01], scale="log")([0, 50, 100]).round(3).tolist()
    [1.0, 0.1, 0.01]
    """
    horizon = whole("horizon", horizon, COUNT)
    heights = np.array(numbers("factors", factors, FACTOR))
    if len(heights) < 2:
        raise ValueError(f"factors={factors!r} must be at least 2 knots")
    if fractions is None:
        places = np.linspace(0.0, 1.0, len(heights))
    else:
        places = np.array(numbers("fractions", fractions, UNIT))
    if len(places) != len(heights):
        raise ValueError(f"{len(heights)} factors need {len(heights)} fractions, not {len(places)}")
    gaps = np.diff(places)
    if not (gaps >= CLOSEST).all():
        raise ValueError(f"fractions={fractions!r} must increase, by at least {CLOSEST:g}")
    low, high = heights.min(), heights.max()
    is_log = one_of("scale", scale, SCALES) == "log"
    if is_log:
        if low == 0:
            raise ValueError(f'factors={factors!r} must be above 0 for scale="log"')
        heights = np.log(heights)
    is_cubic = one_of("interpolation", interpolation, INTERPOLATIONS) == "cubic"
    slopes = monotone_slopes(gaps, heights)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        progress = np.minimum(steps / horizon, 1.0)
        k = np.clip(np.searchsorted(places, progress, side="right") - 1, 0, len(gaps) - 1)
        t = np.clip((progress - places[k]) / gaps[k], 0.0, 1.0)  # from knot k to knot k + 1
        if is_cubic:
            height = (
                between(heights[k], heights[k + 1], t * t * (3.0 - 2.0 * t))
                + gaps[k] * t * (1.0 - t) * ((1.0 - t) * slopes[k] - t * slopes[k + 1])
            )  # fmt: skip
        else:
            height = between(heights[k], heights[k + 1], t)
        return np.clip(np.exp(height) if is_log else height, low, high)

    return schedule


def monotone_slopes(
    gaps: Floats,  # (K - 1,) between the places of the knots, above 0
    heights: Floats,  # (K,)
) -> Floats:  # (K,)
    """Slopes at the knots with which a cubic Hermite interpolant is monotone wherever the knots are."""
    secants = np.diff(heights) / gaps
    if len(secants) == 1:
        return np.repeat(secants, 2)
    slopes = np.zeros_like(heights)
    before, after = secants[:-1], secants[1:]
    same_sign = before * after > 0
    first, second = gaps[:-1] + 2 * gaps[1:], 2 * gaps[:-1] + gaps[1:]  # weights of before, after
    np.divide(
        (first + second) * before * after,
        first * after + second * before,
        out=slopes[1:-1],
        where=same_sign,
    )
    slopes[0] = _end_slope(gaps[0], gaps[1], secants[0], secants[1])
    slopes[-1] = _end_slope(gaps[-1], gaps[-2], secants[-1], secants[-2])
    return slopes


def _end_slope(gap: float, next_gap: float, secant: float, next_secant: float) -> float:
    """The slope of the parabola through the three outermost knots, limited so that nothing overshoots."""
    slope = ((2 * gap + next_gap) * secant - gap * next_secant) / (gap + next_gap)
    if slope * secant <= 0:
        return 0.0
    if secant * next_secant < 0 and abs(slope) > 3 * abs(secant):
        return 3 * secant
    return slope
