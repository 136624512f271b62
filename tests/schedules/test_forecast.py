"""Where losses will be, on simulated stages whose end is known."""

import numpy as np
import pytest

from schedules.forecast import FORECASTERS, forecast

PROBE_STEPS, STAGE_STEPS, CANDIDATES = 100, 1000, 10


def curve(family, rate, steps):
    """The loss without noise; a higher rate, from 0 to 1, falls faster and to a higher floor.

    Floors rise so far that the mean of the last ten losses has the regret that it had when this was measured.
    """
    speed, floor = 1e-3 * 100**rate, 0.5 + (0.2 if family == "exponential" else 0.5) * rate
    if family == "exponential":
        return floor + (2 - floor) * np.exp(-speed * steps)
    return floor + (2 - floor) * (1 + speed * steps) ** -0.7


def simulate(family, noise, is_shared, repetitions, seed=0):
    """Mean regret of what each forecaster chooses; and how often two deviations hold the truth."""
    rng = np.random.default_rng(seed)
    rates = np.linspace(0, 1, CANDIDATES)
    truth = np.array([curve(family, rate, STAGE_STEPS) for rate in rates])
    regrets, held = {name: [] for name in FORECASTERS}, []
    for _ in range(repetitions):
        draws = rng.normal(0, noise, (CANDIDATES, PROBE_STEPS))
        series = [curve(family, rate, np.arange(PROBE_STEPS)) for rate in rates]
        series += draws[:1] if is_shared else draws
        for name in FORECASTERS:
            found = [forecast(one, STAGE_STEPS, name) for one in series]
            regrets[name].append(truth[np.argmin([value for value, _ in found])] - truth.min())
            if name == "bounded":
                held += [abs(value - end) < 2 * sd for (value, sd), end in zip(found, truth, strict=True)]
    return {name: float(np.mean(each)) for name, each in regrets.items()}, float(np.mean(held))


@pytest.mark.parametrize("family", ["exponential", "power"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_the_bounded_forecast_has_less_regret_than_the_published_one(family, is_shared):
    # 20 repetitions at each of two sizes of noise, as in the measurements but fewer.
    regrets = [simulate(family, noise, is_shared, 20)[0] for noise in (0.02, 0.1)]
    mean = {name: np.mean([one[name] for one in regrets]) for name in FORECASTERS}
    assert mean["bounded"] < 0.6 * mean["published"]
    assert mean["bounded"] < 0.9 * mean["last"]


def test_two_standard_deviations_hold_most_of_the_truth():
    assert simulate("exponential", 0.1, False, 10)[1] > 0.75
    assert simulate("power", 0.1, False, 10)[1] > 0.6


@pytest.mark.parametrize("name", FORECASTERS)
def test_losses_that_are_flat_or_few_or_not_finite_are_survived(name):
    for losses in (np.ones(50), np.zeros(4), np.arange(5.0), np.array([3.0]), np.full(30, 1e30)):
        value, sd = forecast(losses.astype(np.float32), 1000, name)
        assert np.isfinite(value)
        assert sd >= 0
    assert forecast(np.array([1.0, np.nan, 1.0, 2.0, 3.0]), 1000, name)[0] == np.inf


def test_a_slow_fall_is_not_trusted_further_than_twice_what_was_seen():
    losses = 2.0 - 1e-3 * np.arange(100)
    value, sd = forecast(losses, 1000)
    assert losses[-10:].mean() - 2 * 0.09 <= value < losses[-1]
    assert sd > 0.05
    assert forecast(losses, 1000, "published")[0] < value


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: forecast(np.zeros(0), 10), "a forecast needs at least one loss"),
        (
            lambda: forecast(np.ones(9), 10, "best"),
            "forecaster='best' must be one of bounded, published, last",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()
