"""Obey the tuners of all lanes, tick by tick; report at rungs; count position and spent.

The only place that copies rows on a tuner's behalf. Each tick every lane runs what its tuner last wished
for; a tick is cut short where some lane reaches the end of a segment, an evaluation or a rung, so none of
these need be a multiple of it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from schedules import spec as schedule_spec
from schedules.combine import shift
from schedules.tuners import open_loop
from schedules.types import Keep, Probe, Segment, Trace, Tuner
from trials.lanes import Lanes, OutOfMemory
from trials.rows import Row
from trials.spec import Report, TrialSpec, is_out_of_memory

TICK = 10

MakeTuner = Callable[[TrialSpec, int], Tuner]  # the trial, and the step its first row is at


def scheduled(spec: TrialSpec, step: int = 0) -> Tuner:
    """The schedule a config names, stretched over the horizon and read from `step` on, as a tuner."""
    return open_loop(shift(schedule_spec.from_config(spec.config, spec.horizon), step), spec.budget)


@dataclass(frozen=True)
class Ended:
    """A trial's lane is free again."""

    trial: int
    outcome: str  # completed, diverged or out_of_memory
    row: Row | None = None  # where a completed trial ended
    reason: str = ""


@dataclass(frozen=True)
class Reduced:
    """Memory ran out: there are fewer lanes now, and some trials wait on the host until one is free."""

    lanes: int
    parked: tuple[int, ...]
    reason: str


@dataclass
class _Course:
    """Where one trial is in what its tuner asked for."""

    spec: TrialSpec
    tuner: Tuner
    wish: Keep | Probe | None = None
    segments: tuple[Segment, ...] = ()
    at: int = 0  # which segment of the wish
    local: int = 0  # steps done of it
    mark: Row | None = None  # where a probe began
    ends: list[Row] = field(default_factory=list[Row])  # of the last probe
    losses: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])
    val_losses: list[float] = field(default_factory=list[float])
    traces: list[Trace] = field(default_factory=list[Trace])
    spent: int = 0
    step: int = 0
    rung: int = 0
    seconds: float = 0.0
    # Of kept steps only: what a probe tried is not what the trial is.
    since_report: list[NDArray[np.float32]] = field(default_factory=list[NDArray[np.float32]])

    @property
    def is_probing(self) -> bool:
        """Whether the lane holds a copy that will be thrown away."""
        return isinstance(self.wish, Probe)

    @property
    def segment(self) -> Segment:
        return self.segments[self.at]

    def next_eval(self) -> int:
        """Local step of the next evaluation asked for inside the segment, or its end."""
        segment = self.segment
        done = len(self.val_losses)
        if done >= segment.evals:
            return segment.steps
        return math.ceil(segment.steps * (done + 1) / segment.evals)

    def until(self) -> int:
        """Steps to the next moment at which something has to be done for this lane."""
        rung = self.spec.rungs[self.rung] - self.spent
        return min(rung, self.next_eval() - self.local)


