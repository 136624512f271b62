import pytest

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.pruners.median import Median
from trials.spec import Report, TrialSpec

RUNGS = (10, 20, 40)


def curve(pruner, trial, values, outcome=None):
    pruner.tell(TrialStarted(TrialSpec(trial, {}, 0, 40, RUNGS, 40, 0), 0.0))
    for spent, value in zip(RUNGS, values, strict=False):
        pruner.tell(TrialReported(Report(trial, spent, spent, 0.0, {"val_loss": value}), 0.0))
    if outcome:
        pruner.tell(TrialFinished(trial, outcome, 0.0))


def after(*curves, **options):
    pruner = Median(Objective(), **{"startup_trials": len(curves), **options})
    for trial, values in enumerate(curves):
        curve(pruner, trial, values, "completed")
    return pruner


@pytest.mark.parametrize(("value", "kept"), [(1.9, True), (2.0, True), (2.1, False)])
def test_a_trial_worse_than_the_median_at_its_rung_is_stopped(value, kept):
    pruner = after([1, 1, 1], [2, 1, 1], [3, 1, 1])
    curve(pruner, 9, [value])
    assert pruner.keep(9) == kept
    if not kept:
        assert pruner.reason(9) == "median: rung 10: 2.1 is worse than 2, the median of 3 completed trials"


def test_the_best_value_so_far_counts():
    pruner = after([2, 2, 2])
    curve(pruner, 9, [1.0, 5.0])
    assert pruner.keep(9)


def test_nothing_is_stopped_before_enough_trials_are_complete():
    pruner = after([1, 1, 1], startup_trials=2)
    curve(pruner, 8, [9.0], "stopped")
    curve(pruner, 9, [9.0])
    assert pruner.keep(9)


def test_nothing_is_stopped_within_the_grace():
    pruner = after([1, 1, 1], grace_fraction=0.5)
    curve(pruner, 9, [9.0])
    assert pruner.keep(9)
    curve(pruner, 10, [9.0, 9.0])
    assert not pruner.keep(10)


def test_the_last_report_stops_nothing():
    pruner = after([3, 3, 1])
    curve(pruner, 9, [2, 2, 2])
    assert pruner.keep(9)
