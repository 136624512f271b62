"""What going on could still gain, so that a study ends when that is little: limit `min_improvement`.

A Gaussian process on the final values (`hpo.samplers.gaussian`), the forecast ones of trials that did not
come to their end with their errors, knows how far the best config that was seen may be above the lowest there
is. Functions drawn from its posterior give that regret a mean and a lower end (Wilson, "Stopping Bayesian
Optimization with Probabilistic Regret Bounds", NeurIPS 2024, arXiv:2402.16811). Its upper end is the lowest
confidence bound there is anywhere, as in Makarova et al., "Automatic Termination for Hyperparameter
Optimization", AutoML 2022, arXiv:2104.08166: functions drawn with one kernel do not know that another might
be right. The study ends when the upper end is below the bound.

The regret is all that any search could gain, so that it is no promise but an upper limit. Whatever the
sampler, the process is this one: values are what a bound is stated in, and no sampler's model is of values.
What is learnt and drawn depends on the events that were told, and on nothing that was asked before.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hpo.events import Event, TrialFinished, TrialStarted
from hpo.forecasts import Forecasts
from hpo.history import WITHOUT_VALUE
from hpo.objective import Objective
from hpo.samplers.features import Features
from hpo.samplers.gaussian import Posterior, default, learn
from hpo.space import Space
from trials.seeding import stream
from trials.spec import Config

LEAST_TRIALS, LEAST_EACH = 10, 3  # with a value, in all and for each hyperparameter, before anything is said
_ROWS = 120  # that the process is told: the best and the newest
_ROUNDS = 30  # of learning
_ANYWHERE, _NEAR, _LEADERS = 300, 100, 5  # places at which functions are drawn
_STEPS = (0.1, 0.03)  # around the leaders
_DRAWS, _LOW = 256, 0.025  # functions, and the quantile that is the lower end
_DEVIATIONS = 3.0  # of the confidence bound
_ROUNDS_BELOW = 4  # of the search for its lowest place


@dataclass(frozen=True, slots=True)
class Gain:
    """Of the metric, by which the best could still be improved."""

    mean: float
    low: float  # below it with 2.5 % certainty
    high: float  # above it only where a value is three standard deviations below what is expected

    def words(self) -> str:
        """The estimate with its interval."""
        return f"{self.mean:.3g}, between {self.low:.3g} and {self.high:.3g}"


class Gains:
    """A listener that can be asked whether going on is worth while."""

    def __init__(self, space: Space, objective: Objective, seed: int, bound: float) -> None:
        self._space, self._seed, self.bound = space, seed, bound
        self._features = Features(space)
        self._forecasts = Forecasts(objective)
        self._configs: dict[int, Config] = {}
        self._ended = 0
        self._known: tuple[int, Gain | None] = (-1, None)  # by how many ended trials, and what they say

    def tell(self, event: Event) -> None:
        """Take in one event."""
        self._forecasts.tell(event)
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

    def _results(self) -> tuple[list[int], np.ndarray, np.ndarray]:
        """(trials, (n,) their final values, (n,) standard deviations of those that are forecast)."""
        rows: list[tuple[int, float, float]] = []
        for trial, course in self._forecasts.courses.items():
            is_over = course.state not in (*WITHOUT_VALUE, "running") and not course.goes_on
            forecast = self._forecasts.of(trial) if is_over and trial in self._configs else None
            if forecast is not None and math.isfinite(forecast.mean):
                rows.append((trial, forecast.mean, forecast.spread))
        if len(rows) > _ROWS:
            order = sorted(rows, key=lambda row: row[1])[: _ROWS // 2]
            rows = sorted({*order, *rows[-_ROWS // 2 :]})
        return [row[0] for row in rows], np.array([r[1] for r in rows]), np.array([r[2] for r in rows])

    def _estimate(self) -> Gain | None:
        trials, values, spreads = self._results()
        if len(trials) < max(LEAST_TRIALS, LEAST_EACH * self._features.d) or not self._features.d:
            return None
        # What exploded would be all that the process sees.
        median = float(np.median(values))
        values = np.minimum(values, median + 3 * (median - float(values.min())))
        scale = float(values.std())
        if scale <= 1e-12 * max(1.0, abs(median)):
            return Gain(0.0, 0.0, 0.0)
        scores = (values - values.mean()) / scale
        extra = np.square(spreads / scale)
        points = self._space.encode([self._configs[trial] for trial in trials])
        columns = self._columns(points)
        kernel = learn(columns, scores, extra, default(self._features.owners, self._features.d), _ROUNDS)
        posterior = Posterior(kernel, columns, scores, extra)
        rng = stream(self._seed, "gain", self._ended)
        seen = posterior.means(columns)
        leaders = points[np.argsort(seen)[:_LEADERS]]
        places = np.concatenate([leaders[:1], self._places(leaders, rng)])
        drawn = posterior.draw(self._columns(places), rng, _DRAWS)
        regrets = drawn[:, 0] - drawn.min(1)
        most = max(float(seen.min()) - self._lowest(posterior, places, rng), float(regrets.mean()))
        return Gain(scale * float(regrets.mean()), scale * float(np.quantile(regrets, _LOW)), scale * most)

    def _columns(self, points: np.ndarray) -> np.ndarray:
        return self._features.columns(points, self._features.active(points))

    def _lowest(self, posterior: Posterior, places: np.ndarray, rng: np.random.Generator) -> float:
        """The lowest confidence bound, searched for from (m, d) places on."""
        candidates = posterior.at(self._columns(places))
        for around in range(_ROUNDS_BELOW):
            bounds = candidates.means - _DEVIATIONS * np.sqrt(candidates.variances)
            base = np.repeat(places[np.argsort(bounds)[: 2 * _LEADERS]], _NEAR // _LEADERS, 0)
            moved = base + rng.normal(0.0, _STEPS[0] / 2**around, base.shape)
            fresh = self._features.snapped(np.where(rng.random(base.shape) < 0.5, base, moved))
            candidates.add(self._columns(fresh))
            places = np.concatenate([places, fresh])
        return float((candidates.means - _DEVIATIONS * np.sqrt(candidates.variances)).min())

    def _places(self, leaders: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(m, d) points anywhere and around the (k, d) best."""
        near = [
            np.where(
                rng.random((_NEAR, self._features.d)) < 0.5,
                base := leaders[rng.integers(len(leaders), size=_NEAR)],
                base + rng.normal(0.0, step, (_NEAR, self._features.d)),
            )
            for step in _STEPS
        ]
        return self._features.snapped(np.concatenate([rng.random((_ANYWHERE, self._features.d)), *near]))


def reason(bound: float, gain: Gain) -> str:
    """Why the study ends.

    >>> reason(0.01, Gain(0.002, 0.0, 0.005))
    'going on would improve by less than 0.01 (by 0.002, between 0 and 0.005)'
    """
    return f"going on would improve by less than {bound:g} (by {gain.words()})"


def table(bound: float, gain: Gain) -> Mapping[str, float]:
    """For the journal."""
    return {"mean": gain.mean, "low": gain.low, "high": gain.high, "bound": bound}
