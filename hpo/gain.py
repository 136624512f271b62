"""What going on could still gain, so that a study ends when that is little: limit `min_improvement`.

A Gaussian process on the final values (`hpo.samplers.gaussian`), the forecast ones of trials that did not
come to their end with their errors, knows how far the best config that was seen may be above the lowest there
is. Functions drawn from its posterior give that regret a mean and a lower end (Wilson, "Stopping Bayesian
Optimization with Probabilistic Regret Bounds", NeurIPS 2024, arXiv:2402.16811). Its upper end is the lowest
confidence bound there is anywhere, as in Makarova et al., "Automatic Termination for Hyperparameter
Optimization", AutoML 2022, arXiv:2104.08166: functions drawn with one kernel do not know that another might
be right. The study ends when the upper end is below the bound.

Of several metrics each has a process, and a bound in its own units. The regret is then how far the front that
was seen is behind the config that is furthest ahead of it (`hpo.dominance.lead`), in multiples of the bounds:
below 1 there is for every config a trial of the front that is nowhere worse by more than the bound. A
bounded metric (`hpo.bounds`) has a process too, and only configs that may keep its bounds count: those
that keep them in a drawn function, and for the upper end those within three standard deviations of them.

The regret is all that any search could gain, so that it is no promise but an upper limit. Whatever the
sampler, the process is this one: values are what a bound is stated in, and no sampler's model is of values.
What is learnt and drawn depends on the events that were told, and on nothing that was asked before.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpo.bounds import Bound
from hpo.dominance import fronts, lead
from hpo.events import Event, TrialFinished, TrialStarted
from hpo.forecasts import Forecasts
from hpo.history import WITHOUT_VALUE
from hpo.modelled import Modelled
from hpo.objective import Objective
from hpo.samplers.features import Features
from hpo.space import Space
from trials.seeding import stream
from trials.spec import Config

LEAST_TRIALS, LEAST_EACH = 10, 3  # with a value, in all and for each hyperparameter, before anything is said
_ROWS = 120  # that the process is told: the best and the newest
_ANYWHERE, _NEAR, _LEADERS = 300, 100, 5  # places at which functions are drawn
_STEPS = (0.1, 0.03)  # around the leaders
_DRAWS, _LOW = 256, 0.025  # functions, and the quantile that is the lower end
_ROUNDS_BELOW = 4  # of the search for the lowest confidence bound


@dataclass(frozen=True, slots=True)
class Gain:
    """By which the best could still be improved: of the metric; of several in multiples of their bounds."""

    mean: float
    low: float  # below it with 2.5 % certainty
    high: float  # above it only where a value is three standard deviations below what is expected

    def words(self) -> str:
        """The estimate with its interval."""
        return f"{self.mean:.3g}, between {self.low:.3g} and {self.high:.3g}"


class Results(NamedTuple):
    """What trials came to; n of them, the metrics that are sought and then those that are bounded."""

    trials: list[int]
    values: np.ndarray  # (n, columns) final values, those that are sought minimised
    spreads: np.ndarray  # (n, columns) standard deviations of those that are forecast; 0 for what was seen


class Gains:
    """A listener that can be asked whether going on is worth while."""

    def __init__(self, space: Space, objective: Objective, seed: int, *bounds: float) -> None:
        """With a bound for each metric, in its units."""
        self._space, self._seed, self._objective = space, seed, objective
        # Of one metric all is said in its units; of several in multiples of the bounds.
        self._bounds = dict(zip((part.metric for part in objective.parts), bounds, strict=True))
        self.bound = bounds[0] if len(bounds) == 1 else 1.0
        self._units = np.array(bounds) / self.bound
        self._features = Features(space)
        self._sought = [Forecasts(part) for part in objective.parts]
        self._bounded = [Forecasts(Objective(bound.metric)) for bound in objective.bounds]
        self._configs: dict[int, Config] = {}
        self._ended = 0
        self._known: tuple[int, Gain | None] = (-1, None)  # by how many ended trials, and what they say

    def tell(self, event: Event) -> None:
        """Take in one event."""
        for forecasts in (*self._sought, *self._bounded):
            forecasts.tell(event)
        if isinstance(event, TrialStarted) and self._space.holds(event.spec.config):
            config = event.spec.config
            self._configs[event.spec.trial] = {name: config[name] for name in self._space.active(config)}
        elif isinstance(event, TrialFinished):
            self._ended += 1

    def small(self) -> Gain | None:
        """The gain, if it is below the bound as far as is known; looked at after a twentieth more trials."""
        if self._ended % max(1, self._ended // 20):
            return None
        found = self.gain()
        return found if found is not None and found.high < self.bound else None

    def gain(self) -> Gain | None:
        """What going on could gain by the trials that have ended; None while they are too few."""
        if self._known[0] != self._ended:
            self._known = (self._ended, self._estimate())
        return self._known[1]

    def reason(self, gain: Gain) -> str:
        """Why the study ends."""
        return reason(self._bounds, gain)

    def table(self, gain: Gain) -> Mapping[str, float]:
        """For the journal."""
        return {"mean": gain.mean, "low": gain.low, "high": gain.high, "bound": self.bound}

    def _results(self, bounded: Sequence[Forecasts]) -> Results:
        rows: dict[int, list[tuple[float, float]]] = {}
        for trial, course in self._sought[0].courses.items():
            if course.state in (*WITHOUT_VALUE, "running") or course.goes_on or trial not in self._configs:
                continue
            found = [forecasts.of(trial) for forecasts in (*self._sought, *bounded)]
            known = [(one.mean, one.spread) for one in found if one is not None and math.isfinite(one.mean)]
            if len(known) == len(found):
                rows[trial] = known
        table = np.array(list(rows.values()), float).reshape(-1, len(self._sought) + len(bounded), 2)
        return Results(list(rows), table[:, :, 0], table[:, :, 1])

    def _told(self) -> tuple[list[Forecasts], list[Bound]]:
        """What is bounded; where bounds may be on what no trial reports, only what some do."""
        pairs = list(zip(self._bounded, self._objective.bounds, strict=True))
        if self._objective.is_lenient:
            pairs = [(one, bound) for one, bound in pairs if any(map(one.of, one.courses))]
        return [one for one, _ in pairs], [bound for _, bound in pairs]

    def _estimate(self) -> Gain | None:
        bounded, bounds = self._told()
        found, count = self._results(bounded), len(self._sought)
        if len(found.trials) < max(LEAST_TRIALS, LEAST_EACH * self._features.d) or not self._features.d:
            return None
        excess = _excess(found.values[:, count:], bounds)
        if not (excess == 0).any():
            return None  # how far the best is from one that keeps the constraints, nobody knows
        rows = _kept(fronts(found.values[:, :count], excess), found.values[:, 0])
        values, spreads, excess = found.values[rows], found.spreads[rows], excess[rows]
        points = self._space.encode([self._configs[found.trials[row]] for row in rows])
        columns = self._columns(points)
        models = [
            Modelled(values[:, column], spreads[:, column], columns, self._features, of)
            for column, of in enumerate([None] * count + bounds)
        ]
        if all(model.is_constant for model in models[:count]):
            return Gain(0.0, 0.0, 0.0)
        rng = stream(self._seed, "gain", self._ended)
        seen = np.stack([model.means(columns) for model in models[:count]], 1)
        ranks = fronts(seen, excess)
        order = np.lexsort((seen[:, 0], ranks))
        front = np.flatnonzero((ranks == 0) & (excess == 0))
        leaders = points[order[:_LEADERS]]
        places = np.concatenate([points[front], self._places(leaders, rng)])
        drawn = np.stack([model.draw(self._columns(places), rng, _DRAWS) for model in models], 2)
        keeps = _keeps(drawn[:, :, count:], bounds)
        keeps[:, : len(front)] = True
        regrets = np.array(
            [
                lead(one[kept], one[: len(front)], self._units).max()
                for one, kept in zip(drawn[:, :, :count], keeps, strict=True)
            ]
        )
        furthest = self._furthest(models, bounds, seen[front], places, rng)
        mean = float(regrets.mean())
        return Gain(mean, float(np.quantile(regrets, _LOW)), max(furthest, mean))

    def _columns(self, points: np.ndarray) -> np.ndarray:
        return self._features.columns(points, self._features.active(points))

    def _furthest(
        self,
        models: Sequence[Modelled],
        bounds: Sequence[Bound],
        front: np.ndarray,  # (k, m) expected values
        places: np.ndarray,  # (p, d) from which it is searched for
        rng: np.random.Generator,
    ) -> float:
        """How far ahead of the front the lowest confidence bounds are anywhere."""
        count = front.shape[1]
        candidates = [model.at(self._columns(places)) for model in models]

        def leads() -> np.ndarray:
            low = np.stack([one.low() for one in candidates[:count]], 1)
            found = lead(low, front, self._units)
            for one, bound in zip(candidates[count:], bounds, strict=True):
                found[(one.low() > bound.high) | (one.high() < bound.low)] = -math.inf
            return found

        for around in range(_ROUNDS_BELOW):
            best = np.argsort(-leads())[: 2 * _LEADERS]
            base = np.repeat(places[best], _NEAR // _LEADERS, 0)
            moved = base + rng.normal(0.0, _STEPS[0] / 2**around, base.shape)
            fresh = self._features.snapped(np.where(rng.random(base.shape) < 0.5, base, moved))
            for one in candidates:
                one.add(self._columns(fresh))
            places = np.concatenate([places, fresh])
        return float(leads().max())

    def _places(self, leaders: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(p, d) points anywhere and around the (k, d) best."""
        near = [
            np.where(
                rng.random((_NEAR, self._features.d)) < 0.5,
                base := leaders[rng.integers(len(leaders), size=_NEAR)],
                base + rng.normal(0.0, step, (_NEAR, self._features.d)),
            )
            for step in _STEPS
        ]
        return self._features.snapped(np.concatenate([rng.random((_ANYWHERE, self._features.d)), *near]))


