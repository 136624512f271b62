"""Lower the rate when the validation loss stops falling: no search, one segment after another is kept."""

import math
from collections.abc import Callable

import numpy as np

from schedules.check import COUNT, FACTOR, FRACTION, UNIT, Interval, number, one_of, whole
from schedules.combine import warmup
from schedules.plan import Fact, Plan, Planned, Spending
from schedules.shapes import constant
from schedules.types import Keep, Segment

MODES = ("relative", "absolute")
_SEGMENTS = 50  # in a run, unless the length of one is given
_WHOLE = Interval(0)
_QUIET = 5  # segments of AccelAT: averaged over, and waited for


def plateau(
    horizon: int,
    budget: int,
    factor: float = 0.1,
    patience: int = 5,
    threshold: float = 1e-4,
    mode: str = "relative",
    cooldown: int = 0,
    segment_steps: int | None = None,
    warmup_fraction: float = 0.05,
    floor: float = 0.0,
) -> Planned:
    """Multiply the rate by `factor` once the validation loss is no better for more than `patience` segments.

    A loss is an improvement below best * (1 - threshold), or best - threshold in the absolute mode. For
    `cooldown` segments after a drop nothing counts as bad. The rate does not go below `floor` times the
    config's. A segment is a fiftieth of the run unless `segment_steps` says otherwise; the first one follows
    the warm-up. The same decisions as torch.optim.lr_scheduler.ReduceLROnPlateau, with a patience of 5 rather
    than 10 because a run is 50 segments.

    >>> plateau(horizon=1000, budget=1000).ask().segment.steps
    50

    Raises:
        ValueError: a value that is not legal, or a segment that is not shorter than the run.
    """
    drop = number("factor", factor, Interval(0, 1, "()"))
    patience = whole("patience", patience, _WHOLE)
    threshold = number("threshold", threshold, FACTOR)
    is_relative = one_of("mode", mode, MODES) == "relative"
    cooldown = whole("cooldown", cooldown, _WHOLE)

    def rule(losses: list[float]) -> float:
        # From the start each time: what to do follows from what has been told.
        current, best, bad, cooling = 1.0, math.inf, 0, 0
        for loss in losses:
            wanted = best * (1 - threshold) if is_relative else best - threshold
            if loss < wanted:
                best, bad = loss, 0
            else:
                bad += 1
            if cooling:
                cooling, bad = cooling - 1, 0
            if bad > patience:
                current, bad, cooling = current * drop, 0, cooldown
        return current

    return _listening(rule, horizon, budget, segment_steps, warmup_fraction, floor)


def accelat(
    horizon: int,
    budget: int,
    factor: float = 0.8,
    threshold: float = 0.005,
    segment_steps: int | None = None,
    warmup_fraction: float = 0.0,
    floor: float = 1e-3,
) -> Planned:
    """Multiply the rate by 0.8 when the mean validation loss of the last five segments stops falling.

    After each segment: the mean over the last five; if more than five means are known, more than five
    segments went by since the last drop and the mean fell by less than `threshold`, the rate drops, not
    below `floor`. The paper listens to accuracy, where a rise of 0.005 is the least that counts; for a loss
    of another size choose a threshold to match. It was made for adversarial training with few passes over
    the data.

    AccelAT: A Framework for Accelerating the Adversarial Training of Deep Neural Networks Through Accuracy
    Gradient, IEEE Access 2022.

    >>> accelat(horizon=1000, budget=1000).ask().segment.steps
    20

    Raises:
        ValueError: a value that is not legal, or a segment that is not shorter than the run.
    """
    drop = number("factor", factor, Interval(0, 1, "()"))
    threshold = number("threshold", threshold, FACTOR)

    def rule(losses: list[float]) -> float:
        current, quiet, before = 1.0, 0, math.nan
        for place in range(len(losses)):
            mean = sum(losses[max(0, place + 1 - _QUIET) : place + 1]) / min(place + 1, _QUIET)
            quiet += 1
            # A mean that is not finite has not fallen.
            if place + 1 > _QUIET and quiet > _QUIET and not before - mean >= threshold:
                current, quiet = max(current * drop, floor), 1
            before = mean
        return current

    return _listening(rule, horizon, budget, segment_steps, warmup_fraction, floor)


def _listening(
    rule: Callable[[list[float]], float],
    horizon: int,
    budget: int,
    segment_steps: int | None,
    warmup_fraction: float,
    floor: float,
) -> Planned:
    """Segments whose factor is a function of the validation losses so far."""
    horizon = whole("horizon", horizon, COUNT)
    floor = number("floor", floor, UNIT)
    steps = max(1, horizon // _SEGMENTS) if segment_steps is None else whole("segment_steps", segment_steps)
    warm = round(number("warmup_fraction", warmup_fraction, FRACTION) * horizon)
    spending, facts = Spending(budget), list[Fact]()
    length = min(horizon, spending.budget)
    if segment_steps is not None and steps >= length:
        raise ValueError(
            f"segment_steps={steps} must be below the {length} steps of the run: it only listens between"
        )

    def plan() -> Plan:
        losses: list[float] = []
        if warm:
            yield Keep(Segment(warmup(warm, constant()), min(warm, length)))
        while spending.kept < length and spending.left:
            current = max(rule(losses), floor)
            (trace,) = yield Keep(
                Segment(constant(current), min(steps, length - spending.kept, spending.left), evals=1)
            )
            losses.append(float(np.float64(trace.val_losses[-1])) if len(trace.val_losses) else math.nan)

    return Planned(plan(), spending, facts)
