"""By how many seeds a trial's config was judged, and what they say, for every view of a study."""

from typing import Any, NamedTuple

import numpy as np

from hpo.history import LEAST_SEEDS, WITHOUT_VALUE, History, Trial
from hpo.posterior import LEVEL, quantile


class Judgement(NamedTuple):
    """Of the first metric of a config, as the user knows it."""

    mean: float
    low: float
    high: float
    seeds: int


def judgement(history: History, trial: Trial) -> Judgement | None:
    """What the seeds of a trial's config say; None where it has too few, or seeds play no role."""
    first = trial.spec.trial if trial.replica_of is None else trial.replica_of
    found = history.judged.get(first)
    if not found or found[0].seeds < LEAST_SEEDS or history.is_seedless:
        return None
    shown = history.objective.shown
    low, high = sorted((shown(found[0].low), shown(found[0].high)))
    return Judgement(shown(found[0].mean), low, high, found[0].seeds)


def judged_by(history: History, trial: Trial) -> str:
    """The same as a line; "" of a trial that is not complete, or where scores on shifted copies choose."""
    if trial.state != "completed" or history.objective.is_ranked or history.objective.final.is_ranked:
        return ""
    seeds = history.seeds(trial)
    broke = [str(one.spec.trial) for one in seeds if one.state in WITHOUT_VALUE]
    if broke:
        named = f"trial{'s' if len(broke) > 1 else ''} {', '.join(broke)}"
        return f"not judged: with {len(broke)} of {len(seeds)} seeds it broke off ({named})"
    found = judgement(history, trial)
    if found is not None:
        numbers = ", ".join(str(one.spec.trial) for one in seeds)
        plain = history.objective.shown(float(np.mean([history.value(one) for one in seeds])))
        mean, low, high = (f"{value:.4g}" for value in found[:3])
        return (
            f"judged by {found.seeds} seeds: {history.objective.metric} {plain:.4g} on average, {mean} "
            f"expected of further seeds, {low} to {high} at {LEVEL:.0%} (trials {numbers})"
        )
    if history.is_seedless:
        return "judged by one seed: others gave the same, to the last digit"
    return "judged by one seed, so that part of its lead may be luck: see --replicas"


def reported_by(history: History) -> str:
    """What test seeds say of the chosen config, as a line; "" where there are none.

    The interval is Student's.
    """
    finish = history.finish
    if finish is None or not finish.seeds:
        return ""
    goal = history.objective
    values = [found[goal.metric] for found in finish.seeds.values() if goal.metric in found]
    broke = len(finish.seeds) - len(values)
    said = f"trained again with {len(finish.seeds)} seeds that chose nothing"
    if len(values) > 1:
        mean = float(np.mean(values))
        width = quantile(len(values) - 1) * float(np.std(values, ddof=1)) / len(values) ** 0.5
        said += (
            f": {goal.metric} {mean:.4g} on average, {mean - width:.4g} to {mean + width:.4g} at {LEVEL:.0%}"
        )
    elif values:
        said = f"trained again with a seed that chose nothing: {goal.metric} {values[0]:.4g}"
    return said + (f"; with {broke} of them it broke off" if broke else "")


def table(history: History, trial: Trial) -> dict[str, Any]:
    """The same for machines; {"seeds": 1} where one seed judges."""
    found = judgement(history, trial)
    if found is None:
        return {"seeds": 1}
    return {**found._asdict(), "level": LEVEL, "trials": [one.spec.trial for one in history.seeds(trial)]}
