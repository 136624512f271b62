"""`trust` for several metrics, and for constraints: by the chance of ending in the front.

A level is trusted as far as it ranks the ends of the metric that it ranks worst. A trial is then stopped if
one completed trial, within the constraints, is all but sure to be no worse in every metric, or if it is all
but sure to end beyond a constraint that others keep.
"""

import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from hpo.bounds import Bound
from hpo.dominance import ahead
from hpo.errors import UsageError
from hpo.events import Event, TrialFinished, TrialReported
from hpo.forecasts import Forecast, Forecasts, level_of, probability_below
from hpo.objective import Objective
from hpo.pruners.trust import LEAST_CONCORDANCE, Trust


class TrustFront(Trust):
    """As `Trust`; none that is in the first front at its rung is ever stopped."""

    def __init__(
        self,
        objective: Objective,
        calibration: int = 5,
        chance: float = 0.05,
        top: int = 1,
        audits: float = 0.05,
    ) -> None:
        if top != 1:
            raise UsageError(
                f"pruner 'trust': top = {top} counts by one metric: leave it out, the front is kept"
            )
        super().__init__(objective, calibration, chance, audits=audits)
        self._parts = [Trust(part, calibration, chance) for part in objective.parts]
        self._bounded = {bound.metric: Forecasts(Objective(bound.metric)) for bound in objective.bounds}
        self._last: dict[int, Mapping[str, float]] = {}  # trial -> metrics of its last report
        # spent -> trial -> (m,) values and excess
        self._rows: dict[int, dict[int, tuple[float, ...]]] = defaultdict(dict)
        self._ends: list[tuple[float, ...]] = []  # (m,) of completed trials within the constraints

    def tell(self, event: Event) -> None:
        """Take in one event."""
        for part in self._parts:
            part.tell(event)
        for forecasts in self._bounded.values():
            forecasts.tell(event)
        if isinstance(event, TrialReported):
            metrics = event.report.metrics
            self._last[event.report.trial] = metrics
            if self._objective.is_told(metrics):
                row = (*self._objective.values(metrics), self._objective.excess(metrics, missing=0.0))
                self._rows[event.report.spent][event.report.trial] = row
        elif isinstance(event, TrialFinished) and event.outcome == "completed":
            metrics = self._last.get(event.trial, {})
            values = self._objective.values(metrics)
            if all(map(math.isfinite, values)) and self._objective.excess(metrics) == 0:
                self._ends.append(values)
        super().tell(event)

    def _judge(self, trial: int, spent: int, value: float) -> None:
        spec, course = self._specs[trial], self._forecasts.courses[trial]
        level = level_of(course.base + spent)
        if spent >= spec.budget or trial in self._audited or self._judged.get(trial, -1) >= level:
            return
        rows = self._rows[spent]
        if trial not in rows:
            return
        table = np.array(list(rows.values()))
        if not ahead(table[:, :-1], table[:, -1], list(rows).index(trial)):
            return
        self._judged[trial] = level
        trusted = [part._ranked(level, trial) for part in self._parts]
        known = [one for one in trusted if one is not None]
        if len(known) < len(trusted) or not self._ends:
            return
        doubted = min(known, key=lambda one: one.low)
        if doubted.low < LEAST_CONCORDANCE:
            return
        chance = min(self._chance_of_front(trial), self._chance_within(trial))
        if chance >= self._chance:
            return
        self._stop_or_audit(
            trial,
            spent,
            f"trust: rung {spent}: it would end in the front with a chance of {chance:.1%}; by the metric "
            f"that is ranked worst, {doubted.words()}",
        )

    def _chance_of_front(self, trial: int) -> float:
        """That the completed trial most likely to be no worse in every metric is worse in one."""
        forecasts = [part._forecasts.of(trial) for part in self._parts]
        if any(one is None for one in forecasts):
            return 1.0
        known = [one for one in forecasts if one is not None]
        return min(
            1 - math.prod(1 - probability_below(one, end) for one, end in zip(known, ends, strict=True))
            for ends in self._ends
        )

    def _chance_within(self, trial: int) -> float:
        """Of keeping every constraint of which something is known."""
        chance = 1.0
        for bound in self._objective.bounds:
            forecast = self._bounded[bound.metric].of(trial)
            if forecast is not None:
                chance *= _within(forecast, bound)
        return chance


def _within(forecast: Forecast, bound: Bound) -> float:
    """The chance that a metric ends within its bound."""
    if forecast.spread <= 0:
        return float(bound.low <= forecast.mean <= bound.high)
    return probability_below(forecast, bound.high) - probability_below(forecast, bound.low)
