"""Raise the rate by equal ratios from hardly any to far too much, and see where the loss falls fastest."""

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schedules.candidates import based, interval
from schedules.check import COUNT, FRACTION, Interval, number, whole
from schedules.combine import scale
from schedules.elementwise import Floats, elementwise, geometric
from schedules.plan import Fact, Plan, Planned, Spending, fact, longest
from schedules.types import Keep, Probe, Schedule, Segment, Trace, TunerError

SMOOTHING = 0.8  # of the exponential average of the losses
SWEEP_STEPS = 100
SWEEPS = 3
LOW, HIGH = 1e-3, 1e3  # factors between which a sweep goes, the config's rate in the middle
_LEAST_SWEEP_STEPS = 20
_GROWING = 5  # steps over which a loss that diverges is watched
_LEAST_GROWING = 3
_BEFORE = 7  # the first of so many parts of a sweep say where the loss began
_BEGUN = 0.25  # of the whole fall
_MARGIN = 16.0  # below the steepest point, which was found at 1 to 5 times the tuned rate
_GROWN = 2.0  # by which it has to grow in them: batches differ by less


@dataclass(frozen=True, slots=True)
class Range:
    """What sweeps say, in factors of the config's learning rate; nan where they do not say it."""

    steepest: float  # where the loss falls fastest
    lowest: float  # where it is lowest: from there on it rises
    edge: float  # the largest factor that is stable
    each: tuple[tuple[float, float, float], ...]  # the same of each sweep; above are their medians


def sweep(steps: int, low: float = LOW, high: float = HIGH) -> Schedule:
    """From low to high by equal ratios, in that many steps.

    >>> sweep(3, 0.01, 100.0)([0, 1, 2]).round(3).tolist()
    [0.01, 1.0, 100.0]
    """

    @elementwise
    def schedule(step: Floats) -> Floats:
        return geometric(low, high, np.minimum(step / max(1, steps - 1), 1.0))

    return schedule


def sweeps_of(steps: int, sweeps: int, low: float, high: float) -> tuple[Segment, ...]:
    """Sweeps from one place; each is longer than the one before, so that a rate meets other batches."""
    lengths = [steps + round(steps * place / (2 * sweeps)) for place in range(sweeps)]
    return tuple(Segment(sweep(length, low, high), length, is_mark=False) for length in lengths)


def found(traces: Sequence[Trace]) -> Range:
    """The steepest point and the edge of stability of these sweeps.

    The steepest point, not the lowest: over five runs it was within a factor 2.5 of the tuned rate, and the
    lowest was not within 10. Losses are smoothed with 0.8; the point is where the smoothed loss falls most
    from one step to the next, after a quarter of its fall and before it is at its lowest.

    Smith: Cyclical Learning Rates for Training Neural Networks, WACV 2017. 0.8 and the steepest point:
    measured.
    """
    each: list[tuple[float, float, float]] = []
    for trace in traces:
        losses = np.asarray(trace.losses, np.float64)
        factors = trace.segment.lr(np.arange(len(losses)))
        good = len(losses) if np.isfinite(losses).all() else int(np.argmin(np.isfinite(losses)))
        steepest, lowest = _fall(losses[:good], factors)
        each.append((steepest, lowest, _edge(losses[:good], factors)))
    steepest, lowest, edge = (_median(column) for column in zip(*each, strict=True))
    return Range(steepest, lowest, edge, tuple(each))


def _median(factors: Sequence[float]) -> float:
    """Of those that are finite, on a log scale: noise leads one sweep of three astray by a factor of 100."""
    known = [math.log(factor) for factor in factors if math.isfinite(factor)]
    return math.exp(float(np.median(known))) if known else math.nan


