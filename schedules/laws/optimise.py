"""The schedule that a law predicts the lowest last loss for: hold the peak, then a power down to the floor.

Two numbers, the share held and the power, were measured to come within 0.0003 of the optimum over all
decreasing schedules of 24,000 steps. A law rewards drops that end with the last step more than training
does, so a cooldown has a least length.
"""

from dataclasses import dataclass

import numpy as np

from schedules.check import COUNT, FRACTION, POSITIVE, SHARE, UNIT, Interval, number, whole
from schedules.combine import warmup
from schedules.elementwise import Floats, between, elementwise, ramp
from schedules.laws.annealing import SMALLEST_RATE, Annealing
from schedules.laws.curve import MOST_STEPS, Curve
from schedules.laws.kernels import LAWS
from schedules.laws.law import FittedLaw, combined
from schedules.types import Schedule

MOST_CELLS = 1500  # of steps that a rate is read at
_HELD = np.linspace(0.0, 1.0, 13)  # of what may be held, to begin with
_POWERS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
_POWER_BOUNDS = (0.25, 8.0)


@dataclass(frozen=True, slots=True)
class Optimised:
    """What was found. Shares are of the steps after warm-up."""

    hold_fraction: float
    power: float
    warmup_steps: int
    schedule: Schedule  # step, warm-up included -> factor on the peak
    last_loss: float  # predicted


def hold_then_power(horizon: int, hold_fraction: float, power: float, floor: float = 0.0) -> Schedule:
    """1 for a share of the horizon, then floor + (1 - floor) * (1 - c)^power as c goes from 0 to 1.

    >>> hold_then_power(100, 0.8, 2.0)([0, 80, 90, 100]).tolist()
    [1.0, 1.0, 0.25, 0.0]
    """
    horizon = whole("horizon", horizon, COUNT)
    hold = number("hold_fraction", hold_fraction, FRACTION) * horizon
    power, floor = number("power", power, POSITIVE), number("floor", floor, UNIT)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        return between(floor, 1.0, (1.0 - ramp(steps, hold, horizon - hold)) ** power)

    return schedule


def last_loss(law: FittedLaw, schedule: Schedule, steps: int, warmup_steps: int, peak: float) -> float:
    """The loss a law predicts at the last of these steps, for a schedule that only falls after its warm-up.

    As `FittedLaw.predict`, from fewer readings: as quick for long schedules as for short ones.
    """
    places: Floats = np.unique(np.round(np.linspace(warmup_steps, steps - 1, MOST_CELLS))).astype(np.float64)
    rates = schedule(places) * (peak / law.peak)
    gaps = np.diff(places)
    # A line between readings, summed over the steps after each up to and with the next.
    areas = 0.5 * gaps * (rates[:-1] + rates[1:]) + 0.5 * np.diff(rates)
    # A warm-up rises by equal parts up to the peak: (1 + 2 + … + W) / W of it.
    rise = 0.5 * (warmup_steps + 1) * (warmup_steps > 0)
    area: Floats = (rise + 1.0) * rates[0] + np.concatenate([[0.0], np.cumsum(areas)])
    drops = -np.diff(rates)
    middles: Floats = 0.5 * (places[:-1] + places[1:] + 1.0)
    until = np.interp(middles - 1.0, places, area)
    seen = Annealing(
        area[-1:],
        drops,
        np.maximum(np.interp(middles, places, rates), SMALLEST_RATE),
        (places[-1] - middles + 1.0)[None, :],
        np.maximum(area[-1] - until, 0.0)[None, :],
    )
    effect = LAWS[law.law].effect(seen, law.constants)
    return float(combined(law.coefficients, seen.area, effect)[0])


def optimise(
    law: FittedLaw,
    steps: int,
    peak: float | None = None,
    warmup_steps: int | None = None,
    floor: float = 0.0,
    least_cooldown: float = 0.1,
) -> Optimised:
    """The share held and the power that the law predicts the lowest loss for at the last step.

    Args:
        law: fitted.
        steps: all of them, warm-up included.
        peak: learning rate; None: that of the law.
        warmup_steps: None: as many as the curves had that the law was fitted on, if that leaves most of the
        steps. floor: lowest factor on the peak. least_cooldown: share of the steps after warm-up that the
        cooldown takes at least.

    Raises:
        ValueError: numbers that are not legal, a peak far from the law's.
    """
    steps = whole("steps", steps, Interval(2, MOST_STEPS))
    peak = law.peak if peak is None else number("peak", peak, POSITIVE)
    law.check_peak(peak)
    if warmup_steps is None:
        warmup_steps = min(law.warmup_steps, steps // 10)
    warmup_steps = whole("warmup_steps", warmup_steps, Interval(0, steps - 2))
    floor, least = number("floor", floor, UNIT), number("least_cooldown", least_cooldown, SHARE)
    horizon = steps - warmup_steps
    most_held = min(1.0 - least, 1.0 - 1.0 / horizon)

    def build(hold: float, power: float) -> Schedule:
        return warmup(warmup_steps, hold_then_power(horizon, hold, power, floor))

    def loss(hold: float, power: float) -> float:
        return last_loss(law, build(hold, power), steps, warmup_steps, peak)

    found = min((loss(hold, power), hold, power) for hold in _HELD * most_held for power in _POWERS)
    # Downhill from the best of the grid, by steps that halve where nothing is lower.
    step_hold, step_ratio = most_held / 12, 1.3
    while step_ratio > 1.01:
        near = [
            (float(np.clip(found[1] + a, 0.0, most_held)), float(np.clip(found[2] * r, *_POWER_BOUNDS)))
            for a, r in ((step_hold, 1.0), (-step_hold, 1.0), (0.0, step_ratio), (0.0, 1.0 / step_ratio))
        ]
        best = min((loss(*one), *one) for one in near)
        if best[0] < found[0]:
            found = best
        else:
            step_hold, step_ratio = step_hold / 2, step_ratio**0.5
    lowest, hold, power = (float(one) for one in found)
    return Optimised(hold, power, warmup_steps, build(hold, power), lowest)


def planned(schedule: Schedule, steps: int, peak: float, name: str = "schedule") -> Curve:
    """A schedule as a curve without losses, a row for every step."""
    every = np.arange(whole("steps", steps, Interval(2, MOST_STEPS)))
    return Curve(every, peak * schedule(every), name=name)
