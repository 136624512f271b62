"""What a suggestion costs: ours against Optuna's samplers, milliseconds of the processor.

OMP_NUM_THREADS=1 python -m tests.bench.latency [--runs 5] [--trials 1000] [--only "curve; Optuna TPE"]

One thread, as matrices are small: a second one spins, and its time counts.

Eight numbers, a sum of squares with noise, every trial ended before the next is asked for. Amortised: asking
and telling over the whole study, divided by its trials. At the end: one more suggestion, and a batch of 32.
The Gaussian process of Optuna takes seconds with so many trials: it is told of all of them, and asked once.
"""

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from hpo.events import (
    EarlierResult,
    EarlierTaken,
    StudyStarted,
    TrialFinished,
    TrialReported,
    TrialStarted,
)
from hpo.objective import Objective
from hpo.problems.base import METRIC
from hpo.samplers.base import Sampler
from hpo.samplers.base import build as sampler_named
from hpo.samplers.optuna import quiet
from hpo.space import Float, Space
from trials.spec import Config, Report, TrialSpec

_BATCH = 32
NAMES = tuple(f"h{number}" for number in range(8))
SPACE = Space({name: Float(0.0, 1.0) for name in NAMES})


@dataclass(frozen=True)
class Costs:
    """Milliseconds of the processor."""

    amortised: float  # a trial; nan where the study was not played
    one: float
    batch: float  # nan where it was not asked for


def value(config: Config, rng: np.random.Generator) -> float:
    return sum((float(config[name]) - 0.4) ** 2 for name in NAMES) + 0.01 * float(rng.normal())


def milliseconds(act: Callable[[], object]) -> float:
    began = time.process_time()
    act()
    return 1e3 * (time.process_time() - began)


def ours(name: str, trials: int, seed: int, earlier: int = 0) -> Costs:
    """One of our samplers, told of an earlier study where so many trials of one are given."""
    sampler = sampler_named(name, SPACE, Objective(METRIC), seed)
    rng = np.random.default_rng(seed)
    sampler.tell(StudyStarted("latency", {}, seed, {}, "", 0.0))
    spent = 0.0
    if earlier:
        configs = [SPACE.sample(rng) for _ in range(earlier)]
        results = tuple(EarlierResult(config, (value(config, rng),), 0.0) for config in configs)
        told = EarlierTaken("old", METRIC, results, NAMES, (), (), {}, 0.0)
        spent += milliseconds(lambda: sampler.tell(told))
    for trial in range(trials):
        spent += milliseconds(lambda: sampler.ask(1))
        config = sampler.ask(1)[0].config  # known by now
        found = value(config, rng)
        spent += milliseconds(
            lambda config=config, trial=trial, found=found: tell(sampler, trial, config, found)
        )
    one = milliseconds(lambda: sampler.ask(1))
    sampler.tell(StudyStarted("latency", {}, seed, {}, "", 0.0))  # what is told empties what was asked
    return Costs(spent / trials, one, milliseconds(lambda: sampler.ask(_BATCH)))


def tell(sampler: Sampler, trial: int, config: Config, found: float) -> None:
    """A whole trial."""
    sampler.tell(TrialStarted(TrialSpec(trial, config, 0, 1, (1,), 1, 0), 0.0))
    sampler.tell(TrialReported(Report(trial, 1, 1, 1.0, {METRIC: found}), 0.0))
    sampler.tell(TrialFinished(trial, "completed", 0.0))


def theirs(sampler: optuna.samplers.BaseSampler, trials: int, seed: int, plays: bool) -> Costs:
    """One of Optuna's, through its own library, in memory."""
    rng = np.random.default_rng(seed)
    study = optuna.create_study(sampler=sampler)
    distributions: dict[str, BaseDistribution] = {name: FloatDistribution(0.0, 1.0) for name in NAMES}
    spent = 0.0
    for _ in range(trials):
        if plays:
            began = time.process_time()
            trial = study.ask(distributions)
            spent += time.process_time() - began
            found = value(trial.params, rng)
            began = time.process_time()
            study.tell(trial, found)
            spent += time.process_time() - began
        else:
            config = SPACE.sample(rng)
            study.add_trial(
                optuna.trial.create_trial(
                    params=dict(config), distributions=distributions, value=value(config, rng)
                )
            )
    one = milliseconds(lambda: study.ask(distributions))
    if not plays:
        return Costs(np.nan, one, np.nan)
    batch = milliseconds(lambda: [study.ask(distributions) for _ in range(_BATCH)])
    return Costs(1e3 * spent / trials, one, batch)


ROWS: dict[str, Callable[[int, int], Costs]] = {
    "curve": lambda trials, seed: ours("curve", trials, seed),
    "curve, told of an earlier study of 100": lambda trials, seed: ours("curve", trials, seed, 100),
    "our tpe": lambda trials, seed: ours("tpe", trials, seed),
    "Optuna TPE": lambda trials, seed: theirs(
        optuna.samplers.TPESampler(seed=seed, multivariate=True), trials, seed, True
    ),
    "Optuna GP": lambda trials, seed: theirs(optuna.samplers.GPSampler(seed=seed), trials, seed, False),
}


def shown(values: list[float]) -> str:
    """The median, and the least and the most."""
    if np.isnan(values).any():
        return "-"
    return f"{np.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")), "CPU")
    print(f"{name}, Python {platform.python_version()}, numpy {np.__version__}, Optuna {optuna.__version__}")
    print(f"| sampler | ms a trial over {given.trials} | one more | batch of {_BATCH} |")
    print("| --- | --- | --- | --- |")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    wanted = [one.strip() for one in given.only.split(";") if one.strip()]
    with quiet():
        for row, measure in ROWS.items():
            if wanted and row not in wanted:
                continue
            found = [measure(given.trials, seed) for seed in range(given.runs)]
            cells = [
                shown([one.amortised for one in found]),
                shown([one.one for one in found]),
                shown([one.batch for one in found]),
            ]
            print(f"| {row} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
