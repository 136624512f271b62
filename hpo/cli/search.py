"""`hpo search` and `hpo resume`."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from hpo import config as configs
from hpo import study
from hpo.cli.options import Debug, Root, Settings
from hpo.config import StudyConfig
from hpo.listeners import console
from hpo.runners import base as runners

Lanes = Annotated[int | None, typer.Option(help="Trials that a worker trains side by side.")]
Workers = Annotated[int | None, typer.Option(help="Processes that train; default one a core.")]
Trials = Annotated[int | None, typer.Option(help="Trials to start at most.")]
Seconds = Annotated[float | None, typer.Option(help="Seconds to search at most.")]
Tracking = Annotated[str | None, typer.Option(help='MLflow tracking URI, or "none".')]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one event a line, as in the journal.")]


def search(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TASK|STUDY.toml|MODULE:OBJECT",
            help="A built-in task (digits, tabular, tabular-regression, charlm), a study file, or your own object.",
        ),
    ],
    trials: Trials = None,
    steps: Annotated[int | None, typer.Option(help="Budget of one trial, in optimizer steps.")] = None,
    seconds: Seconds = None,
    sampler: Annotated[str | None, typer.Option(help="random, sobol, grid, tpe, gp, cmaes, nsga2.")] = None,
    pruner: Annotated[str | None, typer.Option(help="never, median, asha.")] = None,
    lanes: Lanes = None,
    workers: Workers = None,
    seed: Annotated[int | None, typer.Option(help="Of the study; equal seeds begin equally.")] = None,
    root: Root = Path(study.DEFAULT_ROOT),
    name: Annotated[str, typer.Option(help="Name of the study; default that of the task or file.")] = "",
    tracking: Tracking = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    json: JsonLines = False,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Search for the best configuration, in a new study."""
    flags = {
        "limits.trials": trials,
        "limits.seconds": seconds,
        "trial.steps": steps,
        "search.sampler": sampler,
        "search.pruner": pruner,
        "search.seed": seed,
        "runner.lanes": lanes,
        "runner.workers": workers,
        "tracking.uri": tracking,
    }
    table, where, base = configs.find(what)
    table = configs.override(table, _as_settings(flags))
    config = configs.build(configs.override(table, settings or []), where, base, name)
    folder = study.create(config, root)
    if dry_run:
        _dry_run(config, folder)
        return
    _run(config, folder, json, debug)


def resume(
    which: Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study, or the path of its folder.")],
    trials: Trials = None,
    seconds: Seconds = None,
    lanes: Lanes = None,
    workers: Workers = None,
    root: Root = Path(study.DEFAULT_ROOT),
    tracking: Tracking = None,
    json: JsonLines = False,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Take up a study: after an interruption, or with a raised limit."""
    folder = study.find(which, root)
    history, _, _ = study.read(folder)
    assert history.study is not None
    flags = {
        "limits.trials": trials,
        "limits.seconds": seconds,
        "runner.lanes": lanes,
        "runner.workers": workers,
        "tracking.uri": tracking,
    }
    config = study.config_of(history.study, folder, [*_as_settings(flags), *(settings or [])])
    if history.finish is not None and not history.running:
        limits = config.limits
        ended = limits.reached(history, history.finish.time) or limits.exhausted(history, config.steps)
        if ended:
            sys.stdout.write(
                f"study {config.name!r} is finished ({ended}): raise a limit to go on, "
                f"such as `hpo resume {which} --trials {2 * len(history.trials)}`\n"
            )
            return
    _run(config, folder, json, debug)


def _as_settings(flags: dict[str, object]) -> list[str]:
    return [
        f"{path}={value!r}" if isinstance(value, str) else f"{path}={value}"
        for path, value in flags.items()
        if value is not None
    ]


def _run(config: StudyConfig, folder: Path, json: bool, debug: bool) -> None:
    def note(line: str) -> None:
        sys.stderr.write(f"hpo: {line}\n")
        sys.stderr.flush()

    outcome = study.search(
        config,
        folder,
        lambda config, runner, folder: console.build(
            "json" if json else "auto", config.objective, config.limits, busy=runner.busy
        ),
        note,
    )
    if not json:
        sys.stdout.write(console.summary(outcome.history, folder, outcome.report) + "\n")
    if debug:
        shares = "  ".join(f"{name} {value:.2f}" for name, value in asdict(outcome.search.timers).items())
        note(f"seconds of the search process: {shares}")
    if outcome.interrupted:
        raise typer.Exit(3)
    history = outcome.history
    if history.trials and history.count("failed") == len(history.trials):
        errors = [trial.error.strip().splitlines()[-1] for trial in history.trials.values() if trial.error]
        note(f"every trial failed; the last one: {errors[-1] if errors else 'no reason was given'}")
        raise typer.Exit(1)


def _dry_run(config: StudyConfig, folder: Path) -> None:
    runner = runners.build(config.runner_name(), config.target(folder), config.lanes(), 1)
    try:
        metrics = runner.check(config.examples())
    finally:
        runner.close()
    if metrics and config.objective.metric not in metrics:
        from hpo.errors import UsageError
        from hpo.options import unknown

        raise UsageError(f"{config.where}: {unknown('metric', config.objective.metric, metrics)}")
    plan = config.plan()
    for line in config.notices:
        sys.stderr.write(f"hpo: {line}\n")
    search = config.table["search"]
    lines = [
        f"study      {config.name} in {folder} (nothing was written)",
        f"task       {config.reference}",
        f"metric     {config.objective.metric}, {config.objective.goal}imised",
        f"reports    {', '.join(metrics) or 'known once it runs'}",
        f"space      {len(config.space.domains)} searched: {', '.join(config.space.domains)}",
        f"fixed      {', '.join(f'{name}={value}' for name, value in config.space.fixed.items()) or 'nothing'}",
        f"trials     {config.limits.trials or 'until another limit'} of {plan.budget} steps, reports at {', '.join(map(str, plan.rungs))}",
        f"search     sampler {search['sampler']}, pruner {search['pruner']}, seed {config.seed}",
        f"runner     {config.runner_name()}: {config.workers()} workers of {config.lanes()} lanes",
        f"tracking   {config.table['tracking']['uri']}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
