"""Rank correlation, its intervals over images, and how far a score agrees with itself."""

import math

import numpy as np
import pytest
from scipy import stats

from hpo.correlation import (
    correlation,
    correlation_gain,
    ranks,
    resampled,
    spearman,
)


def rights(chances, images, seed=0):
    """(settings, images) 1 where a setting of this chance was right."""
    draw = np.random.default_rng(seed)
    return (draw.random((len(chances), images)) < np.asarray(chances)[:, None]).astype(float)


def test_ranks_and_correlation_agree_with_scipy_where_many_tie():
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 5, (20, 30)).astype(float), draw.integers(0, 9, (20, 30)).astype(float)
    np.testing.assert_allclose(ranks(a), stats.rankdata(a, axis=-1))
    np.testing.assert_allclose(spearman(a, b), [stats.spearmanr(x, y)[0] for x, y in zip(a, b, strict=True)])


def test_what_does_not_vary_correlates_with_nothing():
    assert math.isnan(spearman(np.ones(4), np.arange(4.0)))


def test_resampling_keeps_images_together():
    """Two settings that are right on the same images are equal in every draw."""
    one = rights([0.5], 50)
    drawn = resampled(np.concatenate([one, one]), 100)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])
    assert drawn[:, 0].std() == pytest.approx(math.sqrt(0.25 / 50), rel=0.25)


def test_an_interval_holds_the_estimate_and_narrows_with_images():
    chances = np.linspace(0.3, 0.9, 12)
    wide, narrow = (correlation(rights(chances, count, 1), rights(chances, count, 2)) for count in (40, 4000))
    assert wide.low < wide.value < wide.high
    assert narrow.high - narrow.low < 0.5 * (wide.high - wide.low)
    assert narrow.value > 0.95


def test_a_gain_is_told_from_noise():
    chances = np.linspace(0.5, 0.9, 12)
    target, good = rights(chances, 2000, 3), rights(chances, 2000, 4)
    nothing = rights(np.full(12, 0.95), 2000, 5)
    found = correlation_gain(good, nothing, target)
    assert 0 < found.low < found.value
    same = correlation_gain(good, good, target)
    assert same == (0.0, 0.0, 0.0)


def test_scores_of_other_settings_are_refused():
    with pytest.raises(ValueError, match="scores are of 3 settings, the target of 2"):
        correlation(np.zeros((3, 4)), np.zeros((2, 4)))
