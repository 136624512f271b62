"""How far a new trial goes before it is looked at, by what was seen of stages before."""

import numpy as np
import pytest

from hpo.events import TrialFinished, TrialPaused, TrialReported, TrialResumed, TrialStarted
from hpo.objective import Objective
from hpo.pruners.concordance import concordance, correlation
from hpo.pruners.pause import Pause
from trials.spec import Report, TrialSpec

RUNGS = (1, 3, 8, 24, 60)


def start(pruner: Pause, trial: int) -> int:
    """Where the trial is looked at first."""
    pruner.tell(TrialStarted(TrialSpec(trial, {}, 0, 60, RUNGS, 60, 0), 0.0))
    return pruner.until(trial)


def report(pruner: Pause, trial: int, spent: int, value: float) -> None:
    pruner.tell(TrialReported(Report(trial, spent, spent, 0.0, {"val_loss": value}), 0.0))


def after_pilot(values) -> Pause:
    """Twelve trials with the function's values at the rungs; the odd ones end, the others are paused."""
    pruner = Pause(Objective(), pilot=12, audits=0.0)
    for trial in range(12):
        start(pruner, trial)
        seen = dict(zip(RUNGS, values(trial), strict=True))
        for spent in RUNGS if trial % 2 else RUNGS[:2]:
            report(pruner, trial, spent, seen[spent])
        if trial % 2:
            pruner.tell(TrialFinished(trial, "completed", 0.0))
        else:
            pruner.tell(TrialPaused(trial, 3, "pause", 0.0))
    return pruner


def test_every_second_of_the_pilot_goes_further() -> None:
    pruner = Pause(Objective(), pilot=6, audits=0.0)
    assert [start(pruner, trial) for trial in range(6)] == [8, 3, 8, 3, 8, 3]
    # Nothing is known of any stage.
    assert start(pruner, 6) == 8


def test_the_first_stage_is_the_shortest_that_ranks_as_the_others_do() -> None:
    pruner = after_pilot(lambda trial: [2 + trial, 2 + trial, 1 + trial, 0.5 + trial, trial])
    assert start(pruner, 12) == 1


def test_a_stage_that_misleads_is_left_out_and_a_shorter_one_has_to_be_nearly_as_good() -> None:
    # The first report is the wrong way round, the second of no use.
    mixed = [3, 5, 9, 2, 8, 4, 11, 1, 10, 6, 7, 3]
    pruner = after_pilot(lambda trial: [20 - trial, 2 + mixed[trial], 1 + trial, 0.5 + trial, trial])
    assert start(pruner, 12) == 8


def test_where_no_stage_ranks_trials_it_is_the_longer_one_of_the_pilot() -> None:
    pruner = after_pilot(lambda trial: [20 - trial, 20 - trial, 20 - trial, 20 - trial, trial])
    assert start(pruner, 12) == 8


def test_forecasts_that_are_as_good_as_unknown_speak_for_no_stage() -> None:
    values = np.arange(6.0)
    assert concordance(values, values, np.zeros(6)) == 1.0
    assert concordance(values, values, np.full(6, 1e6)) == pytest.approx(0.5, abs=1e-4)
    assert concordance(np.ones(3), values[:3], np.zeros(3)) == 0.5
    assert correlation(concordance(values, -values, np.zeros(6))) == -1.0
    assert concordance(values, 1e10 * values, np.zeros(6)) == 1.0  # and says nothing else, in any unit


def test_once_two_have_ended_one_is_drawn_and_goes_to_its_end() -> None:
    pruner = Pause(Objective(), pilot=8, audits=0.0)
    for trial in range(8):
        start(pruner, trial)
        report(pruner, trial, 1, 2.0 + trial)
        report(pruner, trial, 3, 1.0 + trial)
        pruner.tell(TrialPaused(trial, 3, "pause", 0.0))
    for trial in (0, 1):
        reasons = [one.reason for one in pruner.resume(6, 10_000, True)]
        assert reasons
        assert not any(reason.startswith("drawn") for reason in reasons)
        pruner.tell(TrialResumed(trial, 8, "it leads the forecasts", 0.0))
        for spent, value in ((8, 1.2), (24, 1.2), (60, 9.0)):
            report(pruner, trial, spent, value)
        pruner.tell(TrialFinished(trial, "completed", 0.0))
    first = pruner.resume(2, 10_000, True)
    (drawn,) = [one for one in first if one.reason.startswith("drawn")]
    pruner.tell(TrialResumed(*drawn, 0.0))
    report(pruner, drawn.trial, drawn.until, 0.5)
    pruner.tell(TrialPaused(drawn.trial, drawn.until, "pause", 0.0))
    reasons = {one.trial: one.reason for one in pruner.resume(6, 10_000, True)}
    assert drawn.trial in reasons
    assert not any(reason == drawn.reason for trial, reason in reasons.items() if trial != drawn.trial)


def test_trials_that_report_nothing_to_compare_by_go_to_their_ends_as_far_as_the_steps_go() -> None:
    pruner = Pause(Objective(), pilot=2, audits=0.0)
    for trial in range(3):
        start(pruner, trial)
        pruner.tell(TrialReported(Report(trial, 8, 8, 0.0, {"train_loss": 1.0}), 0.0))
        pruner.tell(TrialPaused(trial, 8, "pause", 0.0))
    assert [(one.trial, one.until) for one in pruner.resume(3, None, True)] == [(0, 60), (1, 60), (2, 60)]
    assert [one.trial for one in pruner.resume(1, 200, False)] == [0]
    assert [one.trial for one in pruner.resume(3, 110, False)] == [0, 1]
    assert not pruner.resume(3, 51, False)
