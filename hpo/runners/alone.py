"""In this process, trials that no study searches: one alone, or several on from a row. Loads torch."""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpo.errors import RunnerError, UsageError
from hpo.runners.base import Target
from hpo.runners.faults import device_of, one_line
from hpo.runners.lanes import origin_of
from hpo.traces import TrialTrace
from trials.checking import check
from trials.compiling import Compiler
from trials.drive import Ended, MakeTuner, scheduled
from trials.rows import Row
from trials.signals import SIGNALS
from trials.spec import Report, TrialSpec, is_out_of_memory
from trials.task import load_task
from trials.train import fork, load_splits, train
from trials.validation import Validation

Told = Callable[[Report], None]
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Finished:
    """How a trial ended, and what there is of it."""

    ended: Ended
    last: Report | None

    @property
    def outcome(self) -> str:
        """As of `Ended`: completed, diverged, failed or out_of_memory."""
        return self.ended.outcome

    def trace(self) -> TrialTrace:
        """The kept steps."""
        kept = self.ended.record.kept if self.ended.record is not None else []
        steps = np.concatenate([np.zeros((0, len(SIGNALS))), *kept]).astype(np.float64)
        column = {name: steps[:, place] for place, name in enumerate(SIGNALS)}
        return TrialTrace(
            column["factor"],
            column["loss"],
            column["grad_l1"],
            column["grad_l2"],
            column["update_norm"],
            self.ended.record.first_step if self.ended.record is not None else 0,
        )

    def save(self, row: Path | None, trace: Path | None, notes: Mapping[str, object]) -> list[Path]:
        """Write the row, with these notes among its names, and the trace, as far as there are any."""
        written: list[Path] = []
        end, record = self.ended.row, self.ended.record
        if row is not None and end is not None:
            replace(end, names={**end.names, **notes}).save(row)
            written.append(row)
        if trace is not None and record is not None:
            record.save(trace, self.ended.facts)
            written.append(trace)
        return written


def train_alone(
    target: Target,
    spec: TrialSpec,
    make_tuner: MakeTuner | None,
    lanes: int | None,
    told: Told,
    notice: Notice,
) -> Finished:
    """Train one trial, its probes in so many lanes (None: as measured); how it ended.

    Raises:
        UsageError: the task and the config do not fit.
        RunnerError: a step does not fit in memory.
    """
    with _in_words(target), _compiler(target, notice) as compiler:
        device = device_of(target.device)
        task = load_task(target.reference, target.options, Path(target.base))
        splits = load_splits(task, spec.split_seed, device, Validation.read(target.validation))
        metrics = check(task, splits, [spec.config], device)
        if metrics and target.metric not in metrics:
            raise UsageError(f"metric {target.metric!r} is not reported; there are {', '.join(metrics)}")
        reports = train(
            task,
            spec,
            splits=splits,
            device=device,
            tick=target.tick,
            make_tuner=make_tuner or scheduled,
            lanes=lanes,
            compiler=compiler,
            metric=target.metric,
            notice=notice,
            folds=Validation.read(target.validation).folds,
        )
        return _finished(reports, told)


def _finished(reports: Iterator[Report], told: Told) -> Finished:
    """Tell the reports; the value of the generator says how the trial ended."""
    last: Report | None = None
    while True:
        try:
            last = next(reports)
        except StopIteration as end:
            return Finished(end.value, last)
        told(last)


def extend(
    target: Target,
    specs: Sequence[TrialSpec],
    row: Path,
    make_tuner: MakeTuner,
    lanes: int | None,
    told: Told,
    notice: Notice,
) -> dict[int, Finished]:
    """Train each of these on from a saved row, side by side; how each ended.

    Raises:
        UsageError: the row cannot be read, or does not fit the task.
        RunnerError: a step does not fit in memory.
    """
    ends: dict[int, Finished] = {}
    last: dict[int, Report] = {}
    with _in_words(target), _compiler(target, notice) as compiler:
        start = Row.load(row)
        task = load_task(target.reference, target.options, Path(target.base))
        device = device_of(target.device)
        validation = Validation.read(target.validation)
        if validation.is_shifted:
            # What goes on from a row is compared on the validation split; families it trained on go on too.
            validation = replace(validation, kind="plain")
        for said in fork(
            task,
            start,
            specs,
            make_tuner,
            splits=load_splits(task, specs[0].split_seed, device, validation),
            device=device,
            tick=target.tick,
            lanes=lanes,
            compiler=compiler,
            metric=target.metric,
            notice=notice,
        ):
            if isinstance(said, Ended):
                ends[said.trial] = Finished(said, last.get(said.trial))
            else:
                last[said.trial] = said
                told(said)
    return ends


@contextmanager
def _compiler(target: Target, notice: Notice) -> Generator[Compiler]:
    compiler = Compiler(target.compile, origin_of(target), target.expected_steps, notice=notice)
    try:
        yield compiler
    finally:
        compiler.close()


@contextmanager
def _in_words(target: Target) -> Generator[None]:
    """What the user's code raises, and what is wrong with a row, as one line with its place."""
    try:
        yield
    except UsageError:
        raise
    # The user's own code runs here: whatever it raises is told as one line with its place.
    except Exception as error:
        if is_out_of_memory(error):
            reason = str(error) or type(error).__name__
            raise RunnerError(
                f"memory ran out: {reason}; try a smaller batch_size, or fewer --lanes"
            ) from error
        raise UsageError(one_line(target.reference, error)) from error
