"""`hpo extend`: go on from the saved row of a trial, once more in full or with several cooldowns."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from hpo import study
from hpo.cli.chosen import Chosen, MakeTuner, budget_of, chosen, rungs_of
from hpo.cli.export import choose
from hpo.cli.export_schedule import planned
from hpo.cli.look import print_line
from hpo.cli.options import Debug, Root, Study
from hpo.cli.train import REPORTS, Progress, metrics_of
from hpo.config import StudyConfig
from hpo.errors import UsageError
from hpo.history import UNDER_WAY, Trial
from hpo.listeners import words
from hpo.traces import load_trace
from schedules import open_loop, wsd
from schedules.combine import scale
from schedules.tuner_spec import is_tuner
from schedules.types import Tuner
from trials.spec import Report, TrialSpec

if TYPE_CHECKING:
    from hpo.runners.alone import Finished

Shape = Literal["sqrt", "linear"]
_LANES = 6  # for the probes of a tuner: a race has so many candidates
_MOST = 64  # cooldowns at once
_COOLED, _COOLING = 0.1, 0.5  # of its peak: no plateau to fall from, flat or on the way down
_FLAT, _END = 0.01, 0.05  # a plateau moves by less, over this share of the steps


def extend(
    which: Study,
    trial: Annotated[
        int | None, typer.Option("--trial", help="Number of the trial; default the best.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Steps to go on for; default those of a file.")
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule", metavar="TEXT|FILE", help="Over these steps; default rewarm: up again, then down."
        ),
    ] = None,
    peak: Annotated[
        float | None,
        typer.Option("--peak", help="Its highest factor; default the highest that the trial had."),
    ] = None,
    cooldowns: Annotated[
        str | None,
        typer.Option(
            "--cooldowns",
            metavar="STEPS,STEPS,…",
            help="Instead: fall to 0 over each of these, side by side, from a trial that ended on its plateau.",
        ),
    ] = None,
    shape: Annotated[Shape, typer.Option("--shape", help="Of the cooldowns: 1 - sqrt, or a line.")] = "sqrt",
    root: Root = Path(study.DEFAULT_ROOT),
    debug: Debug = False,
) -> None:
    """Go on from a trial's saved row, or cool it down in several ways; the journal stays as it is."""
    if cooldowns is None and steps is None and (schedule is None or not chosen(schedule).knots):
        raise UsageError("say how far: --steps 200, or --cooldowns 100,200,400")
    if cooldowns is not None and not (steps is None and schedule is None and peak is None):
        raise UsageError("--cooldowns has schedules of its own: leave out --steps, --schedule and --peak")
    if peak is not None and not 0 < peak < np.inf:
        raise UsageError(f"--peak {peak} must be a number above 0")
    lengths = None if cooldowns is None else _lengths(cooldowns)
    folder = study.find(which, root)
    history, _, _ = study.read(folder)
    assert history.study is not None
    config = study.config_of(history.study, folder)
    start = Start(config, folder, choose(history, trial, folder.name))
    start.check()
    if lengths is not None:
        _cool_down(start, lengths, shape)
    else:
        _go_on(start, chosen(schedule or "rewarm"), steps, peak)


@dataclass(frozen=True)
class Start:
    """The trial that is gone on from."""

    config: StudyConfig
    folder: Path
    trial: Trial

    @property
    def number(self) -> int:
        """Of the trial."""
        return self.trial.spec.trial

    @property
    def row(self) -> Path:
        """Where its row lies."""
        return self.folder / self.trial.row

    def check(self) -> None:
        """Refuse a trial that there is no row of.

        Raises:
            UsageError: a function, a trial that did not complete, or one whose row was not kept.
        """
        place = f"trial {self.number} of study {self.config.name!r}"
        if self.config.kind != "task":
            raise UsageError(f"{self.config.reference} is a function: its trials leave no row to go on from")
        if self.trial.state != "completed":
            is_over = self.trial.state not in UNDER_WAY
            how = f"ended as {self.trial.state}" if is_over else f"is still {self.trial.state}"
            raise UsageError(f"{place} {how}: only trials that completed can be gone on from")
        if not self.trial.row or not self.row.is_file():
            raise UsageError(
                f"{place} has no row any more: a study keeps that of its best trial; write "
                '[trial] save = "all" (--set trial.save=all) to keep every one'
            )

    def factors(self) -> NDArray[np.float64]:
        """(T,) factors that the trial followed."""
        if is_tuner(self.trial.spec.config):
            return load_trace(self.folder, self.number).factor
        return planned(self.trial)

    def spec(self, trial: int, steps: int, budget: int, rungs: tuple[int, ...]) -> TrialSpec:
        """A trial that goes on from here."""
        known = self.trial.spec
        return replace(known, trial=trial, budget=budget, rungs=rungs, horizon=steps, parent=self.trial.row)

    def path(self, kind: str, name: str) -> Path:
        """Where what came of it is written: not a name that the search tidies up."""
        ending = "safetensors" if kind == "rows" else "npz"
        return self.folder / kind / f"extended-{self.number:05d}-{name}.{ending}"


def _lengths(text: str) -> list[int]:
    found = text.replace(",", " ").split()
    if not found or not all(one.isdecimal() and int(one) >= 1 for one in found):
        raise UsageError(f"--cooldowns {text!r} must be whole numbers of at least 1, as in 100,200,400")
    lengths = sorted({int(one) for one in found})
    if len(lengths) > _MOST:
        raise UsageError(f"--cooldowns: {len(lengths)} are too many at once, {_MOST} fit")
    return lengths


def _note(line: str) -> None:
    sys.stderr.write(f"hpo: {line}\n")


