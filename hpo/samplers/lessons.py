"""Earlier studies as models, and how much of each holds here.

Every earlier study has a process of its own over the hyperparameters that both have. What this study is to
find is taken for a sum, `value(x) = level + sum of weight_i * earlier_i(x) + rest(x)`: the autoregressive
model of Kennedy and O'Hagan, "Predicting the Output from a Complex Computer Code When Fast Approximations
Are Available", Biometrika 87, 2000, in the recursive form of Le Gratiet and Garnier, "Recursive Co-Kriging
Model for Design of Computer Experiments with Multiple Levels of Fidelity", 2014 (arXiv:1210.0686). As in
Feurer et al., "Practical Transfer Learning for Bayesian Optimization", 2018 (arXiv:1802.02219), all values
are ranks, so that neither scale nor direction of a metric matters, and an earlier study counts as much as it
agrees in rank with what is measured here: weights are normal around one in all, and conditioned on this
study's results along with everything else. One that misleads falls to 0, and what is left is the rest.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from hpo.earlier.mapping import judged, restricted
from hpo.events import EarlierTaken
from hpo.samplers.features import Features
from hpo.samplers.gaussian import Kernel, Posterior, default, learn
from hpo.samplers.parzen import Density
from hpo.samplers.results import Result, kept_rows, normal_scores
from hpo.space import Space

_TRUST = 0.75  # weights expected, all in all
_DOUBT = 0.5  # standard deviation of each
_GOOD_SHARE, _MOST_GOOD = 0.1, 25
_MOST_ROUNDS = 20
_DECAY = 20.0  # results until which as many take part as the odds say
_LEAST = 3  # results with a value that make a model


class Lesson:
    """One earlier study as a process over the hyperparameters it shares with this one."""

    def __init__(self, space: Space, told: EarlierTaken) -> None:
        self.source = told.source
        here = restricted(space, told.mapped)
        self._features = Features(here)
        self._columns_of = [space.names.index(name) for name in here.names]
        pairs = zip(told.results, judged(told.results), strict=True)
        results = [
            Result(place, value, one.spread, not np.isfinite(value), place)
            for place, (one, value) in enumerate(pairs)
        ]
        rows = kept_rows(results)
        values, extra = normal_scores(results)
        points = here.encode([one.config for one in told.results])
        active = self._features.active(points)
        columns = self._features.columns(points[rows], active[rows])
        kernel = default(self._features.owners, self._features.d)
        kernel = learn(columns, values[rows], extra[rows], kernel, _MOST_ROUNDS)
        self._posterior = Posterior(kernel, columns, values[rows], extra[rows])
        good = np.argsort([one.value for one in results], kind="stable")
        good = good[: min(_MOST_GOOD, max(1, round(_GOOD_SHARE * len(results))))]
        self._good = np.full((len(good), len(space.names)), 0.5)
        self._good[:, self._columns_of] = points[good]
        self._good_active = np.zeros(self._good.shape, bool)
        self._good_active[:, self._columns_of] = active[good]

    def expected(self, points: np.ndarray) -> np.ndarray:
        """(n,) normal scores that the earlier study would have at (n, d) snapped points of this space."""
        shared = points[:, self._columns_of]
        return self._posterior.means(self._features.columns(shared, self._features.active(shared)))

    def good(self, features: Features) -> Density:
        """Of its best configs, uniform in what it does not know."""
        return Density(features, self._good, self._good_active)


class Lessons:
    """What all earlier studies say, as columns that a process is linear in. S studies."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._found: list[Lesson] = []
        self.kernel: Kernel | None = None  # of what is left; None: not learnt yet
        self._gain = 0.0  # logarithm of how much likelier results are with the earlier studies than without

    def __len__(self) -> int:
        return len(self._found)

    def add(self, told: EarlierTaken) -> None:
        """Learn from one more; too few results make no model."""
        if sum(map(math.isfinite, judged(told.results))) >= _LEAST and told.mapped:
            self._found.append(Lesson(self._space, told))

    @property
    def trends(self) -> int:
        """Columns that `appended` adds: the level, and one a study."""
        return 1 + len(self._found) if self._found else 0

    def appended(self, points: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """((n, D + trends) columns, (n,) values expected beforehand) of (n, d) snapped points."""
        if not self._found:
            return columns, np.zeros(len(points))
        said = np.stack([lesson.expected(points) for lesson in self._found], 1)  # (n, S)
        level = np.ones((len(points), 1))
        return np.concatenate([columns, level, _DOUBT * said], 1), _TRUST * said.mean(1)

    def learn(
        self,
        points: np.ndarray,  # (n, d)
        columns: np.ndarray,  # (n, D) of the same
        values: np.ndarray,  # (n,)
        extra: np.ndarray,  # (n,)
        plain: Kernel,  # of this study alone
        most_rounds: int,
    ) -> None:
        """Learn what is left, and whether results speak for the earlier studies."""
        trended, expected = self.appended(points, columns)
        rest = values - expected
        self.kernel = learn(trended, rest, extra, self.kernel or plain, most_rounds)
        with_them = Posterior(replace(self.kernel, trends=self.trends), trended, rest, extra)
        self._gain = with_them.log_evidence() - Posterior(plain, columns, values, extra).log_evidence()

    def share(self, results: int) -> float:
        """Of the suggestions, how many take the earlier studies into account, by this study's results.

        The odds that they are of use, by the evidence; and fewer with every result.
        """
        odds = 1 / (1 + math.exp(-max(-50.0, min(50.0, self._gain))))
        return odds * min(1.0, _DECAY / max(1, results))

    def weights(self, posterior: Posterior) -> str:
        """What each counts for by now, in words."""
        found = _TRUST / max(1, len(self._found)) + _DOUBT * posterior.coefficients()[1:]
        shown = [f"{lesson.source} {weight:.0%}" for lesson, weight in zip(self._found, found, strict=True)]
        return ", ".join(shown)

    def draw(self, features: Features, rng: np.random.Generator, count: int) -> np.ndarray:
        """(n, d) points near the best of each, about `count` in all, not snapped."""
        each = -(-count // max(1, len(self._found)))
        drawn: Sequence[np.ndarray] = [lesson.good(features).draw(rng, each) for lesson in self._found]
        return np.concatenate([np.empty((0, features.d)), *drawn])
