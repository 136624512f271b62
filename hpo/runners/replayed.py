"""Recorded or synthetic curves in simulated time: a whole study in milliseconds.

Every lane trains side by side with the others by a clock of its own making: a report comes when its seconds
have passed since its trial began, the earliest of all lanes first, one at a time, so that the search answers
it before the next. Nothing waits. The function is the objective of `functions.py`; a value that does not say
its seconds took one second a step.

With `Trouble` nodes fail: their trials begin again on others, and what they have said is not said twice. With
`hear_every` what happens within so many seconds is heard at once, as a search that listens now and then does.

A row that a trial leaves is its name and nothing else: it says which curve it is on, and how far. A trial
with such a `parent` goes on from there.
"""

import contextlib
import heapq
import json
import math
import re
import traceback
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from time import sleep
from typing import Any, cast

from hpo.errors import UsageError
from hpo.events import DataSet, Figures, Outcome, TrialFinished, TrialReported
from hpo.runners.base import NOWHERE, Heard, Target
from hpo.runners.functions import RAISED, Function, as_report, broken, forgotten, undefined
from hpo.runners.trouble import Nodes, Trouble
from trials.seeding import key
from trials.spec import Config, Report, TrialSpec

_ROW = re.compile(r"replayed/trial-(\d+)-spent-(\d+)-seed-(\d+)-config-([0-9a-f]+)")


@dataclass(slots=True)
class _Course:
    """A trial on its curve."""

    spec: TrialSpec
    whole: TrialSpec  # the same from the curve's beginning
    values: Iterator[Any]
    base: int  # spent steps of the curve that it goes on from
    began: float
    skipped_seconds: float = 0.0  # up to the base
    last: Report | None = None  # the function's, on the whole curve; drawn ahead of the clock
    coming: Report | None = None  # the next, of this trial
    said: int = 0  # spent steps that were reported, of this trial
    node: int = 0  # where it runs
    attempt: int = 0  # how often it has lost its lane: what was queued before is nothing to it
    slowness: float = 1.0  # by which it takes longer than its curve says
    until: int | None = None  # spent steps at which it is to make room
    ran_seconds: float = 0.0  # when it made room


