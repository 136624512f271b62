"""Through the knots, and between them as the paper says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import PchipInterpolator

from schedules import knots, linear
from tests.strategies import factor, law

heights = st.lists(factor, min_size=2, max_size=8)
STEPS = np.arange(1001)


@given(factors=heights, places=st.permutations(range(101)))
@law
def test_cubic_knots_agree_with_scipy(factors, places):
    fractions = sorted(place / 100 for place in places[: len(factors)])
    inside = np.arange(round(1000 * fractions[0]), round(1000 * fractions[-1]) + 1)
    ours = knots(1000, factors, fractions, interpolation="cubic")(inside)
    theirs = PchipInterpolator(fractions, factors)(inside / 1000)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * max(factors))


@given(factors=heights)
@law
def test_linear_knots_agree_with_numpy(factors):
    ours = knots(1000, factors)(STEPS)
    theirs = np.interp(STEPS / 1000, np.linspace(0, 1, len(factors)), factors)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12 * max(factors))


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
@pytest.mark.parametrize("scale", ["linear", "log"])
@given(factors=st.lists(st.floats(1e-6, 10), min_size=2, max_size=8))
@law
def test_a_schedule_goes_through_its_knots_and_never_beyond_two_neighbours(interpolation, scale, factors):
    horizon = 60 * (len(factors) - 1)
    curve = knots(horizon, factors, interpolation=interpolation, scale=scale)(np.arange(horizon + 1))
    np.testing.assert_allclose(curve[::60], factors, rtol=1e-9)
    pieces = np.lib.stride_tricks.sliding_window_view(curve, 61)[::60]
    ends = np.lib.stride_tricks.sliding_window_view(np.array(factors), 2)
    assert (pieces >= ends.min(1, keepdims=True) * (1 - 1e-9)).all()
    assert (pieces <= ends.max(1, keepdims=True) * (1 + 1e-9)).all()


def test_two_knots_are_a_line_in_either_interpolation():
    for interpolation in ("linear", "cubic"):
        curve = knots(1000, [1.0, 0.0], interpolation=interpolation)(STEPS)
        np.testing.assert_allclose(curve, linear(1000)(STEPS), atol=1e-15)


def test_the_first_and_the_last_knot_hold_outside():
    curve = knots(100, [0.2, 0.8], fractions=[0.4, 0.6])
    assert curve([0, 40, 60, 100, 200]).tolist() == [0.2, 0.2, 0.8, 0.8, 0.8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factors": [1.0]}, r"factors=\[1.0\] must be at least 2 knots"),
        ({"factors": [1.0, -0.1]}, r"factors\[1\]=-0.1 must be a number at least 0"),
        ({"factors": [1.0, 0.5], "fractions": [0.0]}, "2 factors need 2 fractions, not 1"),
        ({"factors": [1.0, 0.5], "fractions": [0.5, 0.5]}, r"fractions=\[0.5, 0.5\] must increase"),
        ({"factors": [1.0, 0.5], "fractions": [0.5, 0.4]}, "must increase"),
        ({"factors": [1.0, 0.5], "fractions": [0.5, 1.4]}, r"fractions\[1\]=1.4 must be a number"),
        ({"factors": [1.0, 0.0], "scale": "log"}, 'must be above 0 for scale="log"'),
        ({"factors": [1.0, 0.0], "scale": "sqrt"}, 'scale=\'sqrt\' must be one of "linear", "log"'),
        ({"factors": [1.0, 0.0], "interpolation": "spline"}, "interpolation='spline' must be one of"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(arguments, message):
    with pytest.raises(ValueError, match=message):
        knots(100, **arguments)
