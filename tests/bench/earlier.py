"""What earlier studies are worth: the sampler told of a related one, of an unrelated and of an inverted one.

python -m tests.bench.earlier [--seeds 10] [--trials 40] [--sampler curve] [--problems honest,branches]

An earlier study is 60 trials drawn at random, its values in units of its own. Related: the optimum of every
number lies elsewhere, by a normal of 0.08 of its range. Unrelated: another instance of the same family.
Inverted: the worst of this problem are its best.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpo.bench.score import interval
from hpo.earlier.former import FormerStudy, FormerTrial
from hpo.earlier.mapping import taken
from hpo.events import EarlierTaken, StudyStarted, TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.problems.base import METRIC, Problem, build, expand, regret
from hpo.samplers.base import SAMPLERS
from hpo.samplers.base import build as sampler_named
from hpo.samplers.earlier import EarlierStarts
from hpo.space import Choice
from trials.seeding import stream
from trials.spec import Config, Report, TrialSpec

AT = (5, 10, 20, 40)
_EARLIER = 60
_APART = 0.08
Final = Callable[[Config], float]


@dataclass(frozen=True)
class Source:
    """A kind of earlier study of a problem: the final value of a config."""

    name: str
    final: Callable[[Problem, int], Final]


def _related(problem: Problem, seed: int) -> Final:
    space = problem.space
    moved = stream(seed, "related").normal(0.0, _APART, len(space.names))
    numbers = np.array([not isinstance(space.domains[name], Choice) for name in space.names])

    def final(config: Config) -> float:
        point = np.clip(space.encode([config])[0] + moved * numbers, 0.0, 1.0)
        return 3.0 * problem.final(space.decode(point)) + 1.0

    return final


def _unrelated(problem: Problem, seed: int) -> Final:
    family, _, instance = problem.name.partition(":")
    return build(f"{family}:{(int(instance) + 1 + seed % 4) % 5}").final


def _inverted(problem: Problem, seed: int) -> Final:
    return lambda config: -problem.final(config)


SOURCES = (
    Source("none", lambda problem, seed: problem.final),
    Source("related", _related),
    Source("unrelated", _unrelated),
    Source("inverted", _inverted),
)


def earlier(source: Source, problem: Problem, seed: int) -> EarlierTaken:
    """What the problem's study begins with."""
    rng = stream(seed, "earlier", problem.name)
    final = source.final(problem, seed)
    trials: list[FormerTrial] = []
    for _ in range(_EARLIER):
        config = problem.space.sample(rng)
        value = final(config)
        outcome = "completed" if np.isfinite(value) else "diverged"
        trials.append(FormerTrial(config, outcome, 1, {1: (value,)} if np.isfinite(value) else {}))
    return taken(source.name, FormerStudy("loss", trials), problem.space, source.name, 0.0)


def play(sampler: str, source: Source, problem: Problem, seed: int, trials: int) -> list[float]:
    """Regret of the best config after each trial, every trial trained to its end."""
    space, objective = problem.space, Objective(METRIC)
    one = sampler_named(sampler, space, objective, seed)
    if source.name != "none":
        if SAMPLERS[sampler].earlier == "starts":
            one = EarlierStarts(one, space, seed)
        one.tell(StudyStarted("bench", {}, seed, {}, "", 0.0))
        one.tell(earlier(source, problem, seed))
    best, found = 2.0, list[float]()
    for number in range(trials):
        (suggestion,) = one.ask(1)
        one.tell(TrialStarted(TrialSpec(number, suggestion.config, number, 1, (1,), 1, 0), 0.0))
        value = problem.final(suggestion.config)
        if np.isfinite(value):
            one.tell(TrialReported(Report(number, 1, 1, 1.0, {METRIC: value}), 0.0))
        one.tell(TrialFinished(number, "completed" if np.isfinite(value) else "diverged", 0.0))
        best = min(best, regret(problem, value))
        found.append(best)
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--sampler", default="curve")
    parser.add_argument("--sources", default=",".join(source.name for source in SOURCES))
    parser.add_argument("--problems", default="honest,branches")
    given = parser.parse_args()
    problems = [build(name) for name in expand(given.problems.split(","))]
    at = [n for n in AT if n <= given.trials]
    print(f"{given.sampler}, {given.seeds} seeds from {given.first_seed}, {len(problems)} problems")
    print("| earlier study |", " | ".join(f"{n} trials" for n in at), "| less none |")
    first: dict[int, list[float]] = {}
    for source in (one for one in SOURCES if one.name in given.sources.split(",")):
        began = time.perf_counter()
        seeds = range(given.first_seed, given.first_seed + given.seeds)
        runs = np.array(
            [[play(given.sampler, source, one, seed, given.trials) for one in problems] for seed in seeds]
        ).mean(1)  # (seeds, trials)
        if source.name == "none":
            first = {n: runs[:, n - 1].tolist() for n in at}
        cells = [str(interval(runs[:, n - 1].tolist())) for n in at]
        less = [str(interval(np.subtract(runs[:, n - 1], first[n]).tolist())) for n in at]
        print(f"| {source.name} |", " | ".join(cells), "|", "; ".join(less), "|", end=" ")
        print(f"{time.perf_counter() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
