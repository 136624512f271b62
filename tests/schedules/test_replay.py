import time

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import Knots, build, every_step, replay, thin
from tests.strategies import factor, horizons, law, schedules, step_arrays

tolerances = st.sampled_from([1e-9, 1e-4, 0.005, 0.1])
series = arrays.arrays(np.float64, st.integers(1, 200), elements=factor)


@st.composite
def knots(draw):
    places = draw(st.lists(st.integers(0, 5000), min_size=1, max_size=30, unique=True))
    heights = draw(st.lists(factor, min_size=len(places), max_size=len(places)))
    return Knots(tuple(sorted(places)), tuple(heights), draw(st.none() | st.floats(0, 10)))


def assert_held(factors, tolerance):
    found = thin(factors, tolerance)
    assert found.horizon == len(factors)
    error = np.abs(replay(found)(np.arange(len(factors))) - factors)
    assert error.max() <= factors.max() * (tolerance + 1e-14)
    return found


@given(schedule=schedules(), horizon=horizons, tolerance=tolerances)
@law
def test_thinned_schedules_are_held_within_the_tolerance_at_every_step(schedule, horizon, tolerance):
    assert_held(schedule(np.arange(horizon)), tolerance)


@given(factors=series, tolerance=tolerances)
@law
def test_any_series_is_held_within_the_tolerance_at_every_step(factors, tolerance):
    assert_held(factors, tolerance)


@given(factors=series, tolerance=st.sampled_from([1e-4, 0.005, 0.02]))
@law
def test_a_jump_is_kept_as_two_knots_a_step_apart(factors, tolerance):
    changes = np.abs(np.diff(factors))
    beside = np.maximum(np.append(0, changes)[:-1], np.append(changes, 0)[1:])
    jumps = np.flatnonzero(changes > beside + 4.1 * tolerance * factors.max())
    assert {*jumps, *(jumps + 1)} <= set(thin(factors, tolerance).steps)


@given(knots=knots(), steps=step_arrays())
@law
def test_a_replay_is_pure_elementwise_finite_and_not_negative(knots, steps):
    schedule = replay(knots)
    factors = schedule(steps)
    assert (factors.dtype, factors.shape) == (np.float64, steps.shape)
    assert np.isfinite(factors).all()
    assert (factors >= 0).all()
    np.testing.assert_array_equal(factors.reshape(-1), [schedule(step) for step in steps.reshape(-1)])
    np.testing.assert_array_equal(schedule(steps), factors)


@given(knots=knots())
@law
def test_a_replay_is_exact_at_its_knots_and_holds_outside(knots):
    schedule = replay(knots)
    np.testing.assert_array_equal(schedule(knots.steps), knots.factors)
    assert schedule(0) == knots.factors[0]
    assert schedule(knots.horizon + 10**6) == knots.factors[-1]


@given(factors=series)
@law
def test_a_knot_at_every_step_is_the_series_itself(factors):
    np.testing.assert_array_equal(replay(every_step(factors))(np.arange(len(factors))), factors)


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("constant", 2),
        ("linear(warmup_fraction=0.1)", 3),
        ("wsd(warmup_fraction=0.1)", 4),
        ("multistep", 6),
        ("cosine", 10),
        ("one_cycle", 18),
    ],
)
def test_few_knots_are_enough(text, most):
    assert len(thin(build(text, 1000)(np.arange(1000))).steps) <= most


def test_a_long_series_is_thinned_in_a_moment():
    factors = build("infinite(warmup_fraction=0.01)", 300_000)(np.arange(300_000))
    began = time.process_time()
    assert len(assert_held(factors, 0.005).steps) < 20
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ([], "a series"),
        ([[1.0]], "a series"),
        ([1.0, np.nan], "the factor nan of step 1"),
        ([1.0, 0.5, -0.5], "the factor -0.5 of step 2"),
    ],
)
def test_a_series_that_is_none_is_refused(factors, message):
    with pytest.raises(ValueError, match=message):
        thin(factors)


@pytest.mark.parametrize("tolerance", [0, -0.1, 1, np.nan])
def test_a_tolerance_that_is_none_is_refused(tolerance):
    with pytest.raises(ValueError, match="tolerance="):
        thin([1.0, 0.5], tolerance)


@pytest.mark.parametrize(
    ("steps", "factors", "message"),
    [
        ((), (), "give one factor for each step"),
        ((0, 1), (1.0,), "2 steps and 1 factors"),
        ((0, 5, 5), (1, 1, 1), r"steps\[2\]=5 must be above steps\[1\]=5"),
        ((-1,), (1,), r"steps\[0\]=-1"),
        ((0.5,), (1,), r"steps\[0\]=0.5"),
        ((0, 1), (1, -1), r"factors\[1\]=-1"),
        ((0, 1), (1, np.inf), r"factors\[1\]=inf"),
    ],
)
def test_knots_that_are_none_are_refused(steps, factors, message):
    with pytest.raises(ValueError, match=message):
        Knots(steps, factors)
