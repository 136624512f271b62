"""Fold models of the leading trials, trained when the search is over.

A trial that trains on augmentation families has a score on shifted copies only by its fold models, which cost
as much again each. So the search goes by plain loss, and its leading third is scored afterwards: their fold
models are trials without a row of their own, of the same config and seed.
"""

from dataclasses import replace

from hpo.events import TrialFinished, TrialScored
from hpo.history import History, Trial
from hpo.shifted import of_families
from trials.spec import TrialSpec
from trials.validation import SHIFTED


def fold_specs(history: History) -> list[TrialSpec]:
    """What is to be trained for the leading trials that have no score yet."""
    return [
        replace(trial.spec, rungs=(trial.spec.budget,), parent=None, folds="alone")
        for trial in history.unscored
    ]


def whole(trial: Trial, scored: TrialScored) -> TrialScored:
    """The fold models' scores with the means over all families, the trial's own scores among them."""
    metrics = {**trial.metrics, **scored.metrics}
    names = [name.removeprefix("val_") for name in metrics if name.startswith("val_")]
    means = {name: list(of_families(metrics, name).values()) for name in names}
    added = {f"{SHIFTED}{name}": sum(values) / len(values) for name, values in means.items() if values}
    return replace(scored, metrics={**added, **scored.metrics})


def without_score(trial: int, ended: TrialFinished) -> TrialScored:
    """That a trial's fold models ended without a score, so that they are not trained again."""
    lines = ended.error.strip().splitlines()
    return TrialScored(trial, {}, 0, (), ended.time, lines[-1] if lines else ended.outcome)
