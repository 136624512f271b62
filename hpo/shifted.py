"""Choosing by scores on shifted copies: which of several trials is likely to do best on data from elsewhere.

A plain mean over families is shown and searched by. The winner is chosen by the mean of standardised scores:
each family counts in standard deviations of the trials that are any good, so that one on which they hardly
differ, or one on which they differ most, does not decide alone. On four domains of digits it followed the
accuracy on unseen domains at least as closely as the plain mean and as a mean weighed by difficulty. The
worst family alone was the noisiest choice and is never used.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hpo.objective import Objective
from trials.validation import SHIFTED

COMPETENT = 0.05  # of accuracy below the best on the validation split


@dataclass(frozen=True, slots=True)
class Setting:
    """What one trial scored, higher being better."""

    trial: int
    families: Mapping[str, float]  # family -> score on its copy; the same families for all
    plain: float  # the same score on the validation split
    loss: float = math.inf  # on the validation split; decides between equals


def name_of(metric: str) -> str:
    """The task's own name of a shifted metric.

    >>> name_of("shifted_accuracy")
    'accuracy'
    """
    return metric.removeprefix(SHIFTED)


def of_families(metrics: Mapping[str, float], name: str) -> dict[str, float]:
    """Family -> a metric on its copy, of a report of a trial's last rung.

    >>> of_families({"val_top": 0.5, "val_top_five": 0.9, "shifted_top_five_blur": 0.8}, "top")
    {}
    >>> of_families({"val_top": 0.5, "shifted_top": 0.4, "shifted_top_blur": 0.4}, "top")
    {'blur': 0.4}
    """
    begins = f"{SHIFTED}{name}_"
    longer = {one.removeprefix("val_") for one in metrics if one.startswith(f"val_{name}_")}
    others = {f"{SHIFTED}{one}" for one in longer}
    return {
        key.removeprefix(begins): value
        for key, value in metrics.items()
        if key.startswith(begins)
        and key not in others
        and not any(key.startswith(f"{other}_") for other in others)
    }


def setting(trial: int, metrics: Mapping[str, float], objective: Objective) -> Setting | None:
    """The trial by the objective's shifted metric; None where a family has no finite score."""
    name, sign = name_of(objective.metric), 1.0 if objective.goal == "max" else -1.0
    families = {family: sign * value for family, value in of_families(metrics, name).items()}
    is_whole = objective.metric in metrics and all(map(math.isfinite, families.values()))
    if not families or not is_whole:
        return None
    plain = sign * metrics.get(f"val_{name}", math.nan)
    return Setting(trial, families, plain, metrics.get("val_loss", math.inf))


def competent(settings: Sequence[Setting]) -> list[Setting]:
    """Those whose plain score is near the best; all of them where none has a plain score."""
    known = [one.plain for one in settings if math.isfinite(one.plain)]
    return [one for one in settings if not known or one.plain >= max(known) - COMPETENT]


def standardised(settings: Sequence[Setting]) -> dict[int, float]:
    """Trial -> its mean over families, each standardised over the competent settings (z-mean).

    A family on which these are all alike is left as it is.

    >>> standardised([Setting(0, {"blur": 1.0}, 1.0), Setting(1, {"blur": 3.0}, 1.0)])
    {0: -1.0, 1: 1.0}
    """
    names = list(settings[0].families)
    table = np.array([[one.families[name] for name in names] for one in settings])
    good = {one.trial for one in competent(settings)}
    known = table[[one.trial in good for one in settings]]
    spread = known.std(0)
    z = (table - known.mean(0)) / np.where(spread > 0, spread, 1.0)
    return {one.trial: float(mean) for one, mean in zip(settings, z.mean(1), strict=True)}


def ranked(settings: Iterable[Setting]) -> list[Setting]:
    """The settings, best first: by standardised families, equals by plain loss, then by number.

    Raises:
        ValueError: they are scored on different families.
    """
    every = list(settings)
    if not every:
        return []
    families = every[0].families.keys()
    if any(one.families.keys() != families for one in every):
        raise ValueError("settings are ranked by the same families, and these differ")
    score = standardised(every)
    return sorted(every, key=lambda one: (-round(score[one.trial], 9), one.loss, one.trial))


def leading(losses: Mapping[int, float], share: float = 1 / 3) -> list[int]:
    """The trials of the lowest plain loss, a share of all, one at least; lowest first.

    >>> leading({0: 0.4, 1: 0.1, 2: 0.3, 3: 0.2})
    [1, 3]
    """
    finite = {trial: loss for trial, loss in losses.items() if math.isfinite(loss)}
    order = sorted(finite, key=lambda trial: (finite[trial], trial))
    return order[: math.ceil(share * len(order))]
