"""`hpo search` and `hpo resume`."""

import json as json_module
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from hpo import config as configs
from hpo import control, study, studyfile
from hpo.cli.control import tell_there
from hpo.cli.look import print_line
from hpo.cli.options import Debug, Root, Settings
from hpo.config import StudyConfig
from hpo.errors import UsageError
from hpo.events import Noticed
from hpo.history import WITHOUT_VALUE, State
from hpo.listeners import console
from hpo.listeners.summary import summary
from hpo.options import unknown
from hpo.runners import base as runners
from hpo.store import Latest

Lanes = Annotated[
    str | None,
    typer.Option(metavar="auto|N", help="Trials that a worker trains side by side; auto: measured."),
]
Workers = Annotated[
    str | None,
    typer.Option(metavar="auto|N", help="Processes that train; auto: one a GPU, else one a core."),
]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda (every GPU), cuda:1, mps; default the best there is.")
]
Runner = Annotated[
    str | None, typer.Option(help="lanes, inline (this process), processes, ray; default what fits.")
]
Address = Annotated[
    str | None,
    typer.Option(metavar="auto|local|HOST:PORT|ray://HOST:PORT", help="Of the Ray cluster (--runner ray)."),
]
HeadToo = Annotated[
    str | None,
    typer.Option(
        metavar="auto|local|HOST:PORT|ray://HOST:PORT|http://HEAD:8265",
        help="Of the Ray cluster (--runner ray); http://: let a paused study go on that it runs by itself.",
    ),
]
CpusPerWorker = Annotated[float | None, typer.Option(help="CPUs of each worker on a cluster; default 1.")]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(help="GPUs of each worker on a cluster, fractions too; default 1 where there are any."),
]
StallSeconds = Annotated[
    float | None,
    typer.Option(help="Replace a worker on a cluster that shows no sign of life for so long."),
]
MemoryPerWorker = Annotated[
    float | None,
    typer.Option(
        metavar="GIB",
        help="Replace a worker on a cluster that has grown larger, once its trials have ended; default its part of a node.",
    ),
]
SaveEvery = Annotated[
    str | None,
    typer.Option(
        metavar="auto|TICKS",
        help="Save trials under way so often, so that another worker or `hpo resume` goes on from there; 0: never.",
    ),
]
SaveTo = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Save them there, not in the study's folder: s3://, gs://, file:// and whatever else fsspec knows.",
    ),
]
Trials = Annotated[int | None, typer.Option(min=1, help="Trials to start at most.")]
Seconds = Annotated[float | None, typer.Option(help="Seconds to search at most.")]
Replicas = Annotated[
    str | None,
    typer.Option(
        metavar="auto|N",
        help="Seeds that each leading configuration is trained with in the end; 1: one; auto: 3, where a fifth of the trials pays for it.",
    ),
]
MinImprovement = Annotated[
    float | None,
    typer.Option(help="End when going on is expected to improve the metric by less, at 95 % certainty."),
]
Tracking = Annotated[str | None, typer.Option(help='MLflow tracking URI, or "none".')]
From = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="STUDY|optuna:URL#STUDY|mlflow:URI#EXPERIMENT",
        help="Begin with what an earlier study found; may be given several times.",
    ),
]
Force = Annotated[
    bool, typer.Option("--force", help="Go on where no trial reports a metric that [constraints] bounds.")
]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one event a line, as in the journal.")]


