"""From a function of an array of steps to a schedule: the one place where steps are checked and shaped."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schedules.types import Schedule

Floats = NDArray[np.float64]


def elementwise(function: Callable[[Floats], Floats]) -> Schedule:
    """The schedule that applies an elementwise numpy function to steps of any shape.

    The function always sees one contiguous axis, a single step being an array of one: numpy computes numbers
    of its own, 0-d arrays and strided arrays in other loops, which may differ in the last bit.

    The schedule raises ValueError when a step is negative or not finite.

    >>> elementwise(lambda steps: 1 / (1 + steps))([[0, 1], [3, 4]]).tolist()
    [[1.0, 0.5], [0.25, 0.2]]
    """

    def factor(step: ArrayLike) -> Floats:
        steps = np.asarray(step, dtype=np.float64)
        legal = np.isfinite(steps) & (steps >= 0)
        if not legal.all():
            raise ValueError(f"step={steps[~legal].flat[0]:g} must be a finite number, at least 0")
        return function(steps.reshape(-1)).reshape(steps.shape)

    return factor


def ramp(steps: Floats, start: float, length: float) -> Floats:
    """0 up to step `start`, then rising to 1 over `length` steps, then 1; a length of 0 is a jump.

    >>> ramp(np.arange(6.0), start=1, length=4).tolist()
    [0.0, 0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if length == 0:
        return np.where(steps < start, 0.0, 1.0)
    return np.clip((steps - start) / length, 0.0, 1.0)


def between(first: float | Floats, last: float | Floats, progress: Floats) -> Floats:
    """From first to last as progress goes from 0 to 1; exact at both ends."""
    return first * (1.0 - progress) + last * progress


def geometric(first: float, last: float, progress: Floats) -> Floats:
    """From first to last, both above 0, by equal ratios as progress goes from 0 to 1; exact at both ends."""
    inside = np.power(first, 1.0 - progress) * np.power(last, progress)
    return np.where(progress <= 0.0, first, np.where(progress >= 1.0, last, inside))


def half_cosine(first: float, last: float, progress: Floats) -> Floats:
    """From first to last along half a cosine as progress goes from 0 to 1; exact at both ends."""
    return between(last, first, 0.5 * (1.0 + np.cos(np.pi * progress)))
