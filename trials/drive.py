"""Obey the tuners of all lanes, tick by tick; report at rungs; count position, price and time.

The only place that copies rows on a tuner's behalf. Each tick every lane runs what its tuner last wished
for; a tick is cut short where some lane reaches the end of a segment, an evaluation or a rung, so none of
these need be a multiple of it. The segments of a probe run side by side in lanes that no trial has, as far as
there are any, and in turn otherwise; the numbers are the same.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from schedules.types import Keep, Probe, TunerError
from trials.course import Course, End, MakeTuner, Strand, scheduled
from trials.halfway import Halfway
from trials.lanes import Lanes, OutOfMemory
from trials.record import Record, Signals, Tried
from trials.rows import Row
from trials.scores import Scores
from trials.scoring import Asked, Scorer
from trials.signals import LOSS
from trials.spec import SIZES, Report, TrialSpec, is_out_of_memory

TICK = 10


@dataclass(frozen=True)
class Ended:
    """A trial's lane is free again."""

    trial: int
    outcome: str  # completed, diverged, failed or out_of_memory
    row: Row | None = None  # where a completed trial ended
    reason: str = ""
    record: Record | None = None
    facts: tuple[Mapping[str, object], ...] = ()  # what its tuner says of what it tried
    scores: Scores | None = None  # of every example, where there are shifted copies


@dataclass(frozen=True)
class Reduced:
    """Memory ran out: there are fewer lanes now, and some trials wait on the host until one is free."""

    lanes: int
    parked: tuple[int, ...]
    reason: str


