"""Reading a schedule less often than at every step."""

import numpy as np
import pytest

from schedules import at_fractions, cosine, every, linear


def test_reading_every_step_changes_nothing():
    steps = np.arange(120)
    np.testing.assert_array_equal(every(cosine(100), 1)(steps), cosine(100)(steps))


def test_a_linear_profile_read_at_two_milestones_is_a_staircase():
    stairs = at_fractions(linear(100), 100, [0.75, 0.5])(np.arange(101))
    assert np.unique(stairs).tolist() == [0.25, 0.5, 1.0]
    assert np.flatnonzero(np.diff(stairs)).tolist() == [49, 74]


def test_reading_at_the_horizon_reaches_the_floor_there():
    assert at_fractions(linear(100), 100, [1.0])([99, 100, 101]).tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: every(linear(10), 0), "steps=0 must be a whole number at least 1"),
        (lambda: at_fractions(linear(10), 10, []), r"fractions=\[\] must be a list"),
        (lambda: at_fractions(linear(10), 10, [1.5]), r"fractions\[0\]=1.5 must be a number"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()
