"""Which examples train, validate and test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import law
from trials.data.splits import three_way

seeds = st.integers(0, 2**62)


@given(size=st.integers(10, 300), seed=seeds, fractions=st.tuples(st.floats(0.1, 0.4), st.floats(0.1, 0.4)))
@law
def test_the_parts_are_disjoint_sorted_and_together_everything(size, seed, fractions):
    parts = three_way(size, seed, *fractions)
    assert sorted(np.concatenate(parts)) == list(range(size))
    for part in parts:
        assert len(part)
        assert (np.diff(part) > 0).all()
    for part, share in zip(parts[1:], fractions, strict=True):
        assert abs(len(part) - share * size) <= 2


@given(seed=seeds)
@law
def test_equal_seeds_give_equal_parts(seed):
    for one, other in zip(three_way(50, seed), three_way(50, seed), strict=True):
        np.testing.assert_array_equal(one, other)


def test_other_seeds_change_validation_and_never_the_test_split():
    found = [three_way(100, seed) for seed in range(6)]
    assert len({tuple(val) for _, val, _ in found}) == 6
    assert len({tuple(test) for _, _, test in found}) == 1


@pytest.mark.parametrize("seed", [0, 7])
def test_every_class_keeps_its_share(seed):
    labels = np.repeat([0, 1, 2], [200, 80, 20])
    for part in three_way(300, seed, labels=labels):
        shares = np.bincount(labels[part], minlength=3) / len(part)
        np.testing.assert_allclose(shares, [2 / 3, 4 / 15, 1 / 15], atol=0.01)


@pytest.mark.parametrize("fractions", [(0.0, 0.2), (0.2, 0.0), (0.5, 0.5), (-0.1, 0.2), (0.9, 0.2)])
def test_fractions_that_leave_nothing_are_refused(fractions):
    with pytest.raises(ValueError, match="must be above 0 and leave some to train on"):
        three_way(100, 0, *fractions)


def test_a_class_of_one_example_is_refused():
    with pytest.raises(ValueError, match="class"):
        three_way(30, 0, labels=np.array([0] * 29 + [1]))
