"""In this process, K trials as lanes of a program: the default for a task. Loads torch."""

import time
import traceback
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from hpo.errors import UsageError
from hpo.events import DataSet, Figures, Noticed, Outcome, TrialFinished, TrialReported, TrialScored
from hpo.records import Examples, target_name
from hpo.rows import row_name
from hpo.runners.base import NOWHERE, Heard, Target
from hpo.runners.faults import device_of, one_line
from hpo.runners.saving import Saving
from hpo.runners.shared import SharedData
from hpo.scores import read_scores, scores_name
from hpo.traces import is_found_online, trace_name
from trials.checking import check
from trials.compiling import Compiler, Origin
from trials.data import targets as target_sets
from trials.data.targets import digest
from trials.drive import Drive, Ended, Reduced
from trials.folds import Folded, FoldedDrive
from trials.halfway import Halfway
from trials.lanes import Lanes
from trials.names import TASKS
from trials.program import Block, Program
from trials.recipe import recipe
from trials.record import Record
from trials.rows import Row
from trials.spec import Config, Report, TrialSpec, is_out_of_memory
from trials.task import Splits, Task, load_task
from trials.train import build, load_splits, to_device, train
from trials.validation import Validation

_PROGRAMS = 32  # kept at a time; more only while that many have trials

Preloaded = tuple[Task, Splits] | SharedData  # what a worker finds when it begins


def origin_of(target: Target) -> Origin:
    """How another process builds the programs of a target."""
    return Origin(
        target.reference, dict(target.options), target.base, target.split_seed, dict(target.validation)
    )


def preload(target: Target, memory: int | None) -> Preloaded | None:
    """What workers share, made before they are forked: a built-in task and its data, on the host.

    A user's own task is loaded in the workers: its code may start threads, which a fork would lose. They
    share its data through `memory`, a descriptor, where there is one.
    """
    # One thread, so that no pool of threads exists when workers are forked.
    torch.set_num_threads(1)
    if target.reference not in TASKS:
        return None if memory is None else SharedData(memory)
    try:
        task = load_task(target.reference, target.options, Path(target.base))
        validation = Validation.read(target.validation)
        return task, load_splits(task, target.split_seed, torch.device("cpu"), validation)
    except (ValueError, TypeError, OSError):
        # Each worker finds the same and says so.
        return None


def shared(memory: int | None) -> Preloaded | None:
    """What workers share that were not forked: a task's data in a file in memory, where there is one."""
    return None if memory is None else SharedData(memory)


