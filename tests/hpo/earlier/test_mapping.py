"""Earlier trials in the words of another space."""

import math

import pytest

from hpo.bounds import Bound
from hpo.earlier.former import FormerStudy, FormerTrial, ends
from hpo.earlier.mapping import MOST, as_value, judged, mapped, order, restricted, taken, unsaid, words
from hpo.errors import UsageError
from hpo.space import Choice, Float, Int, Space

SPACE = Space(
    {
        "lr": Float(1e-3, 1e-1, "log"),
        "optimizer": Choice(("adamw", "sgd")),
        "momentum": Float(0.8, 0.99),
        "width": Int(8, 64),
    },
    {"batch_size": 64},
    {"momentum": {"optimizer": ("sgd",)}},
)


def done(config: dict[str, object], value: float = 1.0) -> FormerTrial:
    return FormerTrial(config, "completed", 10, {10: (value,)})


def begun(*trials: FormerTrial, space: Space = SPACE, bounds: tuple[Bound, ...] = ()):
    return taken("old", FormerStudy("loss, minimised", trials), space, "--from old", 5.0, bounds)


def test_hyperparameters_are_mapped_by_name_and_what_is_outside_or_inactive_is_left_out() -> None:
    found = begun(
        done({"lr": 0.01, "optimizer": "adamw", "momentum": 0.9, "depth": 3}, 1.0),
        done({"lr": 0.01, "optimizer": "sgd", "momentum": 0.9}, 2.0),
        done({"lr": 0.5, "optimizer": "sgd", "momentum": 0.9}, 3.0),
        done({"lr": 0.01, "optimizer": "sgd"}, 4.0),
        done({"lr": 0.01, "optimizer": "rmsprop"}, 4.0),
    )
    assert [one.config for one in found.results] == [
        {"lr": 0.01, "optimizer": "adamw"},  # momentum is inactive here
        {"lr": 0.01, "optimizer": "sgd", "momentum": 0.9},
    ]
    assert (found.mapped, found.lacking, found.others) == (
        ("lr", "optimizer", "momentum"),
        ("width",),
        ("depth",),
    )
    assert found.left_out == {
        "outside of the bounds here (lr)": 1,
        "without momentum, which is active here": 1,
        "outside of the bounds here (optimizer)": 1,
    }
    assert words(found) == (
        "from old: 2 trials by loss, minimised; mapped lr, optimizer, momentum; not there width; "
        "not here depth; 1 left out: outside of the bounds here (lr); "
        "1 left out: without momentum, which is active here; "
        "1 left out: outside of the bounds here (optimizer)"
    )


def test_what_depends_on_an_unmapped_hyperparameter_is_not_mapped() -> None:
    assert mapped(SPACE, {"lr", "momentum"}) == ("lr",)
    assert restricted(SPACE, ("lr",)).names == ("lr",)
    fixed = Space({"momentum": Float(0.0, 1.0)}, {"optimizer": "sgd"}, {"momentum": {"optimizer": ("sgd",)}})
    assert mapped(fixed, {"momentum"}) == ("momentum",)
    found = begun(done({"momentum": 0.5, "optimizer": "adamw"}), space=fixed)
    assert found.results[0].config == {"momentum": 0.5}  # what is fixed here is not compared


@pytest.mark.parametrize(
    ("domain", "given", "wanted"),
    [
        (Float(1, 64), 32, 32.0),
        (Float(0, 1), "1e-3", 1e-3),
        (Float(0, 1), "much", None),
        (Float(0, 1), True, None),
        (Float(0, 1), math.nan, None),
        (Int(1, 64), 32.5, None),
        (Int(1, 64), "65", None),
        (Choice((1, 2)), "2", 2),
        (Choice((True, 5)), 1, None),
        (Choice((0.5, 0.25)), "0.50", 0.5),
        (Choice(("1", "2")), 1, None),
        (Choice(("a",)), None, None),
    ],
)
def test_a_value_is_what_the_domain_holds_or_nothing(domain, given, wanted) -> None:
    found = as_value(domain, given)
    assert (found, type(found)) == (wanted, type(wanted))


def test_studies_without_a_common_name_and_without_a_usable_trial_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"--from old: no hyperparameter .*: it has a, b; searched here are lr, "
    ):
        begun(done({"b": 1, "a": 2}))
    with pytest.raises(
        UsageError, match=r"can be begun with: 1 broke off; 2 outside of the bounds here \(lr\)"
    ):
        begun(done({"lr": 5.0}), done({"lr": 6.0}), FormerTrial({"lr": 0.01}, "failed", 10, {10: (0.1,)}))
    with pytest.raises(UsageError, match="none of its trials has ended, of 3 that began"):
        taken("old", FormerStudy("loss", (), 3), SPACE, "--from old", 0.0)


