"""A Gaussian process with a length for every hyperparameter, learnt: what matters little gets a long one.

Matern 5/2 kernel; lengths, signal and noise are the most probable ones under log-normal priors, by L-BFGS
with the analytic gradient (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapters
2 and 5). The prior of a length grows with the square root of the number of dimensions (Hvarfner et al.,
"Vanilla Bayesian Optimization Performs Great in High Dimensions", ICML 2024, arXiv:2402.02229).

A kernel may have beside it the sum of one of every hyperparameter alone (Duvenaud, Nickisch and Rasmussen,
"Additive Gaussian Processes", NeurIPS 2011, arXiv:1112.4394), as what a config comes to is mostly a sum of
effects of single hyperparameters (Hutter, Hoos and Leyton-Brown, "An Efficient Approach for Assessing
Hyperparameter Importance", ICML 2014): what was seen of one then holds wherever the others are. These are
rational quadratic, as they are many and an exponential takes long.
"""

import copy
import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

_ROOT5 = math.sqrt(5.0)
_JITTER = 1e-8

# Priors of logarithms: (mean, standard deviation). The mean of a length has log(sqrt(d)) besides.
_LENGTH = (math.log(0.5), 1.0)
_SIGNAL = (0.0, 1.0)
_NOISE = (-4.0, 1.5)
_ALONE = (-1.0, 1.5)


@dataclass(frozen=True)
class Kernel:
    """What was learnt. G hyperparameters, D columns.

    The length of a hyperparameter alone is its length divided by sqrt(G).
    """

    lengths: np.ndarray  # (G,)
    signal: float
    noise: float
    owners: np.ndarray  # (D,) the hyperparameter of each column
    trends: int = 0  # further columns, which the value is linear in with coefficients of variance 1
    alone: float = 0.0  # variance of the sum of what every hyperparameter does alone

    def scaled(self, columns: np.ndarray) -> np.ndarray:
        """(n, D) columns in units of their lengths; trends, the last of them, as they are."""
        lengths = self.lengths[self.owners]
        return columns / (np.concatenate([lengths, np.ones(self.trends)]) if self.trends else lengths)

    def between(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, m) covariances of scaled columns (n, D) and (m, D)."""
        linear = 0.0
        if self.trends:
            linear = a[:, -self.trends :] @ b[:, -self.trends :].T
            a, b = a[:, : -self.trends], b[:, : -self.trends]
        squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * (a @ b.T)
        found = self.signal * _matern(np.maximum(squares, 0.0))[0] + linear
        return found + self._between_alone(a, b) if self.alone else found

    def _between_alone(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n, m) covariances of what hyperparameters do alone. Every array of the loop is made once."""
        count = len(self.lengths)
        a, b = math.sqrt(count) * a.T, math.sqrt(count) * b.T
        found, squares, part = (np.zeros((a.shape[1], b.shape[1])) for _ in range(3))
        for owner in range(count):
            squares.fill(1.0)
            for column in np.flatnonzero(self.owners == owner):
                np.subtract(a[column, :, None], b[column], out=part)
                squares += np.square(part, out=part)
            found += np.reciprocal(squares, out=squares)
        found *= self.alone / count
        return found

    @property
    def peak(self) -> float:
        """The covariance of a place with itself, trends aside."""
        return self.signal + self.alone

    def variances(self, a: np.ndarray) -> np.ndarray:
        """(n,) of scaled columns, before anything is known."""
        found = np.full(len(a), self.peak)
        return found + np.square(a[:, -self.trends :]).sum(1) if self.trends else found