class LanesRunner:
    """Trials as lanes; each structure has a program of its own, and all programs share the lanes."""

    def __init__(self, target: Target, lanes: int | None, loaded: Preloaded | None = None) -> None:
        if target.threads:
            torch.set_num_threads(target.threads)
        self.target = target
        self._validation = Validation.read(target.validation)
        self.device = device_of(target.device)
        self._lanes = lanes  # None: not measured yet
        self._task: Task | None = None
        self._splits: Splits | None = None
        self._sealed: Mapping[str, target_sets.Target] | None = None  # targets, until the report reads them
        self._shared = loaded if isinstance(loaded, SharedData) else None
        if isinstance(loaded, tuple):
            self._task, self._splits = loaded[0], to_device(loaded[1], self.device)
        self._drives: dict[object, FoldedDrive] = {}
        self._turns: deque[object] = deque()  # keys of programs, the one that is run next first
        self._where: dict[int, FoldedDrive] = {}
        self._until: dict[int, int] = {}  # trial -> spent steps at which it is to make room
        self._held: dict[int, Halfway] = {}  # trials that made room and could not be saved
        self._gone: list[int] = []  # trials that made room since this was last asked
        self._alone: set[int] = set()  # trials whose fold models are trained without them
        self._waiting: deque[TrialSpec] = deque()  # trials that found no lane in their program
        self._said: list[TrialReported | TrialFinished | Noticed] = []
        self._saving = Saving(target)
        self._is_resting = False
        self._busy_seconds = self._all_seconds = 0.0
        self._compiler = Compiler(
            target.compile,
            origin_of(target),
            target.expected_steps,
            notice=lambda line: self._notice("compile", line),
        )

    def _notice(self, topic: str, text: str) -> None:
        self._said.append(Noticed(topic, text, time.time()))

    def _load(self) -> tuple[Task, Splits]:
        if self._task is None or self._splits is None:
            task = load_task(self.target.reference, self.target.options, Path(self.target.base))
            if self._shared is None:
                self._splits = load_splits(task, self.target.split_seed, self.device, self._validation)
            else:
                loaded = self._shared.load(task, self.target.split_seed, self._validation)
                self._splits = to_device(loaded.splits, self.device)
                if loaded.problem:
                    self._notice("data", f"each worker has its own copy of the data: {loaded.problem}")
            self._task = task
        return self._task, self._splits

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Names of the metrics, the lanes measured; see `Runner.check`."""
        try:
            task, splits = self._load()
            names = check(task, splits, configs, self.device)
            self._saving.check()
            self._targets()
            if self._lanes is None:
                self._measure(configs)
        except UsageError:
            raise
        # The user's own code runs here: whatever it raises is told as one line with its place.
        except Exception as error:
            raise UsageError(one_line(self.target.reference, error)) from error
        return names

    def _measure(self, configs: Sequence[Config]) -> None:
        """Find out how many lanes train the most trial-steps a second, as far as the study can fill them."""
        # Only here, and only where nobody said how many.
        from trials.capacity import lanes_for

        task, splits = self._load()
        program = build(
            task, splits, recipe(task, configs[0], splits.views), self.device, notice=lambda line: None
        )
        may_compile = self.target.compile != "never"
        self._lanes = lanes_for(program, configs[0], self.target.most_lanes, may_compile)
        lanes = f"{self._lanes} lane{'' if self._lanes == 1 else 's'}"
        self._notice("capacity", f"{lanes} for each worker, measured on {self.device}")

    def resize(self, lanes: int) -> None:
        """Have so many lanes, as another worker measured them; before the first trial."""
        self._lanes = lanes

    def _now(self) -> int:
        """Lanes that there are now for trials: fewer where the programs had to be made smaller."""
        if self._lanes is None:
            return 1  # enough for a first trial, which then has them measured
        held = sum(drive.room() + drive.used() for drive in self._drives.values())
        lanes = min(self._lanes, held) if self._drives else self._lanes
        return min(lanes, self.target.most_trials or lanes)

    def free(self) -> int:
        """Lanes without a trial."""
        used = sum(drive.used() for drive in self._drives.values())
        lanes = (self._lanes or 1) - used
        return max(0, min(lanes, self._now() - len(self._where)) - len(self._waiting))

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        return len(self._where), self._now()

    def busy_seconds(self) -> tuple[float, float]:
        """(with a trial, all); see `Runner.busy_seconds`."""
        return self._busy_seconds, self._all_seconds

    def start(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        """Give each trial a lane; one that cannot begin has failed.

        A trial that was under way before goes on from what was saved of it.
        """
        self._until.update(until)
        taken_up: list[str] = []
        for spec in specs:
            try:
                if self._lanes is None:
                    self._measure([spec.config])
                drive = self._drive(spec)
                if drive.room() < 1:
                    self._waiting.append(spec)
                    continue
                if spec.trial in self._held:
                    drive.resume(self._held.pop(spec.trial))
                elif (before := self._saving.found(spec)) is not None:
                    reports = drive.take_up(before)
                    self._said.extend(TrialReported(one, time.time()) for one in reports)
                    if not before.is_paused:
                        taken_up.append(f"{spec.trial} from step {before.course.step}")
                else:
                    drive.admit(spec, self._parent(spec, drive.lanes.program))
                if spec.folds == "alone":
                    self._alone.add(spec.trial)
                self._where[spec.trial] = drive
            except Exception as error:  # noqa: BLE001 - the worker boundary: a trial that raises is a failed trial
                self._break(spec.trial, error)
        if taken_up:
            self._notice("taken up", f"trials under way go on: {', '.join(taken_up)}")

    def take_saved(self) -> tuple[int, ...]:
        """Trials under way whose rows were saved since this was last asked."""
        return self._saving.take()

    def take_held(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Trials that made room since this was last asked: those that were saved, and those kept here."""
        gone, self._gone = self._gone, []
        here = tuple(trial for trial in gone if trial in self._held)
        return tuple(trial for trial in gone if trial not in self._held), here

    def take_back(self) -> tuple[int, ...]:
        """Trials that found no lane; they are forgotten here."""
        back = tuple(spec.trial for spec in self._waiting)
        self._waiting.clear()
        return back

    def _drive(self, spec: TrialSpec) -> FoldedDrive:
        task, splits = self._load()
        parts = recipe(task, spec.config, splits.views)
        if parts.key not in self._drives:
            self._forget_idle()
            program = build(
                task, splits, parts, self.device, notice=lambda line: self._notice("unmapped", line)
            )
            drive = Drive(
                self._lanes_of(program),
                self.target.tick,
                metric=self.target.metric,
                sharpness=self.target.sharpness,
                sizes=self.target.sizes,
            )
            self._drives[parts.key] = FoldedDrive(drive, self._validation.folds)
            self._turns.append(parts.key)
        return self._drives[parts.key]

    def _lanes_of(self, program: Program) -> Lanes:
        """As many lanes of the program as there are, or as fit: measured was another program."""
        lanes = self._lanes or 1
        while True:
            try:
                return Lanes(program, lanes, self._compiler)
            # Running out of memory has a class of its own on some devices only.
            except Exception as error:
                if lanes == 1 or not is_out_of_memory(error):
                    raise
            lanes //= 2
            self._notice("out_of_memory", f"a program has {lanes} lanes: more do not fit on {self.device}")

    def _forget_idle(self) -> None:
        """Let go of programs without a trial, oldest first, so that a study of many structures fits."""
        idle = [key for key, drive in self._drives.items() if not len(drive)]
        for key in idle[: max(0, len(self._drives) - _PROGRAMS + 1)]:
            self._turns.remove(key)
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
                self._end(drive.stop(trial))
            else:
                self._held.pop(trial, None)
                self._saving.forget(trial)
        for spec in [spec for spec in self._waiting if spec.trial in trials]:
            self._waiting.remove(spec)
            self._finish(spec.trial, "stopped")

    def _make_room(self, trial: int) -> None:
        """Free a trial's lanes; it waits in a file, or on the host where that cannot be."""
        held = self._where.pop(trial).pause(trial)
        self._until.pop(trial)
        self._gone.append(trial)
        if problem := self._saving.keep(held):
            self._held[trial] = held
            self._notice("saving", f"paused trials stay in memory, as they cannot be saved: {problem}")

    def rest(self) -> None:
        """Run no tick until `wake`; rows of trials under way are saved meanwhile."""
        self._is_resting = True
        for drive in self._drives.values():
            trials = [trial for trial, where in self._where.items() if where is drive]
            if problem := self._saving.save(drive, trials):
                self._notice("saving", problem)

    def wake(self) -> None:
        """Run ticks again."""
        self._is_resting = False

    def _finish(self, trial: int, outcome: Outcome, error: str = "", row: str = "") -> None:
        self._where.pop(trial, None)
        self._until.pop(trial, None)
        self._alone.discard(trial)
        self._saving.forget(trial)
        self._said.append(TrialFinished(trial, outcome, time.time(), error, row))

    def _break(self, trial: int, error: Exception) -> None:
        """End a trial whose code has just raised this."""
        outcome: Outcome = "out_of_memory" if is_out_of_memory(error) else "failed"
        self._finish(trial, outcome, error=traceback.format_exc())

    def poll(self, timeout: float) -> list[Heard]:
        """Run the program whose turn it is for a tick; it takes as long as it takes, whatever the timeout.

        One program alone, so that a lane that comes free has a trial again before the next tick.
        """
        self._readmit()
        events: list[Heard] = [*self._drain()]
        if self._is_resting:
            time.sleep(0.0 if events else timeout)
            return events
        for _ in range(len(self._turns)):
            drive = self._drives[self._turns[0]]
            self._turns.rotate(-1)
            if len(drive):
                return [*events, *self._tick(drive)]
        if not events:
            time.sleep(min(timeout, 0.01))
        return events

    def _readmit(self) -> None:
        """Try again to give waiting trials a lane."""
        waiting = list(self._waiting)
        self._waiting.clear()
        self.start(waiting)

    def _tick(self, drive: FoldedDrive) -> list[Heard]:
        trials = [trial for trial, where in self._where.items() if where is drive]
        lanes, running, began = self._now(), len(self._where), time.perf_counter()
        events: list[Heard] = []
        try:
            said = drive.tick()
        except Exception as error:  # noqa: BLE001 - the worker boundary
            # The lanes share one computation, so what raised concerns all of them; those that ended in
            # this very tick too, as nobody has heard of it.
            for trial in trials:
                if trial in drive:
                    self._keep_trace(drive.stop(trial))
                self._break(trial, error)
            said = []
        seconds = time.perf_counter() - began
        spent: dict[int, int] = {}  # as of the last report in this tick
        # While lanes are being taken away, more trials are under way than there are lanes.
        self._busy_seconds += min(running, lanes) * seconds
        self._all_seconds += lanes * seconds
        for one in said:
            match one:
                case Report():
                    events.append(TrialReported(one, time.time()))
                    self._show_trace(drive, one.trial)
                    spent[one.trial] = one.spent
                case Reduced():
                    wait = f", {len(one.parked)} wait on the host" if one.parked else ""
                    line = (
                        f"memory ran out: at most {one.lanes} side by side from now on{wait} ({one.reason})"
                    )
                    self._notice("out_of_memory", line)
                case Folded():
                    events.append(TrialScored(one.trial, one.metrics, one.steps, one.models, time.time()))
                case Ended():
                    self._end(one)
            events.extend(self._drain())
        for trial, steps in spent.items():
            if trial in self._where and steps >= self._until.get(trial, steps + 1):
                self._make_room(trial)
        if problem := self._saving.tick(drive, trials):
            self._notice("saving", problem)
        events.extend(self._drain())
        time.sleep(self._compiler.courtesy(seconds))
        return events

    def _end(self, ended: Ended) -> None:
        name = ""
        self._keep_trace(ended)
        self._keep_scores(ended)
        if ended.row is not None and self.target.save:
            name = row_name(ended.trial)
            try:
                ended.row.save(Path(self.target.folder) / name)
            except OSError as error:
                self._finish(ended.trial, "failed", error=f"the row could not be saved: {error}")
                return
        self._finish(ended.trial, cast(Outcome, ended.outcome), error=ended.reason, row=name)

    def _keep_trace(self, ended: Ended) -> None:
        """Write what was measured at every step."""
        if ended.record is not None:
            self._write_trace(ended.trial, ended.record, ended.facts)

    def _show_trace(self, drive: FoldedDrive, trial: int) -> None:
        """The same of a trial under way, where only its trace says what rates it follows."""
        found = drive.so_far(trial)
        if found is None:
            return  # ended in this very tick, or only its fold models go on
        spec, record, facts = found
        if is_found_online(spec.config) and record.kept:
            self._write_trace(trial, record, facts)

    def _write_trace(self, trial: int, record: Record, facts: Iterable[Mapping[str, object]]) -> None:
        """A study without it is as good, so no trial fails by it."""
        if not self.target.save:
            return
        try:
            record.save(Path(self.target.folder) / trace_name(trial), facts)
        except OSError as error:
            self._notice("trace", f"the steps of trial {trial} could not be written: {error}")

    def _keep_scores(self, ended: Ended) -> None:
        """Write what every validation example scored; those of fold models go beside the trial's own."""
        if ended.scores is None or not self.target.save:
            return
        path, scores = Path(self.target.folder) / scores_name(ended.trial), ended.scores
        try:
            if ended.trial in self._alone and path.is_file():
                scores = read_scores(path).merged(scores)
            scores.save(path)
        except (OSError, ValueError) as error:
            self._notice("scores", f"the scores of trial {ended.trial} could not be written: {error}")

    def _drain(self) -> list[TrialReported | TrialFinished | Noticed]:
        said, self._said = self._said, []
        return said

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Metrics of a saved row on the test split; see `Runner.test`."""
        try:
            return self._test(spec, row)
        # The user's own code runs here too.
        except Exception as error:
            raise UsageError(one_line(self.target.reference, error)) from error

    def _test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        _, splits = self._load()
        if not splits.test or not row:
            return {}
        program, block = self._restored(spec, row)
        found = program.evaluate(block, splits.test)
        return {f"test_{name}": float(values[0]) for name, values in found.items()}

    def _restored(self, spec: TrialSpec, row: str) -> tuple[Program, Block]:
        """The program of a trial, and one lane with its saved row."""
        task, splits = self._load()
        program = build(
            task, splits, recipe(task, spec.config, splits.views), self.device, notice=lambda line: None
        )
        saved = Row.load(Path(self.target.folder) / row)
        block = program.block(1)
        block.weights[0].copy_(saved.weights)
        block.buffers[0].copy_(saved.buffers)
        block.hyper[0].copy_(torch.tensor([saved.hyper[name] for name in program.float_names]))
        return program, block

    def _targets(self) -> Mapping[str, target_sets.Target]:
        if self._sealed is None:
            task, splits = self._load()
            self._sealed = target_sets.load(self.target.targets, task, splits, Path(self.target.base))
        return self._sealed

    def data(self) -> tuple[DataSet, ...]:
        """Digests of what trials are judged on; see `Runner.data`."""
        try:
            _, splits = self._load()
            shifted = (
                DataSet(f"shifted: {name}", digest(batch), len(next(iter(batch.values()))), "validation")
                for name, batch in splits.shifted.items()
            )
            targets = (
                DataSet(name, one.digest, one.examples, "target") for name, one in self._targets().items()
            )
            return (*shifted, *targets)
        except Exception as error:
            raise UsageError(one_line(self.target.reference, error)) from error

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        """Metrics of saved rows on every target; see `Runner.targets`.

        What every example gave is written beside the journal, in `targets`.
        """
        try:
            return self._judged(trials)
        except Exception as error:
            raise UsageError(one_line(self.target.reference, error)) from error

    def _judged(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        targets = self._targets()
        if not targets:
            return {}
        found: dict[str, dict[str, Mapping[str, float]]] = {str(spec.trial): {} for spec, _ in trials}
        restored = [(spec.trial, *self._restored(spec, row)) for spec, row in trials]
        for name, one in targets.items():
            try:
                record = Examples(one.digest)
                batch = {part: values.to(self.device) for part, values in one.read().items()}
                for trial, program, block in restored:
                    metrics = program.evaluate(block, batch, per_example=True)
                    record.add(trial, {key: each[0].to("cpu").numpy() for key, each in metrics.items()})
                record.save(Path(self.target.folder) / target_name(name))
            # The user's own data is read here; what is wrong with one target is no reason to lose another.
            except Exception as error:  # noqa: BLE001
                reason = one_line(self.target.reference, error)
                self._notice("target", f"target {name!r} could not be read: {reason}")
                continue
            for trial, values in record.trials.items():
                found[str(trial)][name] = {metric: float(each.mean()) for metric, each in values.items()}
        return {trial: figures for trial, figures in found.items() if figures}

    def explore(self, spec: TrialSpec) -> Sequence[Mapping[str, Any]]:
        """What a tuner finds; see `Runner.explore`."""
        try:
            task, splits = self._load()
            reports = train(task, spec, splits=splits, device=self.device, lanes=None, metric="train_loss")
            ended = _value(reports)
        # The user's own code runs here too.
        except Exception as error:
            raise UsageError(one_line(self.target.reference, error)) from error
        if ended.outcome in ("failed", "out_of_memory"):
            raise UsageError(f"task {self.target.reference!r}: {ended.reason}")
        return ended.facts

    def close(self) -> None:
        """Drop everything; trials that were running have no end."""
        self._compiler.close()
        self._drives.clear()
        self._turns.clear()
        self._where.clear()
        self._held.clear()
        self._waiting.clear()


def _value(reports: Iterator[Report]) -> Ended:
    """How a trial ended, its reports being nobody's."""
    while True:
        try:
            next(reports)
        except StopIteration as end:
            return end.value
