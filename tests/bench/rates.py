"""Rates that listen against tuned schedules: a convnet on MNIST and a character transformer.

    python -m tests.bench.rates [--task convnet transformer] [--seeds 5] [--only NAME ...] [--out FILE]
    python -m tests.bench.rates --task long --seeds 1 [--device cuda]

`long` is a transformer of 0.8 million weights for 8,000 steps, with fewer contenders. Every run is a trial of
one task under one schedule or tuner. Finished runs are kept in FILE and not made again, so that the benchmark
can be stopped at any time. Loss is on the report set; rates are compared on another. Every schedule is taken
at the rate of the grid that is best for it on the mean over seeds; tuners are told nothing of that. Three
counters: `kept` steps of the trajectory that survives, `spent` all steps of training, `wall` steps one after
another.
"""

import argparse
import json
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.bench.rates_runs import BENCHES, LANES, SCHEDULES, Bench, Machine, Run, made, warmed

CHANCE = {"convnet": 2.3, "transformer": 4.17, "long": 4.17}  # loss of a model that knows nothing


def baselines(bench: Bench, seeds: int) -> Iterator[Run]:
    """Every schedule at every rate of the grid, and cosines over other horizons."""
    for seed in range(seeds):
        for name in bench.schedules:
            for lr in bench.grid:
                yield Run(name, lr, seed, warmed(SCHEDULES[name]), bench.steps, bench.steps)


def horizons(bench: Bench, seeds: int, lr: float) -> Iterator[Run]:
    """Cosines at the tuned rate, shorter and longer: what a step is worth."""
    for seed in range(seeds):
        for share in bench.horizons:
            steps = round(share * bench.steps)
            yield Run(f"cosine x{share:g}", lr, seed, warmed("cosine"), steps, steps)


_IN_WALL = (
    0.93  # of the steps that a search in two stages may keep for its wall steps to be those of the rival
)


def tuners(bench: Bench, seeds: int, best: float) -> Iterator[Run]:
    """What listens, told nothing of the tuned rate unless the name says so."""
    long, steps = 3 * bench.steps, bench.steps
    ladder, bent = "published=true, stages=2", "anneal_fraction=0.2"
    told: dict[str, tuple[float, str, int]] = {
        "race": (bench.centre, "race", long),
        "race, one look": (bench.centre, "race(finalists=1)", long),
        "race, spent": (bench.centre, "race", steps),
        # As it was before two looks.
        "race rex": (bench.centre, 'race(base="rex", finalists=1)', long),
        "race wsd": (bench.centre, 'race(base="wsd(cooldown_fraction=0.2)", finalists=1)', long),
        "race rex, spent": (bench.centre, 'race(base="rex", finalists=1)', steps),
        "lean from best/16": (best, "lean(start_factor=0.0625)", steps),
        "lean from best/8": (best, "lean(start_factor=0.125)", steps),
        "autolrs": (bench.centre, "autolrs", 8 * steps),
        "autolrs, wall": (bench.centre, "autolrs(rounds=[8])", 8 * steps),
        "autolrs, spent": (bench.centre, "autolrs", steps),
        "autolrs published": (bench.centre, "autolrs(published=true)", 8 * steps),
        # The ladder from the paper's form to ours: each rung changes how candidates are scored.
        "autolrs published, two stages": (bench.centre, f"autolrs({ladder})", 8 * steps),
        "autolrs, forecast": (bench.centre, f'autolrs({ladder}, {bent}, forecaster="bounded")', 8 * steps),
        "autolrs, validation": (bench.centre, f'autolrs({ladder}, {bent}, score="last")', 8 * steps),
        # Intervals that reach four times the best rate: none of these may die.
        "race to 4x": (best, "race(low=0.03, high=4.0, k=6)", long),
        "autolrs to 4x": (best, "autolrs(low=0.03, high=4.0)", 8 * steps),
        "published to 4x": (best, "autolrs(published=true, low=0.03, high=4.0)", 8 * steps),
    }
    for seed in range(seeds):
        for name, (lr, text, budget) in told.items():
            horizon = round(_IN_WALL * steps) if name == "autolrs, wall" else steps
            if not bench.tuners or name in bench.tuners:
                yield Run(name, lr, seed, text, horizon, budget)


