"""Factors to try, inside an interval; and what to try when all of them diverge."""

import math
from collections.abc import Callable, Generator, Sequence

import numpy as np

from schedules.check import FACTOR, Interval, number
from schedules.compare import are_equal, check_apart, score
from schedules.plan import Fact, Spending, fact
from schedules.spec import build
from schedules.text import read
from schedules.types import Keep, Probe, Schedule, Segment, Trace, TunerError

SHRINK = 8.0  # by which all rates are lowered when each of them diverged
MOST_SHRINKS = 3

RATIO = Interval(1, FACTOR.high, "(]")
BOUND = Interval(0, FACTOR.high, "(]")


def interval(low: object, high: object) -> tuple[float, float]:
    """The interval that no factor leaves.

    Raises:
        ValueError: low is not below high.
    """
    bounds = number("low", low, FACTOR), number("high", high, BOUND)
    if bounds[0] >= bounds[1]:
        raise ValueError(f"low={bounds[0]:g} must be below high={bounds[1]:g}")
    return bounds


def inside(factors: Sequence[float], low: float, high: float) -> list[float]:
    """The factors, those outside the interval moved to its ends, each once, in order.

    >>> inside([0.25, 0.5, 1.0, 2.0, 4.0], 0.4, 2.0)
    [0.4, 0.5, 1.0, 2.0]
    """
    return sorted({float(np.clip(factor, low, high)) for factor in factors})


def based(base: str, warmup_fraction: float, horizon: int) -> tuple[Schedule, int]:
    """The schedule of a text, warmed up, over the horizon; and the steps that it warms up.

    A warm-up that the text itself asks for takes the place of `warmup_fraction`.
    """
    # What is written in a study file may be anything.
    if not isinstance(base, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError(f'base={base!r} must be a schedule in quotes, as in base="rex"')
    table = {"warmup_fraction": warmup_fraction, **read(base)}
    schedule = build(table, horizon)
    return schedule, min(round(float(table["warmup_fraction"]) * horizon), horizon - 1)


Round = Callable[
    [list[float]], tuple[Segment, ...] | None
]  # factors -> candidates; None: no steps left for it
Search = Generator[Keep | Probe, Sequence[Trace], tuple[list[tuple[int, float]], tuple[Segment, ...]]]


def ranked(
    factors: list[float],
    low: float,
    segments: Round,
    spending: Spending,
    facts: list[Fact],
    prefers_low: bool = False,
) -> Search:
    """Probe the candidates, and lower ones while all diverge; who did not, the best first; the round.

    Each is its number, for `Keep.adopt`, and its factor. With `prefers_low`, the lowest rate comes first of
    those that the examples cannot tell from the best.

    Raises:
        TunerError: all diverge, at the lowest rates that the interval and the budget allow too; or the
            validation split cannot tell them apart.
    """
    highest, lowest = max(factors), math.inf
    for attempt in range(MOST_SHRINKS + 1):
        candidates = segments(factors)
        if candidates is None:
            why = f"no steps are left to try lower ones (budget={spending.budget}): lower lr"
            raise TunerError(_diverged(lowest, highest, why))
        lowest, first = min(factors), spending.candidates
        traces = yield Probe(candidates)
        scores = [score(trace) for trace in traces]
        rows = [
            fact(attempt, factor, segment.steps, value)
            for factor, segment, value in zip(factors, candidates, scores, strict=True)
        ]
        facts += rows
        finite = [place for place, value in enumerate(scores) if math.isfinite(value)]
        order = sorted(finite, key=lambda place: scores[place])
        if order:
            check_apart(traces)
            if prefers_low:
                equals = [place for place in order if are_equal(traces[place], traces[order[0]])]
                order.sort(key=lambda place: place != min(equals))
            rows[order[0]]["chosen"] = True
            return [(first + place, factors[place]) for place in order], candidates
        factors = inside([factor / SHRINK for factor in factors], low, highest)
        if factors[0] >= lowest:
            break
    raise TunerError(_diverged(lowest, highest, "lower lr, or low"))


def _diverged(lowest: float, highest: float, advice: str) -> str:
    return f"every rate from {lowest:.3g} to {highest:.3g} times lr diverged: {advice}"
