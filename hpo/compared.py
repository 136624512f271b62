"""The trials that a report compares and targets are read for: the best, and what other metrics choose."""

import math
from collections.abc import Callable

from hpo.history import History, Trial

COMPARED = 8  # best trials, unless a study says otherwise

# What a study could have been chosen by, besides its own metric, and whether more is better.
_RIVALS: tuple[tuple[str, float], ...] = (
    ("val_loss", -1.0),
    ("val_accuracy", 1.0),
    ("shifted_loss", -1.0),
    ("shifted_accuracy", 1.0),
)


def compared(history: History, count: int = COMPARED) -> list[Trial]:
    """The best completed trials, best first; then those that another metric would have chosen.

    Unless scores on shifted copies rank them, a trial that is not among them when it ends never is later, so
    that its row need not be kept.
    """
    completed = [trial for trial in history.trials.values() if trial.state == "completed" and trial.reports]

    def best(value: Callable[[Trial], float], most: int) -> list[Trial]:
        finite = [trial for trial in completed if math.isfinite(value(trial))]
        return sorted(finite, key=lambda trial: (value(trial), trial.spec.trial))[:most]

    ranked = [history.trials[number] for number in history.ranking]
    own = best(history.value, count)
    if not history.objective.is_single:
        places = history.fronts
        known = [trial for trial in completed if trial.spec.trial in places]
        own = sorted(
            known, key=lambda trial: (places[trial.spec.trial], history.value(trial), trial.spec.trial)
        )
    order = {trial.spec.trial: trial for trial in (*ranked, *own[:count])}
    found = list(order.values())[:count]
    for name, sign in _RIVALS:
        found += best(lambda trial, n=name, s=sign: -s * trial.metrics.get(n, math.nan), 1)
    return list({trial.spec.trial: trial for trial in found}.values())