def _matern(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(kernel, exponential part) at these squared distances."""
    root = _ROOT5 * np.sqrt(squares)
    falling = np.exp(-root)
    return (1 + root + squares * (5 / 3)) * falling, falling


def default(owners: np.ndarray, hyperparameters: int, has_alone: bool = False) -> Kernel:
    """The kernel before anything is learnt: the middle of the priors.

    `has_alone`: whether hyperparameters do something alone, in it and in those that are learnt from it.
    """
    length = math.exp(_LENGTH[0]) * math.sqrt(max(1, hyperparameters))
    lengths, alone = np.full(hyperparameters, length), math.exp(_ALONE[0]) if has_alone else 0.0
    return Kernel(lengths, math.exp(_SIGNAL[0]), math.exp(_NOISE[0]), owners, alone=alone)


def learn(
    columns: np.ndarray, values: np.ndarray, extra: np.ndarray, start: Kernel, most_rounds: int
) -> Kernel:
    """The most probable kernel for (n,) standardised values at (n, D) columns, from where `start` is.

    `extra` (n,) is the variance that a value has beside the noise of all. Columns beyond those that
    the kernel knows the owners of are trends; what is learnt has none.
    """
    from scipy import optimize  # pyright: ignore[reportMissingTypeStubs]

    count, owners = len(start.lengths), start.owners
    trends = columns[:, len(owners) :]
    linear = trends @ trends.T
    # (G, n, n) squared distances in each hyperparameter
    apart = np.zeros((count, len(columns), len(columns)))
    for column, owner in enumerate(owners):
        apart[owner] += np.square(columns[:, column, None] - columns[:, column])
    others = [_SIGNAL, _NOISE, _ALONE] if start.alone else [_SIGNAL, _NOISE]
    variances = [start.signal, start.noise, start.alone][: len(others)]
    point = np.log(np.concatenate([start.lengths, variances]))
    means = [_LENGTH[0] + 0.5 * math.log(max(1, count))] * count
    means = np.array(means + [mean for mean, _ in others])
    widths = np.array([_LENGTH[1]] * count + [width for _, width in others])

    def cost(point: np.ndarray) -> tuple[float, np.ndarray]:
        return _cost(point, apart, values, extra, means, widths, linear)

    bounds = [(mean - 4 * width, mean + 4 * width) for mean, width in zip(means, widths, strict=True)]
    found: Any = cast(Any, optimize).minimize(
        cost,
        point,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": most_rounds, "maxfun": 2 * most_rounds},
    )
    best = np.exp(np.asarray(found.x, float))
    alone = float(best[count + 2]) if start.alone else 0.0
    return Kernel(best[:count], float(best[count]), float(best[count + 1]), owners, alone=alone)


def _cost(
    point: np.ndarray,  # (G + 2,) or, with what hyperparameters do alone, (G + 3,) logarithms
    apart: np.ndarray,  # (G, n, n)
    values: np.ndarray,  # (n,)
    extra: np.ndarray,  # (n,)
    means: np.ndarray,
    widths: np.ndarray,
    linear: np.ndarray | float = 0.0,  # (n, n) covariance that is known beforehand
) -> tuple[float, np.ndarray]:
    """Negative log posterior and its gradient."""
    lapack = _lapack()
    count, n = len(apart), len(values)
    weights = np.exp(-2 * point[:count])
    signal, noise = math.exp(point[count]), math.exp(point[count + 1])
    squares = np.tensordot(weights, apart, 1)
    shape, falling = _matern(squares)
    covariance = signal * shape + linear
    alone = math.exp(point[count + 2]) if len(point) > count + 2 else 0.0
    squares_alone = shapes_alone = np.empty(0)
    if alone:
        squares_alone = (count * weights)[:, None, None] * apart
        shapes_alone = 1 / (1 + squares_alone)
        covariance += alone / count * shapes_alone.sum(0)
    covariance[np.diag_indices(n)] += noise + extra + _JITTER
    factor, failed = lapack.dpotrf(covariance, lower=1)
    if failed:
        return 1e10, np.zeros(len(point))
    solved, _ = lapack.dpotrs(factor, values, lower=1)
    lower = np.asarray(lapack.dpotri(factor, lower=1)[0])
    inverse = np.tril(lower) + np.tril(lower, -1).T
    apart_from = point - means
    total = 0.5 * float(values @ solved) + float(np.log(np.diag(factor)).sum())
    total += 0.5 * float(np.square(apart_from / widths).sum())
    pull = 0.5 * (inverse - np.outer(solved, solved))
    by_length = pull * (signal * (5 / 3) * (1 + _ROOT5 * np.sqrt(squares)) * falling)
    gradient = np.empty(len(point))
    gradient[:count] = weights * np.tensordot(apart, by_length, ((1, 2), (0, 1)))
    gradient[count] = signal * float((pull * shape).sum())
    gradient[count + 1] = noise * float(np.trace(pull))
    if alone:
        by_shape = alone / count * pull
        gradient[count + 2] = float((by_shape * shapes_alone.sum(0)).sum())
        squares_alone *= np.square(shapes_alone)
        gradient[:count] += 2 * np.tensordot(squares_alone, by_shape, ((1, 2), (0, 1)))
    return total, gradient + apart_from / np.square(widths)


class Posterior:
    """A kernel that knows values, and can be told of trials whose values are still to come."""

    def __init__(self, kernel: Kernel, columns: np.ndarray, values: np.ndarray, extra: np.ndarray) -> None:
        self._kernel = kernel
        self._known = kernel.scaled(columns)
        covariance = kernel.between(self._known, self._known)
        covariance[np.diag_indices(len(values))] += kernel.noise + extra + _JITTER
        self._factor = np.linalg.cholesky(covariance)
        self._solved = _solve(self._factor, _solve(self._factor, values), transposed=True)
        self._rows, self._values = len(values), values

    def means(self, columns: np.ndarray) -> np.ndarray:
        """(m,) expected values at (m, D) columns."""
        return self._kernel.between(self._kernel.scaled(columns), self._known[: self._rows]) @ self._solved

    def log_evidence(self) -> float:
        """Logarithm of the density of the values under the kernel, but for a constant of their number."""
        return -0.5 * float(self._values @ self._solved) - float(np.log(np.diag(self._factor)).sum())

    def coefficients(self) -> np.ndarray:
        """(trends,) what is believed of them, as a difference from what they were expected to be."""
        trends = self._known[: self._rows, self._known.shape[1] - self._kernel.trends :]
        return trends.T @ self._solved

    def draw(self, columns: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
        """(count, m) values of as many functions, drawn from the posterior, at (m, D) columns."""
        scaled = self._kernel.scaled(columns)
        across = self._kernel.between(self._known, scaled)
        explained = _solve(self._factor, across)
        covariance = self._kernel.between(scaled, scaled) - explained.T @ explained
        # Rounding may leave directions of no variance a little below it.
        variances, directions = np.linalg.eigh(covariance)
        root = directions * np.sqrt(np.maximum(variances, 0.0))
        means = across[: self._rows].T @ self._solved
        return means + rng.normal(size=(count, len(scaled))) @ root.T

    def believing(self, columns: np.ndarray) -> "Posterior":
        """The same while trials run there: what they will say is expected to be the mean, and no news."""
        found = copy.copy(self)
        if not len(columns):
            return found
        scaled, known = self._kernel.scaled(columns), self._known
        across = _solve(self._factor, self._kernel.between(known, scaled))
        corner = self._kernel.between(scaled, scaled) - across.T @ across
        corner[np.diag_indices(len(scaled))] += self._kernel.noise + 1e-6 * self._kernel.signal
        size, more = len(known), len(scaled)
        factor = np.zeros((size + more, size + more))
        factor[:size, :size] = self._factor
        factor[size:, :size] = across.T
        factor[size:, size:] = np.linalg.cholesky(corner)
        found._factor, found._known = factor, np.concatenate([known, scaled])
        return found

    def at(self, *columns: np.ndarray) -> "Candidates":
        """What is expected at (m, D) columns; without any, at none yet."""
        found = Candidates(self._kernel, self._factor, self._known, self._solved)
        for some in columns:
            found.add(some)
        return found


class Candidates:
    """Means and variances at some places, while some of them are taken."""

    def __init__(self, kernel: Kernel, factor: np.ndarray, known: np.ndarray, solved: np.ndarray) -> None:
        self._kernel, self._factor, self._known, self._solved = kernel, factor, known, solved
        self._places = np.empty((0, known.shape[1]))  # (m, D)
        self._explained = np.empty((len(known), 0))  # (n, m)
        self.means = self.variances = np.empty(0)  # (m,)

    def add(self, columns: np.ndarray) -> None:
        """More places, before any is taken."""
        places = self._kernel.scaled(columns)
        across = self._kernel.between(self._known, places)
        explained = _solve(self._factor, across)
        variances = np.maximum(self._kernel.variances(places) - np.square(explained).sum(0), 1e-10)
        self._places = np.concatenate([self._places, places])
        self._explained = np.concatenate([self._explained, explained], 1)
        self.means = np.concatenate([self.means, self._solved @ across[: len(self._solved)]])
        self.variances = np.concatenate([self.variances, variances])

    def take(self, place: int) -> None:
        """A trial will run there: believe in its mean, and know more of what is near."""
        row = self._kernel.between(self._places[place : place + 1], self._places)[0]
        row = row - self._explained[:, place] @ self._explained
        row = row / math.sqrt(float(self.variances[place]) + self._kernel.noise)
        self._explained = np.concatenate([self._explained, row[None]])
        self.variances = np.maximum(self.variances - np.square(row), 1e-10)


def _lapack() -> Any:
    """The routines themselves: what scipy wraps around them takes longer than they do at these sizes."""
    from scipy.linalg import lapack  # pyright: ignore[reportMissingTypeStubs]

    return cast(Any, lapack)


def _solve(factor: np.ndarray, right: np.ndarray, transposed: bool = False) -> np.ndarray:
    """The solution with a lower triangle, or its transpose."""
    found, _ = _lapack().dtrtrs(factor, right, lower=1, trans=int(transposed))
    return np.asarray(found)


def log_improvement(means: np.ndarray, variances: np.ndarray, best: float) -> np.ndarray:
    """Logarithm of the expected improvement below `best`, finite also where it is tiny.

    Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian Optimization", NeurIPS 2023,
    arXiv:2310.20708.
    """
    from scipy.special import erfcx, ndtr  # pyright: ignore[reportMissingTypeStubs]

    widths = np.sqrt(variances)
    z = (best - means) / widths
    near = np.maximum(z, -1.0)
    direct = np.log(np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi) + near * ndtr(near))
    far = np.minimum(z, -1.0)
    # 1 + z Phi(z) / phi(z), by the scaled complementary error function; -1/z^2 is its limit.
    ratio = math.sqrt(math.pi / 2) * erfcx(-far / math.sqrt(2))
    rest = np.where(far > -1e3, 1 + far * ratio, 1 / np.square(far))
    tail = -0.5 * far * far - 0.5 * math.log(2 * math.pi) + np.log(np.maximum(rest, 1e-300))
    return np.log(widths) + np.where(z > -1.0, direct, tail)
