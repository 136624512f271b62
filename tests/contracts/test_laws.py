"""What holds for every loss law, whatever its numbers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import constant, cosine, linear, warmup, wsd
from schedules.laws import LAWS, Coefficients, Curve, FittedLaw, fit, from_json, last_loss, planned, to_json
from schedules.laws.kernels import REFERENCE_AREA
from tests.strategies import law as settings

ALL = pytest.mark.parametrize("name", LAWS)

coefficients = st.builds(
    Coefficients,
    limit=st.floats(0.1, 5),
    amplitude=st.floats(0.01, 2),
    exponent=st.floats(0.2, 0.8),
    gain=st.floats(0.0, 0.09),
)
falls = st.sampled_from([cosine, linear, wsd])
peaks = st.floats(1e-6, 10)


def law(name: str, numbers: Coefficients, peak: float = 0.1) -> FittedLaw:
    return FittedLaw(name, peak, numbers, LAWS[name].constants, 1e4, 0, 5e-4)


@ALL
@given(numbers=coefficients, warmup_steps=st.integers(0, 100))
@settings
def test_without_annealing_a_law_is_its_trunk(name, numbers, warmup_steps):
    run = planned(warmup(warmup_steps, constant()), 500, 0.1)
    said = law(name, numbers).predict(run)
    area = np.cumsum(run.lrs / 0.1)
    trunk = numbers.limit + numbers.amplitude * (area / REFERENCE_AREA) ** -numbers.exponent
    begin = max(0, warmup_steps - 1)
    assert run.warmup_end == begin
    assert np.isnan(said.losses[:begin]).all()
    np.testing.assert_allclose(said.losses[begin:], trunk[begin:], rtol=1e-12)
    assert (np.diff(said.losses[begin:]) < 0).all(), "more area, less loss"


@ALL
@given(numbers=coefficients, fall=falls, peak=peaks)
@settings
def test_predictions_do_not_depend_on_the_size_of_the_rates(name, numbers, fall, peak):
    expected = law(name, numbers).predict(planned(fall(500), 500, 0.1))
    found = law(name, numbers, peak).predict(planned(fall(500), 500, peak))
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-9)


@ALL
@given(numbers=coefficients, fall=falls)
@settings
def test_annealing_takes_away_no_more_than_its_gain(name, numbers, fall):
    without = replace(numbers, gain=0.0)
    run = planned(fall(700), 700, 0.1)
    gained = law(name, without).predict(run).losses - law(name, numbers).predict(run).losses
    assert (gained >= -1e-12).all()
    # The further the training, the less a drop is worth: at the reference area a drop from the peak, 1.
    most = numbers.gain * (np.cumsum(run.lrs / 0.1) / REFERENCE_AREA) ** -0.15
    assert (gained <= most + 1e-12).all()


@ALL
@given(numbers=coefficients, fall=falls, steps=st.integers(1300, 4000))
@settings
def test_a_row_for_every_step_and_a_row_now_and_then_predict_the_same(name, numbers, fall, steps):
    fitted = law(name, numbers)
    run = planned(fall(steps), steps, 0.1)
    some = np.unique(np.append(np.arange(0, steps, 7), steps - 1))
    kept = Curve(some, run.lrs[some])
    np.testing.assert_allclose(
        fitted.predict(run).losses[some][20:], fitted.predict(kept).losses[20:], rtol=2e-3
    )
    schedule = fall(steps)
    expected = fitted.predict(run).losses[-1]
    assert last_loss(fitted, schedule, steps, 0, 0.1) == pytest.approx(expected, rel=1e-3)


@ALL
@given(
    numbers=st.builds(
        Coefficients, st.floats(1, 3), st.floats(0.1, 0.5), st.floats(0.3, 0.7), st.floats(0.05, 0.15)
    ),
    peak=peaks,
)
@settings
def test_a_law_is_found_again_from_its_own_curves_and_its_text(name, numbers, peak):
    made = law(name, numbers, peak)
    runs = [planned(shape, 2000, peak) for shape in (cosine(2000), constant(), wsd(2000))]
    told = [Curve(run.steps[::4], run.lrs[::4], made.predict(run).losses[::4]) for run in runs]
    found = fit(told, name, constants=LAWS[name].constants)
    unseen = planned(linear(2000), 2000, peak)
    settled = unseen.settled()
    said, expected = found.predict(unseen), made.predict(unseen)
    np.testing.assert_allclose(said.losses[settled], expected.losses[settled], rtol=2e-3)
    assert (said.low < said.losses).all()
    assert (said.losses < said.high).all()
    assert from_json(to_json(found)) == found
