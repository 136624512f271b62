"""A tuner written as one function: what it yields is asked for, what it is sent is what came of it.

A search reads as it runs, from the first probe to the last step, with no phases or flags of its own. Asking
shows what the plan waits for and so changes nothing; the counters and the facts live beside the plan.
"""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from schedules.check import COUNT, whole
from schedules.types import Keep, Probe, Segment, Trace, Tuner

Plan = Generator[Keep | Probe, Sequence[Trace], None]
Fact = dict[str, float | int | str | bool]  # what is known of one candidate

LEAST_PROBE_STEPS = (
    20  # with fewer, too high a rate looks best and diverges later: measured in 1 to 3 of 3 runs
)
LEAST_PROBE_SHARE = 0.01  # of the horizon


class Spending:
    """Three counters of steps: kept on the trajectory, spent with all probes, and of wall time.

    `wall` counts the segments of a probe as running at once. What was asked for counts as spent, so that a
    segment that came back shorter gives nobody more steps than the budget.
    """

    def __init__(self, budget: int) -> None:
        self.budget = whole("budget", budget, COUNT)
        self.kept = self.spent = self.wall = self.probed = 0
        self._depths: list[int] = []  # steps from here to the end of each segment probed since the last Keep

    @property
    def left(self) -> int:
        """Steps that may still be asked for."""
        return self.budget - self.spent

    @property
    def candidates(self) -> int:
        """Segments probed since the last Keep; the number that the next one will have."""
        return len(self._depths)

    def add(self, wish: Keep | Probe, traces: Sequence[Trace]) -> None:
        """Count what was asked for and what came of it."""
        match wish:
            case Keep(segment, adopt):
                self.kept += (0 if adopt is None else self._depths[adopt]) + len(traces[0].losses)
                self.spent += segment.steps
                self.wall += segment.steps
                self._depths = []
            case Probe(segments, starts):
                begins = [self._depths[start] for start in starts] or [0] * len(segments)
                asked = [segment.steps for segment in segments]
                self._depths += [begin + steps for begin, steps in zip(begins, asked, strict=True)]
                self.spent += sum(asked)
                self.probed += sum(asked)
                self.wall += max(asked)


def segments_of(wish: Keep | Probe) -> tuple[Segment, ...]:
    """The segments of a wish, one for each trace that it is answered with."""
    return wish.segments if isinstance(wish, Probe) else (wish.segment,)


@runtime_checkable
class Searching(Protocol):
    """A tuner that says what it found out; no part of what a tuner has to do."""

    def facts(self) -> list[Fact]:
        """One row for each candidate, in the order of probing; `Planned.facts` says what is in it."""
        ...


class Planned:
    """The tuner of a plan. Laws: those of `Tuner`, if the plan is a function of what it is sent.

    `spending` are its counters.
    """

    def __init__(
        self, plan: Plan, spending: Spending, facts: Sequence[Fact] | Callable[[], list[Fact]]
    ) -> None:
        self._plan = plan
        self._facts = facts
        self.spending = spending
        self._wish: Keep | Probe | None = next(plan, None)

    def ask(self) -> Keep | Probe | None:
        """What the plan waits for."""
        return self._wish

    def tell(self, traces: Sequence[Trace]) -> None:
        """Let the plan go on with what came of its wish.

        Raises:
            TunerError: the plan cannot go on.
            ValueError: there is not one trace for each segment asked for.
        """
        wish = self._wish
        asked = 0 if wish is None else len(segments_of(wish))
        if wish is None or len(traces) != asked:
            raise ValueError(f"{len(traces)} traces told, {asked} asked for")
        # Should the plan raise, there is nothing more to ask for.
        self._wish = None
        self.spending.add(wish, traces)
        with contextlib.suppress(StopIteration):
            self._wish = self._plan.send(traces)

    def facts(self) -> list[Fact]:
        """One row for each candidate, in the order of probing.

        `stage` from 0; `factor` of the config's learning rate; `steps` probed; `forecast` of the loss and
        `forecast_sd`, its standard deviation; `score` that was compared, infinite where it diverged;
        `chosen`; `regret`, which is the forecast minus what came (nan where nothing came); then values of
        further axes.
        """
        return [dict(fact) for fact in (self._facts() if callable(self._facts) else self._facts)]


def facts_of(tuner: Tuner) -> list[Fact]:
    """What a tuner found out; nothing for one that does not search.

    >>> from schedules import constant, open_loop
    >>> facts_of(open_loop(constant(), 10))
    []
    """
    return tuner.facts() if isinstance(tuner, Searching) else []


def fact(
    stage: int,
    factor: float,
    steps: int,
    score: float,
    forecast: float = float("nan"),
    forecast_sd: float = float("nan"),
    others: Mapping[str, float] | None = None,
) -> Fact:
    """The row of a candidate that has not been chosen yet; see `Planned.facts`."""
    row: Fact = {"stage": stage, "factor": factor, "steps": steps}
    row |= {"forecast": forecast, "forecast_sd": forecast_sd, "score": score}
    return row | {"chosen": False, "regret": float("nan"), **(others or {})}


def least_probe_steps(horizon: int) -> int:
    """Fewest steps for which a candidate is worth running.

    >>> least_probe_steps(1000), least_probe_steps(24_000)
    (20, 240)
    """
    return max(LEAST_PROBE_STEPS, round(LEAST_PROBE_SHARE * horizon))


def longest(low: int, high: int, fits: Callable[[int], bool]) -> int | None:
    """The largest number from low to high that fits, None where low does not. What is smaller fits as well.

    >>> longest(1, 100, lambda n: n * n <= 50)
    7
    """
    if low > high or not fits(low):
        return None
    while low < high:
        middle = (low + high + 1) // 2
        if fits(middle):
            low = middle
        else:
            high = middle - 1
    return low
