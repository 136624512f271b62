"""Which hyperparameters mattered: the share of each in the spread of what the trials reached.

Functional analysis of variance: Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing
Hyperparameter Importance", ICML 2014; Optuna's estimator, with random forests.
"""

import importlib

import numpy as np

from hpo.history import History
from hpo.samplers.finals import finals, worst
from hpo.space import Choice, Space

FEWEST_TRIALS = 4  # the shares of fewer are noise
MOST_TRIALS = 256  # the estimator takes about 6 ms for each


def preload() -> None:
    """Import what the estimator needs, at a moment when the process would only wait."""
    for name in ("sklearn.ensemble", "optuna.importance._fanova"):
        importlib.import_module(name)


def importance(history: History, space: Space) -> dict[str, float]:
    """Name of every searched hyperparameter -> its share, highest first; shares add up to 1.

    Completed trials count with their values, stopped ones with stand-ins, diverged ones with the worst value;
    all as ranks, so that one huge loss does not decide. An inactive hyperparameter counts as being in the
    middle of its domain. Empty when there are too few trials, or nothing tells them apart.
    """
    values = finals(history)
    penalty = worst(values)
    values |= {n: penalty for n, trial in history.trials.items() if trial.state == "diverged"}
    numbers = sorted(
        (n for n in values if space.holds(history.trials[n].spec.config)), key=lambda n: (values[n], n)
    )
    if len(numbers) > MOST_TRIALS:
        numbers = [numbers[index * len(numbers) // MOST_TRIALS] for index in range(MOST_TRIALS)]
    ranks = np.unique([values[n] for n in numbers], return_inverse=True)[1]
    if len(numbers) < FEWEST_TRIALS or not ranks.any():
        return {}

    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    from hpo.samplers.optuna import Storage, frozen_trial, quiet

    # On the scale it is searched on; the estimator itself knows no logarithms.
    distributions: dict[str, BaseDistribution] = {
        name: CategoricalDistribution(range(len(domain.choices)))
        if isinstance(domain, Choice)
        else FloatDistribution(0.0, 1.0)
        for name, domain in space.domains.items()
    }
    points = space.encode([history.trials[n].spec.config for n in numbers])
    trials = [
        frozen_trial(index, _params(space, point), distributions, [float(rank)])
        for index, (point, rank) in enumerate(zip(points, ranks, strict=True))
    ]
    with quiet():
        shares = optuna.importance.get_param_importances(
            optuna.Study(study_name="", storage=Storage(trials, {})),
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
        )
    return {name: float(share) for name, share in shares.items()}


def _params(space: Space, point: np.ndarray) -> dict[str, float | int]:
    params: dict[str, float | int] = {}
    for name, coordinate in zip(space.names, point.tolist(), strict=True):
        domain = space.domains[name]
        if isinstance(domain, Choice):
            params[name] = domain.index(domain.decode(coordinate))
        else:
            params[name] = coordinate
    return params
