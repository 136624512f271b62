"""What made things worse is taken back."""

import numpy as np
import pytest

from schedules import (
    Keep,
    Probe,
    Trace,
    TunerError,
    constant,
    facts_of,
    guarded,
    linear,
    open_loop,
    plateau,
    race,
)
from tests.strategies import Race
from tests.training import Valley, obey


def answers(tuner, losses):
    """Tell these validation losses, one wish after another; the wishes."""
    wishes = []
    for loss in losses:
        wish = tuner.ask()
        wishes.append(wish)
        segments = wish.segments if isinstance(wish, Probe) else (wish.segment,)
        tuner.tell([Trace(one, np.ones(one.steps), np.full(one.evals, loss)) for one in segments])
    return wishes


def test_without_trouble_the_factors_are_those_of_the_tuner():
    schedule = linear(400)
    plain = obey(open_loop(schedule, 400), Valley(), 400)
    out = obey(guarded(open_loop(schedule, 400)), Valley(), 400)
    assert (out.spent, out.wall) == (400, 400)
    np.testing.assert_allclose(out.rates, plain.rates, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(out.row.weights, plain.row.weights)


def test_a_piece_is_probed_and_its_last_step_kept():
    tuner = guarded(open_loop(constant(), 40), piece_steps=10)
    wishes = answers(tuner, [3.0, 3.0, 2.0, 2.0])
    assert [type(wish) for wish in wishes] == [Probe, Keep, Probe, Keep]
    assert [wishes[0].segments[0].steps, wishes[1].segment.steps, wishes[1].adopt] == [9, 1, 0]


def test_a_piece_that_ends_worse_is_taken_back_and_tried_at_half_the_rate():
    tuner = guarded(open_loop(linear(40), 40), piece_steps=10)
    wishes = answers(tuner, [3.0, 3.0, 3.5, 2.0, 2.0])
    assert float(wishes[2].segments[0].lr(0)) == 30 / 40
    again = wishes[3].segments[0]
    assert float(again.lr(0)) == 0.5 * 30 / 40
    assert wishes[4].adopt == 1
    # 21 steps are left for 30 of the schedule.
    assert again.steps == 6
    left = 0
    while (wish := tuner.ask()) is not None:
        segments = wish.segments if isinstance(wish, Probe) else (wish.segment,)
        left += sum(one.steps for one in segments)
        tuner.tell([Trace(one, np.ones(one.steps), np.full(one.evals, 1.0)) for one in segments])
    assert tuner.spending.spent == 40
    assert tuner.spending.kept == 31
    assert 0 < float(segments[-1].lr(segments[-1].steps - 1)) < 0.5 * 2 / 40
    assert [row["taken_back"] for row in facts_of(tuner)] == [True]


def test_a_slight_rise_and_one_that_examples_do_not_bear_out_stay():
    tuner = guarded(open_loop(constant(), 40), piece_steps=10)
    assert [type(wish) for wish in answers(tuner, [3.0, 3.0, 3.2, 3.2])] == [Probe, Keep, Probe, Keep]
    tuner = guarded(open_loop(constant(), 40), piece_steps=10)
    rng = np.random.default_rng(0)
    kinds = []
    for loss in [3.0, 3.0, 3.6, 3.6]:
        wish = tuner.ask()
        kinds.append(type(wish))
        (one,) = wish.segments if isinstance(wish, Probe) else (wish.segment,)
        examples = loss + rng.normal(0, 5.0, 20)
        tuner.tell([Trace(one, np.ones(one.steps), np.full(one.evals, loss), examples)])
    assert kinds == [Probe, Keep, Probe, Keep]


def test_a_rate_that_diverges_is_halved_until_it_does_not():
    valley = Valley(lr=10.0)
    assert not np.isfinite(obey(open_loop(constant(), 400), valley, 400).loss)
    out = obey(guarded(open_loop(constant(), 400)), valley, 400)
    assert out.loss < 2.0
    assert out.spent <= 400
    assert max(out.rates) < 0.3


def test_it_is_an_error_when_no_rate_that_is_tried_is_finite():
    with pytest.raises(TunerError, match=r"diverged within .* steps, also at 0.125 times .*: lower lr"):
        obey(guarded(open_loop(constant(), 400)), Valley(lr=1e30), 400)


def test_the_tuner_hears_what_was_kept_with_the_evaluations_it_asked_for():
    heard = []

    class Listening:
        def ask(self):
            return None if heard else Keep(open_loop(constant(), 50, evals=3).ask().segment)

        def tell(self, traces):
            heard.extend(traces)

    obey(guarded(Listening(), piece_steps=20), Valley(), 50)
    (trace,) = heard
    (plain,) = [Valley().run(Valley().start(), trace.segment)[1]]
    np.testing.assert_array_equal(trace.losses, plain.losses)
    np.testing.assert_array_equal(trace.val_losses, plain.val_losses)


def test_the_lower_rate_ends_with_the_next_candidate_that_is_adopted():
    tuner = guarded(Race([1.0, 1.0], steps=40), piece_steps=10)
    wishes = answers(tuner, [1.0, 2.0, 1.0])
    assert isinstance(wishes[1], Probe)
    assert wishes[1].starts == (0,)
    assert wishes[2].starts == (0,)
    assert float(wishes[2].segments[0].lr(0)) == 0.5
    assert tuner.ask().adopt == 3


def test_a_guarded_race_of_rates_that_diverge_late_ends_well():
    valley = Valley(lr=3.0, noise=0.0)
    out = obey(guarded(race(400, 600, high=1.2, base="constant")), valley, 600)
    assert np.isfinite(out.loss)
    assert out.loss < 1.5


def test_short_segments_pass():
    out = obey(guarded(plateau(100, 100)), Valley(), 100)
    assert out.spent == 100
    assert len(out.rates) == 100


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: guarded(open_loop(constant(), 9), piece_steps=1),
            "piece_steps=1 must be a whole number at least 2",
        ),
        (lambda: guarded(open_loop(constant(), 9), tolerance=-1), "tolerance=-1 must be a number at least 0"),
        (lambda: guarded(open_loop(constant(), 9), retries=0), "retries=0 must be a whole number at least 1"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()
