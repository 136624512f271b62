"""Sweeps: where the loss falls fastest, and where it begins to grow."""

import numpy as np
import pytest

from schedules import Keep, TunerError, facts_of, range_of, range_test
from tests.training import Valley, obey


@pytest.mark.parametrize("largest", [0.1, 1.0, 37.0])
@pytest.mark.parametrize("smallest", [1e-3, 1.0])
@pytest.mark.parametrize("steps", [50, 100, 300])
def test_the_edge_of_a_quadratic_is_two_over_its_curvature(largest, smallest, steps):
    valley = Valley(np.geomspace(smallest * largest, largest, 12), lr=0.2 / largest, noise=0.0, floor=0.0)
    tuner = range_test(2000, 3000, sweep_steps=steps)
    obey(tuner, valley, 3000)
    _, edge = range_of(facts_of(tuner))
    assert edge * valley.lr == pytest.approx(2 / largest, rel=0.1)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_the_batches_moves_the_edge_little(seed):
    tuner = range_test(2000, 3000)
    obey(tuner, Valley(seed=seed), 3000)
    steepest, edge = range_of(facts_of(tuner))
    assert edge * 0.1 == pytest.approx(2.0, rel=0.1)
    assert steepest < edge


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_at_the_steepest_point_trains(seed):
    valley = Valley(seed=seed, lr=1e-3)
    assert obey(range_test(400, 400), valley, 400).loss < 1.05


def test_an_edge_that_no_sweep_comes_near_is_not_made_up():
    tuner = range_test(2000, 3000, high=1.0)
    obey(tuner, Valley(), 3000)
    assert np.isnan(range_of(facts_of(tuner))[1])


def test_sweeps_are_of_different_lengths_and_end_at_the_same_rate():
    tuner = range_test(2000, 3000, sweep_steps=100, sweeps=3, low=0.01, high=100.0)
    segments = tuner.ask().segments
    assert [one.steps for one in segments] == [100, 117, 133]
    for one in segments:
        assert one.lr([0, one.steps - 1]).tolist() == pytest.approx([0.01, 100.0])
        assert not one.is_mark


def test_the_rest_of_the_budget_is_trained_at_the_steepest_point():
    out = obey(range_test(400, 400), Valley(), 400)
    assert out.spent == 400
    assert isinstance(out.wishes[-1], Keep)
    assert out.wishes[-1].segment.lr(len(out.rates)) == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: range_test(100, 50), "budget=50 must be above the 70 steps of 3 sweeps"),
        (lambda: range_test(100, 500, sweep_steps=5), "sweep_steps=5 must be a whole number at least 20"),
        (lambda: range_test(100, 500, low=0.0), "low=0.0 must be above 0"),
        (lambda: range_test(100, 500, low=3.0, high=1.0), "low=3 must be below high=1"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sweeps_that_all_diverge_at_once_are_an_error():
    with pytest.raises(TunerError, match=r"every sweep from 0\.001 to 1000 times lr diverged at once"):
        obey(range_test(400, 400), Valley(lr=1e30), 400)
