"""Does a loss law foretell which schedule is best? Fitted on two short runs, asked about long ones, tried.

    python -m tests.bench.predicted [--seeds 5] [--peak 0.002] [--out predicted.json]

The character transformer: a constant rate and one WSD run of 750 steps fit the law (mean over seeds of the
training loss, averaged over ten steps). The law foretells the last loss of cosine, linear, WSD, REX and the
schedule optimised on it, at 1,500 steps and the same peak; then all of them are trained.
"""

import argparse
from pathlib import Path

import numpy as np

from schedules import build, every_step, thin, to_text
from schedules.laws import Curve, fit, optimise, planned
from schedules.types import Schedule
from tests.bench.rates import Results, interval
from tests.bench.rates_runs import BENCHES, SCHEDULES, WINDOW, Machine, Run, warmed

SHORT, LONG = 750, 1500
LAST = 5  # windows that the last loss is averaged over
TRIED = ("cosine", "linear", "wsd", "rex")


def runs(name: str, text: str, steps: int, peak: float, seeds: int) -> list[Run]:
    """One run for each seed."""
    return [Run(name, peak, seed, text, steps, steps) for seed in range(seeds)]


def mean_curve(results: Results, made: list[Run]) -> np.ndarray:
    """(n,) training losses, averaged over ten steps and over seeds."""
    return np.mean([results.mine[run.key]["curve"] for run in made], axis=0)


def as_curve(losses: np.ndarray, schedule: Schedule, peak: float, name: str) -> Curve:
    """The middle of each window, the rate there, and the loss."""
    steps = np.arange(len(losses)) * WINDOW + WINDOW // 2
    return Curve(steps, peak * schedule(steps), losses, name=name)


def main() -> None:
    """Fit, foretell, train, compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peak", type=float, default=0.002)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("predicted.json"))
    options = parser.parse_args()
    machine = Machine(options.workers)
    results = Results(options.out, BENCHES["transformer"])
    peak, seeds = options.peak, options.seeds
    curves: list[Curve] = []
    for name in ("constant", "wsd"):
        made = runs(f"short {name}", warmed(SCHEDULES[name]), SHORT, peak, seeds)
        results.make(made, machine)
        schedule = build(warmed(SCHEDULES[name]), SHORT)
        curves.append(as_curve(mean_curve(results, made), schedule, peak, name))
    law = fit(curves)
    best = optimise(law, LONG, peak, warmup_steps=LONG // 20)
    factors = best.schedule(np.arange(LONG))
    texts = {name: warmed(SCHEDULES[name]) for name in TRIED}
    texts["optimised"] = to_text(thin(every_step(factors).factors))
    print(
        f"optimised: hold {best.hold_fraction:.2f} of the steps after warm-up, then power {best.power:.2f}\n"
    )
    print("| schedule | foretold last training loss | came | validation loss | against cosine, 95 % |")
    print("| --- | --- | --- | --- | --- |")
    foretold: dict[str, float] = {}
    came: dict[str, float] = {}
    cosine: dict[int, float] = {}
    for name, text in texts.items():
        made = runs(f"long {name}", text, LONG, peak, seeds)
        results.make(made, machine)
        schedule = best.schedule if name == "optimised" else build(text, LONG)
        losses = law.predict(planned(schedule, LONG, peak)).losses
        foretold[name] = float(np.mean(losses[-LAST * WINDOW :]))
        came[name] = float(mean_curve(results, made)[-LAST:].mean())
        report = {run.seed: results.mine[run.key]["loss"] for run in made}
        cosine = cosine or report
        against = interval([report[seed] - cosine[seed] for seed in report])
        mean = np.mean(list(report.values()))
        print(f"| {name} | {foretold[name]:.4f} | {came[name]:.4f} | {mean:.4f} | {against} |")
    orders = [sorted(table, key=lambda name, table=table: table[name]) for table in (foretold, came)]
    print(f"\norder foretold: {', '.join(orders[0])}; came: {', '.join(orders[1])}")


if __name__ == "__main__":
    main()
