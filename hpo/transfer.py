"""What scores on shifted copies and on targets say of a study's trials: for the report.

Nothing here chooses: targets are read when selection is over, and this tells what the choice was worth.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpo.compared import compared
from hpo.correlation import Interval, correlation, correlation_gain
from hpo.history import History, Trial
from hpo.objective import Objective
from hpo.records import Examples, target_name
from hpo.reliability import RELIABLE, split_half
from hpo.scores import found_scores, plain_examples, shifted_examples
from hpo.shifted import Setting, competent, name_of, of_families, setting, standardised

PLAIN, MEAN, STANDARDISED = "plain", "shifted, mean", "shifted, families standardised"  # scores
_LEAST = 3  # trials that a ranking is about
_METRICS = ("accuracy", "loss")  # that are told of where a study's own metric is no shifted one


@dataclass(frozen=True, slots=True)
class Judged:
    """One trial on data of the source, on shifted copies and elsewhere; numbers as the user knows them."""

    trial: int
    plain: float
    families: Mapping[str, float]  # without any, nothing was scored on shifted copies
    mean: float
    worst: str  # family
    standardised: float  # by which shifted scores choose; higher is better, whatever the metric
    targets: Mapping[str, float]
    narrow: tuple[str, ...]  # families that were scored by a model that trains on none


@dataclass(frozen=True, slots=True)
class Chosen:
    """The trial that a score would choose."""

    score: str
    trial: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far a score agrees with itself on other examples, over trials that are near the best plainly."""

    score: str
    value: float
    trials: int

    @property
    def advice(self) -> str:
        """What follows for whoever chooses by it."""
        if math.isnan(self.value):
            return "too few trials, or all alike"
        if self.value >= RELIABLE:
            return "tells these trials apart"
        return f"below {RELIABLE:g} among competent settings: it cannot rank them"


@dataclass(frozen=True, slots=True)
class Foretold:
    """How far scores rank trials as a target does, over the trials that it was read for."""

    target: str
    trials: int
    plain: Interval
    shifted: Interval
    gain: Interval  # of the shifted over the plain


def told_metric(history: History) -> Objective:
    """The task's metric that is told of, by its own name: that of the study where it is a shifted one."""
    final = history.objective.final
    if history.objective.is_ranked:
        return Objective(name_of(final.metric), final.goal)
    known = {name for trial in history.trials.values() for name in trial.metrics}
    named = final.metric.removeprefix("val_")
    if named != final.metric and f"shifted_{named}" in known:
        return Objective(named, final.goal)
    name = next((name for name in _METRICS if f"val_{name}" in known), "loss")
    return Objective(name, "max" if name == "accuracy" else "min")


def judged(history: History, count: int) -> list[Judged]:
    """The trials that a report compares, best first."""
    metric = told_metric(history)
    shifted = Objective(f"shifted_{metric.metric}", metric.goal)
    done = [trial for trial in history.trials.values() if trial.state == "completed"]
    settings = [setting(trial.spec.trial, trial.metrics, shifted) for trial in done]
    # Over all trials that the winner was chosen among, not those alone that are shown.
    found = _standardised([one for one in settings if one is not None])
    return [
        _judged(history, trial, metric, found.get(trial.spec.trial, math.nan))
        for trial in compared(history, count)
    ]


def _standardised(settings: Sequence[Setting]) -> dict[int, float]:
    """Of the trials that have a score on as many families as any."""
    most = max((len(one.families) for one in settings), default=0)
    whole = [one for one in settings if len(one.families) == most]
    return standardised(whole) if whole else {}


def _judged(history: History, trial: Trial, metric: Objective, standardised_mean: float) -> Judged:
    sign = 1.0 if metric.goal == "max" else -1.0
    families = of_families(trial.metrics, metric.metric)
    worst = min(families, key=lambda name: sign * families[name]) if families else ""
    targets = history.targeted.get(trial.spec.trial, {})
    return Judged(
        trial.spec.trial,
        trial.metrics.get(f"val_{metric.metric}", math.nan),
        families,
        float(np.mean(list(families.values()))) if families else math.nan,
        worst,
        standardised_mean,
        {name: found.get(metric.metric, math.nan) for name, found in targets.items()},
        trial.narrow,
    )


def choices(judgements: Sequence[Judged], metric: Objective) -> list[Chosen]:
    """What the plain score and those on shifted copies would choose."""
    sign = 1.0 if metric.goal == "max" else -1.0
    scores = {
        PLAIN: {one.trial: one.plain for one in judgements},
        MEAN: {one.trial: one.mean for one in judgements},
        STANDARDISED: {one.trial: sign * one.standardised for one in judgements},
    }
    found: list[Chosen] = []
    for score, values in scores.items():
        finite = {trial: sign * value for trial, value in values.items() if math.isfinite(value)}
        if finite:
            found.append(Chosen(score, max(finite, key=finite.__getitem__)))
    return found


def reliabilities(history: History, folder: Path) -> list[Reliability]:
    """Of the plain score and of the mean over families, by what every example scored."""
    metric = told_metric(history)
    completed = [number for number, trial in history.trials.items() if trial.state == "completed"]
    scores = {
        number: one for number, one in found_scores(folder, completed).items() if metric.metric in one.metrics
    }
    if not scores:
        return []
    sign = 1.0 if metric.goal == "max" else -1.0
    plain = sign * plain_examples(scores.values(), metric.metric)
    shifted = sign * shifted_examples(scores.values(), metric.metric)
    settings = [Setting(number, {}, float(row.mean())) for number, row in zip(scores, plain, strict=True)]
    good = {one.trial for one in competent(settings)}
    keep = np.array([number in good for number in scores])
    whole = keep & np.isfinite(shifted).all(1)
    return [
        Reliability("plain", split_half(plain[keep]), int(keep.sum())),
        Reliability("shifted", split_half(shifted[whole]), int(whole.sum())),
    ]


def foretold(history: History, folder: Path) -> list[Foretold]:
    """For every target, how plain and shifted scores rank the trials that it was read for."""
    metric = told_metric(history)
    sign = 1.0 if metric.goal == "max" else -1.0
    names = dict.fromkeys(name for found in history.targeted.values() for name in found)
    found: list[Foretold] = []
    for name in names:
        path = folder / target_name(name)
        if not path.is_file():
            continue
        read = {
            number: values[metric.metric]
            for number, values in Examples.load(path).trials.items()
            if metric.metric in values
        }
        scores = {
            number: one
            for number, one in found_scores(folder, read).items()
            if metric.metric in one.metrics and not np.isnan(one.metrics[metric.metric]).any()
        }
        if len(scores) < _LEAST:
            continue
        target: NDArray[np.float64] = sign * np.array([read[number] for number in scores], np.float64)
        plain = sign * plain_examples(scores.values(), metric.metric)
        shifted = sign * shifted_examples(scores.values(), metric.metric)
        found.append(
            Foretold(
                name,
                len(scores),
                correlation(plain, target),
                correlation(shifted, target),
                correlation_gain(shifted, plain, target),
            )
        )
    return found
