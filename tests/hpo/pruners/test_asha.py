import math

import numpy as np
import pytest

from hpo.events import TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.pruners.asha import Asha
from trials.spec import Report, TrialSpec


def start(pruner, trial, budget=500, rungs=(50, 100, 200, 500)):
    pruner.tell(TrialStarted(TrialSpec(trial, {}, 0, budget, rungs, budget, 0), 0.0))


def report(pruner, trial, spent, value, metric="val_loss"):
    pruner.tell(TrialReported(Report(trial, spent, spent, 0.0, {metric: value}), 0.0))


def judged(values, spent=100, **options):
    """Which of the trials that report these values at a rung, one after another, go on."""
    pruner = Asha(Objective(), **{"rungs": 2, **options})
    for trial, value in enumerate(values):
        start(pruner, trial)
        report(pruner, trial, spent, value)
    return [pruner.keep(trial) for trial in range(len(values))]


def test_the_best_third_of_those_seen_so_far_goes_on():
    assert judged([5, 6, 4]) == [True, False, True]
    # The sixth is second of six, and a third of six is two; the seventh is third of seven.
    assert judged([5, 6, 4, 9, 8, 4.5]) == [True, False, True, False, False, True]
    assert judged([5, 6, 4, 9, 8, 4.5, 4.8]) == [True, False, True, False, False, True, False]


def test_eta_is_the_reciprocal_of_the_share():
    assert judged([1, 2, 3, 1.5], spent=130, eta=2) == [True, False, False, True]
    assert judged([1, 2, 3, 1.5], spent=130, eta=4) == [True, False, False, False]


def test_equal_values_are_equally_good():
    assert judged([1, 1, 1]) == [True, True, True]


def test_a_level_is_entered_with_the_first_report_past_it():
    """Levels of 500 steps are 56 and 167: a report at 50 enters none, one at 200 the second."""
    pruner = Asha(Objective(), rungs=2)
    for trial, value in enumerate([1.0, 2.0]):
        start(pruner, trial)
        report(pruner, trial, 50, value)
        assert pruner.keep(trial)
        report(pruner, trial, 100, 1.0)
        assert pruner.keep(trial)
        report(pruner, trial, 120, 9.0)  # within the level it entered at 100
        assert pruner.keep(trial)
        report(pruner, trial, 200, value)
    assert pruner.keep(0)
    assert not pruner.keep(1)
    assert pruner.reason(1) == "asha: rung 167: 2 is not among the best 1 of 2"


def test_one_report_can_enter_several_levels():
    pruner = Asha(Objective(), rungs=2)
    start(pruner, 0)
    report(pruner, 0, 200, 1.0)
    start(pruner, 1)
    report(pruner, 1, 100, 1.5)
    assert not pruner.keep(1)


def test_trials_are_compared_at_the_levels_of_their_own_budget():
    pruner = Asha(Objective(), rungs=2)
    start(pruner, 0)
    report(pruner, 0, 100, 1.0)
    start(pruner, 1, budget=50, rungs=(10, 50))
    report(pruner, 1, 10, 2.0)
    assert pruner.keep(1)


def test_a_trial_that_spent_its_budget_is_not_judged():
    pruner = Asha(Objective(), rungs=2)
    for trial, value in enumerate([1.0, 2.0]):
        start(pruner, trial, rungs=(500,))
        report(pruner, trial, 500, value)
    assert pruner.keep(1)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_the_worst(bad):
    assert judged([1.0, bad]) == [True, False]
    assert judged([bad, 1.0, bad]) == [True, True, False]


def test_a_metric_to_maximise_is_shown_as_it_is():
    pruner = Asha(Objective("accuracy", "max"), rungs=2)
    for trial, value in enumerate([0.9, 0.612345]):
        start(pruner, trial)
        report(pruner, trial, 100, value, "accuracy")
    assert pruner.keep(0)
    assert pruner.reason(1) == "asha: rung 56: 0.6123 is not among the best 1 of 2"


def test_short_budgets_have_fewer_levels():
    pruner = Asha(Objective(), rungs=5)
    start(pruner, 0, budget=2, rungs=(1, 2))
    start(pruner, 1, budget=2, rungs=(1, 2))
    report(pruner, 0, 1, 1.0)
    report(pruner, 1, 1, 2.0)
    assert [pruner.keep(0), pruner.keep(1)] == [True, False]


def test_about_one_in_nine_reaches_the_end():
    """Of many equal trials in random order a third passes each of two levels."""
    rng = np.random.default_rng(0)
    pruner = Asha(Objective(), rungs=2)
    passed = 0
    for trial in range(900):
        start(pruner, trial)
        quality = rng.standard_normal()
        for spent in (100, 200):
            if pruner.keep(trial):
                report(pruner, trial, spent, quality + 0.1 * rng.standard_normal())
        passed += pruner.keep(trial)
    assert passed / 900 == pytest.approx(1 / 9, abs=0.03)
