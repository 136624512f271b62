"""What it is worth to look for improvement per second, where seconds are what a study may spend.

python -m tests.bench.costs [--seeds 10] [--first-seed 0] [--problems costly,honest] [--trainings 40]

A study has so many seconds as that many trainings of the usual config take. Regret is that of the incumbent
at a quarter, a half and all of them, in simulated time.
"""

import argparse
from dataclasses import dataclass, field

import numpy as np

from hpo.bench.play import rungs
from hpo.bench.score import interval
from hpo.events import Event, StudyStarted, TrialFinished
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Plan, Search
from hpo.objective import Objective
from hpo.problems.base import METRIC, Problem, build, expand, regret, trial_of
from hpo.pruners.base import build as pruner_named
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers.base import build as sampler_named
from hpo.store import Memory

AT = (0.25, 0.5, 1.0)  # of the seconds
_DRAWS = 101


@dataclass
class _Watching:
    """When the incumbent changed, and what it is worth."""

    problem: Problem
    history: History
    found: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])

    def tell(self, event: Event) -> None:
        if isinstance(event, TrialFinished) and self.history.incumbents:
            config = self.history.trials[self.history.incumbents[-1].trial].spec.config
            self.found.append((event.time, regret(self.problem, self.problem.final(config))))

    def at(self, seconds: float) -> float:
        return next((value for time, value in reversed(self.found) if time <= seconds), 2.0)


def usual(problem: Problem) -> float:
    """Seconds that a training of the middle one of random configs takes."""
    rng = np.random.default_rng(0)
    drawn = [problem.seconds_per_step(problem.space.sample(rng)) for _ in range(_DRAWS)]
    return problem.steps * float(np.median(drawn))


def play(problem: Problem, cost: str, seed: int, trainings: float) -> tuple[list[float], int]:
    """(regret at each of `AT`, trials)."""
    objective, seconds = Objective(METRIC), trainings * usual(problem)
    history = History(objective)
    runner = ReplayedRunner(Target(problem.name), 1, trial_of(problem, is_timed=True))
    watching = _Watching(problem, history)
    Search(
        Memory(),
        sampler_named("curve", problem.space, objective, seed, {"cost": cost}),
        pruner_named("never", objective, {}),
        runner,
        history,
        Limits(seconds=seconds),
        Plan(problem.steps, rungs(problem.steps), problem.steps, seed, 0),
        StudyStarted(problem.name, {"limits": {"seconds": seconds}}, seed, {}, "", runner.clock()),
        [watching],
        clock=runner.clock,
    ).run()
    runner.close()
    return [watching.at(share * seconds) for share in AT], len(history.trials)


def main() -> None:
    """Print a table for each family of problems."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--problems", default="costly,honest")
    parser.add_argument("--trainings", type=float, default=40)
    parser.add_argument("--modes", default="never,auto")
    given = parser.parse_args()
    for family in given.problems.split(","):
        problems = [build(name) for name in expand([family])][:10]
        print(f"{family}: {len(problems)} problems, {given.seeds} seeds from {given.first_seed}")
        first: np.ndarray | None = None
        for mode in given.modes.split(","):
            seeds = range(given.first_seed, given.first_seed + given.seeds)
            played = [[play(one, mode, seed, given.trainings) for one in problems] for seed in seeds]
            runs = np.array([[regrets for regrets, _ in row] for row in played]).mean(1)  # (seeds, at)
            first = runs if first is None else first
            cells = [str(interval(column)) for column in runs.T.tolist()]
            less = [str(interval(column)) for column in (runs - first).T.tolist()]
            trials = np.mean([count for row in played for _, count in row])
            print(f"| {mode} |", " | ".join(cells), "|", " | ".join(less), f"| {trials:.0f} |", flush=True)


if __name__ == "__main__":
    main()
