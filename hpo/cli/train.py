"""`hpo train`: one trial of a task, outside a study."""

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import numpy as np
import typer

from hpo import config as configs
from hpo import studyfile
from hpo.cli.chosen import Chosen, budget_of, chosen, replayed, rungs_of
from hpo.cli.look import print_line
from hpo.cli.options import Debug
from hpo.config import StudyConfig
from hpo.curves import write_text
from hpo.errors import UsageError
from hpo.listeners import words
from hpo.traces import TrialTrace, read_trace
from schedules import HYPERPARAMETERS, every_step, thin, to_csv, to_toml
from schedules.export import SUFFIXES
from trials.spec import Report, TrialSpec, Value
from trials.validation import TRAIN_FAMILIES

if TYPE_CHECKING:
    from hpo.runners.alone import Finished

_SAME = (2e-4, 2e-5)  # relative, absolute: training in another order of sums, over tens of steps
_WORSE = 0.05  # of the final loss there, that a schedule which transfers may lose
_LAST = 0.1  # of the steps are the end
REPORTS = 10  # of a trial, in as many steps as it keeps


def train(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TASK|STUDY.toml|CONFIG.toml|MODULE:CLASS",
            help="A built-in task, a study file, a config that `hpo export` wrote, or a task of your own.",
        ),
    ],
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Steps to keep; a schedule that probes spends more. Default: the file's."),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT|FILE", help='Such as rex, "race(k=4)", or a file that was exported; default cosine.'
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option("--lr", help="Learning rate at factor 1; default that of an exported file."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Set a hyperparameter; repeatable."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of weights, order and noise; default 0.")] = None,
    lanes: Annotated[
        str | None, typer.Option(metavar="auto|N", help="Rows that probes run in; auto: measured.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda:1, mps; default the best there is.")] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Row to write, .safetensors.")] = None,
    trace: Annotated[Path | None, typer.Option("--trace", help="Every step, to write as .npz.")] = None,
    export_schedule: Annotated[
        Path | None,
        typer.Option(
            "--export-schedule", help="Factors kept, to write: every step as .csv, few knots as .toml."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Trace (.npz) to compare with: does the schedule transfer?"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Train one trial of a task, outside any study."""
    for flag, path, endings in (
        ("--save", save, (".safetensors",)),
        ("--trace", trace, (".npz",)),
        ("--export-schedule", export_schedule, SUFFIXES),
    ):
        _check_out(flag, path, endings)
    before = None if against is None else read_trace(against)
    config, base, given_seed = _read(what, device)
    own = _own(settings or [], lr)
    plan = None if schedule is None else chosen(schedule)
    full, plan = _config(base, own, plan)
    families = full.get(TRAIN_FAMILIES, "none")
    trained = () if families == "none" else (str(families),)
    config = replace(config, validation=replace(config.validation, trained=trained))
    kept = _steps(config, plan, steps)
    budget = budget_of(kept, plan.listens)
    has_folds = config.validation.kind == "shifted-kfold"
    if has_folds and plan.listens:
        raise UsageError(
            f"{config.where} [validation] kind = 'shifted-kfold': fold models follow the schedule of their "
            f"trial, and {plan.text} would give them other rates; choose a schedule such as cosine"
        )
    spec = TrialSpec(
        0,
        full,
        seed if seed is not None else given_seed,
        budget,
        rungs_of(budget, kept, REPORTS),
        kept,
        int(config.table["trial"]["split_seed"]),
        folds="beside" if has_folds else "none",
    )
    if plan.knots is None:
        _check_schedule(spec)
    finished = _run(config, spec, plan, _lanes(lanes))
    _tell(config, spec, finished)
    is_complete = finished.outcome == "completed"
    for path in finished.save(save, trace, {"seed": spec.seed, "schedule": plan.text}):
        print_line(f"saved {path}")
    found = finished.trace()
    if export_schedule is not None and is_complete:
        _export(found, _rate(full), export_schedule, what)
    if before is not None and is_complete:
        print_line(compared(found, before, str(against)))
    if not is_complete:
        _note(f"the trial {_HOW.get(finished.outcome, finished.outcome)}: {finished.ended.reason}")
        raise typer.Exit(1)


_HOW = {"diverged": "diverged", "failed": "failed", "out_of_memory": "ran out of memory"}


# -- what was asked for -----------------------------------------------------------------------------------


def _check_out(flag: str, path: Path | None, endings: tuple[str, ...]) -> None:
    """Refuse now what could not be written after hours of training."""
    if path is None:
        return
    if path.suffix not in endings:
        raise UsageError(f"{flag} {path} must end in {' or '.join(endings)}")
    if path.is_dir() or not path.parent.is_dir():
        reason = "is a folder" if path.is_dir() else f"cannot be written: there is no folder {path.parent}"
        raise UsageError(f"{flag} {path} {reason}")


def _read(what: str, device: str | None) -> tuple[StudyConfig, dict[str, Value], int]:
    """The task as a study without a search, the hyperparameters that are fixed, and the seed."""
    table, where, base = studyfile.find(what)
    found, seed = dict[str, Value](), 0
    if isinstance(table.get("config"), Mapping):
        # As `hpo export` writes it.
        run = _table(table.get("run", {}), f"{where} [run]")
        found = _values(_table(table["config"], where), f"{where} [config]")
        numbers = {
            name: studyfile.check(run.get(name, 0), "whole", f"{where} [run] {name}")
            for name in ("seed", "split_seed")
        }
        seed = numbers["seed"]
        trial: dict[str, Any] = {"split_seed": numbers["split_seed"]}
        if "steps" in run:
            trial["steps"] = run["steps"]
        table = {"task": table.get("task"), "trial": trial}
    if device:
        table = {**table, "runner": {**_table(table.get("runner", {}), where), "device": device}}
    config = configs.build(table, where, base, searches=False)
    if config.kind != "task":
        raise UsageError(f"{where}: {config.reference} is a function: call it; `hpo train` trains tasks")
    return config, {**config.space.fixed, **found}, seed


def _table(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{where} must be a table")
    return cast(Mapping[str, Any], value)


def _values(table: Mapping[str, Any], where: str) -> dict[str, Value]:
    for name, value in table.items():
        if not isinstance(value, (bool, int, float, str)):
            raise UsageError(f"{where} {name} = {value!r} must be a number, a text, true or false")
    return dict(table)


def _own(settings: list[str], lr: float | None) -> dict[str, Value]:
    """What the command line sets."""
    for setting in settings:
        name = setting.partition("=")[0].strip()
        if not name.isidentifier():
            raise UsageError(f"--set {setting!r} must look like name=value, as in --set width=32")
    own = _values(studyfile.override({}, settings), "--set")
    if lr is not None:
        if not (lr > 0 and math.isfinite(lr)):
            raise UsageError(f"--lr {lr} must be a number above 0")
        if "lr" in own:
            raise UsageError("--lr and --set lr are the same: give one")
        own["lr"] = lr
    return own


def _config(
    base: Mapping[str, Value], own: Mapping[str, Value], plan: Chosen | None
) -> tuple[dict[str, Value], Chosen]:
    """The config of the trial, and what its schedule is.

    A schedule given on the command line takes the place of the file's, with all that belongs to that.
    """
    if plan is None:
        full = {**base, **own}
        return full, Chosen(str(full.get("schedule", "cosine")))
    if "schedule" in own:
        raise UsageError("--schedule and --set schedule are the same: give one")
    full = {**{name: value for name, value in base.items() if name not in HYPERPARAMETERS}, **own}
    if plan.knots is None:
        return {**full, "schedule": plan.text}, plan
    shape = [name for name in own if name in HYPERPARAMETERS]
    if shape:
        raise UsageError(f"--set {shape[0]} shapes a schedule, and --schedule {plan.text} has its shape")
    if "lr" not in own and plan.knots.lr:
        full["lr"] = plan.knots.lr
    return full, plan


def _steps(config: StudyConfig, plan: Chosen, given: int | None) -> int:
    return plan.steps(given) or config.steps


def _check_schedule(spec: TrialSpec) -> None:
    from schedules import from_config
    from schedules.tuner_spec import tuner_from_config

    try:
        if tuner_from_config(spec.config, spec.horizon, spec.budget) is None:
            from_config(spec.config, spec.horizon)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _lanes(given: str | None) -> int | None:
    if given is None or given == "auto":
        return None
    if not given.isdecimal() or int(given) < 1:
        raise UsageError(f"'--lanes' {given!r} must be auto or a whole number of at least 1")
    return int(given)


# -- training ---------------------------------------------------------------------------------------------


def _note(line: str) -> None:
    sys.stderr.write(f"hpo: {line}\n")


def _run(config: StudyConfig, spec: TrialSpec, plan: Chosen, lanes: int | None) -> "Finished":
    from hpo.runners.alone import train_alone  # loads torch

    progress = Progress(spec.horizon)
    target = replace(config.target(Path()), expected_steps=spec.budget)
    make_tuner = None if plan.knots is None else replayed(plan.knots)
    try:
        return train_alone(target, spec, make_tuner, lanes, progress.tell, _note)
    except KeyboardInterrupt:
        last = progress.last
        where = "before the first report" if last is None else f"at step {last.step} of {spec.horizon}"
        _note(f"stopped {where}: nothing was saved")
        raise typer.Exit(3) from None


class Progress:
    """Prints a line for each report that is worth one, of a trial that keeps so many steps from `first` on."""

    def __init__(self, steps: int, first: int = 0) -> None:
        self.steps, self.first = steps, first
        self.last: Report | None = None
        self._shown: Report | None = None

    def tell(self, report: Report) -> None:
        """Take in one report."""
        self.last, shown = report, self._shown
        # While candidates are probed the trial itself stands still, though it reports what it pays.
        if shown is None or report.step > shown.step or report.wall - shown.wall >= self.steps / REPORTS:
            self._shown = report
            moved = replace(report, step=report.step - self.first)
            print_line(f"{counters(moved, self.steps)}  {metrics_of(report)}")
            sys.stdout.flush()


def counters(report: Report, steps: int) -> str:
    """Where a trial is, and what that took, where it took more.

    >>> counters(Report(0, 50, 80, 1.0, {}, 60), 500)
    'step 50 of 500  spent 80  wall 60'
    """
    place = f"step {report.step} of {steps}"
    return place if report.spent == report.step else f"{place}  spent {report.spent}  wall {report.wall}"


def metrics_of(report: Report) -> str:
    """The metrics on one line."""
    return "  ".join(f"{name} {words.number(value)}" for name, value in sorted(report.metrics.items()))


def _rate(config: Mapping[str, Value]) -> float | None:
    lr = config.get("lr")
    return float(lr) if isinstance(lr, (int, float)) and not isinstance(lr, bool) else None


def _tell(config: StudyConfig, spec: TrialSpec, finished: "Finished") -> None:
    last = finished.last
    if last is None:
        return
    print_line(
        f"{finished.outcome}: kept {last.step} steps, spent {last.spent}, wall {last.wall}, "
        f"in {words.duration(last.seconds)}"
    )
    if finished.outcome == "completed" and last.step < spec.horizon:
        _note(f"the search left {last.step} of {spec.horizon} steps to keep")
    lr = _rate(spec.config)
    factors = finished.trace().factor
    if lr is not None and len(factors):
        peak = float(factors.max())
        print_line(f"  lr at its peak  {words.number(lr * peak)} (factor {words.number(peak)})")
    for name, value in sorted(last.metrics.items(), key=lambda one: (one[0] != config.objective.metric, one)):
        print_line(f"  {name}  {words.number(value)}")


def _export(trace: TrialTrace, lr: float | None, out: Path, what: str) -> None:
    try:
        if out.suffix == ".csv":
            text = to_csv(every_step(trace.factor, lr))
        else:
            text = to_toml(thin(trace.factor, lr=lr), f"Found by `hpo train {' '.join(what.split())}`.")
    except ValueError as error:
        raise UsageError(f"--export-schedule: {error}") from error
    write_text(out, text, "--export-schedule")
    print_line(f"saved {out}")


# -- comparing --------------------------------------------------------------------------------------------


def compared(found: TrialTrace, before: TrialTrace, name: str) -> str:
    """Whether these are the steps of another trace, and else whether the schedule did as well as there.

    What is compared is the mean training loss of the last tenth: the schedule transfers where that is at most 5 %
    above the one there, does not where it is above by more than two standard errors too, and in between the
    steps are too few to tell. One run each, so a hint and no proof.

    >>> level = np.ones(100)
    >>> compared(TrialTrace(level, level, level, level), TrialTrace(level, level, level, level), "a.npz")
    'against a.npz: the same trajectory, no loss differs by more than 0'
    """
    if len(found.loss) == len(before.loss) and np.allclose(found.loss, before.loss, *_SAME):
        most = float(np.abs(found.loss - before.loss).max())
        return f"against {name}: the same trajectory, no loss differs by more than {words.number(most)}"
    ends = [one.loss[-max(2, round(_LAST * len(one.loss))) :] for one in (found, before)]
    here, there = (float(end.mean()) for end in ends)
    error = math.sqrt(sum(float(end.var(ddof=1)) / len(end) for end in ends))
    if here <= there + _WORSE * abs(there):
        verdict = "the schedule transfers"
    elif here > there + 2 * error:
        verdict = "the schedule does not transfer"
    else:
        verdict = "within two standard errors, too few steps to tell"
    return (
        f"against {name}: training loss of the last {len(ends[0])} steps {words.number(here)}, there "
        f"{words.number(there)}, standard error {words.number(error)}: {verdict} (one run each)"
    )
