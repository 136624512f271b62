"""A small Gaussian process: a smooth line through a few noisy scores, and how far off it may be."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mean = Callable[[Floats], Floats]  # points (m, axes) -> (m,)

_LENGTHS = np.geomspace(0.1, 2.0, 7)  # of the axes, which go from 0 to 1
_AMPLITUDES = np.geomspace(0.3, 3.0, 5)  # of the spread of the scores
_JITTER = 1e-3  # of the spread: scores without an error bar are not exact either


class Surrogate:
    """Matérn-5/2 over axes from 0 to 1, noise of each point given, length and amplitude by likelihood.

    Points are (n, axes), scores (n,) and standard deviations (n,), all finite. `prior` is the line expected
    before any score is known, of which only the shape counts: the level is that of the scores.

    Written out because ten points on one axis need neither another library nor its start-up time. Rasmussen,
    Williams: Gaussian Processes for Machine Learning, 2006, algorithm 2.1, equations 2.25 and 2.26.

    >>> line = Surrogate(np.array([[0.0], [0.5], [1.0]]), np.array([2.0, 1.0, 2.0]), np.zeros(3))
    >>> mean, sd = line.predict(np.array([[0.5], [0.25]]))
    >>> bool(abs(mean[0] - 1) < 0.01), bool(sd[0] < sd[1])
    (True, True)
    """

    def __init__(self, points: Floats, scores: Floats, deviations: Floats, prior: Mean | None = None) -> None:
        self._points, self._prior = points, prior
        left = scores - prior(points) if prior else scores
        weights = 1 / (deviations**2 + max(float(left.std()), 1e-12) ** 2)
        self._level = float(np.sum(weights * left) / np.sum(weights))
        self._spread = max(float(left.std()), 1e-12)
        self._left = (left - self._level) / self._spread
        self._noise = (deviations / self._spread) ** 2 + _JITTER**2
        fits = [self._fit(length, size) for length in _LENGTHS for size in _AMPLITUDES]
        _, self._length, self._size, self._factor, self._weights = max(fits, key=lambda one: one[0])

    def _fit(self, length: float, size: float) -> tuple[float, float, float, Floats, Floats]:
        """(log likelihood, length, amplitude, Cholesky factor, weights of the points)."""
        kernel = size**2 * matern(self._points, self._points, length) + np.diag(self._noise)
        factor = np.linalg.cholesky(kernel)
        weights = np.linalg.solve(factor.T, np.linalg.solve(factor, self._left))
        likelihood = -0.5 * float(self._left @ weights) - float(np.sum(np.log(np.diag(factor))))
        return likelihood, length, size, np.asarray(factor, np.float64), np.asarray(weights, np.float64)

    def predict(self, points: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation at points (m, axes), both (m,)."""
        kernel = self._size**2 * matern(points, self._points, self._length)
        mean = self._level + self._spread * (kernel @ self._weights)
        inside = np.linalg.solve(self._factor, kernel.T)
        variance = np.maximum(self._size**2 - np.sum(inside**2, axis=0), 0.0)
        return mean + (self._prior(points) if self._prior else 0.0), self._spread * np.sqrt(variance)


def matern(one: Floats, other: Floats, length: float) -> Floats:
    """Matérn-5/2 correlations of points (n, axes) and (m, axes), (n, m).

    >>> matern(np.zeros((1, 1)), np.array([[0.0], [1.0]]), 1.0).round(3).tolist()
    [[1.0, 0.524]]
    """
    apart = np.sqrt(np.sum((one[:, None, :] - other[None, :, :]) ** 2, axis=2)) * np.sqrt(5.0) / length
    return (1 + apart + apart**2 / 3) * np.exp(-apart)
