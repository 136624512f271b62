"""In this process, one generator a trial, advanced in turn: for objectives that are any function.

An objective takes a `TrialSpec` and yields `Report`s, or mappings of metrics, one for each rung in order (a
mapping may give its own "step"); or it is a plain function that returns a number, the objective's metric,
or a mapping of metrics. A trial is complete once it has reported at its budget, or when its function ends.
"""

import inspect
import math
import time
import traceback
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsFloat, cast

from hpo.errors import UsageError
from hpo.events import DataSet, Figures, Outcome, TrialFinished, TrialReported
from hpo.runners.base import Heard, Target
from trials.spec import Config, Report, TrialSpec, is_out_of_memory

# What a trial may raise at the worker boundary, where it becomes a failed trial. A script that calls
# sys.exit ends its trial, not the search; Ctrl-C is the user's.
_RAISED = (Exception, SystemExit)


def preload(target: Target, memory: int | None) -> None:
    """Nothing: the user's function is loaded where it runs."""


class InlineRunner:
    """Generators, advanced round robin; one at a time, where nothing says how many."""

    def __init__(self, target: Target, lanes: int | None = None) -> None:
        self.target, self.lanes = target, lanes or 1
        self._function: Any = None
        self._running: dict[int, tuple[TrialSpec, Iterator[Any], float]] = {}
        self._last: dict[int, Report] = {}
        self._ended: list[TrialFinished] = []
        self._busy_seconds = self._all_seconds = 0.0

    def _load(self) -> Any:
        if self._function is None:
            from trials.names import load_object

            found = load_object(self.target.reference, Path(self.target.base))
            if not callable(found):
                raise ValueError(f"{self.target.reference!r} is not a function")
            self._function = found
        return self._function

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Only that the objective can be loaded and called with one argument."""
        try:
            function = self._load()
            inspect.signature(function).bind(None)
        except (ValueError, TypeError) as error:
            raise UsageError(f"objective {self.target.reference!r}: {error}") from error
        # Importing runs the user's code: whatever it raises is told as one line.
        except Exception as error:
            raise UsageError(
                f"objective {self.target.reference!r}: {type(error).__name__}: {error}"
            ) from error
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

    def start(self, specs: Sequence[TrialSpec]) -> None:
        """Create the generators; nothing of them runs before `poll`."""
        for spec in specs:
            self._running[spec.trial] = (spec, self._values(spec), time.perf_counter())

    def _values(self, spec: TrialSpec) -> Iterator[Any]:
        # A copy: what the function does to its config must not reach the study.
        made = self._load()(replace(spec, config=dict(spec.config)))
        if isinstance(made, Iterator):
            yield from cast(Iterator[Any], made)
        else:
            # A plain function: its one value belongs to the whole budget.
            yield _Final(made)

    def stop(self, trials: Collection[int]) -> None:
        """Close the generators; their `finally` runs."""
        for trial in trials:
            if trial in self._running:
                self._cut(trial, "stopped")

    def _cut(self, trial: int, outcome: Outcome, error: str = "") -> None:
        """Close the generator; if its `finally` raises, the trial has failed."""
        try:
            cast(Generator[Any], self._running[trial][1]).close()
        except _RAISED as raised:
            self._finish(trial, _broken(raised), traceback.format_exc())
        else:
            self._finish(trial, outcome, error)

    def _finish(self, trial: int, outcome: Outcome, error: str = "") -> None:
        self._running.pop(trial, None)
        self._last.pop(trial, None)
        self._ended.append(TrialFinished(trial, outcome, time.time(), error))

    def poll(self, timeout: float) -> list[Heard]:
        """Advance every generator once."""
        events: list[Heard] = []
        polled, places = time.perf_counter(), len(self._running)
        for trial in list(self._running):
            spec, values, began = self._running[trial]
            try:
                report = self._report(spec, next(values), time.perf_counter() - began)
            except StopIteration:
                last = self._last.get(trial)
                if last is None:
                    self._finish(trial, "failed", "the objective ended without a report")
                else:
                    self._finish(trial, "completed")
            except _RAISED as raised:
                self._finish(trial, _broken(raised), traceback.format_exc())
            else:
                self._last[trial] = report
                events.append(TrialReported(report, time.time()))
                telling = ("train_loss", self.target.metric)  # others may be undefined early
                bad = [name for name in telling if not math.isfinite(report.metrics.get(name, 0.0))]
                if bad:
                    self._cut(trial, "diverged", f"{bad[0]} is {report.metrics[bad[0]]}")
                elif report.spent == spec.budget:
                    self._cut(trial, "completed")
            events.extend(self._drain())
        events.extend(self._drain())
        if places:
            seconds = time.perf_counter() - polled
            self._busy_seconds += places * seconds
            self._all_seconds += self.lanes * seconds
        if not events and not self._running:
            time.sleep(min(timeout, 0.01))
        return events

    def _drain(self) -> list[TrialFinished]:
        ended, self._ended = self._ended, []
        return ended

    def _report(self, spec: TrialSpec, value: Any, seconds: float) -> Report:
        last = self._last.get(spec.trial)
        if isinstance(value, Report):
            report = value
        else:
            final = isinstance(value, _Final)
            found = value.value if final else value
            # Anything that turns into a float: a number of numpy's or a tensor of one element too.
            if isinstance(found, SupportsFloat) and not isinstance(found, bool):
                found = {self.target.metric: found}
            if not isinstance(found, Mapping):
                raise TypeError(
                    f"the objective gave {type(found).__name__}; "
                    "a Report, a mapping of metrics or a number is wanted"
                )
            metrics = {str(name): float(number) for name, number in cast(Mapping[Any, Any], found).items()}
            before = last.spent if last else 0
            following = next((rung for rung in spec.rungs if rung > before), before + 1)
            step = spec.budget if final else int(metrics.pop("step", following))
            report = Report(spec.trial, step, step, seconds, metrics)
        if report.trial != spec.trial:
            raise ValueError(f"the objective reported for trial {report.trial}, it runs trial {spec.trial}")
        if last is not None and report.spent <= last.spent:
            raise ValueError(f"reports must increase in spent steps: {report.spent} after {last.spent}")
        if report.spent > spec.budget:
            raise ValueError(f"a report at {report.spent} spent steps is past the budget of {spec.budget}")
        return report

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
        self.stop(list(self._running))
        self._ended.clear()


def _broken(raised: BaseException) -> Outcome:
    """How a trial ended that raised this."""
    return "out_of_memory" if is_out_of_memory(raised) else "failed"


class _Final:
    """The value that a plain function returned."""

    def __init__(self, value: Any) -> None:
        self.value = value
