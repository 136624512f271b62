"""A study of a million trials on ten thousand workers, in simulated time: what the search itself costs.

python -m tests.bench.scale [--trials 1000000] [--workers 10000] [--folder FOLDER]

Sampler random, pruner asha, through the search loop and a journal on the disk; nodes fail and some trials
are slow. Each part runs in a process of its own, so that its memory is its own. Wall times depend on what
else the machine does; seconds of the processor do not.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hpo.events import StudyStarted
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Plan, Search
from hpo.objective import Objective
from hpo.pruners.base import build as pruner
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from hpo.runners.trouble import Trouble
from hpo.samplers.base import build as sampler
from hpo.space import Float, Space
from hpo.store import Journal
from trials.spec import Report, TrialSpec

STEPS, RUNGS = 9, (1, 3, 9)
NAMES = ("x", "y", "z")


def falling(spec: TrialSpec) -> Iterator[Report]:
    """A loss that falls with the steps to what the config says, by half a minute to one and a half a step."""
    end = sum((float(spec.config[name]) - 0.3) ** 2 for name in NAMES)
    pace = 30 + 60 * float(spec.config["z"])
    for rung in spec.rungs:
        metrics = {"val_loss": end + (0.5 + float(spec.config["y"])) / rung}
        yield Report(spec.trial, rung, rung, pace * rung, metrics)


def search(folder: Path, trials: int, workers: int, is_troubled: bool) -> Search:
    """The study, new or as its journal has it."""
    objective = Objective("val_loss")
    space = Space({name: Float(0.0, 1.0) for name in NAMES})
    trouble = Trouble(
        seed=1,
        lanes_per_node=8,
        seconds_between_failures=30.0 if is_troubled else 0.0,
        seconds_down=900.0,
        straggler_share=0.02,
        straggler_factor=5.0,
    )
    runner = ReplayedRunner(Target("falling", save=False), workers, falling, 0.0, trouble, hear_every=0.25)
    return Search(
        Journal(folder / "journal.jsonl"),
        sampler("random", space, objective, 0),
        pruner("asha", objective, {"eta": 3, "rungs": 2}),
        runner,
        History(objective),
        Limits(trials=trials),
        Plan(STEPS, RUNGS, STEPS, 0, 0),
        StudyStarted("scale", {}, 0, {}, "", runner.clock()),
        clock=runner.clock,
    )


def measured(one: Search, recorded: Any) -> dict[str, float]:
    """Run it to its end: seconds, memory, and what there was of everything."""
    began, processor = time.perf_counter(), time.process_time()
    history = one.run(recorded)
    wall, cpu = time.perf_counter() - began, time.process_time() - processor
    reports = sum(len(trial.reports) for trial in history.trials.values())
    assert history.ended == len(history.trials), "a trial has no end"
    return {
        "wall": wall,
        "cpu": cpu,
        "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "trials": len(history.trials),
        "reports": reports,
        "stopped": history.count("stopped"),
        "best": history.incumbents[-1].value,
        "simulated": one.runner.clock(),
        "failures": one.runner.failures,
    }


def part(what: str, folder: Path, trials: int, workers: int) -> dict[str, float]:
    """One part in a process of its own."""
    words = [sys.executable, "-m", "tests.bench.scale", "--part", what, "--folder", str(folder)]
    words += ["--trials", str(trials), "--workers", str(workers)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, default=1_000_000)
    options.add_argument("--workers", type=int, default=10_000)
    options.add_argument("--folder", type=Path)
    options.add_argument("--part", choices=["search", "resume"])
    wanted = options.parse_args()
    if wanted.part == "search":
        print(json.dumps(measured(search(wanted.folder, wanted.trials, wanted.workers, True), ())))
        return
    if wanted.part == "resume":
        # All of it again, and one trial more.
        one = search(wanted.folder, wanted.trials + 1, wanted.workers, False)
        print(json.dumps(measured(one, one.store)))
        return
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as place:
        folder = wanted.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        first = part("search", folder, wanted.trials, wanted.workers)
        decisions = first["trials"] + first["reports"]
        size = (folder / "journal.jsonl").stat().st_size
        print(
            f"search: {first['trials']:.0f} trials ({first['stopped']:.0f} stopped), "
            f"{first['reports']:.0f} reports, {first['failures']:.0f} failures of nodes, "
            f"{first['simulated'] / 3600:.1f} simulated hours\n"
            f"  {first['cpu']:.1f} s of the processor, {first['wall']:.1f} s of wall time\n"
            f"  {decisions / first['cpu']:.0f} decisions a second of the processor, "
            f"{decisions / first['wall']:.0f} of wall time\n"
            f"  {first['mib']:.0f} MiB of memory; journal of {size / 2**20:.0f} MiB, "
            f"{size / first['trials']:.0f} bytes a trial",
            flush=True,
        )
        again = part("resume", folder, wanted.trials, wanted.workers)
        print(
            f"resume: {again['cpu']:.1f} s of the processor, {again['wall']:.1f} s of wall time, "
            f"{again['mib']:.0f} MiB of memory"
        )


if __name__ == "__main__":
    main()