def search(
    what: Annotated[
        str,
        typer.Argument(
            metavar="TASK|STUDY.toml|MODULE:OBJECT",
            help="A built-in task (digits, digits-shift, digits-edges, tabular, tabular-regression, charlm), a study file, or an object.",
        ),
    ],
    trials: Trials = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Budget of one trial, in optimizer steps.")] = None,
    seconds: Seconds = None,
    sampler: Annotated[
        str | None, typer.Option(help="random, sobol, grid, curve (default), tpe, gp, cmaes, nsga2.")
    ] = None,
    pruner: Annotated[str | None, typer.Option(help="never, median, asha (default), trust, pause.")] = None,
    lanes: Lanes = None,
    workers: Workers = None,
    device: Device = None,
    runner: Runner = None,
    address: Address = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    stall_seconds: StallSeconds = None,
    memory_per_worker: MemoryPerWorker = None,
    save_every: SaveEvery = None,
    min_improvement: MinImprovement = None,
    replicas: Replicas = None,
    save_to: SaveTo = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the study; equal seeds begin equally.")] = None,
    root: Root = Path(study.DEFAULT_ROOT),
    name: Annotated[str, typer.Option(help="Name of the study; default that of the task or file.")] = "",
    tracking: Tracking = None,
    earlier: From = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    force: Force = False,
    json: JsonLines = False,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Search for the best configuration, in a new study."""
    flags = {
        "limits.trials": trials,
        "limits.seconds": seconds,
        "limits.min_improvement": min_improvement,
        "trial.steps": steps,
        "search.sampler": sampler,
        "search.pruner": pruner,
        "search.seed": seed,
        "seeds.replicas": _auto_or_count("--replicas", replicas),
        "search.from": earlier,
        "search.unreported": "allow" if force else None,
        "runner.lanes": _auto_or_count("--lanes", lanes),
        "runner.workers": _auto_or_count("--workers", workers),
        "runner.device": device,
        "runner.name": runner,
        "runner.address": address,
        "runner.cpus_per_worker": cpus_per_worker,
        "runner.gpus_per_worker": gpus_per_worker,
        "runner.stall_seconds": stall_seconds,
        "runner.memory_per_worker": memory_per_worker,
        "runner.save_every": _auto_or_count("--save-every", save_every, 0),
        "runner.save_to": save_to and _absolute(save_to),
        "tracking.uri": tracking,
    }
    table, where, base = studyfile.find(what)
    table = studyfile.override(table, _as_settings(flags))
    config = configs.build(studyfile.override(table, settings or []), where, base, name)
    folder = study.create(config, root)
    if dry_run:
        _dry_run(config, folder)
        return
    _run(config, folder, json, debug)


def resume(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study, or the path of its folder.")],
    trials: Trials = None,
    seconds: Seconds = None,
    min_improvement: MinImprovement = None,
    replicas: Replicas = None,
    lanes: Lanes = None,
    workers: Workers = None,
    device: Device = None,
    runner: Runner = None,
    address: HeadToo = None,
    cpus_per_worker: CpusPerWorker = None,
    gpus_per_worker: GpusPerWorker = None,
    stall_seconds: StallSeconds = None,
    memory_per_worker: MemoryPerWorker = None,
    save_every: SaveEvery = None,
    save_to: SaveTo = None,
    root: Root = Path(study.DEFAULT_ROOT),
    tracking: Tracking = None,
    force: Force = False,
    json: JsonLines = False,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Take up a study: after an interruption, with a raised limit; or let one go on that `hpo pause` paused."""
    flags = {
        "limits.trials": trials,
        "limits.seconds": seconds,
        "limits.min_improvement": min_improvement,
        "seeds.replicas": _auto_or_count("--replicas", replicas),
        "search.unreported": "allow" if force else None,
        "runner.lanes": _auto_or_count("--lanes", lanes),
        "runner.workers": _auto_or_count("--workers", workers),
        "runner.device": device,
        "runner.name": runner,
        "runner.address": address,
        "runner.cpus_per_worker": cpus_per_worker,
        "runner.gpus_per_worker": gpus_per_worker,
        "runner.stall_seconds": stall_seconds,
        "runner.memory_per_worker": memory_per_worker,
        "runner.save_every": _auto_or_count("--save-every", save_every, 0),
        "runner.save_to": save_to and _absolute(save_to),
        "tracking.uri": tracking,
    }
    if address is not None and address.startswith(("http://", "https://")):
        _wake_there(name, address, [path for path, value in flags.items() if value is not None], settings)
        return
    folder = study.find(name, root)
    latest = study.latest(folder)
    changes = [*_as_settings(flags), *(settings or [])]
    if control.is_running(folder):
        print_line(_woken(folder, latest, changes))
        return
    config = study.config_of(latest.start, folder, changes)
    history = study.read(folder)[0] if latest.is_finished else None
    error = history.finish.error if history is not None and history.finish is not None else ""
    if error and not changes:
        raise UsageError(f"study {config.name!r} ended with an error: {error}")
    if history is not None and history.finish is not None and not history.running and not error:
        limits = config.limits
        ended = limits.reached(history, history.finish.time) or limits.exhausted(history, config.steps)
        if not changes:
            ended = history.finish.reason
        best = history.best
        # The winner may be wanted with further test seeds, which no limit counts.
        known = set[str]() if best is None else {*history.retrained.get(best.spec.trial, ())}
        is_reported = best is None or {str(seed) for seed in config.plan().test} <= known
        if ended and is_reported:
            sys.stdout.write(
                f"study {config.name!r} is finished ({ended}): raise a limit to go on, "
                f"such as `hpo resume {study.named(folder)} --trials {2 * len(history.trials)}`\n"
            )
            study.complete(config, folder, _to_stderr)
            return
    _run(config, folder, json, debug)


def _wake_there(name: str, address: str, changed: Sequence[str], settings: Sequence[str] | None) -> None:
    """Let a study go on that is paused on a cluster which runs it by itself."""
    if settings or set(changed) != {"runner.address"}:
        raise UsageError(
            f"--address {address} lets a paused study go on as it is; "
            "`hpo submit STUDY.toml --resume --set SECTION.KEY=VALUE` takes one up that has ended"
        )
    print_line(tell_there(name, address, "", "resume"))


def _woken(folder: Path, latest: Latest, changes: Sequence[str]) -> str:
    """Let a study go on that runs and is paused; what was done, as a line.

    Raises:
        UsageError: it is not paused, or is to be changed.
    """
    if latest.is_paused and not changes:
        return control.tell(folder, "resume")
    if latest.is_paused:
        what = (
            "paused, and still has its process: `hpo resume` alone lets it go on; end it before you change it"
        )
    else:
        what = "not paused: wait for that search to end, or stop it"
    raise UsageError(f"{folder / study.JOURNAL} is being written by another process. It is {what}")


def _absolute(place: str) -> str:
    """A path as seen from here, a URL as it is."""
    return place if "://" in place else str(Path(place).absolute())


def _auto_or_count(flag: str, given: str | None, least: int = 1) -> str | int | None:
    if given is None or given == "auto":
        return given
    if not given.isdecimal() or int(given) < least:
        raise UsageError(f"'{flag}' {given!r} must be auto or a whole number of at least {least}")
    return int(given)


def _as_settings(flags: Mapping[str, object]) -> list[str]:
    # A text of JSON is one of TOML, and so is a list of texts.
    return [
        f"{path}={json_module.dumps(value, ensure_ascii=False) if isinstance(value, (str, list)) else value}"
        for path, value in flags.items()
        if value is not None
    ]


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"hpo: {line}\n")