class Drive:
    """Trains the trials in the lanes of one program."""

    def __init__(
        self,
        lanes: Lanes,
        tick: int = TICK,
        make_tuner: MakeTuner = scheduled,
        metric: str = "val_loss",
        sharpness: bool = False,
        sizes: Sequence[str] = (),
    ) -> None:
        if tick < 1:
            raise ValueError(f"tick={tick} must be at least 1 step")
        self.lanes, self.tick_steps, self._make_tuner = lanes, tick, make_tuner
        weights, buffers = lanes.program.layout.weight_count, lanes.program.layout.buffer_count
        known: dict[str, int] = dict(zip(SIZES, (weights, 4 * (weights + buffers)), strict=True))
        self._sizes = {name: float(known[name]) for name in sizes}  # that reports say, of `SIZES`
        self._sharpness = sharpness  # whether reports say it: tens of gradients each
        self._telling = ("train_loss", metric)  # not finite: diverged; other metrics may be undefined early
        self._courses: dict[int, Course] = {}  # in the order of admission
        self._owners: dict[int, int] = {}  # lane -> trial, in the order of admission; copies are below zero
        self._parked: dict[int, Row] = {}  # rows whose lane was taken away
        self._proven = 0  # most lanes that ever ran a tick at once
        self._lost: set[int] = set()  # lanes whose row memory running out has spoiled
        self._copies = 0  # made so far
        self._scorer = Scorer(lanes)

    def __len__(self) -> int:
        return len(self._courses)

    def __contains__(self, trial: int) -> bool:
        return trial in self._courses

    def admit(self, spec: TrialSpec, start: Row | None = None, fold: Sequence[str] = ()) -> None:
        """Give a trial a lane and ask its tuner what to run first.

        A `fold` makes it a fold model, scored on these families alone.

        Raises:
            ValueError: a schedule, hyperparameter or row that cannot be.
        """
        course = Course(spec, self._make_tuner(spec, 0 if start is None else start.step))
        course.families, course.is_fold = tuple(fold) or self._scorer.families, bool(fold)
        self.lanes.admit(spec, start)
        self._courses[spec.trial] = course
        self._owners[spec.trial] = spec.trial
        course.record.optimizer = self.lanes.program.optimizer.name
        course.record.lr = self.lanes.hyper(spec.trial)["lr"]
        if start is not None:
            course.step = course.record.first_step = start.step
        try:
            self._wish(course)
        except BaseException:
            # Not admitted: a lane left behind would take part in every later tick.
            self.stop(spec.trial)
            raise

    def used(self) -> int:
        """Lanes that are taken, copies of rows and rows that wait on the host among them."""
        return len(self._owners)

    def room(self) -> int:
        """How many more trials it would take now."""
        return max(0, self.lanes.capacity - len(self._owners))

    def stop(self, trial: int) -> Ended:
        """Free the trial's lanes; what was recorded of it until now."""
        course = self._courses.pop(trial)
        for lane in [lane for lane, owner in self._owners.items() if owner == trial]:
            self._free(lane)
        return Ended(trial, "stopped", record=course.record, facts=_facts(course), scores=course.scores)

    def pause(self, trial: int) -> Halfway:
        """Free the trial's lanes; what `resume` goes on with."""
        held = self._halfway(trial, is_paused=True)
        del self._courses[trial]
        for lane in held.rows:
            self._free(lane)
        return held

    def resume(self, held: Halfway) -> None:
        """Let a trial go on where it was, here or elsewhere.

        Its rows wait for lanes as those that found no memory do.

        Raises:
            ValueError: a row that does not fit.
        """
        course = held.course
        trial, numbers = course.spec.trial, dict[int, int]()
        for lane, row in held.rows.items():
            self.lanes.refuse_misfit(row)
            # Here another trial may have a copy of the number that one of its copies had elsewhere.
            self._copies += lane != trial
            numbers[lane] = trial if lane == trial else -self._copies
        for strand in course.strands:
            strand.lane = numbers[strand.lane]
        course.families = self._scorer.families
        self._courses[trial] = course
        self._owners.update(dict.fromkeys(numbers.values(), trial))
        self._parked.update((numbers[lane], row) for lane, row in held.rows.items())

    def so_far(self, trial: int) -> tuple[TrialSpec, Record, tuple[Mapping[str, object], ...]]:
        """A trial that is under way, what was recorded of it until now, and what its tuner says of it."""
        course = self._courses[trial]
        return course.spec, course.record, _facts(course)

    def halfway(self, trial: int) -> Halfway | None:
        """Where a trial under way is, to be written before the next tick.

        None of one that nobody could go on with elsewhere, or that has done nothing yet.
        """
        course = self._courses[trial]
        is_known = self._make_tuner is scheduled and not course.is_fold
        return self._halfway(trial) if is_known and course.spent else None

    def _halfway(self, trial: int, is_paused: bool = False) -> Halfway:
        lanes = [lane for lane, owner in self._owners.items() if owner == trial]
        return Halfway(self._courses[trial], {lane: self._row(lane) for lane in lanes}, is_paused)

    def _free(self, lane: int) -> None:
        del self._owners[lane]
        self._lost.discard(lane)
        if self._parked.pop(lane, None) is None:
            self.lanes.retire(lane)

    # -- what a tuner wishes for --------------------------------------------------------------------------

    def _wish(self, course: Course) -> None:
        """Ask the tuner, and put the row where its wish begins."""
        trial = course.spec.trial
        course.wish, course.traces, course.strands = course.tuner.ask(), {}, []
        match course.wish:
            case None:
                pass
            case Keep(segment, adopt):
                if adopt is not None:
                    self._adopt(course, adopt)
                elif course.mark is not None:
                    self._put(trial, course.mark)
                course.ends, course.mark, course.first_losses = [], None, None
                self._run(course, Strand(trial, 0, segment))
            case Probe(segments):
                if course.mark is None:
                    course.mark = self._row(trial)
                course.first = len(course.ends)
                course.ends.extend([None] * len(segments))
                course.queue = deque(range(len(segments)))
                self._begin(course, copies=False)

    def _adopt(self, course: Course, number: int) -> None:
        end = course.ends[number]
        assert end is not None
        assert end.row is not None, "the segment was asked for as no mark"
        course.step = end.row.step
        self._put(course.spec.trial, end.row)
        for signals in end.past:
            course.keep(signals)
        for tried in end.line:
            tried.is_adopted = True

    def _run(self, course: Course, strand: Strand) -> None:
        course.strands.append(strand)
        if strand.segment.hyper:
            try:
                self.lanes.set_hyper(strand.lane, strand.segment.hyper)
            except ValueError as error:
                raise TunerError(str(error)) from None

    def _begin(self, course: Course, copies: bool) -> None:
        """Give segments that wait a lane each: the trial's own, and with `copies` those that nobody has.

        Copies begin with a tick: until then a lane that has come free may be given to another trial.
        """
        assert isinstance(course.wish, Probe)
        while course.queue:
            taken = {strand.lane for strand in course.strands}
            lane = course.spec.trial
            if lane in taken or lane in self._parked:
                if not copies or self._parked or len(self._owners) >= self.lanes.capacity:
                    return
                self._copies += 1
                lane = -self._copies
            number = course.queue.popleft()
            row = self._start_of(course, number)
            if lane < 0:
                self.lanes.admit(course.spec, row, lane)
                self._owners[lane] = course.spec.trial
            else:
                self._put(lane, row)
            self._run(course, Strand(lane, number, course.wish.segments[number]))

    def _start_of(self, course: Course, number: int) -> Row:
        """The row that a segment of a probe begins from."""
        assert isinstance(course.wish, Probe)
        assert course.mark is not None
        if not course.wish.starts:
            return course.mark
        end = course.ends[course.wish.starts[number]]
        assert end is not None
        assert end.row is not None, "the segment was asked for as no mark"
        return end.row

    def _row(self, lane: int) -> Row:
        return self._parked[lane] if lane in self._parked else self.lanes.read(lane)

    def _put(self, lane: int, row: Row) -> None:
        if lane in self._parked:
            self._parked[lane] = row
        else:
            self.lanes.write(lane, row)

    # -- ticks --------------------------------------------------------------------------------------------

    def tick(self) -> list[Report | Ended | Reduced]:
        """Run every lane for at most one tick; what happened, in order."""
        said: list[Report | Ended | Reduced] = []
        self._take_back()
        # A tuner with nothing more to run ends the trial, with a report of where it is.
        over = [course for course in self._courses.values() if course.wish is None]
        done = [course for course in over if course.spec.trial not in self._parked]
        metrics = self._evaluate([course for course in done if course.since_report])
        for course in done:
            if course.since_report:
                said.extend(self._tell(course, metrics[course.spec.trial]))
            if course.spec.trial in self._courses:
                said.extend(self._complete(course))
        if not self._courses:
            return said
        self._take_back()
        for course in self._courses.values():
            if course.queue:
                self._begin(course, copies=True)
        order = self.lanes.numbers
        strands = self._running()
        steps = min(
            self.tick_steps,
            *(course.until(len(strands[trial])) for trial, course in self._courses.items() if strands[trial]),
        )
        # A lane whose probe waits for others to end goes nowhere until then.
        factors = np.zeros((steps, len(order)))
        for mine in strands.values():
            for strand in mine:
                at = np.arange(strand.local, strand.local + steps)
                factors[:, order.index(strand.lane)] = strand.segment.lr(at)
        # The first time so many lanes run is when memory runs out, so that is when copies are worth having.
        shortage, copies = "", dict[int, Row]()
        try:
            if len(order) > self._proven:
                copies = {lane: self.lanes.read(lane) for lane in order}
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Nothing has run yet, so nothing has to be mended.
            copies.clear()
            return [*said, *self._reduce(str(error) or type(error).__name__)]
        began = time.perf_counter()
        try:
            signals = self.lanes.run(factors)
            done = np.full(len(order), steps)
            self._proven = max(self._proven, len(order))
        except OutOfMemory as error:
            shortage = str(error)
            signals, done = error.signals, self._mended(error, copies)
        seconds = time.perf_counter() - began
        due: list[Course] = []
        for trial, mine in strands.items():
            course = self._courses[trial]
            course.seconds += seconds
            columns = [order.index(strand.lane) for strand in mine]
            came = [(strand, signals[: done[at], at]) for strand, at in zip(mine, columns, strict=True)]
            said.extend(self._advance(course, [one for one in came if len(one[1])]))
            if trial in self._courses and mine and course.until(len(mine)) <= 0:
                due.append(course)
        if due:
            said.extend(self._hear(due))
        copies.clear()
        if shortage:
            said.extend(self._reduce(shortage))
        return said

    def _running(self) -> dict[int, list[Strand]]:
        """Trial -> the strands whose rows are in lanes, not on the host."""
        return {
            trial: [strand for strand in course.strands if strand.lane not in self._parked]
            for trial, course in self._courses.items()
        }

    def _advance(self, course: Course, came: list[tuple[Strand, Signals]]) -> list[Report | Ended]:
        """Take in the steps that a trial's strands have done: (t, S) signals of each."""
        course.wall += max((len(signals) for _, signals in came), default=0)
        for strand, signals in came:
            strand.local += len(signals)
            strand.signals.append(signals)
            course.spent += len(signals)
            if course.is_probing:
                if course.first_losses is None:
                    course.first_losses = signals[:1, LOSS]
                continue
            course.step += len(signals)
            losses = signals[:, LOSS]
            if np.isfinite(losses).all():
                course.keep(signals)
                continue
            bad = int(np.argmin(np.isfinite(losses)))
            # Where it broke, not where the tick ended: ticks depend on the neighbours, reports must not.
            past = len(losses) - bad - 1
            course.step, course.spent = course.step - past, course.spent - past
            course.wall -= past
            course.keep(signals[: bad + 1])
            reason = f"training loss {losses[bad]} at step {course.step - 1}"
            return self._diverge(course, {"train_loss": math.inf}, reason)
        return []

    # -- memory -------------------------------------------------------------------------------------------

    def _take_back(self) -> None:
        """Give lanes that have become free to rows that wait on the host, the oldest first."""
        for lane in list(self._parked):
            if len(self.lanes) == self.lanes.capacity:
                break
            spec = self._courses[self._owners[lane]].spec
            self.lanes.admit(spec, self._parked.pop(lane), lane)

    def _mended(self, shortage: OutOfMemory, copies: dict[int, Row]) -> NDArray[np.int64]:
        """Steps that each lane has done, once rows that may be half changed are back where they began."""
        done = shortage.done.copy()
        for lane in shortage.torn:
            if lane in copies:
                self.lanes.write(lane, copies[lane])
            else:
                self._lost.add(lane)
            done[self.lanes.numbers.index(lane)] = 0
        return done

    def _reduce(self, reason: str) -> list[Ended | Reduced]:
        """Half as many lanes; the youngest rows wait on the host. One lane alone cannot be halved."""
        lost = dict.fromkeys(self._owners[lane] for lane in self._lost if lane in self._owners)
        said: list[Ended | Reduced] = [self._end(trial, "out_of_memory", reason) for trial in lost]
        self._lost.clear()
        running = [lane for lane in self._owners if lane not in self._parked]
        if not running:
            return said
        if len(running) == 1 and self.lanes.capacity == 1:
            return [*said, self._end(self._owners[running[0]], "out_of_memory", reason)]
        capacity = max(1, min(self.lanes.capacity, len(running)) // 2)
        parked: list[int] = []
        for lane in reversed(running[capacity:]):
            if lane not in self._owners:
                continue  # went with its trial
            try:
                self._parked[lane] = self.lanes.read(lane)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                # Not even a row fits on the host any more.
                said.append(self._end(self._owners[lane], "out_of_memory", reason))
                continue
            self.lanes.retire(lane)
            parked.append(lane)
        trials = tuple(dict.fromkeys(self._owners[lane] for lane in reversed(parked) if lane in self._owners))
        self.lanes.shrink(capacity)
        self._proven = min(self._proven, capacity)
        return [*said, Reduced(capacity, trials, reason)]

    # -- hearing ------------------------------------------------------------------------------------------

    def _hear(self, due: list[Course]) -> list[Report | Ended]:
        """Evaluate once for all lanes that reached a boundary, then act on it trial by trial."""
        said: list[Report | Ended] = []
        at_rung = [course for course in due if course.is_at_rung]
        metrics = self._evaluate([course for course in at_rung if not course.is_probing])
        metrics.update(self._evaluate_kept([course for course in at_rung if course.is_probing]))
        running = self._running()
        asking = [one for course in due for one in running[course.spec.trial] if one.is_at_eval]
        try:
            self._compare(asking)
        except TunerError as error:
            # Those that asked, and no other.
            trials = dict.fromkeys(self._owners[one.lane] for one in asking)
            said.extend(self._end(trial, "failed", str(error)) for trial in trials)
        for course in [one for one in due if one.spec.trial in self._courses]:
            ended = self._report_rungs(course, metrics.get(course.spec.trial, {}))
            said.extend(ended)
            if course.spec.trial not in self._courses:
                continue
            try:
                for strand in running[course.spec.trial]:
                    if strand.local == strand.segment.steps:
                        self._finish(course, strand)
            except TunerError as error:
                said.append(self._end(course.spec.trial, "failed", str(error)))
        return said

    def _compare(self, strands: list[Strand]) -> None:
        """Losses of every example of the tuning split, for strands that are to be compared by them."""
        if not strands:
            return
        found = self.lanes.evaluate("tune", [strand.lane for strand in strands], per_example=True)
        if "loss" not in found:
            raise TunerError(
                "a schedule that listens compares learning rates by the metric 'loss', one value for each "
                f"example, which Task.metrics does not return; it returns {', '.join(found)}"
            )
        for strand, losses in zip(strands, found["loss"], strict=True):
            while strand.is_at_eval:
                strand.val_losses.append(float(losses.mean()))
            strand.example_losses = losses

    def _report_rungs(self, course: Course, metrics: dict[str, float]) -> list[Report | Ended]:
        """Reports at the rungs reached: one, or several where strands side by side went past more."""
        said: list[Report | Ended] = []
        while course.spec.trial in self._courses and course.is_at_rung:
            said.extend(self._tell(course, metrics))
            course.rung += 1
            if course.spec.trial in self._courses and course.rung == len(course.spec.rungs):
                said.extend(self._complete(course))
        return said

    def _tell(self, course: Course, metrics: dict[str, float]) -> list[Report | Ended]:
        """A report of where a trial is, and its end where that is not finite."""
        # Where nothing was kept since the last report, the kept row's loss on the batch that follows it.
        first = [] if course.first_losses is None else [course.first_losses]
        losses = np.concatenate(course.since_report or first)
        course.since_report = []
        values = {"train_loss": float(losses.mean()), **metrics, **self._sizes}
        bad = next((name for name in self._telling if not math.isfinite(values.get(name, 0.0))), "")
        if bad:
            return self._diverge(course, values, f"{bad} is {values[bad]}")
        report = self._report(course, values)
        course.reports.append(report)
        return [report]

    def _evaluate(self, courses: list[Course]) -> dict[int, dict[str, float]]:
        """Trial -> metrics of what its own lane holds."""
        return self._metrics(courses, [course.spec.trial for course in courses])

    def _metrics(self, courses: list[Course], lanes: list[int]) -> dict[int, dict[str, float]]:
        """Trial -> metrics of the row in the lane beside its course."""
        if not courses:
            return {}
        scored = self._scorer.score(
            [
                Asked(lane, course.families, course.is_last, course.is_fold)
                for course, lane in zip(courses, lanes, strict=True)
            ]
        )
        metrics = [dict(one.means) for one in scored]
        for course, one in zip(courses, scored, strict=True):
            course.scores = one.examples
        if self._sharpness:
            for values, found in zip(metrics, self.lanes.sharpness(lanes), strict=True):
                values["sharpness"] = float(found)
        return {course.spec.trial: found for course, found in zip(courses, metrics, strict=True)}

    def _evaluate_kept(self, courses: list[Course]) -> dict[int, dict[str, float]]:
        """The metrics of the rows these trials will come back to: what a trial is, not what it tries."""
        # In any of a trial's lanes: its own may have to wait on the host.
        lanes = [self._running()[course.spec.trial][0].lane for course in courses]
        copies = {lane: self.lanes.read(lane) for lane in lanes}
        for course, lane in zip(courses, lanes, strict=True):
            self.lanes.write(lane, self._marked(course))
        found = self._metrics(courses, lanes)
        for lane, copy in copies.items():
            self.lanes.write(lane, copy)
        return found

    def _marked(self, course: Course) -> Row:
        assert course.mark is not None
        return course.mark

    def _finish(self, course: Course, strand: Strand) -> None:
        """A segment is done: free its lane for the next, and tell the tuner once all are."""
        course.strands.remove(strand)
        course.traces[strand.number] = strand.trace()
        if course.is_probing:
            self._remember(course, strand)
            if strand.lane < 0:
                self._free(strand.lane)
            if course.queue or course.strands:
                self._begin(course, copies=False)
                return
        traces = [course.traces[number] for number in range(len(course.segments))]
        course.tuner.tell(traces)
        course.told.append(traces)
        self._wish(course)

    def _remember(self, course: Course, strand: Strand) -> None:
        """Keep where a probed segment ended, and what led there."""
        assert isinstance(course.wish, Probe)
        start = course.wish.starts[strand.number] if course.wish.starts else -1
        before = course.ends[start] if start >= 0 else None
        number = course.first + strand.number
        signals = np.concatenate(strand.signals)
        began = self._start_of(course, strand.number).step
        tried = Tried(began, number, start, signals, strand.val_losses)
        course.record.tried.append(tried)
        row = self.lanes.read(strand.lane) if strand.segment.is_mark else None
        past, line = (before.past, before.line) if before is not None else ((), ())
        course.ends[number] = End(row, (*past, signals), (*line, tried))

    # -- ends ---------------------------------------------------------------------------------------------

    def _report(self, course: Course, metrics: dict[str, float]) -> Report:
        # Strands side by side may go a few steps past a rung; what was reached is the rung.
        spent = min(course.spent, course.spec.rungs[course.rung])
        return Report(course.spec.trial, course.step, spent, course.seconds, metrics, course.wall)

    def _diverge(self, course: Course, metrics: dict[str, float], reason: str) -> list[Report | Ended]:
        return [self._report(course, metrics), self._end(course.spec.trial, "diverged", reason)]

    def _complete(self, course: Course) -> list[Report | Ended]:
        row = self._marked(course) if course.is_probing else self._row(course.spec.trial)
        return [self._end(course.spec.trial, "completed", row=row)]

    def _end(self, trial: int, outcome: str, reason: str = "", row: Row | None = None) -> Ended:
        return replace(self.stop(trial), outcome=outcome, reason=reason, row=row)


def _facts(course: Course) -> tuple[Mapping[str, object], ...]:
    facts: Callable[[], list[Mapping[str, object]]] = getattr(course.tuner, "facts", list)
    return tuple(facts())
