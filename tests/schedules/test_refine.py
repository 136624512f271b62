"""Refined schedules: the checks of the paper's formula, and norms that are no norms."""

import numpy as np
import pytest

from schedules import linear, refine
from schedules.refine import smoothed

T = 10_000
PROGRESS = np.arange(1, T + 1) / T


def test_constant_norms_give_exactly_linear_decay():
    for form in ("sgd", "adam"):
        factors = refine(np.full(T, 3.7), form)
        np.testing.assert_array_equal(factors, (T - np.arange(1, T + 1)) / (T - 1))
        np.testing.assert_allclose(factors, linear(T - 1)(np.arange(T)), atol=1e-12)


def test_norms_that_fall_at_first_ask_for_a_warm_up():
    norms = np.interp(PROGRESS, [0.0, 0.1, 1.0], [15.0, 1.0, 1.0])
    factors = refine(norms, "sgd", smoothing=0.0)
    assert factors[0] == pytest.approx(0.0045, abs=1e-4)
    assert PROGRESS[factors.argmax()] == pytest.approx(0.10, abs=0.001)
    # The filter hides some of a fall as short as itself.
    assert PROGRESS[refine(norms, "sgd").argmax()] == pytest.approx(0.10, abs=0.05)


def test_growing_norms_decay_faster_than_linear_and_shrinking_ones_slower():
    def half(last: float) -> float:
        norms = np.interp(PROGRESS, [0.0, 0.1, 0.1001, 1.0], [15.0, 1.0, 1.0, last])
        return float(refine(norms, "sgd", smoothing=0.0)[T // 2])

    constant = half(1.0)
    assert constant == pytest.approx(0.5 / 0.9, abs=0.01)
    assert half(3.0) < 0.25
    assert half(0.5) > 0.75
    assert half(3.0) < constant < half(0.5)


def test_adam_weighs_norms_less_than_sgd():
    norms = np.interp(PROGRESS, [0.0, 0.1, 1.0], [15.0, 1.0, 1.0])
    assert refine(norms, "adam", 0.0)[0] == pytest.approx(1 / 15, rel=0.2)
    np.testing.assert_allclose(refine(norms**2, "adam", 0.0), refine(norms, "sgd", 0.0), rtol=1e-9)


def test_spikes_are_filtered_and_the_end_is_reflected():
    norms = np.ones(1000)
    norms[25::50] = 1e6
    norms[-1] = 1e6
    np.testing.assert_allclose(refine(norms), (999 - np.arange(1000)) / 999, atol=1e-12)
    rising = np.arange(1.0, 101.0)
    # A median of a line is the line; held at the start, reflected at the end.
    np.testing.assert_array_equal(smoothed(rising)[5:95], rising[5:95])
    assert smoothed(rising)[0] == 1.0
    assert smoothed(rising)[-1] < 100.0


@pytest.mark.parametrize("scale", [1e-150, 1.0, 1e150])
def test_only_the_shape_of_the_norms_counts(scale):
    norms = 1.0 + PROGRESS
    np.testing.assert_allclose(refine(norms * scale), refine(norms), rtol=1e-9)


def test_vanishing_norms_do_not_explode():
    norms = np.where(PROGRESS < 0.995, 1.0, 0.0)
    factors = refine(norms, "sgd", smoothing=0.0)
    np.testing.assert_allclose(factors[: T // 2], linear(T - 1)(np.arange(T // 2)), atol=0.02)


def test_every_short_series_is_refined():
    for steps in range(2, 40):
        factors = refine(np.linspace(2, 1, steps))
        assert factors.shape == (steps,)
        assert factors.max() == 1.0
        assert factors[-1] == 0.0


@pytest.mark.parametrize(
    ("norms", "words", "message"),
    [
        ([], {}, "norms of shape (0,) must be one number for each of at least 2 steps"),
        ([1.0], {}, "norms of shape (1,)"),
        ([[1.0, 2.0]], {}, "norms of shape (1, 2)"),
        ([1.0, np.nan], {}, "norm=nan at step 1 must be a finite number"),
        ([1.0, -1.0], {}, "norm=-1.0 at step 1 must be a finite number"),
        ([0.0] * 5, {}, "norms are 0 nearly everywhere"),
        ([1.0, 1.0], {"form": "lion"}, 'form=\'lion\' must be one of "sgd", "adam"'),
        ([1.0, 1.0], {"smoothing": 2.0}, "smoothing=2.0 must be a number at least 0 and at most 1"),
    ],
)
def test_norms_that_are_none_are_refused(norms, words, message):
    with pytest.raises(ValueError) as raised:
        refine(norms, **words)
    assert str(raised.value).startswith(message)