class Drive:
    """Trains the trials in the lanes of one program."""

    def __init__(
        self, lanes: Lanes, tick: int = TICK, make_tuner: MakeTuner = scheduled, metric: str = "val_loss"
    ) -> None:
        if tick < 1:
            raise ValueError(f"tick={tick} must be at least 1 step")
        self.lanes, self.tick_steps, self._make_tuner = lanes, tick, make_tuner
        self._telling = ("train_loss", metric)  # not finite: diverged; other metrics may be undefined early
        self._courses: dict[int, _Course] = {}  # in the order of admission
        self._parked: dict[int, Row] = {}  # rows of trials whose lane was taken away
        self._proven = 0  # most lanes that ever ran a tick at once
        self._lost: set[int] = set()  # trials whose row memory running out has spoiled

    def __len__(self) -> int:
        return len(self._courses)

    def __contains__(self, trial: int) -> bool:
        return trial in self._courses

    def admit(self, spec: TrialSpec, start: Row | None = None) -> None:
        """Give a trial a lane and ask its tuner what to run first.

        Raises:
            ValueError: a schedule, hyperparameter or row that cannot be.
        """
        course = _Course(spec, self._make_tuner(spec, 0 if start is None else start.step))
        self.lanes.admit(spec, start)
        self._courses[spec.trial] = course
        if start is not None:
            course.step = start.step
        try:
            self._wish(course)
        except BaseException:
            # Not admitted: a lane left behind would take part in every later tick.
            self.stop(spec.trial)
            raise

    def room(self) -> int:
        """How many more trials it would take now."""
        return max(0, self.lanes.capacity - len(self._courses))

    def stop(self, trial: int) -> None:
        """Free the trial's lane; nothing more is said of it."""
        del self._courses[trial]
        if self._parked.pop(trial, None) is None:
            self.lanes.retire(trial)

    def _wish(self, course: _Course) -> None:
        """Ask the tuner, and put the row where its wish begins."""
        course.wish = course.tuner.ask()
        course.at, course.traces = 0, []
        self._begin_segment(course)
        match course.wish:
            case None:
                course.segments = ()
            case Keep(segment, adopt):
                course.segments = (segment,)
                if adopt is not None:
                    row = course.ends[adopt]
                    course.step = row.step
                    self.lanes.write(course.spec.trial, row)
                course.ends = []
            case Probe(segments):
                course.segments = segments
                course.mark, course.ends = self.lanes.read(course.spec.trial), []

    def _begin_segment(self, course: _Course) -> None:
        course.local, course.losses, course.val_losses = 0, [], []

    def tick(self) -> list[Report | Ended | Reduced]:
        """Run every lane for at most one tick; what happened, in order."""
        said: list[Report | Ended | Reduced] = []
        for trial, course in list(self._courses.items()):
            if course.wish is None:
                # A tuner with nothing more to run ends the trial before its budget: its last report stands.
                said.extend(self._complete(trial, course))
        if not self._courses:
            return said
        self._take_back()
        order = self.lanes.trials
        courses = [self._courses[trial] for trial in order]
        steps = min(self.tick_steps, *(course.until() for course in courses))
        factors = np.stack(
            [
                np.asarray(course.segment.lr(np.arange(course.local, course.local + steps)), dtype=np.float64)
                for course in courses
            ],
            axis=1,
        )
        # The first time so many lanes run is when memory runs out, so that is when copies are worth having.
        shortage, copies = "", dict[int, Row]()
        try:
            if len(order) > self._proven:
                copies = {trial: self.lanes.read(trial) for trial in order}
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Nothing has run yet, so nothing has to be mended.
            copies.clear()
            return [*said, *self._reduce(str(error) or type(error).__name__)]
        began = time.perf_counter()
        try:
            losses = self.lanes.run(factors)
            done = np.full(len(order), steps)
            self._proven = max(self._proven, len(order))
        except OutOfMemory as error:
            shortage = str(error)
            losses, done = error.losses, self._mended(error, copies)
        seconds = time.perf_counter() - began
        due: list[int] = []
        for column, (trial, course) in enumerate(zip(order, courses, strict=True)):
            steps = int(done[column])
            lane_losses = losses[:steps, column]
            course.seconds += seconds
            if not steps:
                continue
            course.local += steps
            course.spent += steps
            course.losses.append(lane_losses)
            if not course.is_probing:
                course.step += steps
                course.since_report.append(lane_losses)
            if not np.isfinite(lane_losses).all() and not course.is_probing:
                bad = int(np.argmin(np.isfinite(lane_losses)))
                # Where it broke, not where the tick ended: ticks depend on the neighbours, reports must not.
                past = steps - bad - 1
                course.step, course.spent = course.step - past, course.spent - past
                reason = f"training loss {lane_losses[bad]} at step {course.step - 1}"
                said.extend(self._diverge(trial, course, {"train_loss": math.inf}, reason))
            elif course.until() == 0:
                due.append(trial)
        if due:
            said.extend(self._hear(due))
        copies.clear()
        if shortage:
            said.extend(self._reduce(shortage))
        return said

    # -- memory -------------------------------------------------------------------------------------------

    def _take_back(self) -> None:
        """Give lanes that have become free to trials that wait on the host, the oldest first."""
        for trial in list(self._parked):
            if len(self.lanes) == self.lanes.capacity:
                break
            self.lanes.admit(self._courses[trial].spec, self._parked.pop(trial))

    def _mended(self, shortage: OutOfMemory, copies: dict[int, Row]) -> NDArray[np.int64]:
        """Steps that each lane has done, once rows that may be half changed are back where they began."""
        done = shortage.done.copy()
        for trial in shortage.torn:
            if trial in copies:
                self.lanes.write(trial, copies[trial])
            else:
                self._lost.add(trial)
            done[self.lanes.trials.index(trial)] = 0
        return done

    def _reduce(self, reason: str) -> list[Ended | Reduced]:
        """Half as many lanes; the youngest rows wait on the host. One lane alone cannot be halved."""
        said: list[Ended | Reduced] = []
        for trial in [trial for trial in self._courses if trial in self._lost]:
            self.stop(trial)
            said.append(Ended(trial, "out_of_memory", reason=reason))
        self._lost.clear()
        running = [trial for trial in self._courses if trial not in self._parked]
        if not running:
            return said
        if len(running) == 1 and self.lanes.capacity == 1:
            self.stop(running[0])
            return [*said, Ended(running[0], "out_of_memory", reason=reason)]
        capacity = max(1, min(self.lanes.capacity, len(running)) // 2)
        youngest = tuple(running[capacity:])
        for trial in reversed(youngest):
            try:
                self._parked[trial] = self.lanes.read(trial)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                # Not even a row fits on the host any more.
                self.stop(trial)
                said.append(Ended(trial, "out_of_memory", reason=reason))
                continue
            self.lanes.retire(trial)
        youngest = tuple(trial for trial in youngest if trial in self._parked)
        self.lanes.shrink(capacity)
        self._proven = min(self._proven, capacity)
        return [*said, Reduced(capacity, youngest, reason)]

    # -- hearing ------------------------------------------------------------------------------------------

    def _hear(self, due: list[int]) -> list[Report | Ended]:
        """Evaluate once for all lanes that reached a boundary, then act on it lane by lane."""
        said: list[Report | Ended] = []
        courses = {trial: self._courses[trial] for trial in due}
        probing = [trial for trial, one in courses.items() if self._at_rung(one) and one.is_probing]
        here = [
            trial
            for trial, one in courses.items()
            if self._at_eval(one) or (self._at_rung(one) and not one.is_probing)
        ]
        metrics = self._evaluate() if here else {}
        kept = self._evaluate_kept(probing) if probing else {}
        for trial, course in courses.items():
            while self._at_eval(course):
                course.val_losses.append(metrics[trial].get("val_loss", math.nan))
            if self._at_rung(course):
                # Where nothing was kept since the last report, the kept row's loss on the batch that
                # follows it.
                losses = np.concatenate(course.since_report or [course.losses[0][:1]])
                course.since_report = []
                found = kept[trial] if course.is_probing else metrics[trial]
                values = {"train_loss": float(losses.mean()), **found}
                bad = next((name for name in self._telling if not math.isfinite(values.get(name, 0.0))), "")
                if bad:
                    said.extend(self._diverge(trial, course, values, f"{bad} is {values[bad]}"))
                    continue
                said.append(self._report(trial, course, values))
                course.rung += 1
                if course.rung == len(course.spec.rungs):
                    said.extend(self._complete(trial, course))
                    continue
            if course.local == course.segment.steps:
                self._next_segment(trial, course)
        return said

    def _evaluate(self) -> dict[int, dict[str, float]]:
        found = self.lanes.evaluate("val")
        return {
            trial: {f"val_{name}": float(values[column]) for name, values in found.items()}
            for column, trial in enumerate(self.lanes.trials)
        }

    def _evaluate_kept(self, probing: list[int]) -> dict[int, dict[str, float]]:
        """The metrics of the rows these trials will come back to: what a trial is, not what it tries."""
        copies = {trial: self.lanes.read(trial) for trial in probing}
        for trial in probing:
            self.lanes.write(trial, self._marked(trial))
        found = self._evaluate()
        for trial, copy in copies.items():
            self.lanes.write(trial, copy)
        return found

    def _marked(self, trial: int) -> Row:
        mark = self._courses[trial].mark
        assert mark is not None
        return mark

    def _at_rung(self, course: _Course) -> bool:
        return course.spent == course.spec.rungs[course.rung]

    def _at_eval(self, course: _Course) -> bool:
        return len(course.val_losses) < course.segment.evals and course.local == course.next_eval()

    def _next_segment(self, trial: int, course: _Course) -> None:
        course.traces.append(
            Trace(course.segment, np.concatenate(course.losses), np.asarray(course.val_losses))
        )
        if course.is_probing:
            course.ends.append(self.lanes.read(trial))
            # Back to where the probe began: the step is part of the row, so the next segment sees the same
            # batches.
            self.lanes.write(trial, self._marked(trial))
        course.at += 1
        if course.at < len(course.segments):
            self._begin_segment(course)
        else:
            course.tuner.tell(course.traces)
            self._wish(course)

    def _report(self, trial: int, course: _Course, metrics: dict[str, float]) -> Report:
        return Report(trial, course.step, course.spent, course.seconds, metrics)

    def _diverge(
        self, trial: int, course: _Course, metrics: dict[str, float], reason: str
    ) -> list[Report | Ended]:
        report = self._report(trial, course, metrics)
        self.stop(trial)
        return [report, Ended(trial, "diverged", reason=reason)]

    def _complete(self, trial: int, course: _Course) -> list[Report | Ended]:
        if course.is_probing:
            row = self._marked(trial)
        else:
            row = self._parked[trial] if trial in self._parked else self.lanes.read(trial)
        self.stop(trial)
        return [Ended(trial, "completed", row)]
