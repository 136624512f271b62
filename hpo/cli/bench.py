"""`hpo bench`: tuners compared on problems whose curves are known."""

import importlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from hpo.bench import contender as contenders
from hpo.bench import score
from hpo.bench.play import Order, Run
from hpo.bench.run import by_problem, run
from hpo.cli.look import print_json
from hpo.cli.options import Debug, Json
from hpo.errors import UsageError
from hpo.problems import base as problems
from hpo.problems.base import PROBLEMS

_DEFAULT = ("random", "tpe", "curve", "random+asha", "tpe+median")

_LEGEND = (
    "regret at 4x: of what would be returned once the steps of 4 full trainings are spent, after its own full "
    "training; 0 is the best known, 1 the usual random config\nbest stopped: share of studies whose best "
    "started config was stopped, or left paused though better than what is returned"
)


def bench(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONTENDER]...",
            help="SAMPLER or SAMPLER+PRUNER, such as 'tpe+asha(rungs=3)'; or all. The first is compared to.",
        ),
    ] = None,
    on: Annotated[
        str,
        typer.Option("--problems", metavar="NAME,...", help=f"Of {', '.join(PROBLEMS)}; or FAMILY:INSTANCE."),
    ] = "annealed,crossing,branches,memory,honest",
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Studies of each on each problem.")] = 10,
    first_seed: Annotated[int, typer.Option("--first-seed", min=0, help="The seeds begin here.")] = 0,
    spent: Annotated[
        str, typer.Option("--spent", metavar="N,...", help="Where regret is told, in full trainings.")
    ] = "4,10,20",
    lanes: Annotated[int, typer.Option("--lanes", min=1, help="Trials at once, each at its own pace.")] = 1,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes of this machine.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of recorded curves; default what HPO_SHARED_DATA says."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also draw regret on a page of HTML.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compare tuners on problems whose curves are known, in simulated time."""
    names = what or list(_DEFAULT)
    if names == ["all"]:
        names = list(contenders.every())
    read = [contenders.contender(name) for name in dict.fromkeys(names)]
    at = _amounts(spent)
    if html is not None and html.is_dir():
        raise UsageError(f"--html {html} is a folder: name a file, such as {html / 'bench.html'}")
    instances = problems.expand([name.strip() for name in on.split(",") if name.strip()])
    if not instances:
        raise UsageError(f"--problems {on!r} names none; known: {', '.join(PROBLEMS)}")
    for name in dict.fromkeys(instances):
        problems.build(name, data)  # what is missing is said before hours are spent
    orders = [
        Order(one, problem, seed, max(at), lanes, data)
        for seed in range(first_seed, first_seed + seeds)
        for problem in instances
        for one in read
    ]
    runs = run(orders, workers, _progress(len(orders)))
    runs.sort(key=lambda found: [one.text for one in read].index(found.contender))
    lines = score.lines(runs, at)
    if html is not None:
        pages: Any = importlib.import_module("dashboards.bench")
        pages.write(score.curves(runs, max(at)), _about(instances, seeds, lanes), html)
    if json:
        families = {family: score.as_table(score.lines(found, at)) for family, found in by_problem(runs)}
        print_json(
            {"problems": instances, "seeds": seeds, "lanes": lanes, "all": score.as_table(lines)} | families
        )
        return
    sys.stdout.write(f"{_about(instances, seeds, lanes)}\n{_LEGEND}\n\n{score.markdown(lines, at)}\n")
    families = list(by_problem(runs))
    for family, found in families if len(families) > 1 else []:
        sys.stdout.write(f"\n{family}\n\n{score.markdown(score.lines(found, at), at, compared=False)}\n")


def _amounts(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 < value < 1e6 for value in found):
        raise UsageError(f"--spent {text!r} must be numbers above 0 with commas between, such as 4,10,20")
    return sorted(found)


def _about(instances: Sequence[str], seeds: int, lanes: int) -> str:
    studies = f"{len(instances)} problem{'s' * (len(instances) > 1)}, {seeds} seed{'s' * (seeds > 1)}"
    return f"{studies}, {lanes} trial{'s' * (lanes > 1)} at once; 95 % over seeds"


def _progress(total: int) -> Any:
    """A line that is written over, where there is a terminal."""
    began = time.monotonic()

    def hear(done: int, found: Run) -> None:
        if sys.stderr.isatty():
            left = (time.monotonic() - began) / done * (total - done)
            end = "\n" if done == total else ""
            sys.stderr.write(f"\r{done} of {total} studies, {left:.0f} s left   {end}")
            sys.stderr.flush()

    return hear
