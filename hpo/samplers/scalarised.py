"""Several metrics and constraints as one number for each trial, anew for every suggestion.

Each suggestion draws weights and looks for what is best under them, so that in time all of the front is
found: the augmented Chebyshev distance to the best value of each metric (Knowles, "ParEGO: A Hybrid Algorithm
with On-Line Landscape Approximation for Expensive Multiobjective Optimization Problems", IEEE Transactions on
Evolutionary Computation 10, 2006). Metrics are told by the forecasts of their ends. A trial that is forecast
to end beyond a constraint counts as one that broke off; while hardly any keeps the constraints, what is
sought is to be less far beyond them.
"""

import math
from typing import NamedTuple

import numpy as np

from hpo.events import Event
from hpo.forecasts import Forecasts
from hpo.history import WITHOUT_VALUE
from hpo.objective import Objective
from trials.seeding import stream

_SUM = 0.05  # how much the sum counts beside the largest part
_LEAST_WITHIN = 2  # trials within the constraints, before the others count as broken off


class Outlook(NamedTuple):
    """What one trial counts for."""

    value: float  # minimised; infinite where it is beyond the constraints
    spread: float
    is_beyond: bool


class Scalarised:
    """Hears every event; weighs what it knows."""

    def __init__(self, objective: Objective, seed: int) -> None:
        self._objective, self._seed = objective, seed
        self._parts = [Forecasts(part) for part in objective.parts]
        self._bounded = {bound.metric: Forecasts(Objective(bound.metric)) for bound in objective.bounds}

    def tell(self, event: Event) -> None:
        """Take in one event."""
        for forecasts in (*self._parts, *self._bounded.values()):
            forecasts.tell(event)

    def weights(self, number: int) -> np.ndarray:
        """(m,) weights of the suggestion for the trial of this number, 1 in all; equal ones below 0."""
        count = len(self._parts)
        if number < 0 or count == 1:
            return np.full(count, 1 / count)
        drawn = stream(self._seed, "weights", number).exponential(size=count)
        return drawn / drawn.sum()

    def weighed(self, number: int) -> dict[int, Outlook]:
        """Every trial that has a forecast of each metric -> what it counts for under these weights."""
        rows: dict[int, list[tuple[float, float]]] = {}
        for trial, course in self._parts[0].courses.items():
            if course.goes_on or course.state in WITHOUT_VALUE:
                continue
            found = [forecasts.of(trial) for forecasts in self._parts]
            known = [(one.mean, one.spread) for one in found if one is not None]
            if len(known) == len(found):
                rows[trial] = known
        if not rows:
            return {}
        excess = {trial: self._excess(trial) for trial in rows}
        if sum(far == 0 for far in excess.values()) < min(_LEAST_WITHIN, len(rows)):
            return {trial: Outlook(far, 0.0, False) for trial, far in excess.items()}
        table = np.array(list(rows.values()))  # (n, m, 2)
        means, spreads = table[:, :, 0], table[:, :, 1]
        within = np.array([excess[trial] == 0 for trial in rows])
        low = means[within].min(0)
        # Twice the way to the median: a loss that exploded would be the scale of all.
        middle: np.ndarray = 2 * (np.quantile(means, 0.5, axis=0) - low)
        scale = np.asarray(np.where(middle > 0, middle, np.maximum(means.max(0) - low, 1e-12)), float)
        weights = self.weights(number)
        shares = weights * (means - low) / scale
        values = shares.max(1) + _SUM * shares.sum(1)
        widths = np.sqrt(np.square(weights * spreads / scale).sum(1))
        return {
            trial: Outlook(float(value), float(width), False) if keeps else Outlook(math.inf, 0.0, True)
            for trial, value, width, keeps in zip(rows, values, widths, within, strict=True)
        }

    def _excess(self, trial: int) -> float:
        """How far beyond the constraints the trial is forecast to end; 0 for what is not reported yet."""
        metrics: dict[str, float] = {}
        for metric, forecasts in self._bounded.items():
            found = forecasts.of(trial)
            if found is not None:
                metrics[metric] = found.mean
        is_whole = self._parts[0].courses[trial].state == "completed"
        far = self._objective.excess(metrics, math.inf if is_whole else 0.0)
        return min(far, 1e9)