def _excess(values: np.ndarray, bounds: Sequence[Bound]) -> np.ndarray:
    """(n,) how far (n, bounds) values are beyond the bounds, 0 for those that keep them."""
    return np.array(
        [
            sum(
                max(0.0, side)
                for value, bound in zip(row, bounds, strict=True)
                for side in bound.margins(value)
            )
            for row in values.tolist()
        ]
    )


def _keeps(values: np.ndarray, bounds: Sequence[Bound]) -> np.ndarray:
    """(draws, p) whether (draws, p, bounds) values keep every bound."""
    found = np.ones(values.shape[:2], bool)
    for column, bound in enumerate(bounds):
        found &= (values[:, :, column] >= bound.low) & (values[:, :, column] <= bound.high)
    return found


def _kept(ranks: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Rows that the processes are told of (n,) fronts and values of the first metric, in order."""
    if len(ranks) <= _ROWS:
        return np.arange(len(ranks))
    best = np.lexsort((values, ranks))[: _ROWS // 2]
    return np.union1d(best, np.arange(len(ranks) - _ROWS // 2, len(ranks)))


def reason(bounds: Mapping[str, float], gain: Gain) -> str:
    """Why the study ends.

    >>> reason({"val_loss": 0.01}, Gain(0.002, 0.0, 0.005))
    'going on would improve by less than 0.01 (by 0.002, between 0 and 0.005)'
    >>> reason({"val_loss": 0.01, "price": 2.0}, Gain(0.2, 0.0, 0.5))
    'going on would improve by less than 0.01 in val_loss and 2 in price (by 0.2, between 0 and 0.5, of that)'
    """
    if len(bounds) == 1:
        return f"going on would improve by less than {next(iter(bounds.values())):g} (by {gain.words()})"
    each = " and ".join(f"{bound:g} in {name}" for name, bound in bounds.items())
    return f"going on would improve by less than {each} (by {gain.words()}, of that)"
