"""The search stage by stage, in the improved and in the published form."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import Keep, Probe, Trace, TunerError, autolrs, facts_of
from tests.strategies import law
from tests.training import Valley, obey


def answer(wish, losses):
    segments = wish.segments if isinstance(wish, Probe) else (wish.segment,)
    return [
        Trace(one, np.full(one.steps, loss), np.full(one.evals, loss))
        for one, loss in zip(segments, losses, strict=True)
    ]


def run_by(tuner, loss_of, most=500):
    """The wishes, when every segment ends at a loss that is a function of its last factor but one."""
    wishes = []
    while (wish := tuner.ask()) is not None:
        assert len(wishes) < most
        wishes.append(wish)
        segments = wish.segments if isinstance(wish, Probe) else (wish.segment,)
        tuner.tell(answer(wish, [loss_of(float(one.lr(0))) for one in segments]))
    return wishes


def near_one(factor):
    return 1.0 + 0.1 * np.log(factor) ** 2


def test_four_then_two_are_probed_cooled_and_the_best_is_gone_on_from_before_its_cooldown():
    tuner = autolrs(2000, 4000, guarded=False, chunks=1, stages=1, ramp_fraction=0.0)
    wishes = run_by(tuner, near_one)
    kinds = [type(wish).__name__ for wish in wishes]
    assert kinds == ["Keep", "Probe", "Probe", "Probe", "Probe", "Keep", "Keep"]
    first, cooled, second, _ = wishes[1:5]
    assert [len(first.segments), len(second.segments)] == [4, 2]
    assert [float(one.lr(0)) for one in first.segments] == pytest.approx(
        10 ** np.array([-0.75, -0.25, 0.25, 0.75])
    )
    assert cooled.starts == (0, 1, 2, 3)
    for one, before in zip(cooled.segments, first.segments, strict=True):
        assert one.lr([0, one.steps]).tolist() == [float(before.lr(0)), 0.0]
        assert (one.steps, one.evals, one.is_mark) == (before.steps, 1, False)
    # The two are where a line through the four is low: between the middle ones and beside them.
    assert all(0.3 < float(one.lr(0)) < 3.4 for one in second.segments)
    keep, anneal = wishes[5:]
    assert keep.adopt in (1, 2, 8, 9)
    assert keep.segment.steps == 1500 - first.segments[0].steps
    assert anneal.segment.lr([0, 400]).tolist() == [float(keep.segment.lr(0)), 0.0]
    assert tuner.spending.kept == 2000


@pytest.mark.parametrize(("error", "stay", "chosen"), [(0.2, True, 1), (0.2, False, 3), (0.0, True, 3)])
def test_where_the_examples_cannot_tell_the_rate_stays_near_the_one_before(error, stay, chosen):
    best = np.random.default_rng(0).normal(1.0, 1.0, 100)
    noise = np.where(np.arange(100) % 2, error, -error)
    tuner = autolrs(
        2000, 9000, rounds=[5], guarded=False, chunks=1, stages=1, score="last", ramp_fraction=0.0, stay=stay
    )
    tuner.tell(answer(tuner.ask(), [1.0]))
    probe = tuner.ask()
    # Rates far below and above are worse beyond doubt; of the others the last is best by a hundredth.
    losses = [best + 2, best + 0.01 + noise, best + 0.01 + noise, best, best + 2]
    traces = [
        Trace(one, np.full(one.steps, 1.0), np.full(one.evals, float(of.mean())), of)
        for one, of in zip(probe.segments, losses, strict=True)
    ]
    tuner.tell(traces)
    # It began a quarter of the way up the interval, nearest to the second.
    assert tuner.ask().adopt == chosen


def test_stages_double_and_search_where_the_last_one_found_the_best():
    tuner = autolrs(2000, 6000, guarded=False, stages=3, score="last", chunks=1)
    wishes = run_by(tuner, lambda factor: 1.0 + abs(np.log(factor / 5.0)))
    kept = [wish.segment.steps for wish in wishes if isinstance(wish, Keep)]
    probed = [wish.segments[0].steps for wish in wishes if isinstance(wish, Probe)]
    assert kept[0] == 100
    stages = [kept[1 + place] + probed[2 * place] for place in range(3)]
    assert stages == [214, 429, 857]
    assert probed == [21, 21, 42, 42, 85, 85]
    factors = [
        [float(row["factor"]) for row in facts_of(tuner) if row["stage"] == stage] for stage in range(3)
    ]
    ends = [(min(one), max(one)) for one in factors]
    assert all(low >= 0.1 and high <= 10.0 for low, high in ends)
    widths = [high / low for low, high in ends]
    assert widths[1] <= 10.1
    assert widths[2] <= 3.2


def test_the_published_form_is_nearly_a_grid_and_goes_back_to_train():
    tuner = autolrs(2000, 4000, published=True, stages=1, low=0.01, high=1.0)
    wishes = run_by(tuner, near_one)
    assert [len(wish.segments) for wish in wishes if isinstance(wish, Probe)] == [1] * 10
    assert [wish.adopt for wish in wishes if isinstance(wish, Keep)] == [None, None]
    places = np.sort([np.log10(float(row["factor"])) / 2 + 1 for row in facts_of(tuner)])
    assert np.diff(places).max() < 0.25
    assert places[0] < 0.05
    assert places[-1] > 0.95
    assert wishes[1].segments[0].steps == 190
    assert not any(wish.segments[0].is_mark for wish in wishes if isinstance(wish, Probe))


def test_the_published_stages_are_1000_to_8000_steps_on_training_and_then_on_validation_loss():
    tuner = autolrs(40_000, 80_000, published=True, warmup_fraction=0.0, rounds=(2,))
    wishes = run_by(tuner, near_one)
    kept = [wish.segment.steps for wish in wishes if isinstance(wish, Keep)]
    assert kept == [1000, 2000, 4000, 8000, 8000, 8000, 8000, 1000]
    probed = [(wish.segments[0].steps, wish.segments[0].evals) for wish in wishes if isinstance(wish, Probe)]
    assert probed == [(100, 0), (200, 0), (400, 0), (800, 0), (800, 16), (800, 16), (800, 16), (100, 16)]


def test_a_budget_for_no_search_is_refused():
    with pytest.raises(ValueError, match="budget=50 and probe_share=1 do not suffice for two candidates"):
        autolrs(2000, 50)


def test_a_candidate_whose_forecast_is_hopeless_is_not_run_on():
    tuner = autolrs(2000, 4000, guarded=False, stages=1, chunks=2, score="last", ramp_fraction=0.0)
    tuner.tell(answer(tuner.ask(), [3.0]))
    probe = tuner.ask()
    rng = np.random.default_rng(0)
    levels = [1.0, 1.01, 2.0, 3.0]
    tuner.tell(
        [
            Trace(one, level + rng.normal(0, 0.01, one.steps), np.zeros(0))
            for one, level in zip(probe.segments, levels, strict=True)
        ]
    )
    again = tuner.ask()
    assert again.starts == (0, 1)
    assert sum(one.steps for one in (probe.segments[0], again.segments[0])) == 150
    tuner.tell(answer(again, [1.0, 0.9]))
    stopped = [row["stopped"] for row in facts_of(tuner)]
    assert stopped == []
    for wish in iter(tuner.ask, None):
        tuner.tell(answer(wish, [2.0] * (len(wish.segments) if isinstance(wish, Probe) else 1)))
    rows = facts_of(tuner)
    assert [row["stopped"] for row in rows[:4]] == [False, False, True, True]
    assert [row["chosen"] for row in rows[:4]] == [False, True, False, False]
    assert np.isfinite(rows[1]["regret"])
    assert all(np.isnan(row["regret"]) for row in rows if not row["chosen"])


def test_weight_decay_and_momentum_are_set_with_the_rate():
    tuner = autolrs(2000, 4000, weight_decay=(1e-3, 0.1), momentum=(0.8, 0.99), guarded=False)
    wishes = run_by(tuner, near_one)
    hypers = [one.hyper for wish in wishes if isinstance(wish, Probe) for one in wish.segments if one.hyper]
    assert len(hypers) >= 10
    for hyper in hypers:
        assert set(hyper) == {"weight_decay", "momentum"}
        assert 1e-3 <= hyper["weight_decay"] <= 0.1
        assert 0.8 <= hyper["momentum"] <= 0.99
    assert len({hyper["momentum"] for hyper in hypers}) > 5
    assert {"weight_decay", "momentum"} <= set(facts_of(tuner)[0])


def test_candidates_that_all_diverge_are_lowered_and_at_last_an_error():
    # 2 / curvature is 1: with factors from 0.1 to 10 some rates are stable from lr = 10 downwards only.
    out = obey(autolrs(800, 3000, low=0.01, high=10.0, start_factor=0.01), Valley(lr=8.0), 3000)
    assert np.isfinite(out.loss)
    tuner = autolrs(800, 3000, guarded=False)
    tuner.tell(answer(tuner.ask(), [1.0]))
    said = ""
    while (wish := tuner.ask()) is not None:
        try:
            tuner.tell(answer(wish, [np.nan] * len(wish.segments)))
        except TunerError as error:
            said = str(error)
    assert said == "every rate from 0.107 to 5.62 times lr diverged: lower lr, or low"
    probes = len({row["factor"] for row in facts_of(tuner)})
    assert probes >= 8


def test_rates_from_where_one_diverged_are_not_tried_again():
    tuner = autolrs(2000, 4000, guarded=False, stages=1)
    wishes = run_by(tuner, lambda factor: np.nan if factor > 1 else near_one(factor))
    diverged = min(float(row["factor"]) for row in facts_of(tuner)[:4] if not np.isfinite(row["score"]))
    assert all(float(row["factor"]) < diverged for row in facts_of(tuner)[4:])
    assert isinstance(wishes[-1], Keep)


def test_a_validation_split_that_is_too_small_is_an_error():
    with pytest.raises(TunerError, match=r"a validation split of at least \d+ examples is needed"):
        obey(autolrs(800, 1600), Valley(lr=1e-4, examples=100, example_noise=200.0), 1600)


@pytest.mark.parametrize("options", [{}, {"score": "last"}, {"score": "forecast"}], ids=str)
def test_the_improved_search_ends_lower_than_the_published_one(options):
    runs = []
    for seed in range(5):
        published = obey(autolrs(1000, 2000, published=True, stages=2), Valley(seed=seed), 2000)
        improved = obey(autolrs(1000, 2000, **options), Valley(seed=seed), 2000)
        assert improved.wall < 0.7 * published.wall
        runs.append((improved.loss, published.loss))
    ours, theirs = np.mean(runs, axis=0)
    # Of a loss that falls from some 20 to a floor of 1; means of five seeds.
    assert ours - 1 < 0.5 * (theirs - 1)


OPTIONS = [
    {},
    {"guarded": False},
    {"score": "last", "stages": 1},
    {"score": "forecast", "signal": "validation", "stages": 3},
    {"adopt": False, "chunks": 3},
    {"published": True, "stages": 2},
    {"published": True, "first_stage_steps": 50, "most_stage_steps": 100},
    {"probe_share": 0.3, "rounds": (3, 1, 1)},
    {"shrink": 1.0, "prior_mean": False, "anneal_fraction": 0.0, "warmup_fraction": 0.0},
]


@given(
    horizon=st.integers(300, 3000),
    more=st.floats(1.0, 3.0),
    options=st.sampled_from(OPTIONS),
    seed=st.integers(0, 10),
    lr=st.sampled_from([0.01, 0.1, 1.0]),
)
@law
def test_no_budget_is_exceeded_whatever_the_ingredients(horizon, more, options, seed, lr):
    budget = int(horizon * more)
    tuner = autolrs(horizon, budget, **options)
    out = obey(tuner, Valley(seed=seed, lr=lr), budget)  # which asserts it
    assert len(out.rates) <= horizon
    spending = tuner.spending
    assert spending.spent <= budget
    assert (spending.kept, spending.wall) == (len(out.rates), out.wall)
    factors = [float(row["factor"]) for row in facts_of(tuner)]
    assert all(0.1 <= factor <= 10.0 for factor in factors if "taken_back" not in facts_of(tuner)[0])
    probed = spending.probed
    assert probed <= budget * options.get("probe_share", 1.0) or options.get("guarded", True)
    if out.rates and options.get("anneal_fraction", not options.get("published")):
        assert out.rates[-1] < 0.1 * max(out.rates)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: autolrs(1000, 2000, low=2.0, high=1.0), "lr: low=2 must be below high=1"),
        (lambda: autolrs(1000, 2000, low=0.0), "lr: low=0 must be above 0"),
        (
            lambda: autolrs(50, 2000),
            "probes of 20 steps are not shorter than a stage of 13: raise horizon=50",
        ),
        (lambda: autolrs(1000, 200), "budget=200 and probe_share=1 do not suffice for two candidates"),
        (lambda: autolrs(1000, 2000, probe_share=0.01), "probe_share=0.01 do not suffice"),
        (lambda: autolrs(1000, 2000, rounds=(1,)), "two or more in all"),
        (lambda: autolrs(1000, 2000, score="best"), "score='best' must be one of"),
        (lambda: autolrs(1000, 2000, signal="test"), "signal='test' must be one of"),
        (lambda: autolrs(1000, 2000, stages=2, first_stage_steps=9), "exclude each other"),
        (
            lambda: autolrs(1000, 2000, weight_decay=(0.1, 0.01)),
            "weight_decay: low=0.1 must be below high=0.01",
        ),
        (
            lambda: autolrs(1000, 2000, momentum=(0.1, 1.0)),
            "momentum: from 0.1 to 1 must be at least 0 and below 1",
        ),
        (
            lambda: autolrs(1000, 2000, momentum=(0.1,)),
            "momentum=.* must be its lowest and its highest value",
        ),
        (lambda: autolrs(1000, 2000, probe_fraction=1.0), "are not shorter than a stage"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("growth", [1.02, 1.3])
def test_a_guard_that_takes_back_all_it_can_exceeds_no_budget(options, growth):
    tuner = autolrs(1000, 1700, **{**options, "guarded": True})
    place = 0
    while (wish := tuner.ask()) is not None:
        place += 1
        count = len(wish.segments) if isinstance(wish, Probe) else 1
        tuner.tell(answer(wish, [growth**place * (1 + 0.1 * one) for one in range(count)]))
    assert tuner.spending.spent <= 1700
    assert tuner.spending.kept <= 1000


def test_every_ingredient_can_be_switched_alone():
    switches = {"score": "last", "forecaster": "published", "chunks": 1, "shrink": 1.0, "prior_mean": False}
    switches |= {"adopt": False, "ramp_fraction": 0.0, "anneal_fraction": 0.0, "guarded": False, "kappa": 1e6}
    for name, value in itertools.chain(switches.items(), {"rounds": (1,) * 6}.items()):
        out = obey(autolrs(600, 1500, **{name: value}), Valley(), 1500)
        assert out.loss < 1.2, name
