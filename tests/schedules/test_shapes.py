"""What the laws cannot say of the shapes: the values a paper states, known points, wrong arguments."""

import numpy as np
import pytest

from schedules import (
    constant,
    cosine,
    exponential,
    infinite,
    inverse_sqrt,
    linear,
    multistep,
    one_cycle,
    power,
    rewarm,
    rex,
    slow_start_fast_decay,
    wsd,
)

EVERY_STEP = np.arange(1001)

DECAYS = {
    "linear": linear(1000),
    "cosine": cosine(1000, floor=0.1),
    "power": power(1000, power=0.9),
    "exponential": exponential(1000),
    "inverse_sqrt": inverse_sqrt(1000),
    "multistep": multistep(1000),
    "rex": rex(1000),
    "wsd linear": wsd(1000),
    "wsd exponential": wsd(1000, cooldown="exponential"),
    "wsd sqrt": wsd(1000, cooldown="sqrt"),
    "infinite": infinite(1000),
}


@pytest.mark.parametrize("name", DECAYS)
def test_a_decay_starts_at_the_peak_and_never_rises(name):
    factors = DECAYS[name](EVERY_STEP)
    assert factors[0] == 1.0
    assert (np.diff(factors) <= 0).all()


@pytest.mark.parametrize(
    ("left", "paper", "copied"),
    [
        (0.9, 0.947, 0.989),
        (0.75, 0.857, 0.968),
        (0.5, 0.667, 0.909),
        (0.25, 0.400, 0.769),
        (0.1, 0.182, 0.526),
    ],
)
def test_rex_gives_the_values_of_the_paper_and_of_the_copied_repository(left, paper, copied):
    step = round(1000 * (1 - left))
    assert rex(1000)(step) == pytest.approx(paper, abs=5e-4)
    assert rex(1000, beta=0.1)(step) == pytest.approx(copied, abs=5e-4)


def test_rex_of_beta_1_is_linear_and_of_beta_near_0_holds_the_peak():
    np.testing.assert_allclose(rex(1000, beta=1.0)(EVERY_STEP), linear(1000)(EVERY_STEP), atol=1e-15)
    assert rex(1000, beta=1e-9)(999) == pytest.approx(1.0, abs=1e-5)
    assert rex(1000, beta=1e-9)(1000) == 0.0


def test_rex_has_no_hidden_restart():
    assert rex(100)([100, 101, 150, 10_000]).tolist() == [0.0, 0.0, 0.0, 0.0]


def test_linear_is_power_1():
    np.testing.assert_array_equal(linear(1000, 0.2)(EVERY_STEP), power(1000, 1.0, 0.2)(EVERY_STEP))
    np.testing.assert_allclose(linear(1000)(EVERY_STEP), 1 - EVERY_STEP / 1000, atol=1e-15)


def test_wsd_is_stable_until_the_cooldown():
    for cooldown in ("linear", "exponential", "sqrt"):
        factors = wsd(1000, cooldown_fraction=0.3, cooldown=cooldown, floor=0.04)(EVERY_STEP)
        assert (factors[:701] == 1.0).all()
        assert (factors[701:] < 1.0).all()
        assert factors[1000] == 0.04
    assert wsd(1000, 0.3, "linear", 0.04)(850) == pytest.approx(0.52)
    assert wsd(1000, 0.3, "exponential", 0.04)(850) == pytest.approx(0.2)
    assert wsd(1000, 0.3, "sqrt", 0.04)(775) == pytest.approx(0.52)


def test_wsd_of_nothing_but_cooldown_is_the_decay_alone():
    np.testing.assert_array_equal(wsd(1000, cooldown_fraction=1.0)(EVERY_STEP), linear(1000)(EVERY_STEP))


def test_an_exponential_cooldown_ends_at_a_tenth_unless_told_otherwise():
    assert wsd(1000, cooldown="exponential")(1000) == 0.1
    with pytest.raises(ValueError, match=r'floor of cooldown="exponential"=0.0 must be a number above 0'):
        wsd(1000, cooldown="exponential", floor=0.0)


def test_inverse_sqrt_halves_as_three_timescales_pass():
    assert inverse_sqrt(1000, timescale_fraction=0.1)(300) == pytest.approx(0.5)


def test_multistep_drops_at_whole_steps_in_any_order():
    steps = [0, 32, 33, 65, 66, 100]
    expected = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    assert multistep(100, milestones=[0.66, 0.33], drop=0.5)(steps).tolist() == expected
    assert multistep(10, milestones=[0.7], drop=0.5)([6, 7]).tolist() == [1.0, 0.5]


@pytest.mark.parametrize("shape", [one_cycle, slow_start_fast_decay, rewarm])
def test_a_shape_with_a_rise_peaks_where_told(shape):
    factors = shape(1000, peak_fraction=0.4)(EVERY_STEP)
    assert factors.argmax() == 400
    assert factors[400] == 1.0
    assert (np.diff(factors[:401]) > 0).all()
    assert (np.diff(factors[400:]) < 0).all()
    assert shape(1000, peak_fraction=0.0)(0) == 1.0


def test_a_power_below_1_makes_slow_start_fall_fastest_at_first():
    plain, fast = (slow_start_fast_decay(1000, power=power) for power in (1.0, 0.5))
    assert (fast(np.arange(501, 1000)) < plain(np.arange(501, 1000))).all()


def test_infinite_holds_its_plateau_between_settling_and_annealing():
    factors = infinite(1000, 0.5, plateau_factor=0.3, anneal_fraction=0.2, floor=0.03)(EVERY_STEP)
    assert (factors[400:801] == 0.3).all()
    assert factors[200] == pytest.approx(0.65)
    assert factors[900] == pytest.approx(0.3 * 0.1**0.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(-1.0), "factor=-1.0 must be a number at least 0 and at most 1e+06"),
        (lambda: constant(float("nan")), "factor=nan"),
        (lambda: linear(0), "horizon=0 must be a whole number at least 1"),
        (lambda: linear(10.0), "horizon=10.0 must be a whole number"),
        (lambda: linear(True), "horizon=True must be a whole number"),
        (lambda: linear(10, floor=1.5), "floor=1.5 must be a number at least 0 and at most 1"),
        (lambda: linear(10, floor="0.1"), "floor='0.1' must be a number"),
        (lambda: power(10, power=0), "power=0 must be a number above 0"),
        (lambda: power(10, power=10**400), "power=10"),
        (lambda: exponential(10, floor=0.0), "floor=0.0 must be a number above 0 and at most 1"),
        (lambda: rex(10, beta=0.0), "beta=0.0 must be a number above 0"),
        (lambda: wsd(10, cooldown_fraction=0), "cooldown_fraction=0 must be a number above 0 and at most 1"),
        (
            lambda: wsd(10, cooldown="cos"),
            """cooldown='cos' must be one of "linear", "exponential", "sqrt\"""",
        ),
        (
            lambda: one_cycle(10, peak_fraction=1.0),
            "peak_fraction=1.0 must be a number at least 0 and below 1",
        ),
        (lambda: multistep(10, milestones=[]), "milestones=[] must be a list of at least one number"),
        (lambda: multistep(10, milestones=[0.5, 2]), "milestones[1]=2 must be a number"),
        (lambda: multistep(10, milestones="0.5"), "milestones='0.5' must be a list"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError) as raised:
        make()
    assert str(raised.value).startswith(message)
