import math

import pytest

from hpo.bounds import Bound
from hpo.compared import compared
from hpo.errors import UsageError
from hpo.events import Event, TrialFinished, TrialReported, TrialStarted
from hpo.history import History
from hpo.limits import Limits
from hpo.objective import Objective
from trials.spec import Report, TrialSpec

TWO = Objective("loss", others=(Objective("accuracy", "max"),))
BOUNDED = Objective("loss", bounds=(Bound("size", high=100.0),))


def told(objective: Objective, *trials: dict[str, float] | str) -> History:
    """A history of trials that ended one after another, by their last metrics, or by how they broke off."""
    history = History(objective)
    for number, found in enumerate(trials):
        metrics = found if isinstance(found, dict) else {"loss": 0.0}
        outcome = "completed" if isinstance(found, dict) else found
        events: list[Event] = [
            TrialStarted(TrialSpec(number, {}, 0, 4, (4,), 4, 0), float(number)),
            TrialReported(Report(number, 4, 4, 1.0, metrics), float(number)),
            TrialFinished(number, outcome, float(number)),
        ]
        for event in events:
            history.tell(event)
    return history


def numbers(history: History) -> list[int]:
    return [trial.spec.trial for trial in history.front]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ([], r"study metric = \[\] must name at least one metric"),
        (["loss", "loss"], "study metric: 'loss' is named twice"),
        (["loss", {"name": "loss", "goal": "max"}], "study metric: 'loss' is named twice"),
        (["loss", 3], "study metric: name = 3 must be a text"),
        (["loss", {"name": "size", "aim": "min"}], "study metric: unknown key 'aim'"),
        ([["loss"]], r"study metric: name = \['loss'\] must be a text"),
    ],
)
def test_a_list_of_metrics_that_cannot_be_is_refused(metric, message):
    with pytest.raises(UsageError, match=message):
        Objective.read(metric)


@pytest.mark.parametrize(
    ("constraints", "message"),
    [
        ({"size": 3}, r"study \[constraints\] size = 3 must be a table: \{max = 1e6\}"),
        ({"size": {}}, "must be a table"),
        ({"size": {"most": 3}}, "unknown key 'most'; known: max, min"),
        ({"size": {"max": "3"}}, "size: max = '3' must be a number"),
        ({"size": {"max": math.nan}}, "size: max = nan must be a number"),
        ({"size": {"min": 2, "max": 1}}, "size: min = 2 is above max = 1: no value keeps both"),
    ],
)
def test_constraints_that_cannot_be_are_refused(constraints, message):
    with pytest.raises(UsageError, match=message):
        Objective.of_study({"metric": "loss", "constraints": constraints})


def test_shifted_scores_of_leading_trials_only_go_with_one_metric():
    study = {
        "metric": ["shifted_accuracy", "parameters"],
        "validation": {"kind": "shifted-kfold", "folds_for": "leading"},
    }
    with pytest.raises(UsageError, match="folds_for = 'all'"):
        Objective.of_study(study)


def test_the_front_is_what_no_other_beats_in_the_order_of_the_first_metric():
    history = told(
        TWO,
        {"loss": 1.0, "accuracy": 0.5},
        {"loss": 2.0, "accuracy": 0.9},
        {"loss": 1.5, "accuracy": 0.4},  # worse than trial 0 in both
        "diverged",
        {"loss": 0.5, "accuracy": 0.1},
        {"loss": 0.4, "accuracy": math.nan},  # no result without every metric
        {"loss": 0.3},
    )
    assert numbers(history) == [4, 0, 1]
    assert history.best is history.trials[4]
    assert history.fronts == {0: 0, 1: 0, 2: 1, 4: 0}


def test_of_trials_with_equal_values_one_stands_for_all():
    history = told(TWO, {"loss": 1.0, "accuracy": 0.5}, {"loss": 1.0, "accuracy": 0.5})
    assert numbers(history) == [0]


def test_the_best_keeps_the_constraints_and_where_none_does_the_nearest_is_known():
    history = told(BOUNDED, {"loss": 1.0, "size": 300.0}, {"loss": 2.0, "size": 150.0})
    assert history.best is None
    assert history.nearest is history.trials[1]
    history = told(BOUNDED, {"loss": 1.0, "size": 300.0}, {"loss": 2.0, "size": 50.0})
    assert history.best is history.trials[1]
    assert history.nearest is None


def test_a_bound_on_what_is_not_reported_is_broken_unless_the_study_is_lenient():
    assert told(BOUNDED, {"loss": 1.0}).best is None
    lenient = Objective("loss", bounds=BOUNDED.bounds, is_lenient=True)
    assert told(lenient, {"loss": 1.0}).best is not None


def test_both_sides_of_a_bound_count_and_one_at_zero_counts_in_ones():
    objective = Objective(bounds=(Bound("seconds", 1.0, 60.0), Bound("gap", high=0.0)))
    assert objective.excess({"seconds": 0.5, "gap": 0.25}) == 0.75
    assert objective.excess({"seconds": 90.0, "gap": -3.0}) == 0.5
    assert objective.excess({"seconds": 1.0, "gap": 0.0}) == 0.0
    assert objective.excess({"seconds": math.nan, "gap": 0.0}) == math.inf


def test_a_trial_that_enters_the_front_is_an_improvement():
    history = told(
        TWO, {"loss": 1.0, "accuracy": 0.5}, {"loss": 2.0, "accuracy": 0.9}, {"loss": 3.0, "accuracy": 0.1}
    )
    assert Limits(no_improvement=2).exhausted(history, 4) == ""
    assert Limits(no_improvement=1).exhausted(history, 4) == "no improvement in 1 trials"


def test_the_trials_compared_are_those_of_the_first_fronts():
    history = told(
        TWO, {"loss": 3.0, "accuracy": 0.1}, {"loss": 2.0, "accuracy": 0.9}, {"loss": 1.0, "accuracy": 0.5}
    )
    assert [trial.spec.trial for trial in compared(history, 2)] == [2, 1]


def test_a_penalty_beyond_all_values_is_no_value_and_leaves_what_seeds_say_of_the_others():
    history = History(Objective("loss"))
    values = [1.0, 1.7e308, 2.0, 3.0, 1.1, 1.2]  # the last two are the first config with other seeds
    for number, value in enumerate(values):
        spec = TrialSpec(number, {}, number, 4, (4,), 4, 0)
        for event in (
            TrialStarted(spec, 0.0, replica_of=0 if number > 3 else None),
            TrialReported(Report(number, 4, 4, 1.0, {"loss": value}), 0.0),
            TrialFinished(number, "completed", 0.0),
        ):
            history.tell(event)
    assert history.value(history.trials[1]) == math.inf
    assert history.best is history.trials[0]
    assert math.isfinite(history.judged[0][0].high)
