"""How far one score of settings foretells another, and how far a score can be trusted at all.

A score is known image by image: (settings, images), such as 1 where a setting's model was right. Intervals
resample images, the same for every setting, because that is what another validation set would have changed.
Higher is better everywhere.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from trials.seeding import stream

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate and the bounds of its 95 % interval; NaN where there is nothing to tell."""

    value: float
    low: float
    high: float


def ranks(values: Array) -> Array:
    """(…, n) ranks from 1 along the last axis; ties share the mean of theirs.

    >>> ranks(np.array([0.2, 0.9, 0.2])).tolist()
    [1.5, 3.0, 1.5]
    """
    if values.ndim == 1:
        _, place, count = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(count) - (count - 1) / 2)[place]
    own, others = values[..., :, None], values[..., None, :]
    return (others < own).sum(-1) + ((others == own).sum(-1) + 1) / 2


def spearman(a: Array, b: Array) -> Array:
    """(…) rank correlation along the last axis of both (…, n); NaN where one of them is constant.

    C. Spearman, "The Proof and Measurement of Association between Two Things", 1904; ties by mean ranks.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([10.0, 30.0, 20.0])).item()
    0.5
    """
    first, second = ranks(a), ranks(b)
    first, second = first - first.mean(-1, keepdims=True), second - second.mean(-1, keepdims=True)
    spread = np.sqrt((first**2).sum(-1) * (second**2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 0, (first * second).sum(-1) / spread, np.nan)


def resampled(
    scores: Array,  # (settings, images)
    times: int,
    seed: int = 0,
) -> Array:  # (times, settings)
    """Means over images drawn again with replacement, the same images for every setting of a draw."""
    images = scores.shape[1]
    counts = stream(seed, "images", images).multinomial(images, np.full(images, 1 / images), size=times)
    return counts @ scores.T / images


def correlation(
    scores: Array,  # (settings, images)
    target: Array,  # (settings, images of the target)
    times: int = 1000,
    seed: int = 0,
) -> Interval:
    """Rank correlation of the settings' means, with a bootstrap over the images of both.

    Raises:
        ValueError: scores and target are of different settings.
    """
    if len(scores) != len(target):
        raise ValueError(f"scores are of {len(scores)} settings, the target of {len(target)}")
    found = float(spearman(scores.mean(1), target.mean(1)))
    drawn = spearman(resampled(scores, times, seed), resampled(target, times, seed + 1))
    return Interval(found, *_bounds(drawn))


def correlation_gain(
    scores: Array,  # (settings, images)
    rival: Array,  # (settings, images), the same images
    target: Array,  # (settings, images of the target)
    times: int = 1000,
    seed: int = 0,
) -> Interval:
    """By how much the rank correlation with the target is higher than the rival's, in the same draws."""
    goal = target.mean(1)
    found = float(spearman(scores.mean(1), goal) - spearman(rival.mean(1), goal))
    goals = resampled(target, times, seed + 1)
    drawn = spearman(resampled(scores, times, seed), goals) - spearman(resampled(rival, times, seed), goals)
    return Interval(found, *_bounds(drawn))


def _bounds(drawn: Array) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return math.nan, math.nan
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)
