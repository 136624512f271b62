"""How many of the lanes a study keeps busy: asha, 64 trials of digits, 3 widths x 2 optimizers.

    python -m tests.bench.busy [--trials 64] [--lanes 4 8] [--workers 2] [--runs 3] [--steps 500]

Prints, as medians of the runs with least and most, the share that `--debug` shows (lane-seconds in which a
trial was training, of those there were), and from the journal: the same share until the last trial began, and
what is lost after it, when there are none left to start.
"""

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.store import Journal

ROOT = Path(__file__).resolve().parents[2]
STUDY = """
task = "digits"
metric = "val_loss"

[space]
lr = {low = 1e-4, high = 1e-1, scale = "log"}
weight_decay = {low = 1e-5, high = 1e-1, scale = "log"}
optimizer = {choice = ["adamw", "sgd"]}
width = {choice = [8, 16, 32]}
schedule = "cosine"
batch_size = 64
"""


def run(folder: Path, words: list[str]) -> tuple[float, list]:
    """(share of busy lane-seconds as `--debug` says, events)."""
    (folder / "busy.toml").write_text(STUDY)
    command = [sys.executable, "-m", "hpo", "search", "busy.toml", "--tracking", "none", "--debug", *words]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    found = re.search(r"lanes kept busy: ([\d.]+)%", done.stdout + done.stderr)
    assert found, done.stdout + done.stderr
    return float(found[1]) / 100, list(Journal(folder / "studies/busy/journal.jsonl"))


def shares(events: list, lanes: int) -> dict[str, float]:
    """Shares of the lane-seconds of `lanes` lanes, from the first start to the last end, by the journal."""
    began = {event.spec.trial: event.time for event in events if isinstance(event, TrialStarted)}
    ended = {event.trial: event.time for event in events if isinstance(event, TrialFinished)}
    first, last, end = min(began.values()), max(began.values()), max(ended.values())

    def busy(start: float, stop: float) -> float:
        return sum(max(0.0, min(stop, ended[n]) - max(start, began[n])) for n in began)

    spent: dict[int, int] = {}
    for event in events:
        if isinstance(event, TrialReported):
            spent[event.report.trial] = event.report.spent
    return {
        "until the last start": busy(first, last) / (lanes * (last - first)),
        "lost at the end": (lanes * (end - last) - busy(last, end)) / (lanes * (end - first)),
        "seconds": end - first,
        "steps": float(sum(spent.values())),
    }


def spread(values: list[float], form: str = "{:.1%}") -> str:
    return f"{form} ({form}-{form})".format(statistics.median(values), min(values), max(values))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--lanes", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(
        f"{options.workers} workers on {platform.processor() or platform.machine()}, {options.trials} trials"
    )
    print("| lanes a worker | lanes kept busy | until the last start | lost at the end | seconds |")
    print("| --- | --- | --- | --- | --- |")
    for lanes in options.lanes:
        kept: list[float] = []
        found: list[dict[str, float]] = []
        for seed in range(options.runs):
            with tempfile.TemporaryDirectory() as folder:
                words = {"trials": options.trials, "steps": options.steps, "lanes": lanes, "seed": seed}
                words["workers"] = options.workers
                flags = [text for name, value in words.items() for text in (f"--{name}", str(value))]
                share, events = run(Path(folder), [*flags, "--pruner", "asha"])
                kept.append(share)
                found.append(shares(events, lanes * options.workers))
        columns = [
            spread([one[name] for one in found]) for name in ("until the last start", "lost at the end")
        ]
        seconds = spread([one["seconds"] for one in found], "{:.1f}")
        print(f"| {lanes} | {spread(kept)} | {' | '.join(columns)} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
