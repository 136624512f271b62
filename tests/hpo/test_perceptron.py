"""The recorded perceptron, on which a cut at the first reports loses the winner."""

import numpy as np
from scipy.stats import spearmanr

from hpo.bench.play import rungs
from hpo.events import StudyStarted
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Plan, Search
from hpo.objective import Objective
from hpo.problems.base import METRIC, build, trial_of
from hpo.pruners.asha import Asha
from hpo.pruners.base import Pruner
from hpo.pruners.trust import Trust
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers.random import Random
from hpo.store import Memory

SEEDS = [build(f"perceptron:{instance}") for instance in range(6)]
TRIALS = 40


def searched(pruner: Pruner, seed: int) -> History:
    """A study of random configs on one of the six seeds."""
    problem, history = SEEDS[seed % 6], History(Objective(METRIC))
    runner = ReplayedRunner(Target(problem.name), 1, trial_of(problem))
    Search(
        *(Memory(), Random(problem.space, seed), pruner, runner, history),
        Limits(trials=TRIALS),
        Plan(problem.steps, rungs(problem.steps), problem.steps, seed, 0),
        StudyStarted(problem.name, {}, seed, {}, "", 0.0),
        clock=runner.clock,
    ).run()
    runner.close()
    return history


def is_lost(history: History, seed: int) -> bool:
    """Whether none of the trials that end best was completed; recorded configs may be drawn twice."""
    final = SEEDS[seed % 6].final
    ends = {number: final(trial.spec.config) for number, trial in history.trials.items()}
    best = [number for number, end in ends.items() if end <= min(ends.values())]
    return all(history.trials[number].state != "completed" for number in best)


def saved(history: History) -> float:
    """Share of the steps of full trainings."""
    return 1 - history.spent / sum(trial.spec.budget for trial in history.trials.values())


def test_the_first_reports_say_the_opposite_of_the_end() -> None:
    rng = np.random.default_rng(0)
    configs = [SEEDS[0].space.sample(rng) for _ in range(100)]
    correlations: list[float] = []
    for problem in SEEDS:
        curves = np.array([problem.curve(config, 0) for config in configs])
        correlations.append(float(spearmanr(curves[:, 0], curves[:, -1])[0]))
    assert max(correlations) < -0.2
    assert -0.6 < np.mean(correlations) < -0.3


def test_trust_never_stops_the_winner_where_a_cut_at_early_rungs_loses_it() -> None:
    trusting = [searched(Trust(Objective(METRIC)), seed) for seed in range(20)]
    assert not any(is_lost(history, seed) for seed, history in enumerate(trusting))
    assert np.mean([saved(history) for history in trusting]) > 0.25
    cutting = [searched(Asha(Objective(METRIC), eta=3, rungs=3), seed) for seed in range(20)]
    assert np.mean([is_lost(history, seed) for seed, history in enumerate(cutting)]) > 0.5