def _run(config: StudyConfig, folder: Path, json: bool, debug: bool) -> None:
    shown: list[console.Console] = []

    def note(line: str) -> None:
        if shown:
            shown[0].note(line)
        else:
            _to_stderr(line)

    def listener(config: StudyConfig, runner: runners.Runner, folder: Path) -> console.Console:
        one = console.build(
            *("json" if json else "auto", config.objective, config.limits, runner.busy),
            folder=folder,
            called=study.named(folder),
        )
        shown.append(one)
        return one

    outcome = study.search(config, folder, listener, note)
    again = f"hpo resume {study.named(folder)}" if outcome.interrupted else ""
    if json and again:
        note(f"to continue: {again}")
    if not json:
        text = summary(
            outcome.history,
            folder=outcome.folder,
            report=str(outcome.report or ""),
            resume=again,
            encoding=sys.stdout.encoding or "ascii",
        )
        sys.stdout.write(text + "\n")
    if debug:
        shares = "  ".join(f"{name} {value:.2f}" for name, value in asdict(outcome.search.timers).items())
        note(f"seconds of the search process: {shares}")
        note(f"lanes kept busy: {outcome.busy_share:.1%} of the time that there were lanes")
    if outcome.interrupted:
        raise typer.Exit(3)
    history = outcome.history
    if history.finish is not None and history.finish.error:
        _to_stderr(history.finish.error)
        raise typer.Exit(2)
    if history.trials and sum(map(history.count, WITHOUT_VALUE)) == len(history.trials):
        errors = [trial.error.strip().splitlines()[-1] for trial in history.trials.values() if trial.error]
        ends = {"failed": "failed", "diverged": "diverged", "out_of_memory": "ran out of memory"}
        what = " or ".join(words for state, words in ends.items() if history.count(cast(State, state)))
        note(f"every trial {what}; the last one: {errors[-1] if errors else 'no reason was given'}")
        raise typer.Exit(1)
    reported = {name for trial in history.trials.values() for one in trial.reports for name in one.metrics}
    metric = config.objective.metric
    if reported and metric not in reported:
        note(f"{config.where} metric: {unknown('metric', metric, reported)}: no trial could be compared")
        raise typer.Exit(1)


