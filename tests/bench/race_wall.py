"""Wall time of a race of six in lanes, against one plain run of as many kept steps.

    python -m tests.bench.race_wall [--task convnet transformer] [--runs 5] [--device cpu] [--compile never]

Both as `hpo train` runs them: one process, lanes as measured, six at least for the race. In turn, after one
of each that does not count. Seconds are those of training, synchronised with the device, compilations left
out; the compile cache is a folder of its own, so that nothing of other runs is in it.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch

from tests.bench.rates import device_name
from tests.bench.rates_runs import BENCHES, Bench
from trials.compiling import Compiler, Mode, Origin
from trials.spec import Report, TrialSpec
from trials.task import Splits, Task, load_task
from trials.train import load_splits, train

# Of one kept step, what the tuner may spend: enough for every form of it.
SCHEDULES: Mapping[str, tuple[str, float]] = {
    "plain": ("wsd(cooldown_fraction=0.4, warmup_fraction=0.05)", 1.0),
    "race": ("race", 1.7),
    "race, one look": ("race(finalists=1)", 1.5),
}


def run(
    *,
    task: Task,
    splits: Splits,
    bench: Bench,
    steps: int,
    text: str,
    spend: float,
    device: torch.device,
    mode: Mode,
) -> Report:
    """The last report of one trial."""
    budget = round(spend * steps)
    config = {"lr": bench.centre, "schedule": text}
    spec = TrialSpec(0, config, 0, budget, (budget,), steps, 0)
    origin = Origin(bench.reference, {}, ".", 0)
    compiler = Compiler(mode, origin, budget)
    try:
        *_, last = train(task, spec, splits=splits, device=device, lanes=None, compiler=compiler)
    finally:
        compiler.close()
    return last


def main() -> None:
    """Run in turn, print medians and ratios of the runs."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", nargs="+", default=["convnet", "transformer"], choices=list(BENCHES))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="instead of the task's own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", default="never", choices=["never", "auto", "always"])
    options = parser.parse_args()
    device = torch.device(options.device)
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    print(f"{device_name(options.device)}, {cores}, torch {torch.__version__}")
    print(f"compile {options.compile}, {options.runs} runs in turn; medians (least-most)\n")
    print("| task | what | kept | spent | wall steps | seconds | times the plain run |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HPO_CACHE_DIR"] = str(Path(folder))
        for name in options.task:
            bench = BENCHES[name]
            task = load_task(bench.reference)
            splits = load_splits(task, 0, device)
            found: dict[str, list[Report]] = {name: [] for name in SCHEDULES}
            for turn in range(options.runs + 1):
                for what, (text, spend) in SCHEDULES.items():
                    report = run(
                        task=task,
                        splits=splits,
                        bench=bench,
                        steps=options.steps or bench.steps,
                        text=text,
                        spend=spend,
                        device=device,
                        mode=options.compile,
                    )
                    if turn:
                        found[what].append(report)
            plain = [one.seconds for one in found["plain"]]
            for what, reports in found.items():
                seconds, last = [one.seconds for one in reports], reports[-1]
                ratios = [one / other for one, other in zip(seconds, plain, strict=True)]
                print(
                    f"| {name} | {what} | {last.step} | {last.spent} | {last.wall} | {_spread(seconds)} | "
                    f"{_spread(ratios)} |",
                    flush=True,
                )


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


if __name__ == "__main__":
    main()
