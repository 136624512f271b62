"""A pruner that stops only where completed trials have shown that a rung tells how trials end."""

import math

import numpy as np
import pytest

from hpo.bench.contender import contender
from hpo.bench.play import play, rungs
from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.problems.base import build, trial_of
from hpo.programs import program_of
from hpo.pruners.base import Audit
from hpo.pruners.concordance import wilson_low
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


def test_the_interval_of_a_share_of_pairs() -> None:
    assert wilson_low(0.9, 5) < wilson_low(0.9, 50) < 0.9


def completed(pruner: Trust, trial: int, early: float, end: float, **config: Value) -> None:
    start(pruner, trial, **config)
    for spent in RUNGS[:-1]:
        report(pruner, trial, spent, early)
    report(pruner, trial, 32, end)
    pruner.tell(TrialFinished(trial, "completed", 0.0))


def of_two_programs(misled: int) -> Trust:
    """Eight ends of one program that are ranked rightly, then so many of another that are ranked wrongly."""
    pruner = Trust(Objective(), audits=0.0)
    for trial in range(8):
        completed(pruner, trial, 1.0 + 0.1 * trial, 0.5 + 0.1 * trial, model="plain")
    for trial in range(10, 10 + misled):
        completed(pruner, trial, 1.0 + 0.01 * trial, 0.95 - 0.01 * trial, model="deep")
    return pruner


def test_a_program_is_trusted_by_its_own_ends_although_others_are() -> None:
    pruner = of_two_programs(misled=5)
    start(pruner, 30, model="plain")
    report(pruner, 30, 4, 1.65)
    assert "pairs of 13 ends rightly, and 100% of the 8 of its own program" in pruner.reason(30)
    start(pruner, 31, model="deep")
    report(pruner, 31, 4, 1.65)
    assert pruner.keep(31)


def test_the_first_of_a_branch_are_not_stopped_and_those_of_later_ones_are_trusted_as_all() -> None:
    pruner = of_two_programs(misled=0)
    for trial, model in enumerate(("deep", "b", "c", "d", "e"), 30):
        start(pruner, trial, model=model)
        report(pruner, trial, 4, 1.65)
        assert pruner.keep(trial) == (model != "e")
    assert "it ranks 100% of the pairs of 8 ends rightly" in pruner.reason(34)
    assert "its own" not in pruner.reason(34)
    # Once three have ended, and as this rung ranks them.
    for trial in range(40, 43):
        completed(pruner, trial, 1.0 + 0.02 * trial, 0.02 * trial, model="deep")
    start(pruner, 43, model="deep")
    report(pruner, 43, 4, 1.9)
    assert "and 100% of the 3 of its own program" in pruner.reason(43)


def test_sizes_are_one_branch_and_a_size_with_ends_is_a_program() -> None:
    pruner = Trust(Objective(), audits=0.0)
    for trial in range(8):
        completed(pruner, trial, 1.0 + 0.1 * trial, 0.5 + 0.1 * trial, width=trial, optimizer="sgd")
    start(pruner, 30, width=99, optimizer="sgd")
    report(pruner, 30, 4, 1.65)
    assert pruner.reason(30).endswith("it ranks 100% of the pairs of 8 ends rightly")
    # Where one size is ranked the other way round, it alone is not trusted.
    for trial in range(10, 16):
        completed(pruner, trial, 1.0 + 0.01 * trial, 0.95 - 0.01 * trial, width=64, optimizer="sgd")
    for trial, width in ((31, 64), (32, 2)):
        start(pruner, trial, width=width, optimizer="sgd")
        report(pruner, trial, 8, 1.68)
    assert pruner.keep(31)


@pytest.mark.parametrize(
    "other", [{"schedule": "linear"}, {"lr": 0.2}, {"read_every": 3}, {"train_families": 3}]
)
def test_what_rides_in_the_row_is_no_other_program(other: dict[str, Value]) -> None:
    assert program_of({"lr": 0.1, "width": 8, **other}) == program_of({"lr": 0.1, "width": 8})
    assert program_of({"lr": 0.1, "width": 9}) != program_of({"lr": 0.1, "width": 8})
    assert program_of({"lr": 0.1, "width": 9}).branch == program_of({"lr": 0.1, "width": 8}).branch
    assert (
        program_of({"lr": 0.1, "nesterov": True}).branch != program_of({"lr": 0.1, "nesterov": False}).branch
    )


def test_the_best_is_kept_although_its_program_is_ranked_the_wrong_way_round(monkeypatch) -> None:
    """Ten studies of 30 random configs, of four models of which the best begins behind all others."""
    problems = [build(f"programs:{instance}") for instance in (1, 4)]

    def is_lost(seed: int) -> bool:
        problem = problems[seed % 2]
        pruner, ends = Trust(Objective()), dict[int, float]()
        rng = np.random.default_rng(seed)
        for trial in range(30):
            spec = TrialSpec(trial, problem.space.sample(rng), seed, 81, rungs(81), 81, 0)
            ends[trial] = problem.final(spec.config)
            pruner.tell(TrialStarted(spec, 0.0))
            for reported in trial_of(problem)(spec):
                pruner.tell(TrialReported(reported, 0.0))
                if not pruner.keep(trial):
                    break
            pruner.tell(TrialFinished(trial, "completed" if pruner.keep(trial) else "stopped", 0.0))
        return not pruner.keep(min(ends, key=lambda trial: ends[trial]))

    assert not any(is_lost(seed) for seed in range(10))
    monkeypatch.setattr("hpo.pruners.trust.program_of", lambda config: program_of({}))
    assert sum(is_lost(seed) for seed in range(10)) >= 4


@pytest.mark.slow
def test_it_saves_steps_where_rungs_are_honest_and_keeps_winners_where_they_mislead() -> None:
    """Ten seeds of twelve trainings; the best started is hardly ever stopped, even where rungs mislead."""
    honest, annealed = build("honest:2"), build("annealed:2")
    runs = [play(contender("random+trust"), honest, seed, 12.0) for seed in range(10)]
    assert np.mean([run.trials for run in runs]) > 16  # without a pruner there are 13
    misled = [play(contender("random+trust"), annealed, seed, 12.0) for seed in range(10)]
    assert np.mean([run.stopped_best for run in misled + runs]) <= 0.1