class Results:
    """What was found, kept in a file."""

    def __init__(self, path: Path, bench: Bench) -> None:
        self.path, self.bench = path, bench
        self.all: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        self.mine: dict[str, Any] = self.all.setdefault(bench.name, {})

    def make(self, runs: list[Run], machine: Machine) -> None:
        """Make the runs that are missing."""
        missing = [run for run in runs if run.key not in self.mine]
        for count, (run, found) in enumerate(made(self.bench, missing, machine), 1):
            self.mine[run.key] = found
            print(f"{self.bench.name} {count}/{len(missing)} {run.key}: {found['loss']:.4f}", file=sys.stderr)
            if count % 10 == 0 or count == len(missing):
                self.path.write_text(json.dumps(self.all))

    def forget(self, contenders: Sequence[str]) -> None:
        """Let go of the runs of these, made before they were changed."""
        for key in [key for key in self.mine if key.split("|")[0] in contenders]:
            del self.mine[key]

    def losses(self, contender: str, lr: float | None = None) -> Mapping[float, dict[int, float]]:
        """Rate -> seed -> loss."""
        found: dict[float, dict[int, float]] = {}
        for key, value in self.mine.items():
            name, rate, seed, *_ = key.split("|")
            if name == contender and (lr is None or float(rate) == float(f"{lr:g}")):
                found.setdefault(float(rate), {})[int(seed)] = value["loss"]
        return found

    def best(self, contender: str) -> tuple[float, dict[int, float]]:
        """The rate that is best on the mean over seeds, and the losses at it."""
        found = self.losses(contender)
        return min(found.items(), key=lambda one: float(np.mean(list(one[1].values()))))

    def counters(self, contender: str) -> tuple[float, float, float, int]:
        """Mean (kept, spent, wall) and how many did not complete."""
        mine = [value for key, value in self.mine.items() if key.split("|")[0] == contender]
        walls = [value["wall"] if value["wall"] is not None else np.nan for value in mine]
        means = (np.mean([value[name] for value in mine]) for name in ("kept", "spent"))
        dead = sum(not value["loss"] < CHANCE[self.bench.name] for value in mine)
        kept, spent = (float(mean) for mean in means)
        return kept, spent, float(np.nanmean(walls)), dead


def interval(differences: list[float]) -> str:
    """Mean and 95 % interval of paired differences (Student's t)."""
    from scipy.stats import t

    values = np.asarray(differences)
    if len(values) < 2:
        return f"{values.mean():+.4f}"
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


def horizon_of(results: Results, loss: float) -> str:
    """How long a cosine at the tuned rate needs for this loss, over the steps; "-" where none was run."""
    bench = results.bench
    curve = {1.0: float(np.mean(list(results.best("cosine")[1].values())))}
    for share in bench.horizons:
        found = results.losses(f"cosine x{share:g}")
        if found:
            curve[share] = float(np.mean(list(next(iter(found.values())).values())))
    if len(curve) == 1:
        return "-"
    shares = np.array(sorted(curve))
    # Seeds make the curve rise here and there: a longer run is never taken to be worse.
    losses = np.minimum.accumulate([curve[share] for share in shares])
    return f"{np.interp(-loss, -losses, shares):.2f}"


def table(results: Results) -> list[str]:
    """Markdown."""
    bench = results.bench
    lr, cosine = results.best("cosine")
    lines = [
        f"**{bench.name}, T = {bench.steps}, {len(cosine)} seeds; tuned cosine "
        f"{np.mean(list(cosine.values())):.4f} at {lr:g}**",
        "",
        "| contender | rate | loss | against tuned cosine, 95 % | horizon of a cosine / T "
        "| kept | spent | wall | dead |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    names = dict.fromkeys(key.split("|")[0] for key in results.mine)
    for name in names:
        if name.startswith("cosine x"):
            continue
        rate, losses = results.best(name)
        shared = sorted(set(losses) & set(cosine))
        mean = float(np.mean([losses[seed] for seed in shared]))
        kept, spent, wall, dead = results.counters(name)
        if name in SCHEDULES:
            kept = spent = wall = bench.steps
            dead = sum(not loss < CHANCE[bench.name] for loss in losses.values())
        lines.append(
            f"| {name} | {rate:g} | {mean:.4f} | {interval([losses[s] - cosine[s] for s in shared])} | "
            f"{horizon_of(results, mean)} | {kept:.0f} | {spent:.0f} | {wall:.0f} | {dead} |"
        )
    return lines


def device_name(device: str) -> str:
    """What runs were made on, in words."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def main() -> None:
    """Make what is missing, print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--task", nargs="+", default=["convnet", "transformer"], choices=list(BENCHES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--redo", nargs="+", default=[], help="contenders whose finished runs are forgotten")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lanes", type=int, default=LANES)
    parser.add_argument("--out", type=Path, default=Path("rates.json"))
    parser.add_argument("--table", action="store_true", help="make nothing, print what is there")
    options = parser.parse_args()
    machine = Machine(options.workers, options.device, options.lanes)
    print(f"{device_name(options.device)}, torch {torch.__version__}, {options.workers} workers.\n")
    for name in options.task:
        bench = BENCHES[name]
        results = Results(options.out, bench)
        results.forget(options.redo)
        if not options.table:
            results.make(list(baselines(bench, options.seeds)), machine)
            best = results.best("cosine")[0]
            results.make(list(horizons(bench, options.seeds, best)), machine)
            listening = [
                run
                for run in tuners(bench, options.seeds, best)
                if not options.only or run.contender in options.only
            ]
            results.make(listening, machine)
        print("\n".join(table(results)), end="\n\n")


if __name__ == "__main__":
    main()
