"""Factors of every step -> the few knots that tell the same, so that a study file can hold them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from schedules.check import Interval, number, whole
from schedules.knots import CLOSEST


def outline(factors: ArrayLike, tolerance: float = 0.01, most: int = 33) -> dict[str, Any]:
    """The table of a schedule "knots" that follows these factors to within a tolerance.

    The first factor is that of step 0, the last that of the horizon less one step. Knots are added where
    the line is farthest off, one by one (Ramer; Douglas, Peucker, 1973).

    Args:
        factors: (T,) of every step, T at least 2.
        tolerance: largest difference, in units of the largest factor.
        most: knots, at least 2; more are not used, even where the tolerance is missed.

    Raises:
        ValueError: fewer than 2 factors, or such that are not finite or below 0.

    >>> outline([1.0, 1.0, 1.0, 1.0, 0.5, 0.0])
    {'name': 'knots', 'factors': [1.0, 1.0, 0.0], 'fractions': [0.0, 0.6, 1.0]}
    """
    heights = np.asarray(factors, dtype=np.float64)
    if heights.ndim != 1 or len(heights) < 2 or not np.isfinite(heights).all() or (heights < 0).any():
        raise ValueError("factors must be at least 2 finite numbers, none below 0")
    most, tolerance = whole("most", most, Interval(2)), number("tolerance", tolerance, Interval())
    last = len(heights) - 1
    steps, chosen = np.arange(last + 1), [0, last]
    while len(chosen) < most:
        off = np.abs(np.interp(steps, chosen, heights[chosen]) - heights)
        worst = int(off.argmax())
        if off[worst] <= tolerance * heights.max():
            break
        chosen = sorted([*chosen, worst])
    return {
        "name": "knots",
        "factors": [float(f"{heights[place]:.4g}") for place in chosen],
        "fractions": _fractions(np.array(chosen) / last),
    }


def _fractions(places: np.ndarray) -> list[float]:
    """Rounded where that keeps neighbours apart."""
    rounded = np.round(places, 6)
    return (rounded if (np.diff(rounded) >= 2 * CLOSEST).all() else places).tolist()