def smoothed(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential average with 0.8, without the pull of its start towards 0."""
    average, values = 0.0, np.empty(len(losses))
    for place, loss in enumerate(losses):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        values[place] = average / (1 - SMOOTHING ** (place + 1))
    return values


def _fall(losses: NDArray[np.float64], factors: NDArray[np.float64]) -> tuple[float, float]:
    """(where it is steepest, where it ends)."""
    if len(losses) < _GROWING:
        return math.nan, math.nan
    line = smoothed(losses)
    end = int(np.argmin(line))
    if not end:
        # Nothing to be learnt from a loss that never falls: the config's own rate.
        own = float(np.clip(1.0, factors[0], factors[-1]))
        return own, own
    # Only once a quarter of the fall is behind for good: before it, noise of the batches falls faster.
    level = float(np.median(line[: max(_GROWING, len(line) // _BEFORE)]))
    above = np.flatnonzero(line[:end] >= level - _BEGUN * (level - line[end]))
    begin = int(above[-1]) if len(above) else 0
    # The loss at a step was measured before its update: a fall from one step to the next is the first one's.
    return float(factors[begin + int(np.argmin(np.diff(line[begin : end + 1])))]), float(factors[end - 1])


def _edge(losses: NDArray[np.float64], factors: NDArray[np.float64]) -> float:
    """The largest stable factor, from how fast the loss grows once it diverges.

    Gradient descent at rate r multiplies the loss along a direction of curvature L by (1 - r L)^2 a step.
    Where the steepest direction has taken over, growth g a step thus gives the edge 2 / L = 2 r / (1 +
    sqrt(g)). The rate at which the growth is first seen is far above it: it comes late, as the sweep has
    shrunk that very direction on its way.
    """
    best, edge = math.log(_GROWN), math.nan
    begin = int(np.argmin(smoothed(losses))) if len(losses) else 0
    while begin < len(losses) - 1:
        end = begin
        while end + 1 < len(losses) and losses[end + 1] > losses[end] > 0:
            end += 1
        # Of several stretches the one that grew most: the loss of a classifier does not grow for ever.
        if end - begin >= _LEAST_GROWING and math.log(losses[end] / losses[begin]) > best:
            best = math.log(losses[end] / losses[begin])
            last = slice(max(begin, end - _GROWING), end + 1)
            growth = np.exp(np.diff(np.log(losses[last])))
            edge = float(np.median(2 * factors[last][:-1] / (1 + np.sqrt(growth))))
        begin = max(end, begin + 1)
    return edge


def sweeping(
    steps: int, sweeps: int, low: float, high: float, facts: list[Fact]
) -> Generator[Keep | Probe, Sequence[Trace], Range]:
    """The part of a plan that sweeps.

    Raises:
        TunerError: no loss falls in any of them.
    """
    segments = sweeps_of(steps, sweeps, low, high)
    result = found((yield Probe(segments)))
    for segment, (steepest, lowest, edge) in zip(segments, result.each, strict=True):
        facts.append(fact(0, steepest, segment.steps, math.nan, others={"lowest": lowest, "edge": edge}))
    if all(math.isnan(steepest) for steepest, *_ in result.each):
        raise TunerError(f"every sweep from {low:g} to {high:g} times lr diverged at once: lower lr")
    return result


def check_sweeps(steps: object, sweeps: object) -> tuple[int, int]:
    """Steps of the first sweep and how many, if they are legal."""
    legal = Interval(_LEAST_SWEEP_STEPS)
    return whole("sweep_steps", steps, legal), whole("sweeps", sweeps, COUNT)


def cost_of(steps: int, sweeps: int) -> int:
    """Steps that sweeps take together."""
    return sum(segment.steps for segment in sweeps_of(steps, sweeps, LOW, HIGH))


def range_test(
    horizon: int,
    budget: int,
    sweep_steps: int | None = None,
    sweeps: int = SWEEPS,
    low: float = LOW,
    high: float = HIGH,
    base: str = "linear",
    warmup_fraction: float = 0.05,
) -> Planned:
    """Sweep, then train at the steepest point with the base schedule, down to 0 at the end of the budget.

    The cheapest way to a rate: with the sweep included, 0.010 behind a tuned cosine for a small transformer,
    0.019 for a convnet. Sweeps take `sweep_steps` and up to half as many again; None is a twentieth of the
    horizon, from 20 to 100. Factors are relative to the config's learning rate. `range_of` gives what was
    found, to place a study's interval of rates.

    >>> range_test(horizon=1000, budget=1000).ask().segments[0].steps
    50

    Raises:
        ValueError: a value that is not legal, or a budget that sweeps alone would use up.
    """
    horizon = whole("horizon", horizon, COUNT)
    spending, facts = Spending(budget), list[Fact]()
    bounds = interval(low, high)
    if bounds[0] == 0:
        raise ValueError(f"low={low} must be above 0: a sweep rises by equal ratios")
    number("warmup_fraction", warmup_fraction, FRACTION)
    based(base, warmup_fraction, horizon)
    steps = default_sweep_steps(horizon) if sweep_steps is None else sweep_steps
    steps, sweeps = check_sweeps(steps, sweeps)
    paid = cost_of(steps, sweeps)
    kept = longest(1, horizon, lambda length: length + paid <= budget)
    if kept is None:
        raise ValueError(f"budget={budget} must be above the {paid} steps of {sweeps} sweeps: sweep less")

    def plan() -> Plan:
        result = yield from sweeping(steps, sweeps, *bounds, facts)
        schedule, _ = based(base, warmup_fraction, kept)
        yield Keep(Segment(scale(schedule, result.steepest), kept))

    return Planned(plan(), spending, facts)


def default_sweep_steps(horizon: int) -> int:
    """A twentieth of the horizon, from 20 to 100.

    >>> default_sweep_steps(1000)
    50
    """
    return min(SWEEP_STEPS, max(_LEAST_SWEEP_STEPS, horizon // 20))


def range_of(facts: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(steepest, edge) of a range test, from its facts; nan where it did not find them.

    >>> range_of([{"factor": 1.0, "edge": 8.0}, {"factor": 4.0, "edge": 2.0}])
    (2.0, 4.0)
    """
    return _swept(facts, "factor"), _swept(facts, "edge")


def span_of(facts: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """(low, high) between which a search should look, from the facts of a range test; nan where it failed.

    From a sixteenth of the steepest point, as short sweeps find it late and long runs want less, to where the
    loss is lowest: from there on it rises within a hundred steps.

    >>> span_of([{"factor": 1.0, "lowest": 4.0, "edge": 8.0}])
    (0.0625, 4.0)
    """
    return _swept(facts, "factor") / _MARGIN, _swept(facts, "lowest")


def _swept(facts: Sequence[Mapping[str, Any]], name: str) -> float:
    return _median([float(row[name]) for row in facts if "edge" in row])
