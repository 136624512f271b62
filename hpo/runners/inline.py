"""In this process, one generator a trial, advanced in turn: for objectives that are any function.

What a function may say is in `functions.py`.
"""

import time
import traceback
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from typing import Any, cast

from hpo.errors import UsageError
from hpo.events import DataSet, Figures, Outcome, TrialFinished, TrialReported
from hpo.runners.base import NOWHERE, Heard, Target
from hpo.runners.functions import RAISED, Function, as_report, broken, forgotten, undefined
from trials.spec import Config, Report, TrialSpec


def preload(target: Target, memory: int | None) -> None:
    """Nothing: the user's function is loaded where it runs."""


class InlineRunner:
    """Generators, advanced round robin; one at a time, where nothing says how many."""

    def __init__(self, target: Target, lanes: int | None = None) -> None:
        self.target, self.lanes = target, lanes or 1
        self._function = Function(target)
        self._running: dict[int, tuple[TrialSpec, Iterator[Any], float]] = {}
        self._until: dict[int, int] = {}  # trial -> spent steps at which it is to make room
        self._paused: dict[int, tuple[TrialSpec, Iterator[Any], float]] = {}  # with seconds it ran
        self._gone: list[int] = []  # trials that made room since this was last asked
        self._last: dict[int, Report] = {}
        self._ended: list[TrialFinished] = []
        self._resting_since: float | None = None  # None: it does not rest
        self._busy_seconds = self._all_seconds = 0.0

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Only that the objective can be loaded and called with one argument."""
        self._function.check()
        return ()

    def free(self) -> int:
        """Places without a trial."""
        return self.lanes - len(self._running)

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        return len(self._running), self.lanes

    def busy_seconds(self) -> tuple[float, float]:
        """(with a trial, all); see `Runner.busy_seconds`."""
        return self._busy_seconds, self._all_seconds

    def take_back(self) -> tuple[int, ...]:
        """None: every place takes every trial."""
        return ()

    def take_saved(self) -> tuple[int, ...]:
        """None: a function has no row."""
        return ()

    def take_held(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Trials that made room since this was last asked: a generator stays where it is."""
        gone, self._gone = self._gone, []
        return (), tuple(gone)

    def start(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        """Create the generators; nothing of them runs before `poll`."""
        self._until.update(until)
        for spec in specs:
            _, values, ran = self._paused.pop(spec.trial, (spec, None, 0.0))
            began = time.perf_counter() - ran
            self._running[spec.trial] = (spec, values or self._function.values(spec), began)

    def stop(self, trials: Collection[int]) -> None:
        """Close the generators; their `finally` runs."""
        for trial in trials:
            if trial in self._running:
                self._cut(trial, "stopped")
            elif trial in self._paused:
                forgotten(self._paused.pop(trial)[1])
                self._last.pop(trial, None)

    def _make_room(self, trial: int) -> None:
        """Leave a generator where it is, with all that it holds."""
        spec, values, began = self._running.pop(trial)
        self._paused[trial] = spec, values, time.perf_counter() - began
        self._until.pop(trial)
        self._gone.append(trial)

    def rest(self) -> None:
        """Advance no generator until `wake`."""
        if self._resting_since is None:
            self._resting_since = time.perf_counter()

    def wake(self) -> None:
        """Advance them again; the time between is no trial's."""
        if self._resting_since is None:
            return
        rested = time.perf_counter() - self._resting_since
        self._resting_since = None
        for trial, (spec, values, began) in self._running.items():
            self._running[trial] = spec, values, began + rested

    def _cut(self, trial: int, outcome: Outcome, error: str = "") -> None:
        """Close the generator; if its `finally` raises, the trial has failed."""
        try:
            cast(Generator[Any], self._running[trial][1]).close()
        except RAISED as raised:
            self._finish(trial, broken(raised), traceback.format_exc())
        else:
            self._finish(trial, outcome, error)

    def _finish(self, trial: int, outcome: Outcome, error: str = "") -> None:
        self._running.pop(trial, None)
        self._until.pop(trial, None)
        self._last.pop(trial, None)
        self._ended.append(TrialFinished(trial, outcome, time.time(), error))

    def poll(self, timeout: float) -> list[Heard]:
        """Advance every generator once."""
        if self._resting_since is not None:
            return self._rested(timeout)
        events: list[Heard] = []
        polled, places = time.perf_counter(), len(self._running)
        for trial in list(self._running):
            spec, values, began = self._running[trial]
            try:
                value = next(values)
                seconds = time.perf_counter() - began
                report = as_report(spec, value, self._last.get(trial), self.target.metric, seconds)
            except StopIteration:
                last = self._last.get(trial)
                if last is None:
                    self._finish(trial, "failed", "the objective ended without a report")
                else:
                    self._finish(trial, "completed")
            except RAISED as raised:
                self._finish(trial, broken(raised), traceback.format_exc())
            else:
                self._last[trial] = report
                events.append(TrialReported(report, time.time()))
                bad = undefined(report, self.target.metric)
                if bad:
                    self._cut(trial, "diverged", bad)
                elif report.spent == spec.budget:
                    self._cut(trial, "completed")
                elif report.spent >= self._until.get(trial, spec.budget):
                    self._make_room(trial)
            events.extend(self._drain())
        events.extend(self._drain())
        if places:
            seconds = time.perf_counter() - polled
            self._busy_seconds += places * seconds
            self._all_seconds += self.lanes * seconds
        if not events and not self._running:
            time.sleep(min(timeout, 0.01))
        return events

    def _rested(self, timeout: float) -> list[Heard]:
        events: list[Heard] = [*self._drain()]
        if not events:
            time.sleep(timeout)
        return events

    def _drain(self) -> list[TrialFinished]:
        ended, self._ended = self._ended, []
        return ended

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Nothing: a black box has no test split that we know of."""
        return {}

    def explore(self, spec: TrialSpec) -> Sequence[Mapping[str, Any]]:
        """Refused: a function is no task, and has no tuner."""
        raise UsageError(
            f"objective {self.target.reference!r} is a function: only a task's rates can be tried"
        )

    def data(self) -> tuple[DataSet, ...]:
        """Nothing: a black box has no data that we know of."""
        return ()

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        """Nothing: a black box is not evaluated by us."""
        return {}

    def close(self) -> None:
        """Close every generator."""
        self.stop([*self._running, *self._paused])
        self._ended.clear()
