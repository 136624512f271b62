"""Schedules -> schedule. Each part hears its own local step, counted from 0."""

import math
from collections.abc import Sequence

import numpy as np

from schedules.check import FACTOR, Interval, number, whole
from schedules.elementwise import Floats, between, elementwise
from schedules.types import Schedule


def warmup(steps: int, then: Schedule) -> Schedule:
    """Straight up to the first factor of `then` over the given steps, then `then` from its step 0.

    Step s of W gives (s + 1) / W of it: 1/W at step 0, so that no update is wasted on a factor of 0, and all
    of it at step W - 1. No steps: `then` itself.

    Goyal et al.: Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour, 2017.

    >>> from schedules.shapes import linear
    >>> warmup(4, then=linear(10))([0, 1, 3, 4, 9, 14]).tolist()
    [0.25, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    steps = whole("steps", steps, Interval(0))
    if steps == 0:
        return then

    @elementwise
    def schedule(step: Floats) -> Floats:
        rising = (step + 1) / steps * then(0)
        return np.where(step < steps, rising, then(np.maximum(step - steps, 0)))

    return schedule


def join(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """One schedule after another; each but the first begins, at its step 0, at its boundary.

    Boundaries are steps, increasing from at least 1, one fewer than schedules.

    >>> from schedules.shapes import constant, linear
    >>> join([constant(1.0), linear(10)], boundaries=[5])([0, 5, 10, 15]).tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    parts, starts = tuple(schedules), [whole("boundary", boundary) for boundary in boundaries]
    if len(parts) != len(starts) + 1:
        raise ValueError(f"{len(parts)} schedules need {len(parts) - 1} boundaries, not {len(starts)}")
    if starts != sorted(set(starts)):
        raise ValueError(f"boundaries={starts} must increase")

    @elementwise
    def schedule(step: Floats) -> Floats:
        factor = parts[0](step)
        for part, start in zip(parts[1:], starts, strict=True):
            factor = np.where(step < start, factor, part(np.maximum(step - start, 0)))
        return factor

    return schedule


def restart(schedule: Schedule, period: int, cycles: int | None = None) -> Schedule:
    """The schedule from its step 0 again every `period` steps; the last of `cycles` runs on. None: for ever.

    Loshchilov, Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017. For cycles of growing
    length, `join` schedules of growing horizon.

    >>> from schedules.shapes import linear
    >>> restart(linear(4), period=4, cycles=2)(range(10)).tolist()
    [1.0, 0.75, 0.5, 0.25, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    """
    period = whole("period", period)
    last_start = np.inf if cycles is None else (whole("cycles", cycles) - 1) * period

    @elementwise
    def restarted(step: Floats) -> Floats:
        return schedule(step - np.minimum(step - np.mod(step, period), last_start))

    return restarted


def scale(schedule: Schedule, factor: float) -> Schedule:
    """The schedule times a factor.

    >>> from schedules.shapes import linear
    >>> scale(linear(4), 0.5)([0, 2]).tolist()
    [0.5, 0.25]
    """
    factor = number("factor", factor, FACTOR)

    @elementwise
    def scaled(step: Floats) -> Floats:
        return schedule(step) * factor

    return scaled


def product(first: Schedule, second: Schedule) -> Schedule:
    """Both factors at once.

    >>> from schedules.shapes import linear
    >>> product(linear(4), rising(0.0, 1.0, 2))([0, 1, 2]).tolist()
    [0.5, 0.75, 0.5]
    """

    @elementwise
    def schedule(step: Floats) -> Floats:
        return first(step) * second(step)

    return schedule


def rising(begin: float, factor: float, steps: int) -> Schedule:
    """Straight from one factor to another in that many steps, and there from then on.

    >>> rising(1.0, 3.0, 2)([0, 1, 2]).tolist()
    [2.0, 3.0, 3.0]
    """

    @elementwise
    def schedule(step: Floats) -> Floats:
        return between(begin, factor, np.minimum((step + 1) / max(1, steps), 1.0))

    return schedule


def clip(schedule: Schedule, low: float = 0.0, high: float = FACTOR.high) -> Schedule:
    """The schedule, no lower than low and no higher than high.

    >>> from schedules.shapes import linear
    >>> clip(linear(4), low=0.2, high=0.8)([0, 2, 4]).tolist()
    [0.8, 0.5, 0.2]
    """
    low = number("low", low, FACTOR)
    high = number("high", high, FACTOR)
    if low > high:
        raise ValueError(f"low={low} must not be above high={high}")

    @elementwise
    def clipped(step: Floats) -> Floats:
        return np.clip(schedule(step), low, high)

    return clipped


def shift(schedule: Schedule, steps: int) -> Schedule:
    """The schedule read that many steps ahead; if negative, that many late, its first value held till then.

    >>> from schedules.shapes import linear
    >>> shift(linear(4), 2)([0, 1]).tolist(), shift(linear(4), -2)([0, 2, 3]).tolist()
    ([0.5, 0.25], [1.0, 1.0, 0.75])
    """
    steps = whole("steps", steps, Interval(-math.inf))

    @elementwise
    def shifted(step: Floats) -> Floats:
        return schedule(np.maximum(step + steps, 0))

    return shifted


def hold(schedule: Schedule, steps: int) -> Schedule:
    """The schedule as far as that step, and its value there ever after.

    >>> from schedules.shapes import linear
    >>> hold(linear(4), 2)([0, 2, 3, 100]).tolist()
    [1.0, 0.5, 0.5, 0.5]
    """
    steps = whole("steps", steps, Interval(0))

    @elementwise
    def held(step: Floats) -> Floats:
        return schedule(np.minimum(step, steps))

    return held
