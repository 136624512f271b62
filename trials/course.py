"""Where a trial is in what its tuner asked for: segments on their way, what they led to, what was paid."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schedules import spec as schedule_spec
from schedules.combine import shift
from schedules.tuner_spec import tuner_from_config
from schedules.tuners import open_loop
from schedules.types import Keep, Probe, Segment, Trace, Tuner
from trials.record import Record, Signals, Tried
from trials.rows import Row
from trials.scores import Scores
from trials.signals import LOSS
from trials.spec import Report, TrialSpec

MakeTuner = Callable[[TrialSpec, int], Tuner]  # the trial, and the step its first row is at


def scheduled(spec: TrialSpec, step: int = 0) -> Tuner:
    """What a config names: a tuner of the steps to come, or a schedule over the horizon, read from `step`."""
    tuner = tuner_from_config(spec.config, max(1, spec.horizon - step), spec.budget)
    return tuner or open_loop(shift(schedule_spec.from_config(spec.config, spec.horizon), step), spec.budget)


@dataclass
class Strand:
    """One segment on its way, in a lane."""

    lane: int
    number: int  # of the wish's segments
    segment: Segment
    local: int = 0  # steps done of it
    signals: list[Signals] = field(default_factory=list[Signals])
    val_losses: list[float] = field(default_factory=list[float])
    example_losses: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def next_eval(self) -> int:
        """Local step of the next evaluation asked for inside the segment, or its end."""
        done, segment = len(self.val_losses), self.segment
        if done >= segment.evals:
            return segment.steps
        return math.ceil(segment.steps * (done + 1) / segment.evals)

    @property
    def is_at_eval(self) -> bool:
        """Whether an evaluation is due here."""
        return len(self.val_losses) < self.segment.evals and self.local == self.next_eval()

    def trace(self) -> Trace:
        """What the tuner is told of it."""
        losses = np.concatenate(self.signals)[:, LOSS]
        return Trace(self.segment, losses, np.asarray(self.val_losses), self.example_losses)


@dataclass
class End:
    """Where a probed segment ended, the steps that led there from the mark, and the segments they are of."""

    row: Row | None  # None where the tuner does not want to go on from there
    past: tuple[Signals, ...]
    line: tuple[Tried, ...]


@dataclass
class Course:
    """Where one trial is in what its tuner asked for."""

    spec: TrialSpec
    tuner: Tuner
    # What the tuner was told, once for each wish: told the same again, another one asks for the same.
    told: list[list[Trace]] = field(default_factory=list[list[Trace]])
    record: Record = field(default_factory=Record)
    wish: Keep | Probe | None = None
    strands: list[Strand] = field(default_factory=list[Strand])
    queue: deque[int] = field(default_factory=deque[int])  # segments of the wish that have not begun
    traces: dict[int, Trace] = field(default_factory=dict[int, Trace])
    mark: Row | None = None  # where the probes since the last Keep began
    ends: list[End | None] = field(default_factory=list["End | None"])  # of these probes
    first: int = 0  # number among the ends of the wish's first segment
    first_losses: Signals | None = None  # of the first step after the mark
    spent: int = 0
    step: int = 0
    wall: int = 0
    rung: int = 0
    seconds: float = 0.0
    families: tuple[str, ...] = ()  # to be scored on, none of them that the row trains on
    is_fold: bool = False  # scored on families alone
    scores: Scores | None = None  # of every example, once at its last rung
    reports: list[Report] = field(default_factory=list[Report])  # told so far
    # Losses of kept steps only: what a probe tried is not what the trial is.
    since_report: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])

    @property
    def is_probing(self) -> bool:
        """Whether the lanes hold copies that will be thrown away."""
        return isinstance(self.wish, Probe)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """Of the wish."""
        match self.wish:
            case Probe(segments):
                return segments
            case Keep(segment):
                return (segment,)
            case None:
                return ()

    @property
    def is_last(self) -> bool:
        """Whether nothing more comes after the report that is due."""
        return self.wish is None or self.spent >= self.spec.budget

    @property
    def is_at_rung(self) -> bool:
        """Whether a report is due."""
        return self.spent >= self.spec.rungs[self.rung]

    def until(self, running: int) -> int:
        """Steps to the next moment at which something has to be done, with so many strands running."""
        rung = -(-(self.spec.rungs[self.rung] - self.spent) // max(1, running))
        return min(rung, *(strand.next_eval() - strand.local for strand in self.strands))

    def keep(self, signals: Signals) -> None:
        """Take steps into the trajectory."""
        self.record.kept.append(signals)
        self.since_report.append(signals[:, LOSS])
