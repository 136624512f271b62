"""A local linear regression of how trials end on what they had on the way.

The nearer two are in rank there, the more one says of the other. Those that went on are the best and alike,
and say little of a slope; it is drawn to 1, as what is ahead mostly stays ahead.
"""

from typing import NamedTuple

import numpy as np

_REACH = 0.25  # width of the weights, in quantiles of the value on the way
_FLOOR = 0.02  # weight of what is far away
_RIDGE = 0.3  # draws the slope towards 1, by this share of the variance of all values on the way
_STEEPEST = 1.5
_UNTAUGHT = 0.7  # spread, in standard deviations of the values on the way, where nothing is known


class Ends(NamedTuple):
    """Pairs of a value on the way and an end, the newest first."""

    trials: list[int]
    values: np.ndarray  # (n,) on the way
    finals: np.ndarray  # (n,)
    spreads: np.ndarray  # (n,) of the finals; 0 for what was seen


class Fit(NamedTuple):
    """What is expected."""

    means: np.ndarray  # (m,)
    widths: np.ndarray  # (m,) standard deviations


def fit(values: np.ndarray, ends: Ends, everyone: np.ndarray) -> Fit:
    """How those end that have the (m,) values, where all that came as far have those of `everyone`."""
    usual = _usual(everyone)
    if len(ends.finals) < 2:
        drop = float(np.mean(ends.values - ends.finals)) if len(ends.finals) else 0.0
        return Fit(values - drop, np.full(len(values), _UNTAUGHT * usual if usual > 0 else 1.0))
    return _local(values, ends, everyone, usual, is_of_ends=False)


def left_out(ends: Ends, everyone: np.ndarray) -> np.ndarray:
    """(n,) ends, cut, less what they are expected to be by the others of n > 2."""
    found = _local(ends.values, ends, everyone, _usual(everyone), is_of_ends=True)
    return np.minimum(ends.finals, cut(ends.finals)) - found.means


def _local(values: np.ndarray, ends: Ends, everyone: np.ndarray, usual: float, is_of_ends: bool) -> Fit:
    # Losses that exploded would be all that a regression sees.
    highest = cut(everyone)
    x, queries = np.minimum(ends.values, highest), np.minimum(values, highest)
    y = np.minimum(ends.finals, cut(ends.finals))
    order = np.sort(everyone)

    def rank(found: np.ndarray) -> np.ndarray:
        return np.searchsorted(order, found) / max(1, len(order))

    apart = (rank(queries)[:, None] - rank(x)) / _REACH
    weights = np.exp(-0.5 * np.square(apart)) + _FLOOR  # (m, n)
    if is_of_ends:
        np.fill_diagonal(weights, 0.0)
    weights /= weights.sum(1, keepdims=True)
    center_x, center_y = weights @ x, weights @ y
    dx, dy = x - center_x[:, None], y - center_y[:, None]
    scale = _RIDGE * max(float(np.var(np.minimum(everyone, highest))), 1e-12)
    slope = ((weights * dx * dy).sum(1) + scale) / ((weights * dx * dx).sum(1) + scale)
    slope = np.clip(slope, 0.0, _STEEPEST)
    means = center_y + slope * (queries - center_x)
    residual = dy - slope[:, None] * dx
    variance = (weights * (np.square(residual) + np.square(ends.spreads))).sum(1)
    count = 1 / np.square(weights).sum(1)  # effective
    widths = np.sqrt(variance) * (count + 1) / np.maximum(count - 0.5, 0.5)
    return Fit(means, np.maximum(widths, 1e-9 + 1e-3 * usual))


def cut(values: np.ndarray) -> float:
    """Three times as far above the median as the best is below it."""
    median = float(np.median(values))
    below = median - float(values.min())
    return median + 3 * below if below > 0 else float("inf")


def _usual(values: np.ndarray) -> float:
    """A standard deviation that a few huge values do not change."""
    return float(np.std(np.minimum(values, cut(values)))) if len(values) > 1 else 0.0
