"""What validation on shifted copies costs: wall time of a digits study against the plain one.

    python -m tests.bench.shifted_cost [--trials 16] [--steps 500] [--workers 2] [--lanes 4] [--runs 5]

The same trials to the last step (random configs, no pruner, ten rungs), in turn: plain; scored on all eleven
families; trained on families, as a plain study; the same with two fold models for the leading third, and for
all. Prints, as medians of the runs with least and most, seconds from the first trial's start to the study's
end, the whole command's, and each against what it is to be compared with.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from hpo.events import StudyFinished, TrialReported, TrialScored, TrialStarted
from hpo.store import Journal

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
task = "digits"
metric = "val_loss"
[space]
lr = {low = 1e-3, high = 1e-1, scale = "log"}
width = 16
batch_size = 64
"""
TRAINED = (
    "space.train_families={choice=['all', 'arithmetic+artistic+blur+color+contrast', 'edges+weather']}",
)
FOLDS = (*TRAINED, "metric=shifted_accuracy", "validation.kind=shifted-kfold")

# name -> settings, and the study that it is compared with
STUDIES: dict[str, tuple[tuple[str, ...], str]] = {
    "plain": ((), "plain"),
    "shifted": (("validation.kind=shifted",), "plain"),
    "trained on families": (TRAINED, "plain"),
    "2 folds, leading": ((*FOLDS, "validation.folds_for=leading"), "plain"),
    "2 folds, all": ((*FOLDS, "validation.folds_for=all"), "plain"),
}


def run(settings: tuple[str, ...], flags: list[str]) -> dict[str, float]:
    """Seconds of one study, and the steps it took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "cost.toml").write_text(STUDY)
        sets = [word for setting in settings for word in ("--set", setting)]
        command = [sys.executable, "-m", "hpo", "search", "cost.toml", "--tracking", "none", *flags, *sets]
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
        )
        whole = time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        events = list(Journal(folder / "studies/cost/journal.jsonl"))
    first = min(event.time for event in events if isinstance(event, TrialStarted))
    last = max(event.time for event in events if isinstance(event, StudyFinished))
    spent = {event.report.trial: event.report.spent for event in events if isinstance(event, TrialReported)}
    folds = sum(event.steps for event in events if isinstance(event, TrialScored))
    return {"search": last - first, "whole": whole, "steps": sum(spent.values()), "fold steps": folds}


def spread(values: list[float], form: str = "{:.1f}") -> str:
    """Median, least and most."""
    return f"{form} ({form}-{form})".format(statistics.median(values), min(values), max(values))


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=STUDIES, default=list(STUDIES))
    options = parser.parse_args()
    flags = ["--sampler", "random", "--pruner", "never"]
    for name in ("trials", "steps", "lanes", "workers"):
        flags += [f"--{name}", str(getattr(options, name))]
    names = list(dict.fromkeys(["plain", *options.only]))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    # Once before, so that compiled steps are there for all; then in turn, as the machine has moods.
    for name in names:
        run(STUDIES[name][0], flags)
    for seed in range(options.runs):
        for name in names:
            found[name].append(run(STUDIES[name][0], [*flags, "--seed", str(seed)]))
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, {options.workers} workers "
        f"of {options.lanes} lanes, {options.trials} trials of {options.steps} steps, {options.runs} runs"
    )
    print("| study | seconds | of it | whole command | of it | steps | of fold models |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in names:
        columns: list[str] = []
        for what in ("search", "whole"):
            mine, other = ([one[what] for one in found[one_name]] for one_name in (name, STUDIES[name][1]))
            ratios = [a / b for a, b in zip(mine, other, strict=True)]
            columns += [spread(mine), spread(ratios, "{:.2f}x")]
        steps = [statistics.median(one[what] for one in found[name]) for what in ("steps", "fold steps")]
        print(f"| {name} | {' | '.join(columns)} | {steps[0]:.0f} | {steps[1]:.0f} |", flush=True)


if __name__ == "__main__":
    main()
