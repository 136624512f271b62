"""How far values on the way rank trials as they end."""

import math

import numpy as np

_ONE_SIDED_80 = 0.8416  # quantile of the normal


def concordance(values: np.ndarray, finals: np.ndarray) -> float:
    """The share of pairs that have the same order in both.

    >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]))
    0.6666666666666666
    """
    return share_of(agreements(values, finals))


def agreements(values: np.ndarray, finals: np.ndarray) -> np.ndarray:
    """(n, n) whether two of n have the same order in both."""
    return np.sign(values[:, None] - values) == np.sign(finals[:, None] - finals)


def share_of(agreed: np.ndarray) -> float:
    """The share of pairs that agree, of two or more."""
    count = len(agreed)
    return (int(np.count_nonzero(agreed)) - count) / (count * (count - 1))


def wilson(share: float, count: float, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share of so many, each end at this quantile of the normal.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the American
    Statistical Association 22 (1927).

    >>> [round(end, 3) for end in wilson(0.0, 10)]
    [0.0, 0.278]
    """
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    low, high = (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)
    return max(0.0, low), min(1.0, high)


def wilson_low(share: float, count: float) -> float:
    """The low end of a share of so many, one-sided at 80 %. Pairs are not independent: trials are counted.

    >>> round(wilson_low(1.0, 5), 3)
    0.876
    """
    return wilson(share, count, _ONE_SIDED_80)[0]