def _replicas(config: StudyConfig) -> str:
    found = config.replicas()
    if found.seeds < 2:
        return "none: the winner is judged by one seed"
    return f"{found.most} of these trials: {found.seeds} seeds of each of the {found.leading} leading configs"


def _dry_run(config: StudyConfig, folder: Path) -> None:
    config = config.with_rows_of_its_own(is_fresh=True)
    earlier = study.earlier_results(config, study.earlier_studies(config, folder))
    runner = runners.build(config.runner_name(), config.target(folder), config.lanes(), 1, config.cluster())
    try:
        metrics = runner.check(config.examples())
        lanes = runner.busy()[1]
    finally:
        runner.close()
    config.check_metrics(metrics)
    plan = config.plan()
    for line in config.notices:
        sys.stderr.write(f"hpo: {line}\n")
    search, most = config.table["search"], config.most_workers()
    workers = f"{most} worker{'s' * (most != 1)}" if most else "as many workers as fit"
    fixed = ", ".join(f"{name}={value}" for name, value in config.space.fixed.items())
    lines = [
        f"study      {config.name} in {folder} (nothing was written)",
        f"task       {config.reference}",
        f"metric     {'; '.join(f'{part.metric}, {part.goal}imised' for part in config.objective.parts)}",
        *(f"constraint {bound.words()}" for bound in config.objective.bounds),
        f"reports    {', '.join(metrics) or 'known once it runs'}",
        f"space      {len(config.space.domains)} searched: {', '.join(config.space.domains)}"
        + (" (lr between bounds that a range test finds first)" if config.wants_rate_bounds() else ""),
        f"fixed      {fixed or 'nothing'}",
        f"trials     {config.limits.trials or 'until another limit'} of {plan.budget} steps, "
        f"reports at {', '.join(map(str, plan.rungs))}",
        f"search     sampler {search['sampler']}, pruner {search['pruner']}, seed {config.seed}",
        f"replicas   {_replicas(config)}",
        *(f"earlier    {event.text}" for event in earlier if isinstance(event, Noticed)),
        f"runner     {config.runner_name()}: {workers} of {lanes} lane{'s' * (lanes != 1)}"
        + ("" if config.lanes() else " (measured)"),
        f"tracking   {config.table['tracking']['uri']}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
