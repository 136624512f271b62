"""Take back what made things worse, and try it again at half the rate."""

import math
import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np

from schedules.check import Interval, number, whole
from schedules.combine import shift
from schedules.compare import difference, score, standard_errors
from schedules.elementwise import Floats, elementwise
from schedules.plan import LEAST_PROBE_STEPS, Fact, Plan, Planned, Spending, fact, facts_of
from schedules.types import Keep, Probe, Schedule, Segment, Trace, Tuner, TunerError

_PIECES = 10  # of a long segment
_LEAST_PIECES = 4  # of a short one
_RATE_AGAIN = 0.5
_LEAST_STEPS = 2  # of a piece: all but one are looked at before they are kept


def guarded(
    tuner: Tuner,
    piece_steps: int | None = None,
    tolerance: float = 0.1,
    retries: int = 3,
    since_best: bool = False,
) -> Planned:
    """The tuner, its kept segments run in pieces; what ends worse than it began is run at half the rate.

    A piece is probed, looked at and adopted, so that only one that is taken back costs more. Worse is: a
    loss that is not finite; or a validation loss that rose by `tolerance` of its size and, where losses of
    examples are told, by more than chance, since the piece began or, with `since_best`, since it was
    lowest. Where nothing was evaluated before a piece it can only be not finite. The lower rate holds until
    the tuner probes rates itself. Pieces are a tenth of a segment, at least 20 steps (a quarter of one that
    is short), unless `piece_steps` says otherwise.

    The segment itself pays for what was taken back: what is left of its schedule is read faster, so that it
    ends where it was to end, within its steps. After `retries` a piece that is only worse stays.

    What looks best over 20 steps can diverge over 200: measured in 1 of 3 runs of the published search.

    >>> from schedules.shapes import constant
    >>> from schedules.tuners import open_loop
    >>> guarded(open_loop(constant(), 100), piece_steps=50).ask().segments[0].steps
    49

    Raises:
        ValueError: a value that is not legal.
        TunerError: (from `tell`) a piece diverged at the lowest rate that was tried.
    """
    if piece_steps is not None:
        whole("piece_steps", piece_steps, Interval(_LEAST_STEPS))
    number("tolerance", tolerance, Interval())
    whole("retries", retries, Interval(1, 30))
    spending = Spending(tuner.spending.budget if isinstance(tuner, Planned) else sys.maxsize)
    guard = _Guard(spending, piece_steps, tolerance, retries, since_best)

    def plan() -> Plan:
        probed: list[Trace] = []  # since the last Keep
        while (wish := tuner.ask()) is not None:
            if isinstance(wish, Probe):
                traces = yield wish
                probed += traces
                guard.rate = 1.0
            else:
                if wish.adopt is not None:
                    guard.before = probed[wish.adopt]
                traces = [(yield from guard.kept(wish))]
                probed = []
            tuner.tell(traces)

    return Planned(plan(), spending, lambda: [*facts_of(tuner), *guard.facts])


@dataclass
class _Guard:
    spending: Spending
    piece_steps: int | None
    tolerance: float
    retries: int
    since_best: bool
    rate: float = 1.0
    before: Trace | None = None  # whose validation loss is what a piece is held against
    facts: list[Fact] = field(default_factory=list[Fact])

    def kept(self, wish: Keep) -> Generator[Keep | Probe, Sequence[Trace], Trace]:
        """Keep a segment in pieces; its trace, of the steps that were kept."""
        segment, adopt = wish.segment, wish.adopt
        evals = {math.ceil(segment.steps * (done + 1) / segment.evals) for done in range(segment.evals)}
        cuts = sorted(
            evals | set(range(self._length(segment.steps), segment.steps, self._length(segment.steps)))
        )
        cuts = [cut for cut in cuts if cut < segment.steps] + [segment.steps]
        place, left = 0, segment.steps  # how far its schedule has been read, and the steps that there are
        told: list[Trace] = []
        for done, cut in enumerate(cuts):
            tries = 0
            while True:
                steps = (
                    left if cut == segment.steps else round(left * (cut - place) / (segment.steps - place))
                )
                if steps < _LEAST_STEPS or left - steps < _LEAST_STEPS * (len(cuts) - 1 - done):
                    told.append((yield from self._rest(segment, adopt, place, left, evals)))
                    return _joined(segment, told)
                piece = _read(segment.lr, place, (cut - place) / steps, self.rate)
                trial = Segment(piece, steps - 1, 1, segment.hyper)
                (trace,) = yield Probe((trial,), () if adopt is None else (adopt,))
                is_finite = math.isfinite(score(trace))
                if is_finite and (tries == self.retries or not self._is_worse(trace)):
                    break
                self.facts.append(_taken_back(tries, trial, trace))
                left -= steps - 1
                if tries == self.retries:
                    raise TunerError(
                        f"diverged within {steps - 1} steps, also at {self.rate:g} times the rate that "
                        f"looked best: lower lr"
                    )
                self.rate, tries = self.rate * _RATE_AGAIN, tries + 1
            # A Keep is at least one step: the last of the piece.
            last = Segment(shift(piece, steps - 1), 1, int(cut in evals), segment.hyper)
            (end,) = yield Keep(last, adopt=self.spending.candidates - 1)
            told += [_without_evals(trace), end]
            if not (self.since_best and self.before is not None and score(self.before) < score(trace)):
                self.before = trace
            adopt, place, left = None, cut, left - steps
        return _joined(segment, told)

    def _length(self, steps: int) -> int:
        """Of a piece, for a segment of that many steps."""
        if self.piece_steps is not None:
            return self.piece_steps
        short = min(LEAST_PROBE_STEPS, math.ceil(steps / _LEAST_PIECES))
        return max(_LEAST_STEPS, short, math.ceil(steps / _PIECES))

    def _is_worse(self, trace: Trace) -> bool:
        if self.before is None or not math.isfinite(score(self.before)):
            return False
        rise = score(trace) - score(self.before)
        if len(trace.example_losses) == len(self.before.example_losses) > 1:
            _, error = difference(trace.example_losses, self.before.example_losses)
            if rise <= standard_errors(len(trace.example_losses)) * error:
                return False
        return rise > self.tolerance * abs(score(self.before))

    def _rest(
        self, segment: Segment, adopt: int | None, place: int, left: int, evals: set[int]
    ) -> Generator[Keep | Probe, Sequence[Trace], Trace]:
        """What is left of a segment, too little of it to be taken back."""
        shape = _read(segment.lr, place, (segment.steps - place) / left, self.rate)
        rest = Segment(shape, left, sum(cut > place for cut in evals), segment.hyper)
        (trace,) = yield Keep(rest, adopt)
        self.before = trace if rest.evals else None
        return trace


def _read(schedule: Schedule, place: int, speed: float, rate: float) -> Schedule:
    """The schedule from that step on, so many of its steps in each, times the rate."""

    @elementwise
    def read(steps: Floats) -> Floats:
        return schedule(place + steps * speed) * rate

    return read


def _without_evals(trace: Trace) -> Trace:
    """A trace of which the tuner did not ask to know the validation loss."""
    return Trace(trace.segment, trace.losses, np.zeros(0, np.float32))


def _joined(segment: Segment, traces: Sequence[Trace]) -> Trace:
    return Trace(
        segment,
        np.concatenate([trace.losses for trace in traces]),
        np.concatenate([trace.val_losses for trace in traces]),
        traces[-1].example_losses,
    )


def _taken_back(tries: int, piece: Segment, trace: Trace) -> Fact:
    row = fact(tries, float(piece.lr(0)), piece.steps, score(trace))
    return {**row, "taken_back": True}
