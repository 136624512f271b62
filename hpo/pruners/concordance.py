"""How far values on the way rank trials as they end."""

import math

import numpy as np

_ONE_SIDED_80 = 0.8416  # quantile of the normal


def concordance(values: np.ndarray, finals: np.ndarray, spreads: np.ndarray) -> float:
    """The share of pairs, of (n,) each, that are expected to end in the order of their values.

    A final is normal around what it is forecast to be; one that was seen has no spread. What is as good as
    unknown agrees by half, so that a forecast made of the values themselves cannot speak for them. Pairs of
    one value say nothing; without any other a half.

    >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]), np.zeros(3))
    0.6666666666666666
    >>> round(concordance(np.array([1.0, 2.0]), np.array([0.1, 0.3]), np.array([1.0, 1.0])), 2)
    0.56
    """
    from scipy.special import ndtr  # pyright: ignore[reportMissingTypeStubs]

    rows, columns = np.triu_indices(len(values), 1)
    apart = values[rows] - values[columns]
    rows, columns, apart = rows[apart != 0], columns[apart != 0], apart[apart != 0]
    if not len(apart):
        return 0.5
    ends = np.where(apart > 0, 1.0, -1.0) * (finals[rows] - finals[columns])
    width = np.hypot(spreads[rows], spreads[columns])
    # Divided only where there is a width: what was seen exactly may be apart by any number.
    scores = np.divide(ends, width, out=np.zeros_like(ends), where=width > 0)
    agreed = np.where(width > 0, ndtr(scores), 0.5 + 0.5 * np.sign(ends))
    return float(agreed.mean())


def correlation(share: float) -> float:
    """Of two normals whose pairs agree so often.

    Kruskal, "Ordinal Measures of Association", Journal of the American Statistical Association 53 (1958).

    >>> [correlation(of_pairs) for of_pairs in (0.0, 0.5, 1.0)]
    [-1.0, 0.0, 1.0]
    """
    return math.sin(math.pi * (share - 0.5))


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
