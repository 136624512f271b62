"""What several seeds say of a config, and how often that is true."""

import math

import numpy as np
import pytest

from hpo.posterior import estimates


def test_without_a_second_seed_nothing_is_said() -> None:
    assert estimates({}) == {}
    assert estimates({0: [1.0], 1: [2.0]}) == {}


def test_equal_seeds_leave_no_doubt_and_one_that_broke_off_no_hope() -> None:
    found = estimates({0: [1.0, 1.0], 1: [2.0], 2: [0.5, math.inf]})
    assert (found[0].low, found[0].mean, found[0].high) == (1.0, 1.0, 1.0)
    assert math.isinf(found[2].mean)


def test_a_config_that_is_alone_has_its_own_mean() -> None:
    found = estimates({0: [1.0, 1.2, 1.1]})[0]
    assert found.mean == pytest.approx(1.1)
    assert (found.low, found.high) == pytest.approx((0.852, 1.348), abs=0.001)  # Student's t of three


def test_a_lucky_single_run_is_drawn_in_further_than_the_mean_of_three() -> None:
    rng = np.random.default_rng(0)
    values = {n: list(rng.normal(1.0, 0.3, 1)) for n in range(20)}
    values[20], values[21] = [0.2], [0.2, 0.5, -0.1]
    found = estimates(values)
    assert found[20].mean > found[21].mean > 0.2


def test_configs_that_seeds_hardly_tell_apart_are_in_the_order_of_their_means() -> None:
    """Single values scatter less than seeds do, so that nothing is left for configs."""
    values = {n: [0.16 + 0.001 * n] for n in range(14)}
    leading = {14: [0.152, 0.175, 0.153], 15: [0.132, 0.158, 0.176], 16: [0.151, 0.170, 0.152]}
    found = estimates(values | leading)
    assert sorted(leading, key=lambda n: found[n].mean) == [15, 16, 14]
    assert found[15].mean - found[15].low > 0.01  # and so is what is not known of them


@pytest.mark.parametrize("noise", [0.05, 0.3, 1.0, 3.0])
def test_the_interval_of_the_winner_holds_its_mean(noise: float) -> None:
    """The winner of 26 configs, three of which got two more seeds: chosen for its mean, luck included."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        means = rng.normal(size=26)
        values = {n: [float(mean + noise * rng.normal())] for n, mean in enumerate(means)}
        leading = sorted(values, key=lambda n: values[n][0])[:3]
        for n in leading:
            values[n] += list(means[n] + noise * rng.normal(size=2))
        found = estimates(values)
        winner = min(leading, key=lambda n: found[n].mean)
        held += found[winner].low <= means[winner] <= found[winner].high
    assert held >= 0.9 * 300
