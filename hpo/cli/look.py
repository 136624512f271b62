"""`hpo list`, `show`, `best` and `report`: what journals say."""

import json as json_module
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from hpo import control, judgement, study
from hpo.cli.options import Debug, Json, Root, Study
from hpo.errors import JournalError, UsageError
from hpo.history import History, State, Trial
from hpo.horizon import LEVEL, ends_by_seed, predicted
from hpo.listeners.summary import summary


def print_line(text: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(text + "\n")


def print_json(value: Any) -> None:
    """Write a value to standard output as JSON; numbers that it lacks are texts, "inf" and "nan"."""

    def plain(inner: Any) -> Any:
        if isinstance(inner, float) and not math.isfinite(inner):
            return str(inner)
        if isinstance(inner, Mapping):
            return {str(name): plain(item) for name, item in cast(Mapping[Any, Any], inner).items()}
        if isinstance(inner, (list, tuple)):
            return [plain(item) for item in cast(Sequence[Any], inner)]
        return inner

    print_line(json_module.dumps(plain(value), indent=2, ensure_ascii=False))


def _state(history: History, folder: Path) -> str:
    if history.finish is not None:
        return "failed" if history.finish.error else "finished"
    if history.is_paused:
        # What was killed while it was paused is not: it is to be taken up. Not every lock is seen from here.
        return "paused" if control.is_running(folder) else "paused or interrupted"
    return "running or interrupted" if history.trials else "empty"


def _facts(history: History, folder: Path) -> dict[str, Any]:
    best = history.best
    return {
        "name": history.study.name if history.study else folder.name,
        "folder": str(folder),
        "state": _state(history, folder),
        "reason": history.finish.reason if history.finish else "",
        "metric": history.objective.metric,
        "goal": history.objective.goal,
        "metrics": [{"name": part.metric, "goal": part.goal} for part in history.objective.parts],
        "constraints": [bound.words() for bound in history.objective.bounds],
        "front": [trial.spec.trial for trial in history.front],
        "error": history.finish.error if history.finish else "",
        "trials": len(history.trials),
        "states": {name: history.count(name) for name in get_args(State)},
        "notices": [{"topic": one.topic, "text": one.text, "time": one.time} for one in history.notices],
        "spent": history.spent,
        "fold_steps": history.fold_steps,
        "kept": history.kept,
        "wall": history.wall,
        "seconds": round(history.elapsed(), 3),
        "best": _trial(history, best, folder) if best else None,
    }


def _trial(history: History, trial: Trial, folder: Path) -> dict[str, Any]:
    is_chosen = history.finish is not None and history.finish.best == trial.spec.trial
    return {
        "trial": trial.spec.trial,
        "replica_of": trial.replica_of,
        "judged": judgement.table(history, trial),
        "state": trial.state,
        "value": history.objective.shown(history.value(trial)),
        "values": _values(history, trial),
        "excess": history.excess(trial) if trial.reports else None,
        "config": dict(trial.spec.config),
        "metrics": dict(trial.metrics),
        "test": dict(history.finish.test) if is_chosen and history.finish else {},
        "test_seeds": dict(history.finish.seeds) if is_chosen and history.finish else {},
        "spent": trial.spent,
        "kept": trial.kept,
        "wall": trial.wall,
        "seed": trial.spec.seed,
        "row": str(folder / trial.row) if trial.row and (folder / trial.row).is_file() else "",
        "stop_reason": trial.stop_reason,
        "error": trial.error,
    }


def _values(history: History, trial: Trial) -> dict[str, float]:
    """Every metric that is sought, as the user knows it."""
    parts = history.objective.parts
    values = zip(parts, history.values(trial), strict=True)
    return {part.metric: part.shown(value) for part, value in values}


def _summary(history: History, folder: Path) -> None:
    report = folder / study.REPORT
    if history.is_paused and history.finish is None:
        print_line(f"study {folder.name!r} is {_state(history, folder)}")
    print_line(
        summary(
            history,
            folder=folder,
            report=str(report) if report.is_file() else "",
            resume="" if history.finish is not None else f"hpo resume {study.named(folder)}",
            encoding=sys.stdout.encoding or "ascii",
        )
    )


def list_studies(root: Root = Path(study.DEFAULT_ROOT), json: Json = False, debug: Debug = False) -> None:
    """List the studies in a folder."""
    rows: list[dict[str, Any]] = []
    for folder in study.folders(root):
        try:
            history, _, _ = study.read(folder)
        except (JournalError, UsageError) as error:
            # One damaged study must not hide the others.
            rows.append({"name": folder.name, "folder": str(folder), "state": f"unreadable: {error}"})
            continue
        rows.append(_facts(history, folder))
    if json:
        print_json(rows)
        return
    if not rows:
        print_line(f"no studies in {root}/: `hpo search digits` makes one")
        return
    cells = [("study", "state", "trials", "best", "spent steps", "seconds")]
    for row in rows:
        best = row.get("best")
        value = f"{row['metric']} {best['value']:.6g}" if best else "-"
        if best and len(row["metrics"]) > 1:
            value = ", ".join(f"{name} {one:.6g}" for name, one in best["values"].items())
            value += f" (first of a front of {len(row['front'])})"
        trials, spent, seconds = (row.get(name, "-") for name in ("trials", "spent", "seconds"))
        cells.append((row["name"], row["state"], str(trials), value, str(spent), str(seconds)))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        print_line("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def show(
    which: Study, root: Root = Path(study.DEFAULT_ROOT), json: Json = False, debug: Debug = False
) -> None:
    """Show a study: how it stands, its best trial, every trial."""
    folder = study.find(which, root)
    history, _, torn = study.read(folder)
    if torn:
        sys.stderr.write(
            "hpo: the last line of the journal is torn (being written, or killed); it is left out\n"
        )
    if json:
        trials = [_trial(history, trial, folder) for trial in history.trials.values()]
        print_json({**_facts(history, folder), "all": trials})
        return
    _summary(history, folder)
    print_line("")
    # Three counters where some trial was probed, as steps that were tried are spent and not kept.
    differ = any(not trial.spent == trial.kept == trial.wall for trial in history.trials.values())
    parts, front = history.objective.parts, {trial.spec.trial for trial in history.front}
    if differ or not history.objective.is_single:
        steps = ("spent", "kept", "wall") if differ else ("spent",)
        heads = [f"{'trial':>5}", f"{'state':<13}", *(f"{one:>6}" for one in steps)]
        print_line("  ".join([*heads, *(f"{part.metric:>10}" for part in parts)]))
    for trial in history.trials.values():
        values = [_values(history, trial)[part.metric] for part in parts]
        shown = "  ".join(f"{f'{one:.6g}' if math.isfinite(one) else '-':>10}" for one in values)
        if history.objective.bounds and trial.reports and history.excess(trial) > 0:
            shown += "  beyond"
        elif history.objective.others and trial.spec.trial in front:
            shown += "  front"
        if trial.replica_of is not None:
            shown += f"  (trial {trial.replica_of} again)"
        config = "  ".join(f"{name}={_short(item)}" for name, item in trial.spec.config.items())
        counters = (trial.spent, trial.kept, trial.wall) if differ else (trial.spent,)
        steps = "  ".join(f"{one:>6}" for one in counters)
        print_line(f"{trial.spec.trial:>5}  {trial.state:<13}  {steps}  {shown}  {config}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def best(
    which: Study,
    horizon: Annotated[
        int | None,
        typer.Option(min=1, metavar="STEPS", help="Predict who would be best after so many steps."),
    ] = None,
    root: Root = Path(study.DEFAULT_ROOT),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Show the best trial of a study, or the one that is predicted to be best in longer runs."""
    folder = study.find(which, root)
    history, _, _ = study.read(folder)
    if horizon is not None:
        _predicted(history, horizon, json)
        return
    chosen = history.best
    if chosen is None:
        kept = " and ".join(bound.words() for bound in history.objective.bounds)
        within = f", with {kept}," if kept else ""
        raise UsageError(
            f"study {folder.name!r} has no trial with a finite {history.objective.metric}{within} yet"
        )
    if json:
        found = _trial(history, chosen, folder)
        if history.objective.others:
            found["front"] = [_trial(history, trial, folder) for trial in history.front]
        print_json(found)
        return
    _summary(history, folder)


def _predicted(history: History, steps: int, json: bool) -> None:
    """Who would be best after so many steps, and what it has now."""
    found = predicted(history, steps)
    trial, now = history.trials[found.trial], history.best
    metric = history.objective.metric
    if json:
        print_json({**asdict(found), "level": LEVEL, "metric": metric, "config": dict(trial.spec.config)})
        return
    print_line(
        f"after {steps:,} steps trial {found.trial} is predicted to be the best of {found.among}, with a chance of "
        f"{found.chance:.0%}"
    )
    print_line(f"  {metric}  {found.mean:.4g}, {found.low:.4g} to {found.high:.4g} at {LEVEL:.0%}")
    ends = [history.objective.shown(value) for value in ends_by_seed(history, trial)]
    seeds = f", on average over {len(ends)} seeds" if len(ends) > 1 else ""
    leads = "and is the best" if now is trial else f"where trial {now.spec.trial} is the best" if now else ""
    print_line(f"  it has {sum(ends) / len(ends):.4g} after {trial.kept:,} steps{seeds}, {leads}")
    print_line("  for the same config, its schedule stretched over the longer run")
    print_line("config:")
    width = max(map(len, trial.spec.config), default=0)
    for name, value in trial.spec.config.items():
        print_line(f"  {name.ljust(width)}  {_short(value)}")


def report(
    which: Study,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="File to write; default report.html in the study's folder."),
    ] = None,
    root: Root = Path(study.DEFAULT_ROOT),
    debug: Debug = False,
) -> None:
    """Write the HTML report of a study from its journal. The test split is not read again."""
    folder = study.find(which, root)
    study.read(folder)
    target = out or folder / study.REPORT
    if target.is_dir():
        raise UsageError(f"--out {target} is a folder: name a file, such as {target / study.REPORT}")
    began = time.monotonic()
    problems: list[str] = []
    if study.write_report(folder, target, problems.append) is None:
        raise UsageError(problems[0])
    print_line(f"{target}  ({target.stat().st_size / 1e6:.1f} MB, {time.monotonic() - began:.1f} s)")
