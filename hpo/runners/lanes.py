"""In this process, K trials as lanes of a program: the default for a task. Loads torch."""

import re
import time
import traceback
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from hpo.errors import UsageError
from hpo.events import Outcome, TrialFinished, TrialReported
from hpo.runners.base import Target
from trials.checking import check
from trials.compiling import Compiler, Origin, preload_tracing
from trials.drive import Drive, Ended
from trials.lanes import Lanes
from trials.names import TASKS
from trials.program import Program
from trials.recipe import recipe
from trials.rows import Row
from trials.spec import Config, Report, TrialSpec
from trials.task import Splits, Task, default_device, load_task
from trials.train import build, load_splits, to_device

_PROGRAMS = 32  # kept at a time; more only while that many have trials


def row_name(trial: int) -> str:
    """Where a trial's row lies in the study's folder."""
    return f"rows/trial-{trial:05d}.safetensors"


def preload(target: Target) -> tuple[Task, Splits] | None:
    """What workers can share, loaded once before they are forked: a built-in task and its data, on the host.

    A user's own task is loaded in each worker: its code may start threads, which a fork would lose.
    """
    # One thread, so that no pool of threads exists when workers are forked.
    torch.set_num_threads(1)
    preload_tracing(target.compile)
    if target.reference not in TASKS:
        return None
    try:
        task = load_task(target.reference, target.options, Path(target.base))
        return task, load_splits(task, target.split_seed, torch.device("cpu"))
    except (ValueError, TypeError, OSError):
        # Each worker finds the same and says so.
        return None


