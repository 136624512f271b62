"""An earlier study as its source has it, and what each of its trials came to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hpo.bounds import Bound
from hpo.events import Outcome, TrialFinished, TrialReported, TrialStarted
from hpo.forecasts import Forecasts
from hpo.objective import Objective, is_known
from trials.spec import Report, TrialSpec

_VALUE = "value"
_FAR = 1e9  # beyond a bound, where it is infinitely far


@dataclass(frozen=True, slots=True)
class FormerTrial:
    """A trial that ended, or that was paused.

    What it reported is a value of every metric that this study seeks, to be minimised.
    """

    config: Mapping[str, Any]
    outcome: Outcome
    budget: int  # steps that it would have had in all
    reports: Mapping[int, tuple[float, ...]] = field(default_factory=dict[int, tuple[float, ...]])  # by step
    # What it reported of every metric that this study bounds, as it was, by step.
    bounded: Mapping[str, Mapping[int, float]] = field(default_factory=dict[str, Mapping[int, float]])


@dataclass(frozen=True, slots=True)
class FormerStudy:
    """What a source was found to hold."""

    metric: str  # that its trials were judged by, in words
    trials: Sequence[FormerTrial]
    under_way: int = 0  # trials that had no end


@dataclass(frozen=True, slots=True)
class End:
    """What a trial came to."""

    values: tuple[float, ...]  # of every metric, minimised; infinite where it broke off
    spread: float  # standard deviation where it is a forecast; 0 for what was seen
    excess: float = 0.0  # how far beyond the bounds on what it reported


def ends(trials: Sequence[FormerTrial], bounds: Sequence[Bound] = ()) -> list[End | None]:
    """Of every trial; None where nothing is known of its end.

    A trial that was stopped counts with the forecast of its end by the curves of the others (`hpo.forecasts`)
    where there is one metric, and for nothing where there are several. So do bounded metrics; a bound is
    kept by who says nothing of its metric.
    """
    curves = [
        {step: values[0] for step, values in trial.reports.items() if len(values) == 1} for trial in trials
    ]
    forecasts = _forecasts(trials, curves)
    bounded = [_forecasts(trials, [one.bounded.get(bound.metric, {}) for one in trials]) for bound in bounds]
    found: list[End | None] = []
    for number, trial in enumerate(trials):
        end = _end(trial, forecasts, number)
        said = [one.of(number) for one in bounded]
        metrics = {bound.metric: one.mean for bound, one in zip(bounds, said, strict=True) if one is not None}
        excess = Objective(_VALUE, bounds=tuple(bounds)).excess(metrics, missing=0.0)
        found.append(end and replace(end, excess=min(excess, _FAR)))
    return found


def _forecasts(trials: Sequence[FormerTrial], curves: Sequence[Mapping[int, float]]) -> Forecasts:
    """Of trials with these values by step."""
    forecasts = Forecasts(Objective(_VALUE))
    for number, trial in enumerate(trials):
        forecasts.tell(
            TrialStarted(TrialSpec(number, {}, 0, trial.budget, (trial.budget,), trial.budget, 0), 0.0)
        )
    for number, trial in enumerate(trials):
        for step, value in sorted(curves[number].items()):
            if step > 0:
                forecasts.tell(TrialReported(Report(number, step, step, 0.0, {_VALUE: value}), 0.0))
        forecasts.tell(TrialFinished(number, trial.outcome, 0.0))
    return forecasts


def _end(trial: FormerTrial, forecasts: Forecasts, number: int) -> End | None:
    last = trial.reports[max(trial.reports)] if trial.reports else ()
    if trial.outcome in ("diverged", "failed", "out_of_memory") or not all(map(is_known, last)):
        return End((math.inf,), 0.0)
    if not last:
        return None
    if len(last) > 1:
        return End(last, 0.0) if trial.outcome == "completed" else None
    found = forecasts.of(number)
    return None if found is None else End((found.mean,), found.spread)
