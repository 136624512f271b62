"""Wrap a schedule, or another tuner, in a tuner. What to do next follows from what has been told so far."""

import dataclasses
from collections.abc import Callable, Sequence

from schedules.autolrs import autolrs
from schedules.check import FACTOR, number
from schedules.combine import clip
from schedules.guarded import guarded
from schedules.plan import Fact, facts_of
from schedules.plateau import accelat, plateau
from schedules.race import lean, race
from schedules.range_test import range_test
from schedules.types import Keep, Probe, Schedule, Segment, Trace, Tuner


def open_loop(schedule: Schedule, steps: int, evals: int = 0) -> Tuner:
    """A tuner that does not listen: the schedule for that many steps, and nothing more.

    >>> from schedules.shapes import constant
    >>> open_loop(constant(), steps=500).ask().segment.steps
    500
    """
    return _OpenLoop(Segment(schedule, steps, evals))


def after(schedule: Schedule, steps: int, tuner: Tuner) -> Tuner:
    """First the schedule for that many steps, then the tuner, whose segments hear local steps as ever.

    >>> from schedules.shapes import constant
    >>> tuner = after(constant(0.1), 20, open_loop(constant(), 80))
    >>> tuner.ask().segment.steps
    20
    """
    return _After(open_loop(schedule, steps), tuner)


def bounded(tuner: Tuner, low: float, high: float) -> Tuner:
    """The tuner with the factors of every segment it asks for clipped to [low, high].

    The traces it is told name the clipped segments, which are what was run.

    >>> from schedules.shapes import linear
    >>> bounded(open_loop(linear(10), 10), low=0.2, high=0.9).ask().segment.lr([0, 5, 10]).tolist()
    [0.9, 0.5, 0.2]
    """
    low, high = number("low", low, FACTOR), number("high", high, FACTOR)
    if low > high:
        raise ValueError(f"low={low} must not be above high={high}")
    return _Bounded(tuner, low, high)


# Written by hand; tests/contracts/test_tuners.py holds every entry to the laws of a tuner.
TUNERS: dict[str, Callable[..., Tuner]] = {
    "open_loop": open_loop,
    "after": after,
    "bounded": bounded,
    "guarded": guarded,
    "race": race,
    "lean": lean,
    "autolrs": autolrs,
    "plateau": plateau,
    "accelat": accelat,
    "range_test": range_test,
}


class _OpenLoop:
    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._traces: tuple[Trace, ...] = ()

    def ask(self) -> Keep | None:
        return None if self._traces else Keep(self._segment)

    def tell(self, traces: Sequence[Trace]) -> None:
        if self._traces or len(traces) != 1:
            raise ValueError(f"{len(traces)} traces told, {0 if self._traces else 1} asked for")
        self._traces = tuple(traces)


class _After:
    def __init__(self, first: Tuner, then: Tuner) -> None:
        self._first = first
        self._then = then

    def _current(self) -> Tuner:
        return self._then if self._first.ask() is None else self._first

    def ask(self) -> Keep | Probe | None:
        return self._current().ask()

    def tell(self, traces: Sequence[Trace]) -> None:
        self._current().tell(traces)

    def facts(self) -> list[Fact]:
        return [*facts_of(self._first), *facts_of(self._then)]


class _Bounded:
    def __init__(self, tuner: Tuner, low: float, high: float) -> None:
        self._tuner = tuner
        self._low = low
        self._high = high

    def _clipped(self, segment: Segment) -> Segment:
        return dataclasses.replace(segment, lr=clip(segment.lr, self._low, self._high))

    def ask(self) -> Keep | Probe | None:
        match self._tuner.ask():
            case Keep(segment, adopt):
                return Keep(self._clipped(segment), adopt)
            case Probe(segments, starts):
                return Probe(tuple(self._clipped(segment) for segment in segments), starts)
            case None:
                return None

    def tell(self, traces: Sequence[Trace]) -> None:
        self._tuner.tell(traces)

    def facts(self) -> list[Fact]:
        return facts_of(self._tuner)
