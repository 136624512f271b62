"""How often a schedule is read, whatever its shape: between two readings the last one holds.

Chen, Wolfe, Kyrillidis: REX: Revisiting Budgeted Training with an Improved Schedule, MLSys 2022, call the two
choices profile and sampling rate: a step schedule is a decay read at a few fractions of the horizon.
"""

from collections.abc import Sequence

import numpy as np

from schedules.check import UNIT, numbers, whole
from schedules.elementwise import Floats, elementwise
from schedules.types import Schedule


def every(schedule: Schedule, steps: int) -> Schedule:
    """The schedule read at step 0 and at every multiple of `steps` after it.

    >>> from schedules.shapes import linear
    >>> every(linear(8), 4)(range(10)).tolist()
    [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0]
    """
    steps = whole("steps", steps)

    @elementwise
    def sampled(step: Floats) -> Floats:
        return schedule(step - np.mod(step, steps))

    return sampled


def at_fractions(schedule: Schedule, horizon: int, fractions: Sequence[float]) -> Schedule:
    """The schedule read at step 0 and at these fractions of the horizon, in any order, to the nearest step.

    >>> from schedules.shapes import linear
    >>> at_fractions(linear(100), 100, [0.5, 0.75])([0, 49, 50, 75, 100]).tolist()
    [1.0, 1.0, 0.5, 0.25, 0.25]
    """
    horizon = whole("horizon", horizon)
    readings = np.unique([0, *(round(part * horizon) for part in numbers("fractions", fractions, UNIT))])

    @elementwise
    def sampled(step: Floats) -> Floats:
        return schedule(readings[np.searchsorted(readings, step, side="right") - 1])

    return sampled
