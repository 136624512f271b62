"""How far a config has to be from those that were tried to tell anything new.

Results that are equal to the last digit show a response that is flat there: a hyperparameter that is rounded
or that makes no difference below a threshold, a table that is asked for its nearest entry. A model of smooth
functions goes on looking beside its best then, and gets the same answer every time.
"""

import numpy as np

_TIED = 0.3  # share of the pairs within a distance whose courses are equal, at which they count as one place
_SAME = 1e-9  # distance of a config from itself


def flat_within(scaled: np.ndarray, reports: np.ndarray) -> float:
    """The longest distance within which so many pairs of configs had the same course; 0 where none had.

    All that both reported has to be equal: last values alone are too, by chance, where a metric is coarse.

    Args:
        scaled: (n, D) columns in units of the kernel's lengths.
        reports: (n, L) values at each level, nan where there is none; what broke off has none, and is equal
            to nothing.

    >>> flat_within(np.array([[0.0], [0.1], [0.5]]), np.array([[3.0, 1.0], [3.0, np.nan], [4.0, 2.0]]))
    0.1
    >>> flat_within(np.array([[0.0], [0.1], [0.5]]), np.array([[3.0, 1.0], [np.nan, np.nan], [3.0, 2.0]]))
    0.0
    """
    known = np.isfinite(reports).any(1)
    scaled, reports = scaled[known], reports[known]
    if all(len(np.unique(some)) == len(some) for some in (level[np.isfinite(level)] for level in reports.T)):
        return 0.0
    first, second = np.triu_indices(len(reports), 1)
    differs = np.zeros(len(first), bool)
    shares = np.zeros(len(first), bool)
    for level in reports.T:
        both = np.isfinite(level[first]) & np.isfinite(level[second])
        differs |= both & (level[first] != level[second])
        shares |= both
    is_tied = shares & ~differs
    apart = np.sqrt(np.square(scaled[first] - scaled[second]).sum(1))
    others = apart > _SAME
    apart, is_tied = apart[others], is_tied[others]
    order = np.argsort(apart, kind="stable")
    apart, is_tied = apart[order], is_tied[order]
    share = np.cumsum(is_tied) / np.arange(1, len(apart) + 1)
    found = np.flatnonzero(is_tied & (share >= _TIED))
    return float(apart[found[-1]]) if len(found) else 0.0


def distances(scaled: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) of (n, D) scaled columns, each from the nearest of (m, D) others; m at least 1."""
    squares = np.square(scaled).sum(1)[:, None] + np.square(others).sum(1) - 2 * (scaled @ others.T)
    return np.sqrt(np.maximum(squares.min(1), 0.0))
