"""Memory that a study over a user's task with much data takes: two workers, 200 MB of data.

    python -m tests.bench.memory [--megabytes 200] [--workers 2]

Prints the proportional set size (shared pages divided among their holders) of all processes of the search, in
MB, at its highest; with no data to speak of beside it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
TASK = """
import torch, torch.nn.functional as F
from torch import nn
from trials.task import Splits

class Task:
    space = {{"lr": {{"low": 1e-4, "high": 1e-1, "scale": "log"}}, "batch_size": 32}}

    def data(self, split_seed):
        made = torch.Generator().manual_seed(0)
        rows = max(100, int({megabytes} * 1e6 / 4 / 1000))
        x = torch.rand(rows, 1000, generator=made)
        y = x[:, 0].clone()
        part = lambda a, b: {{"x": x[a:b], "y": y[a:b]}}
        return Splits(part(0, rows - 40), part(rows - 40, rows - 20), part(rows - 20, rows))

    def model(self, config): return nn.Linear(1000, 1)
    def loss(self, model, batch, hyper): return F.mse_loss(model(batch["x"])[:, 0], batch["y"])
    def metrics(self, model, batch): return {{"loss": (model(batch["x"])[:, 0] - batch["y"]).square()}}
"""


def highest(megabytes: float, workers: int) -> tuple[float, float]:
    """(highest of all processes together, at the middle of the search), in MB."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "mine.py").write_text(TASK.format(megabytes=megabytes))
        words = ["search", "mine.py:Task", "--trials", "64", "--steps", "1000", "--tracking", "none"]
        words += ["--workers", str(workers), "--lanes", "4", "--sampler", "random", "--pruner", "never"]
        words += ["--set", "runner.compile=never"]
        process = subprocess.Popen(
            [sys.executable, "-m", "hpo", *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": os.environ.get("PYTHONPATH", str(ROOT))},
            stdout=subprocess.DEVNULL,
        )
        watched, seen = psutil.Process(process.pid), []
        while process.poll() is None:
            total = 0
            for one in [watched, *watched.children(recursive=True)]:
                try:
                    total += one.memory_full_info().pss
                except psutil.Error:
                    continue
            seen.append(total / 1e6)
            time.sleep(0.1)
        if process.returncode:
            raise SystemExit("the search failed")
        return max(seen), seen[len(seen) * 2 // 3]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=float, default=200)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    for megabytes in (0.1, options.megabytes):
        most, later = highest(megabytes, options.workers)
        print(
            f"{megabytes:g} MB of data, {options.workers} workers: {most:.0f} MB at most, {later:.0f} later"
        )


if __name__ == "__main__":
    main()
