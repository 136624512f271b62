"""A Gaussian process on the values of one metric, in the units of that metric."""

import numpy as np

from hpo.bounds import Bound
from hpo.samplers.features import Features
from hpo.samplers.gaussian import Candidates, Posterior, default, learn

_ROUNDS = 30  # of learning
_DEVIATIONS = 3.0  # of the confidence bounds


class Modelled:
    """What is believed of a metric everywhere, from its values at n configs.

    Legend: n configs, p places, D columns of `Features`.
    """

    def __init__(
        self,
        values: np.ndarray,  # (n,)
        spreads: np.ndarray,  # (n,) standard deviations of those that are forecast
        columns: np.ndarray,  # (n, D)
        features: Features,
        bound: Bound | None = None,  # on the metric, where it is not minimised
    ) -> None:
        values = np.minimum(values, _highest(values, bound))
        self._middle, scale = float(values.mean()), float(values.std())
        self.is_constant = scale <= 1e-12 * max(1.0, abs(float(np.median(values))))
        self._scale = 0.0 if self.is_constant else scale
        self._posterior: Posterior | None = None
        if not self.is_constant:
            scores, extra = (values - self._middle) / scale, np.square(spreads / scale)
            kernel = learn(columns, scores, extra, default(features.owners, features.d), _ROUNDS)
            self._posterior = Posterior(kernel, columns, scores, extra)

    def means(self, columns: np.ndarray) -> np.ndarray:
        """(p,) expected values at (p, D) columns."""
        if self._posterior is None:
            return np.full(len(columns), self._middle)
        return self._middle + self._scale * self._posterior.means(columns)

    def draw(self, columns: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, p) values of as many functions, drawn from the posterior, at (p, D) columns."""
        if self._posterior is None:
            return np.full((count, len(columns)), self._middle)
        return self._middle + self._scale * self._posterior.draw(columns, rng, count)

    def at(self, columns: np.ndarray) -> "Between":
        """The values that can be at (p, D) columns, and at others that are added."""
        candidates = None if self._posterior is None else self._posterior.at(columns)
        return Between(candidates, len(columns), self._middle, self._scale)


class Between:
    """Confidence bounds at places, three standard deviations to each side."""

    def __init__(self, candidates: Candidates | None, count: int, middle: float, scale: float) -> None:
        self._candidates, self._count, self._middle, self._scale = candidates, count, middle, scale

    def add(self, columns: np.ndarray) -> None:
        """More places, (p, D)."""
        self._count += len(columns)
        if self._candidates is not None:
            self._candidates.add(columns)

    def low(self) -> np.ndarray:
        """(p,) lower ends."""
        return self._end(-_DEVIATIONS)

    def high(self) -> np.ndarray:
        """(p,) upper ends."""
        return self._end(_DEVIATIONS)

    def _end(self, deviations: float) -> np.ndarray:
        if self._candidates is None:
            return np.full(self._count, self._middle)
        widths = np.sqrt(self._candidates.variances)
        return self._middle + self._scale * (self._candidates.means + deviations * widths)


def _highest(values: np.ndarray, bound: Bound | None) -> float:
    """Beyond which a value is one that exploded, and would be all that the process sees."""
    median, lowest = float(np.median(values)), float(values.min())
    if median == lowest:
        return float(values.max())
    highest = median + 3 * (median - lowest)
    if bound is None or not np.isfinite(bound.high):
        return highest
    return max(highest, bound.high + abs(bound.high - lowest))  # what is beyond the bound stays beyond it
