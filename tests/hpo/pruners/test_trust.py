"""A pruner that stops only where completed trials have shown that a rung tells how trials end."""

import math

import numpy as np
import pytest

from hpo.bench.contender import contender
from hpo.bench.play import play
from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.problems.base import build
from hpo.pruners.base import Audit
from hpo.pruners.concordance import concordance, wilson_low
from hpo.pruners.trust import Trust
from trials.spec import Report, TrialSpec, Value

RUNGS = (4, 8, 16, 32)


def start(pruner: Trust, trial: int, seed: int = 0, **config: Value) -> None:
    pruner.tell(TrialStarted(TrialSpec(trial, config, seed, 32, RUNGS, 32, 0), 0.0))


def report(pruner: Trust, trial: int, spent: int, value: float) -> None:
    pruner.tell(TrialReported(Report(trial, spent, spent, 0.0, {"val_loss": value}), 0.0))


def calibrated(ends, count: int = 8, **options) -> Trust:
    """Completed trials with values 1.0, 1.1, … at every rung but the last, which end as the function says."""
    pruner = Trust(Objective(), **{"audits": 0.0, **options})
    for trial in range(count):
        start(pruner, trial)
        value = 1.0 + 0.1 * trial
        for spent in RUNGS[:-1]:
            report(pruner, trial, spent, value)
        report(pruner, trial, 32, ends(value))
        pruner.tell(TrialFinished(trial, "completed", 0.0))
    return pruner


def honest(value: float) -> float:
    return 0.5 * value


def crossed(value: float) -> float:
    """What is low on the way ends high."""
    return 3.0 - value


def test_a_rung_that_ranks_ends_rightly_stops_what_has_no_chance() -> None:
    pruner = calibrated(honest)
    start(pruner, 20)
    report(pruner, 20, 4, 1.65)
    assert not pruner.keep(20)
    reason = pruner.reason(20)
    assert reason.startswith("trust: rung 4: 1.65 would end at 0.8")
    assert "to beat the best, 0.5" in reason
    assert "ranks 100% of the pairs of 8 ends rightly" in reason


def test_a_rung_that_misleads_stops_nothing() -> None:
    pruner = calibrated(crossed)
    start(pruner, 20)
    for spent in (4, 8, 16):
        report(pruner, 20, spent, 1.65)
    assert pruner.keep(20)


def test_before_calibration_nothing_is_stopped() -> None:
    pruner = calibrated(honest, count=4)
    start(pruner, 20)
    report(pruner, 20, 4, 9.0)
    assert pruner.keep(20)


def test_trust_is_lost_again() -> None:
    """Four trials that were not the best on the way end best: the rung stops nothing any more."""
    pruner = calibrated(honest, count=6)
    for trial in range(6, 12):
        start(pruner, trial)
        for spent in RUNGS[:-1]:
            report(pruner, trial, spent, 1.2 + 0.01 * trial)
        report(pruner, trial, 32, 0.3 - 0.02 * trial)
        pruner.tell(TrialFinished(trial, "completed", 0.0))
    start(pruner, 20)
    report(pruner, 20, 4, 1.65)
    assert pruner.keep(20)


def test_a_trial_that_may_still_win_goes_on() -> None:
    pruner = calibrated(honest)
    start(pruner, 20)
    report(pruner, 20, 4, 1.001)
    assert pruner.keep(20)


def test_a_warm_up_is_waited_for() -> None:
    pruner = calibrated(honest)
    start(pruner, 20, warmup_fraction=0.25)
    report(pruner, 20, 8, 1.65)
    assert pruner.keep(20)
    report(pruner, 20, 16, 1.65)
    assert not pruner.keep(20)


def test_a_share_of_what_would_be_stopped_runs_on_as_an_audit() -> None:
    pruner = calibrated(honest, audits=0.3)
    for trial in range(100, 300):
        start(pruner, trial, seed=trial)
        report(pruner, trial, 4, 1.65)
    kept = np.mean([pruner.keep(trial) for trial in range(100, 300)])
    assert 0.2 < kept < 0.4


def test_a_schedule_that_has_just_risen_is_waited_for() -> None:
    pruner = calibrated(honest)
    # Up to its peak at step 11, and 3 steps to settle.
    start(pruner, 20, schedule="rewarm(peak_fraction=0.35)")
    report(pruner, 20, 8, 1.65)
    assert pruner.keep(20)
    report(pruner, 20, 16, 1.65)
    assert not pruner.keep(20)
    # What a function means by these names may be no schedule.
    start(pruner, 21, schedule=7)
    report(pruner, 21, 8, 1.65)
    assert not pruner.keep(21)


def test_a_trial_that_may_enter_the_top_goes_on() -> None:
    for top, keeps in ((1, False), (4, True)):
        pruner = calibrated(honest, top=top)
        start(pruner, 20)
        report(pruner, 20, 8, 1.25)
        assert pruner.keep(20) == keeps
    pruner = calibrated(honest, top=4)
    start(pruner, 20)
    report(pruner, 20, 8, 1.65)
    assert "to enter the best 4, 0.65" in pruner.reason(20)


def test_audits_say_what_would_have_been_lost() -> None:
    pruner = calibrated(honest, audits=1.0)
    for trial, final in ((20, 0.8), (22, 0.9), (23, 0.9), (21, 0.3)):
        start(pruner, trial)
        report(pruner, trial, 4, 1.65)
        assert pruner.keep(trial)
        if trial == 23:
            continue
        report(pruner, trial, 32, final)
        pruner.tell(TrialFinished(trial, "diverged" if trial == 22 else "completed", 0.0))
    assert [audit for audit in pruner.audits() if audit.trial >= 20] == [
        Audit(20, 4, 0.5, 0.8),
        Audit(21, 4, 0.5, 0.3),
        Audit(22, 4, 0.5, math.inf),
        Audit(23, 4, 0.5, None),
    ]


def test_shares_of_pairs_and_their_interval() -> None:
    assert concordance(np.array([1.0, 1.0]), np.array([2.0, 2.0])) == 1.0
    assert concordance(np.array([1.0, 2.0]), np.array([2.0, 1.0])) == 0.0
    assert wilson_low(0.9, 5) < wilson_low(0.9, 50) < 0.9


@pytest.mark.slow
def test_it_saves_steps_where_rungs_are_honest_and_keeps_winners_where_they_mislead() -> None:
    """Ten seeds of twelve trainings; the best started is hardly ever stopped, even where rungs mislead."""
    honest, annealed = build("honest:2"), build("annealed:2")
    runs = [play(contender("random+trust"), honest, seed, 12.0) for seed in range(10)]
    assert np.mean([run.trials for run in runs]) > 16  # without a pruner there are 13
    misled = [play(contender("random+trust"), annealed, seed, 12.0) for seed in range(10)]
    assert np.mean([run.stopped_best for run in misled + runs]) <= 0.1
