"""By how many seeds a trial's config was judged, and what they say, for every view of a study."""

from typing import Any, NamedTuple

from hpo.history import LEAST_SEEDS, History, Trial
from hpo.posterior import LEVEL


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
    found = judgement(history, trial)
    if found is not None:
        numbers = ", ".join(str(one.spec.trial) for one in history.seeds(trial))
        mean, low, high = (f"{value:.4g}" for value in found[:3])
        return (
            f"judged by {found.seeds} seeds: {history.objective.metric} {mean} on average, {low} to {high} "
            f"at {LEVEL:.0%} (trials {numbers})"
        )
    if history.is_seedless:
        return "judged by one seed: others gave the same, to the last digit"
    return "judged by one seed, so that part of its lead may be luck: see --replicas"


def table(history: History, trial: Trial) -> dict[str, Any]:
    """The same for machines; {"seeds": 1} where one seed judges."""
    found = judgement(history, trial)
    if found is None:
        return {"seeds": 1}
    return {**found._asdict(), "level": LEVEL, "trials": [one.spec.trial for one in history.seeds(trial)]}
