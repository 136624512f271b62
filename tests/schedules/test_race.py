"""Candidates side by side from step 0, and the winner going on from where it is."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import Keep, Probe, Trace, TunerError, build, facts_of, guarded, lean, open_loop, race, scale
from schedules.compare import are_equal, examples_needed, standard_errors
from tests.strategies import law
from tests.training import Valley, obey

MAKERS = {"race": race, "lean": lean}


def answer(wish, losses, examples=None):
    """Traces that end in these validation losses."""
    segments = wish.segments if isinstance(wish, Probe) else (wish.segment,)
    told = examples if examples is not None else [np.zeros(0)] * len(segments)
    return [
        Trace(segment, np.ones(segment.steps), np.full(segment.evals, loss), one)
        for segment, loss, one in zip(segments, losses, told, strict=True)
    ]


def test_a_race_probes_full_schedules_from_step_0_and_adopts_the_best():
    tuner = race(1000, 1500)
    probe = tuner.ask()
    assert [segment.steps for segment in probe.segments] == [100] * 6
    assert [segment.evals for segment in probe.segments] == [1] * 6
    full = build("wsd(cooldown_fraction=0.4, warmup_fraction=0.05)", 1000)
    steps = np.arange(100)
    for place, segment in enumerate(probe.segments):
        np.testing.assert_array_equal(segment.lr(steps), full(steps) * 2 ** (place - 2.5))
    tuner.tell(answer(probe, [5, 4, 3, np.nan, 2, np.inf]))
    keep = tuner.ask()
    assert (keep.adopt, keep.segment.steps) == (4, 900)
    np.testing.assert_array_equal(keep.segment.lr(np.arange(901)), full(np.arange(100, 1001)) * 2**1.5)
    assert keep.segment.lr(900) == 0
    tuner.tell(answer(keep, [1.0]))
    assert tuner.ask() is None
    spending = tuner.spending
    assert (spending.kept, spending.spent, spending.wall) == (1000, 1500, 1000)
    assert [row["chosen"] for row in facts_of(tuner)] == [False] * 4 + [True, False]


def test_two_finalists_go_on_from_their_own_ends_and_the_better_one_wins():
    tuner = race(1000, 1700)
    tuner.tell(answer(tuner.ask(), [5, 4, 3, 1, 2, np.inf]))
    final = tuner.ask()
    assert final.starts == (3, 4)
    assert [(one.steps, one.evals) for one in final.segments] == [(200, 1)] * 2
    full = build("wsd(cooldown_fraction=0.4, warmup_fraction=0.05)", 1000)
    for place, segment in enumerate(final.segments):
        np.testing.assert_array_equal(
            segment.lr(np.arange(200)), full(np.arange(100, 300)) * 2 ** (place + 0.5)
        )
    tuner.tell(answer(final, [1.5, 1.4]))
    keep = tuner.ask()
    assert (keep.adopt, keep.segment.steps) == (7, 700)
    np.testing.assert_array_equal(keep.segment.lr(np.arange(701)), full(np.arange(300, 1001)) * 2**1.5)
    tuner.tell(answer(keep, [1.0]))
    spending = tuner.spending
    assert (spending.kept, spending.spent, spending.wall) == (1000, 1700, 1000)
    facts = facts_of(tuner)
    assert [row["stage"] for row in facts] == [0] * 6 + [1] * 2
    assert [row["chosen"] for row in facts[6:]] == [False, True]


def test_a_finalist_that_diverges_leaves_it_to_the_other_and_two_are_an_error():
    tuner = race(1000, 1700)
    tuner.tell(answer(tuner.ask(), [5, 4, 3, 1, 2, np.inf]))
    tuner.tell(answer(tuner.ask(), [np.nan, 2.5]))
    assert tuner.ask().adopt == 7
    tuner = race(1000, 1700)
    tuner.tell(answer(tuner.ask(), [5, 4, 3, 1, 2, np.inf]))
    with pytest.raises(
        TunerError, match=r"best after 100 steps \(1.41, 2.83 times lr\) diverged in the next 200"
    ):
        tuner.tell(answer(tuner.ask(), [np.nan, np.inf]))


def test_there_are_finalists_only_where_they_cost_the_run_no_step():
    for options, budget in (({}, 1699), ({"finalists": 1}, 3000), ({"final_fraction": 0.05}, 3000)):
        tuner = race(1000, budget, **options)
        tuner.tell(answer(tuner.ask(), [5, 4, 3, 1, 2, np.inf]))
        assert (tuner.ask().adopt, tuner.ask().segment.steps) == (3, 900)
    tuner = race(1000, 1900, finalists=3)
    tuner.tell(answer(tuner.ask(), [5, 4, 3, 1, 2, np.inf]))
    assert tuner.ask().starts == (3, 4, 2)


def test_a_race_in_spent_steps_keeps_less_and_still_ends_at_zero():
    out = obey(race(1000, 1000), Valley(), 1000)
    assert 640 <= len(out.rates) <= 680
    assert 990 <= out.spent <= 1000
    assert out.rates[-1] < 0.01 * max(out.rates)


def test_ranking_is_never_before_twice_the_warmup_nor_with_fewer_than_20_steps():
    assert race(1000, 9000, warmup_fraction=0.2).ask().segments[0].steps == 400
    assert race(100, 900).ask().segments[0].steps == 20
    assert race(1000, 9000, base="rex(warmup_fraction=0.1)").ask().segments[0].steps == 200


def test_no_candidate_leaves_the_interval():
    peaks = [segment.lr(49) for segment in race(1000, 1500, low=0.5, high=2.0).ask().segments]
    assert np.asarray(peaks).tolist() == pytest.approx([0.5, 2**-0.5, 2**0.5, 2.0], rel=0.03)


def test_probe_share_leaves_out_candidates():
    assert len(race(1000, 1500, probe_share=0.2).ask().segments) == 4
    assert race(1000, 1500, probe_share=0.2).ask().segments[0].steps == 100


def test_lean_warms_up_low_and_probes_once():
    tuner = lean(1150, 1150, guarded=False)
    keep = tuner.ask()
    length = 1000
    assert (keep.segment.steps, keep.adopt, float(keep.segment.lr(49))) == (50, None, 1 / 16)
    tuner.tell(answer(keep, [1.0]))
    probe = tuner.ask()
    assert [segment.steps for segment in probe.segments] == [50] * 4
    # A quarter of a probe rises from the rate before: a jump of 27 times undoes what was learnt.
    rising, risen = (np.array([segment.lr(step) for segment in probe.segments]) for step in (5, 11))
    assert risen.tolist() == [1 / 16, 3 / 16, 9 / 16, 27 / 16]
    assert rising == pytest.approx(1 / 16 + (risen - 1 / 16) / 2)
    tuner.tell(answer(probe, [4, 3, 1, 2]))
    keep = tuner.ask()
    assert (keep.adopt, keep.segment.steps) == (2, length - 100)
    assert float(keep.segment.lr(0)) == 9 / 16
    assert keep.segment.lr(length - 100) == 0
    tuner.tell(answer(keep, [1.0]))
    assert tuner.ask() is None
    assert (tuner.spending.kept, tuner.spending.spent) == (length, 1150)


def test_lean_takes_the_lowest_of_rates_that_the_examples_cannot_tell_apart():
    rng = np.random.default_rng(0)
    best = rng.normal(1.0, 1.0, 100)
    noise = np.where(np.arange(100) % 2, 0.21, -0.19)  # 0.01 worse, standard error 0.0201
    for other, chosen in ((best + noise, 1), (best + 0.01, 2)):
        tuner = lean(1150, 1150, guarded=False)
        tuner.tell(answer(tuner.ask(), [1.0]))
        tuner.tell(answer(tuner.ask(), [4, 1.01, 1.0, 2], [best + 3, other, best, best + 1]))
        assert tuner.ask().adopt == chosen
        assert [row["chosen"] for row in facts_of(tuner)] == [place == chosen for place in range(4)]


@pytest.mark.parametrize(("after", "is_taken_back"), [(1.4, False), (1.6, True), (np.nan, True)])
def test_lean_takes_back_what_blows_up_and_lets_noise_pass(after, is_taken_back):
    tuner = lean(1150, 1150)
    while len(getattr(tuner.ask(), "segments", ())) < 4:
        tuner.tell(answer(tuner.ask(), [1.0]))
    tuner.tell(answer(tuner.ask(), [4, 3, 1, 2]))
    piece = tuner.ask().segments[0]
    assert float(piece.lr(0)) == 9 / 16
    tuner.tell(answer(tuner.ask(), [after]))
    again = tuner.ask()
    if is_taken_back:
        assert float(again.segments[0].lr(0)) == 9 / 32
    else:
        assert isinstance(again, Keep)


@pytest.mark.parametrize("seed", range(3))
def test_a_race_in_wall_steps_is_as_good_as_the_best_of_its_grid(seed):
    valley = Valley(seed=seed)
    grid = [
        obey(open_loop(scale(build("rex(warmup_fraction=0.05)", 400), 2 ** (i - 2.5)), 400), valley, 400).loss
        for i in range(6)
    ]
    out = obey(race(400, 600), valley, 600)
    assert out.wall == 400
    # Losses end between the floor of 1 and some 2.5 here.
    assert out.loss <= min(grid) + 0.01


def test_a_race_around_the_steepest_point_finds_a_rate_the_config_is_far_from():
    valley = Valley(lr=1e-3, curvatures=np.geomspace(0.01, 1.0, 12))
    blind = obey(race(400, 800), valley, 800)
    led = obey(race(400, 800, centre="range_test"), valley, 800)
    assert led.loss < 1.1 < blind.loss
    assert led.spent <= 800


def test_rates_that_all_diverge_are_lowered():
    out = obey(race(400, 1200), Valley(lr=400.0), 1200)
    assert np.isfinite(out.loss)
    probes = [wish for wish in out.wishes if isinstance(wish, Probe)]
    assert 2 <= len(probes) <= 4
    peaks = [max(np.max(one.lr(np.arange(one.steps))) for one in probe.segments) for probe in probes]
    assert peaks[0] / peaks[1] == pytest.approx(8, rel=0.1)


def test_lean_lowers_rates_that_all_diverge_below_its_start():
    tuner = lean(1150, 1400, guarded=False)
    tuner.tell(answer(tuner.ask(), [1.0]))
    tuner.tell(answer(tuner.ask(), [np.nan] * 4))
    assert [float(segment.lr(25)) * 128 for segment in tuner.ask().segments] == [1, 3, 9, 27]
    tuner.tell(answer(tuner.ask(), [2.0, 1.0, np.nan, np.nan]))
    assert (tuner.ask().adopt, float(tuner.ask().segment.lr(0))) == (5, 3 / 128)
    assert tuner.ask().segment.steps == 906


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_it_is_an_error_when_every_rate_diverges(make):
    with pytest.raises(TunerError, match=r"every rate from .* times lr diverged: lower lr, or low"):
        obey(make(400, 4000), Valley(lr=1e9), 4000)
    with pytest.raises(TunerError, match=r"no steps are left to try lower ones \(budget=60\)"):
        obey(make(40, 60), Valley(lr=1e9), 60)


def test_a_diverged_candidate_never_wins():
    out = obey(race(400, 600), Valley(lr=10.0), 600)
    assert np.isfinite(out.loss)
    assert max(out.rates) < 0.3


def test_candidates_that_the_validation_split_cannot_tell_apart_are_an_error_that_says_how_many_it_takes():
    tuner = race(1000, 1500, k=2)
    rng = np.random.default_rng(0)
    one = rng.normal(1.0, 1.0, 100)
    other = one + np.where(np.arange(100) % 2, 0.21, -0.19)  # 0.01 worse, standard error 0.0201
    with pytest.raises(TunerError, match=r"on 100 examples: a validation split of at least 1700 examples"):
        tuner.tell(answer(tuner.ask(), [1.0, 1.01], [one, other]))
    assert tuner.ask() is None
    clear = race(1000, 1500, k=2, finalists=1)
    clear.tell(answer(clear.ask(), [1.0, 1.01], [one, one + 0.01]))
    assert isinstance(clear.ask(), Keep)


def test_a_single_example_chooses_no_rate():
    tuner = race(1000, 1500, k=2)
    with pytest.raises(TunerError, match=r"by a single example: a validation split of at least 7 examples"):
        tuner.tell(answer(tuner.ask(), [1.0, 2.0], [np.array([1.0]), np.array([2.0])]))


def test_few_examples_must_differ_by_more_than_two_standard_errors():
    # Four standard errors, which three examples show one time in seventeen where there is no difference.
    apart = 0.1 + np.array([-1.0, 0.0, 1.0]) * 0.1 * 3**0.5 / 4
    one = np.array([1.0, 3.0, 2.0])
    for copies, is_told in ((1, False), (2, True)):
        losses = np.tile(one, copies)
        tuner = race(1000, 1500, k=2, finalists=1)
        wish = tuner.ask()
        told = answer(wish, [1.0, 1.1], [losses, losses + np.tile(apart, copies)])
        assert are_equal(*told) is not is_told
        if is_told:
            tuner.tell(told)
            assert tuner.ask().adopt == 0
        else:
            with pytest.raises(TunerError, match=r"on 3 examples: a validation split of at least 4 examples"):
                tuner.tell(told)


@pytest.mark.parametrize("spread", [0.2, 0.5, 1.0, 3.0, 40.0])
def test_so_many_examples_as_are_said_to_be_needed_are_enough_and_fewer_are_not(spread):
    needed = examples_needed(spread)
    assert standard_errors(needed) * spread / needed**0.5 <= 1
    assert standard_errors(needed - 1) * spread / (needed - 1) ** 0.5 > 1
    assert standard_errors(10**6) == pytest.approx(2, abs=1e-4)


def test_an_interval_that_leaves_one_rate_to_race_is_refused():
    with pytest.raises(ValueError, match=r"low=100 and high=200 leave one rate, 100 times lr: 6 candidates"):
        race(1000, 1700, low=100.0, high=200.0)
    with pytest.raises(
        ValueError, match=r"leave one rate, 0.1 times lr: 2 candidates 2 apart lie between 0.707"
    ):
        race(1000, 1700, k=2, high=0.1)
    assert len(race(1000, 1700, low=5.0, high=200.0).ask().segments) == 2
    assert type(race(1000, 4000, low=100.0, high=200.0, centre="range_test").ask()).__name__ == "Probe"
    with pytest.raises(ValueError, match=r"start_factor=0.0625 must be below high=0.05"):
        lean(1000, 1000, high=0.05)


def test_noise_that_examples_share_does_not_hide_a_difference():
    with pytest.raises(TunerError, match="validation split of at least"):
        obey(race(400, 600, ratio=1.001), Valley(examples=200, example_noise=20.0), 600)
    assert obey(race(400, 600), Valley(examples=200, example_noise=0.05), 600).loss < 1.1


@given(
    horizon=st.integers(40, 3000),
    more=st.floats(0.0, 2.0),
    k=st.integers(2, 8),
    name=st.sampled_from(sorted(MAKERS)),
)
@law
def test_no_budget_is_exceeded_and_the_decay_ends_with_the_run(horizon, more, k, name):
    budget = int(horizon * more) + 41
    if budget < 70:
        with pytest.raises(ValueError, match="too small for two candidates"):
            MAKERS[name](horizon, 50, k=k)
        return
    tuner = MAKERS[name](horizon, budget, k=k)
    while (wish := tuner.ask()) is not None:
        tuner.tell(answer(wish, range(len(wish.segments)) if isinstance(wish, Probe) else [1.0]))
        last = wish
    spending = tuner.spending
    assert spending.spent <= budget
    assert spending.kept <= horizon
    assert last.segment.lr(last.segment.steps) == 0
    # Not one step less than there could be, but for those of a last candidate.
    assert spending.kept == horizon or spending.spent > budget - 2 * k - 2


@given(
    horizon=st.integers(40, 1000),
    more=st.floats(0.7, 3.0),
    options=st.sampled_from(
        [{"centre": "range_test"}, {"centre": "range_test", "low": 0.5, "high": 2.0}, {"probe_share": 0.4}]
    ),
    is_guarded=st.booleans(),
    lr=st.sampled_from([1e-3, 0.1, 3.0, 100.0]),
)
@law
def test_what_is_counted_is_what_was_run(horizon, more, options, is_guarded, lr):
    budget = int(horizon * more) + 150
    tuner = race(horizon, budget, **options)
    tuner = guarded(tuner) if is_guarded else tuner
    try:
        out = obey(tuner, Valley(lr=lr), budget)
    except TunerError:
        out = None
    spending = tuner.spending
    assert spending.spent <= budget
    if out is not None:
        assert (spending.spent, spending.wall, spending.kept) == (out.spent, out.wall, len(out.rates))
        assert spending.kept <= horizon


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: race(1000, 1500, low=2.0, high=1.0), "low=2 must be below high=1"),
        (lambda: race(1000, 1500, low=1.0, high=1.0), "low=1 must be below high=1"),
        (lambda: race(30, 1500), "horizon=30 is too short to race: at least 40 steps"),
        (lambda: race(100, 50), "budget=50 is too small for two candidates and a run of 40"),
        (lambda: race(1000, 1500, probe_share=0.01), "probe_share=0.01 of budget=1500 leaves no steps"),
        (lambda: race(1000, 1500, k=1), "k=1 must be a whole number at least 2"),
        (lambda: race(1000, 1500, finalists=0), "finalists=0 must be a whole number at least 1"),
        (lambda: race(1000, 1500, ratio=1.0), "ratio=1.0 must be a number above 1"),
        (lambda: race(1000, 1500, rank_fraction=0.6), "rank_fraction=0.6 must be"),
        (lambda: race(1000, 1500, warmup_fraction=0.4), "warmup_fraction=0.4 must be"),
        (lambda: race(1000, 1500, base="rex(warmup_fraction=0.4)"), "lower warmup_fraction"),
        (lambda: race(1000, 1500, base="rx"), "unknown schedule 'rx'; did you mean 'rex'"),
        (lambda: race(1000, 1500, centre="middle"), 'centre=\'middle\' must be one of "lr", "range_test"'),
        (lambda: race(1000, 1500, centre="range_test", low=2e3), "a range test sweeps from 0.001 to 1000"),
        (lambda: lean(30, 1500), "horizon=30 is too short for probes of 20 steps"),
        (lambda: lean(1000, 1500, start_factor=0.0), "start_factor=0.0 must be a number above 0"),
        (lambda: lean(1000, 1500, base="rex(warmup_fraction=0.4)"), "not warm up for more than a quarter"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("make", [race, lean])
@pytest.mark.parametrize("arguments", [{}, {"probe_share": 0.05}, {"warmup_fraction": 0.25}])
@pytest.mark.parametrize(("horizon", "budget"), [(40, 40), (400, 59), (40, 61), (1000, 100), (1000, 1500)])
def test_what_is_said_to_be_enough_is_enough(make, arguments, horizon, budget):
    said = 0
    while True:
        try:
            make(horizon, budget, **arguments)
            break
        except ValueError as error:
            wanted = float(re.search(r"at least ([\d.]+)$", str(error))[1])
            if str(error).startswith("budget="):
                with pytest.raises(ValueError, match="at least"):
                    make(horizon, int(wanted) - 1, **arguments)
                budget = int(wanted)
            else:
                arguments = {**arguments, "probe_share": wanted}
            said += 1
    assert said <= 2  # one line on the budget, one on the share of it