class LanesRunner:
    """Trials as lanes; each structure has a program of its own, and all programs share `lanes` lanes."""

    def __init__(self, target: Target, lanes: int, loaded: tuple[Task, Splits] | None = None) -> None:
        if target.threads:
            torch.set_num_threads(target.threads)
        self.target, self.lanes = target, lanes
        try:
            self.device = torch.device(target.device) if target.device else default_device()
            torch.zeros(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise UsageError(
                f"device={target.device!r} cannot be used: {str(error).splitlines()[0]}"
            ) from error
        self._task: Task | None = None
        self._splits: Splits | None = None
        if loaded is not None:
            self._task, self._splits = loaded[0], to_device(loaded[1], self.device)
        self._drives: dict[object, Drive] = {}
        self._where: dict[int, Drive] = {}
        self._ended: list[TrialFinished] = []
        self._compiler = Compiler(
            target.compile,
            Origin(target.reference, dict(target.options), target.base, target.split_seed),
            target.expected_steps,
        )

    def _load(self) -> tuple[Task, Splits]:
        if self._task is None or self._splits is None:
            self._task = load_task(self.target.reference, self.target.options, Path(self.target.base))
            self._splits = load_splits(self._task, self.target.split_seed, self.device)
        return self._task, self._splits

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Names of the metrics; see `Runner.check`."""
        try:
            task, splits = self._load()
            return check(task, splits, configs, self.device)
        except UsageError:
            raise
        # The user's own code runs here: whatever it raises is told as one line with its place.
        except Exception as error:
            raise UsageError(_one_line(self.target.reference, error)) from error

    def free(self) -> int:
        """Lanes without a trial."""
        return self.lanes - len(self._where)

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        return len(self._where), self.lanes

    def start(self, specs: Sequence[TrialSpec]) -> None:
        """Give each trial a lane; one that cannot begin has failed."""
        for spec in specs:
            try:
                drive = self._drive(spec)
                drive.admit(spec, self._parent(spec, drive.lanes.program))
                self._where[spec.trial] = drive
            except Exception:  # noqa: BLE001 - the worker boundary: a trial that raises is a failed trial
                self._finish(spec.trial, "failed", error=traceback.format_exc())

    def _drive(self, spec: TrialSpec) -> Drive:
        task, splits = self._load()
        parts = recipe(task, spec.config)
        if parts.key not in self._drives:
            self._forget_idle()
            program = build(task, splits, parts, self.device)
            self._drives[parts.key] = Drive(
                Lanes(program, self.lanes, self._compiler), self.target.tick, metric=self.target.metric
            )
        return self._drives[parts.key]

    def _forget_idle(self) -> None:
        """Let go of programs without a trial, oldest first, so that a study of many structures fits."""
        idle = [key for key, drive in self._drives.items() if not len(drive)]
        for key in idle[: max(0, len(self._drives) - _PROGRAMS + 1)]:
            self._compiler.forget(self._drives.pop(key).lanes.program)

    def _parent(self, spec: TrialSpec, program: Program) -> Row | None:
        if spec.parent is None:
            return None
        own = program.first_row(spec)
        row = Row.load(Path(self.target.folder) / spec.parent)
        return replace(row, hyper=own.hyper, key=own.key, names=own.names)

    def stop(self, trials: Collection[int]) -> None:
        """Free the lanes of these trials."""
        for trial in trials:
            drive = self._where.get(trial)
            if drive is not None:
                drive.stop(trial)
                self._finish(trial, "stopped")

    def _finish(self, trial: int, outcome: Outcome, error: str = "", row: str = "") -> None:
        self._where.pop(trial, None)
        self._ended.append(TrialFinished(trial, outcome, time.time(), error, row))

    def poll(self, timeout: float) -> list[TrialReported | TrialFinished]:
        """Run one tick of every program; it takes as long as it takes, whatever the timeout."""
        events: list[TrialReported | TrialFinished] = []
        for drive in list(self._drives.values()):
            if not len(drive):
                continue
            trials = list(drive.lanes.trials)
            try:
                said = drive.tick()
            except Exception:  # noqa: BLE001 - the worker boundary
                # The lanes share one computation, so what raised concerns all of them; those that ended in
                # this very tick too, as nobody has heard of it.
                error = traceback.format_exc()
                for trial in trials:
                    if trial in drive:
                        drive.stop(trial)
                    self._finish(trial, "failed", error=error)
                continue
            for one in said:
                if isinstance(one, Report):
                    events.append(TrialReported(one, time.time()))
                elif isinstance(one, Ended):
                    self._end(one)
                    events.extend(self._drain())
        events.extend(self._drain())
        if not events and not self._where:
            time.sleep(min(timeout, 0.01))
        return events

    def _end(self, ended: Ended) -> None:
        name = ""
        if ended.row is not None and self.target.save:
            name = row_name(ended.trial)
            try:
                ended.row.save(Path(self.target.folder) / name)
            except OSError as error:
                self._finish(ended.trial, "failed", error=f"the row could not be saved: {error}")
                return
        outcome: Outcome = "diverged" if ended.outcome == "diverged" else "completed"
        self._finish(ended.trial, outcome, error=ended.reason, row=name)

    def _drain(self) -> list[TrialFinished]:
        ended, self._ended = self._ended, []
        return ended

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Metrics of a saved row on the test split; see `Runner.test`."""
        try:
            return self._test(spec, row)
        # The user's own code runs here too.
        except Exception as error:
            raise UsageError(_one_line(self.target.reference, error)) from error

    def _test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        task, splits = self._load()
        if not splits.test or not row:
            return {}
        program = build(task, splits, recipe(task, spec.config), self.device)
        saved = Row.load(Path(self.target.folder) / row)
        block = program.block(1)
        block.weights[0].copy_(saved.weights)
        block.buffers[0].copy_(saved.buffers)
        block.hyper[0].copy_(torch.tensor([saved.hyper[name] for name in program.float_names]))
        found = program.evaluate(block, splits.test)
        return {f"test_{name}": float(values[0]) for name, values in found.items()}

    def close(self) -> None:
        """Drop everything; trials that were running have no end."""
        self._compiler.close()
        self._drives.clear()
        self._where.clear()


def _one_line(reference: str, error: Exception) -> str:
    """What went wrong in the user's code, and where."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/site-packages/" not in frame.filename]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    kind = "" if isinstance(error, (ValueError, TypeError)) else f"{type(error).__name__}: "
    text = str(error).strip() or type(error).__name__
    if "random operation" in text and "vmap" in text:
        kind = ""
        text = (
            "something in it draws random numbers of its own, which cannot follow a lane: use "
            "trials.noise.uniform and trials.noise.Dropout, and set the dropout of ready-made layers to 0"
        )
    missing = re.search(r"Batching rule not implemented for (aten::\w+)", text)
    if missing:
        kind = ""
        text = (
            f"{missing[1]} has no form for several lanes at once: replace that layer, "
            "or search a function that trains the model itself"
        )
    return f"task {reference!r}: {kind}{text}{place}"