def _metrics(report: Report | None) -> Mapping[str, float]:
    return {} if report is None else report.metrics


def _last(trial: Trial) -> Report | None:
    return trial.reports[-1] if trial.reports else None


# -- going on ---------------------------------------------------------------------------------------------


def _go_on(start: Start, plan: Chosen, given: int | None, peak: float | None) -> None:
    steps = plan.steps(given)
    assert steps is not None
    if plan.listens and peak is not None:
        raise UsageError(f"--peak is for schedules: {plan.text} finds its own")
    # A file has the height it was found with; anything else is relative to what the trial had.
    height = peak or (1.0 if plan.knots or plan.listens else float(start.factors().max()))
    budget = budget_of(steps, plan.listens)
    plan.tuner(steps, budget, height)  # refused here, before anything is loaded

    def make(spec: TrialSpec, step: int) -> Tuner:
        return plan.tuner(steps, budget, height)

    before = _last(start.trial)
    first = 0 if before is None else before.step
    spec = start.spec(start.number, steps, budget, rungs_of(budget, steps, REPORTS))
    how = plan.text if plan.listens or plan.knots else f"{plan.text} up to factor {words.number(height)}"
    print_line(f"trial {start.number} of study {start.config.name!r}, {steps} more steps: {how}")
    told = Progress(steps, first).tell
    finished = _run(start, [spec], make, _LANES if plan.listens else None, told)[start.number]
    if finished.last is not None and before is not None:
        print_line(f"before, at step {before.step}  {metrics_of(before)}")
        print_line(f"after, at step {finished.last.step}  {metrics_of(finished.last)}")
    name = f"by-{steps}"
    _save(start, finished, name, plan.text)
    _end([finished])


# -- cooling down -----------------------------------------------------------------------------------------


def _cool_down(start: Start, lengths: Sequence[int], shape: Shape) -> None:
    level = _level(start)

    def make(spec: TrialSpec, step: int) -> Tuner:
        fall = wsd(spec.budget, cooldown_fraction=1.0, cooldown=shape)
        return open_loop(scale(fall, level), spec.budget)

    specs = [start.spec(number, steps, steps, (steps,)) for number, steps in enumerate(lengths)]
    before = _last(start.trial)
    print_line(
        f"trial {start.number} of study {start.config.name!r}, from step "
        f"{before.step if before else 0} and factor {words.number(level)} to 0 ({shape}):"
    )
    finished = _run(start, specs, make, None, lambda report: None)
    ends = [finished[number] for number in range(len(lengths))]
    rows: list[tuple[str, Report | None]] = [("0", before)]
    rows += [
        (str(steps) if end.outcome == "completed" else f"{steps} {end.outcome}", end.last)
        for steps, end in zip(lengths, ends, strict=True)
    ]
    print_line(table(rows, start.config.objective.metric))
    for steps, end in zip(lengths, ends, strict=True):
        _save(start, end, f"cooldown-{steps}", f"cooldown over {steps} steps, {shape}")
    _end(ends)


def _level(start: Start) -> float:
    """The factor that the trial ended on.

    Raises:
        UsageError: it has cooled down already.
    """
    factors = start.factors()
    last, peak = float(factors[-1]), float(factors.max())
    place = f"trial {start.number} of study {start.config.name!r}"
    end = factors[-max(2, round(_END * len(factors))) :]
    is_flat = float(end.max() - end.min()) <= _FLAT * peak
    if last <= (_COOLED if is_flat else _COOLING) * peak:
        raise UsageError(
            f"{place} has cooled down already: its last factor is {words.number(last)}, its peak was "
            f'{words.number(peak)}. Cool down one that ended on its plateau, such as schedule = "constant"'
        )
    if not is_flat:
        _note(f"{place} was not on a plateau when it ended: its factor was falling or rising there")
    return last


def table(rows: Sequence[tuple[str, Report | None]], metric: str) -> str:
    """Cooldowns and what they led to, under one another; the metric of the study first.

    >>> print(table([("0", Report(0, 9, 9, 1.0, {"val_loss": 0.5})), ("20 diverged", None)], "val_loss"))
       cooldown  step  val_loss
              0     9       0.5
    20 diverged     -         -
    """
    names = sorted(
        {name for _, report in rows for name in _metrics(report)}, key=lambda name: (name != metric, name)
    )
    cells = [["cooldown", "step", *names]]
    for name, report in rows:
        metrics = _metrics(report)
        found = [words.number(metrics[one]) if one in metrics else "-" for one in names]
        cells.append([name, "-" if report is None else str(report.step), *found])
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells
    )


# -- both -------------------------------------------------------------------------------------------------


def _run(
    start: Start,
    specs: Sequence[TrialSpec],
    make: MakeTuner,
    lanes: int | None,
    told: Callable[[Report], None],
) -> "dict[int, Finished]":
    from hpo.runners.alone import extend as run  # loads torch

    target = replace(start.config.target(start.folder), expected_steps=sum(spec.budget for spec in specs))
    try:
        return run(target, specs, start.row, make, lanes, told, _note)
    except KeyboardInterrupt:
        _note("stopped: nothing was saved, the study is as it was")
        raise typer.Exit(3) from None


def _save(start: Start, finished: "Finished", name: str, text: str) -> None:
    notes = {"schedule": text, "parent": start.trial.row}
    for path in finished.save(start.path("rows", name), start.path("traces", name), notes):
        print_line(f"saved {path}")


def _end(finished: "Sequence[Finished]") -> None:
    """Exit code 1 where nothing completed."""
    for one in finished:
        if one.outcome != "completed":
            _note(f"it ended as {one.outcome}: {one.ended.reason}")
    if not any(one.outcome == "completed" for one in finished):
        raise typer.Exit(1)