class ReplayedRunner:
    """So many lanes in simulated time."""

    def __init__(
        self,
        target: Target,
        lanes: int | None = None,
        function: Callable[[TrialSpec], Any] | None = None,
        began: float = 0.0,
        trouble: Trouble | None = None,
        hear_every: float = 0.0,
    ) -> None:
        self.target, self.lanes = target, lanes or 1
        self._hear_every = hear_every
        self._nodes = Nodes(self.lanes, trouble or Trouble(), began)
        self._waiting: deque[int] = deque()  # trials whose node has failed, and that have no other yet
        self._function = Function(target, function)
        self._now = began
        self._running: dict[int, _Course] = {}
        self._paused: dict[int, _Course] = {}
        self._queue: list[tuple[float, int, int]] = []  # (time of its coming report, trial, attempt)
        self._silent: dict[int, None] = {}  # trials whose next report is not known yet
        self._ended: list[TrialFinished] = []
        self._is_resting = False
        self._busy_seconds = self._all_seconds = 0.0

    def clock(self) -> float:
        """Simulated time, in seconds."""
        return self._now

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Only that the objective can be loaded and called with one argument."""
        self._function.check()
        return ()

    @property
    def failures(self) -> int:
        """Nodes that have failed so far, each time counted."""
        return self._nodes.failures

    def free(self) -> int:
        """Lanes without a trial."""
        return max(0, self._nodes.free() - len(self._waiting))

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        return len(self._running), self.lanes

    def busy_seconds(self) -> tuple[float, float]:
        """(with a trial, all), in simulated time; see `Runner.busy_seconds`."""
        return self._busy_seconds, self._all_seconds

    def start(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        """Begin them now; nothing of them runs before `poll`."""
        for spec in specs:
            if spec.trial in self._paused:
                self._go_on(spec.trial, until.get(spec.trial))
                continue
            whole, base = spec, 0
            if spec.parent is not None:
                try:
                    whole, base = _from_row(spec)
                except ValueError as error:
                    self._ended.append(TrialFinished(spec.trial, "failed", self._now, str(error)))
                    continue
            course = _Course(spec, whole, self._function.values(whole), base, self._now)
            course.until = until.get(spec.trial)
            course.node = self._nodes.take()
            course.slowness = self._nodes.trouble.slowness(spec.trial)
            self._running[spec.trial] = course
            self._silent[spec.trial] = None

    def stop(self, trials: Collection[int]) -> None:
        """Close the generators; their `finally` runs."""
        for trial in trials:
            if trial in self._running:
                self._cut(trial, "stopped")
            elif trial in self._paused:
                forgotten(self._paused.pop(trial).values)

    def _make_room(self, trial: int) -> None:
        """Leave a curve where it is; its clock stands still."""
        course = self._paused[trial] = self._running.pop(trial)
        course.ran_seconds = self._now - course.began
        del self._silent[trial]
        self._release(trial, course)

    def _go_on(self, trial: int, until: int | None) -> None:
        course = self._running[trial] = self._paused.pop(trial)
        course.until = until
        course.node, course.began = self._nodes.take(), self._now - course.ran_seconds
        self._silent[trial] = None

    def _release(self, trial: int, course: _Course) -> None:
        """Give a trial's lane back, where its node has not failed."""
        if trial in self._waiting:
            self._waiting.remove(trial)
        else:
            self._nodes.give_back(course.node)

    def rest(self) -> None:
        """Let no simulated time pass until `wake`."""
        self._is_resting = True

    def wake(self) -> None:
        """Let it pass again."""
        self._is_resting = False

    def _cut(self, trial: int, outcome: Outcome, error: str = "") -> None:
        """Close the generator; if its `finally` raises, the trial has failed."""
        course = self._running[trial]
        try:
            cast(Generator[Any], course.values).close()
        except RAISED as raised:
            self._finish(trial, broken(raised), traceback.format_exc())
        else:
            self._finish(trial, outcome, error)

    def _finish(self, trial: int, outcome: Outcome, error: str = "") -> None:
        course = self._running.pop(trial)
        self._silent.pop(trial, None)
        self._release(trial, course)
        row = ""
        if self.target.save and outcome in ("completed", "stopped"):
            row = _row(course.whole, course.base + course.said)
        self._ended.append(TrialFinished(trial, outcome, self._now, error, row))

    def poll(self, timeout: float) -> list[Heard]:
        """The next report of all lanes, the clock set to it; ends that are known come first."""
        if self._is_resting:
            sleep(timeout)  # nothing else is waited for
            return self._drain()
        self._draw_all()
        events: list[Heard] = list(self._drain())
        while not (events or self._running or self._nodes.free()):
            self._fail()  # nothing can begin or go on before a node is there again
        until = math.inf
        while (self._queue or self._waiting) and not (events and until == math.inf):
            time = self._queue[0][0] if self._queue else math.inf
            if min(time, self._nodes.coming()) > until:
                break
            if self._nodes.coming() <= time:
                self._fail()
                continue
            _, trial, attempt = heapq.heappop(self._queue)
            course = self._running.get(trial)
            if course is None or course.coming is None or course.attempt != attempt:
                continue  # it has ended or begun again
            events.extend(self._deliver(trial, course, course.coming, time))
            if not self._hear_every:
                break
            until = min(until, time + self._hear_every)
            self._draw_all()
        return [*events, *self._drain()]

    def _draw_all(self) -> None:
        for trial in list(self._silent):
            self._draw(trial)

    def _fail(self) -> None:
        """The next of what happens to nodes: one fails, or is there again."""
        self._pass(self._nodes.coming())
        lost = self._nodes.turn()
        for trial, course in self._running.items() if lost is not None else ():
            if course.node == lost and trial not in self._waiting:
                with contextlib.suppress(*RAISED):  # its machine is gone: nobody hears of it
                    cast(Generator[Any], course.values).close()
                course.values, course.last, course.coming = self._function.values(course.whole), None, None
                course.skipped_seconds = 0.0
                course.attempt += 1
                self._silent.pop(trial, None)
                self._waiting.append(trial)
        while self._waiting and self._nodes.free():
            trial = self._waiting.popleft()
            course = self._running[trial]
            course.node, course.began = self._nodes.take(), self._now
            self._silent[trial] = None
        self._draw_all()

    def _pass(self, time: float) -> None:
        passed = max(0.0, time - self._now)
        self._busy_seconds += passed * (len(self._running) - len(self._waiting))
        self._all_seconds += passed * self.lanes
        self._now += passed

    def _deliver(self, trial: int, course: _Course, report: Report, time: float) -> list[Heard]:
        self._pass(time)
        course.coming, course.said = None, report.spent
        self._silent[trial] = None
        events: list[Heard] = [TrialReported(report, self._now)]
        bad = undefined(report, self.target.metric)
        if bad:
            self._cut(trial, "diverged", bad)
        elif report.spent == course.spec.budget:
            self._cut(trial, "completed")
        elif course.until is not None and report.spent >= course.until:
            self._make_room(trial)
        return [*events, *self._drain()]

    def _draw(self, trial: int) -> None:
        """Let the function say its next report, and queue it; or end the trial."""
        course = self._running[trial]
        try:
            while True:
                value = next(course.values)
                report = as_report(course.whole, value, course.last, self.target.metric, -1.0)
                if report.seconds < 0:
                    report = replace(report, seconds=float(report.spent))
                course.last = report
                if report.spent > course.base + course.said:
                    break
                if report.spent <= course.base:
                    course.skipped_seconds = report.seconds
        except StopIteration:
            if course.last is None or course.last.spent <= course.base:
                self._finish(trial, "failed", "the objective ended without a report")
            else:
                self._finish(trial, "completed")
        except RAISED as raised:
            self._finish(trial, broken(raised), traceback.format_exc())
        else:
            seconds = (report.seconds - course.skipped_seconds) * course.slowness
            spent = report.spent - course.base
            course.coming = Report(trial, report.step, spent, seconds, report.metrics)
            del self._silent[trial]
            heapq.heappush(self._queue, (course.began + seconds, trial, course.attempt))

    def _drain(self) -> list[Heard]:
        ended, self._ended = self._ended, []
        return list(ended)

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Nothing: a curve has no test split."""
        return {}

    def explore(self, spec: TrialSpec) -> Sequence[Mapping[str, Any]]:
        """Refused: a curve has no tuner."""
        raise UsageError("a replayed trial is a curve: only a task's rates can be tried")

    def data(self) -> tuple[DataSet, ...]:
        """Nothing: a curve has no data."""
        return ()

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        """Nothing: a curve is not evaluated."""
        return {}

    def close(self) -> None:
        """Close every generator."""
        self.stop([*self._running, *self._paused])
        self._ended.clear()


def _digest(seed: int, config: Config) -> str:
    return f"{key(seed, json.dumps(dict(config), sort_keys=True)):x}"


def _row(whole: TrialSpec, spent: int) -> str:
    digest = _digest(whole.seed, whole.config)
    return f"replayed/trial-{whole.trial}-spent-{spent}-seed-{whole.seed}-config-{digest}" if spent else ""


def _from_row(spec: TrialSpec) -> tuple[TrialSpec, int]:
    """(the trial from its curve's beginning, the spent steps it goes on from).

    Raises:
        ValueError: the parent is no row of this runner's, or one of another config.
    """
    found = _ROW.fullmatch(spec.parent or "")
    if found is None:
        raise ValueError(f"parent={spec.parent!r} is no row of a replayed trial")
    base, seed = int(found[2]), int(found[3])
    if _digest(seed, spec.config) != found[4]:
        raise ValueError(f"parent={spec.parent!r} is a row of another config: a recorded curve has one")
    rungs = tuple(base + rung for rung in spec.rungs)
    whole = replace(spec, seed=seed, budget=base + spec.budget, rungs=(base, *rungs), parent=None)
    return whole, base