def test_trials_that_broke_off_count_as_failures_and_stopped_ones_by_their_forecast() -> None:
    curves = [{1: (3.0 + n,), 10: (2.0 + n,)} for n in range(6)]
    trials = [FormerTrial({"lr": 0.01}, "completed", 10, curve) for curve in curves]
    trials.append(FormerTrial({"lr": 0.02}, "stopped", 10, {1: (5.5,)}))
    trials.append(FormerTrial({"lr": 0.03}, "diverged", 10, {1: (3.0,)}))
    trials.append(FormerTrial({"lr": 0.04}, "completed", 10, {10: (math.nan,)}))
    trials.append(FormerTrial({"lr": 0.05}, "completed", 10))
    found = ends(trials)
    assert [one.values for one in found[:6]] == [(2.0 + n,) for n in range(6)]
    assert found[6].values[0] == pytest.approx(4.5, abs=0.3)
    assert found[6].spread > 0
    assert found[7].values == found[8].values == (math.inf,)
    assert found[9] is None
    kept = begun(*trials)
    assert "9 trials by loss, minimised (2 broke off, 1 by forecasts of their ends)" in words(kept)
    assert kept.left_out == {"nothing is known of their ends": 1}


def test_of_several_metrics_the_front_comes_first_and_only_whole_trials_count() -> None:
    trials = [
        FormerTrial({"lr": 0.01}, "completed", 1, {1: values})
        for values in ((3.0, 3.0), (1.0, 4.0), (4.0, 1.0))
    ]
    stopped = FormerTrial({"lr": 0.01}, "stopped", 2, {1: (0.0, 0.0)})
    found = begun(*trials, stopped, FormerTrial({"lr": 0.02}, "failed", 1))
    assert [one.values for one in found.results] == [(3.0, 3.0), (1.0, 4.0), (4.0, 1.0), (math.inf, math.inf)]
    assert order(found.results) == [1, 0, 2, 3]
    assert found.left_out["nothing is known of their ends"] == 1


def test_of_many_trials_the_best_and_an_even_share_of_the_others_are_kept() -> None:
    count = 3 * MOST
    found = begun(*(done({"lr": 0.01}, float((7 * n) % count)) for n in range(count)))
    values = sorted(one.values[0] for one in found.results)
    assert len(values) == MOST
    assert values[: MOST // 2] == list(range(MOST // 2))
    assert values[-1] == count - 1
    assert found.left_out == {f"beyond the {MOST} that are kept": count - MOST}


SMALL = (Bound("bytes", high=100.0),)


def sized(lr: float, value: float, size: float | None, outcome: str = "completed") -> FormerTrial:
    told = {} if size is None else {"bytes": {10: size}}
    return FormerTrial({"lr": lr, "optimizer": "adamw"}, outcome, 10, {10: (value,)}, told)


def test_an_earlier_trial_beyond_a_constraint_counts_as_it_would_here() -> None:
    some = (
        sized(0.01, 0.1, 200.0),  # best, and too large
        sized(0.02, 0.3, 50.0),
        sized(0.03, 0.2, 100.0),
        sized(0.04, 0.4, None),
        sized(0.05, 0.0, None, "failed"),
    )
    found = begun(*some, bounds=SMALL)
    assert [one.excess for one in found.results] == [1.0, 0.0, 0.0, 0.0, 0.0]
    assert [one.values[0] for one in found.results][:4] == [0.1, 0.3, 0.2, 0.4]
    assert order(found.results) == [2, 1, 3, 0, 4]
    assert judged(found.results) == [math.inf, 0.3, 0.2, 0.4, math.inf]
    assert [one.excess for one in begun(*some).results] == [0.0] * 5, "without constraints nothing changes"
    former = FormerStudy("loss, minimised", some)
    assert unsaid(former, ()) == ""
    line = words(found, unsaid(former, SMALL))
    assert "(1 broke off, 1 beyond the constraints here)" in line
    assert line.endswith("; 2 of 5 do not report bytes, which is bounded here: taken as if they kept it")


def test_while_hardly_any_earlier_trial_keeps_the_constraints_the_least_far_beyond_is_the_best() -> None:
    found = begun(sized(0.01, 0.1, 300.0), sized(0.02, 0.9, 150.0), sized(0.03, 0.5, 60.0), bounds=SMALL)
    assert judged(found.results) == [2.0, 0.5, 0.0]
    assert order(found.results) == [2, 1, 0]


def test_a_stopped_trial_is_beyond_a_constraint_by_the_forecast_of_its_end() -> None:
    falling = [
        FormerTrial({"lr": 0.01}, "completed", 8, {8: (1.0,)}, {"bytes": {2: 150.0 + n, 8: 50.0 + n}})
        for n in range(5)
    ]
    stopped = FormerTrial({"lr": 0.02}, "stopped", 8, {2: (1.0,)}, {"bytes": {2: 152.0}})
    curves = [
        FormerTrial(one.config, one.outcome, 8, {2: (2.0,), **one.reports}, one.bounded) for one in falling
    ]
    last = ends([*curves, stopped], SMALL)[-1]
    assert last is not None
    assert last.excess == 0.0
