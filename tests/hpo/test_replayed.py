"""Simulated time: what comes when, and trials that go on from where another ended."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.events import TrialFinished, TrialReported
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from trials.spec import Report, TrialSpec


def curve(spec: TrialSpec) -> Iterator[Mapping[str, float]]:
    """Falls with the steps, from a height that the seed says."""
    for rung in spec.rungs:
        yield {"step": rung, "val_loss": 1 + spec.seed + 1 / rung}


def timed(spec: TrialSpec) -> Iterator[Report]:
    """As many seconds a step as the config says."""
    for rung in spec.rungs:
        yield Report(spec.trial, rung, rung, rung * float(spec.config["pace"]), {"val_loss": 1 / rung})


def broken_later(spec: TrialSpec) -> Iterator[Mapping[str, float]]:
    """Fails after its first report."""
    yield {"val_loss": 1.0}
    raise RuntimeError("no luck")


def spec(trial: int, budget: int = 9, pace: float = 1.0, rungs: tuple[int, ...] = (3, 6)) -> TrialSpec:
    return TrialSpec(trial, {"pace": pace}, 7, budget, (*(r for r in rungs if r < budget), budget), 9, 0)


def runner(function, lanes: int = 2) -> ReplayedRunner:
    return ReplayedRunner(Target("curves"), lanes, function)


def heard(one: ReplayedRunner) -> list[TrialReported | TrialFinished]:
    """All that comes until nobody trains."""
    events = []
    while True:
        found = one.poll(0.0)
        if not found:
            assert one.busy()[0] == 0
            return events
        events += found


def test_reports_come_by_the_clock_of_all_lanes_one_at_a_time():
    one = runner(timed)
    one.start([spec(0, pace=2.0), spec(1, pace=1.0)])
    told = [
        (event.report.trial, event.report.spent, event.time)
        for event in heard(one)
        if isinstance(event, TrialReported)
    ]
    assert told == [(1, 3, 3.0), (0, 3, 6.0), (1, 6, 6.0), (1, 9, 9.0), (0, 6, 12.0), (0, 9, 18.0)]
    assert one.clock() == 18.0
    assert one.busy_seconds() == (27.0, 36.0)


def test_a_value_that_does_not_say_its_seconds_took_one_a_step():
    one = runner(curve)
    one.start([spec(0)])
    assert [e.report.seconds for e in heard(one) if isinstance(e, TrialReported)] == [3.0, 6.0, 9.0]


def test_a_stopped_trial_goes_on_as_if_it_had_not_been_stopped():
    alone = runner(curve)
    alone.start([spec(0)])
    whole = [event.report for event in heard(alone) if isinstance(event, TrialReported)]
    one = runner(curve)
    one.start([spec(0)])
    one.poll(0.0)
    one.stop([0])
    (end,) = one.poll(0.0)
    assert isinstance(end, TrialFinished)
    assert end.outcome == "stopped"
    # Another number and seed, as a search gives them; the curve is the parent's.
    child = replace(spec(5, 6, rungs=(3,)), seed=99, parent=end.row)
    one.start([child])
    events = heard(one)
    reports = [event.report for event in events if isinstance(event, TrialReported)]
    assert [(r.step, r.spent, r.seconds) for r in reports] == [(6, 3, 3.0), (9, 6, 6.0)]
    assert [r.metrics for r in reports] == [r.metrics for r in whole[1:]]
    assert one.clock() == 9.0
    assert isinstance(events[-1], TrialFinished)
    assert events[-1].outcome == "completed"


def test_a_row_is_of_what_was_reported_not_of_what_was_drawn_ahead():
    one = runner(curve)
    one.start([spec(0), spec(1)])
    one.poll(0.0)  # trial 0 at 3
    one.poll(0.0)  # trial 1 at 3, and trial 0 has its report at 6 ready
    one.stop([0])
    (end,) = one.poll(0.0)
    assert "-spent-3-" in end.row


def test_a_trial_stopped_before_its_first_report_leaves_no_row():
    one = runner(curve)
    one.start([spec(0)])
    one.stop([0])
    (end,) = one.poll(0.0)
    assert (end.outcome, end.row) == ("stopped", "")


def test_a_parent_of_another_config_or_none_of_ours_fails_the_trial_alone():
    one = runner(curve)
    one.start([spec(0)])
    row = heard(one)[-1].row
    one.start([replace(spec(1, pace=2.0), parent=row), replace(spec(2), parent="rows/none.safetensors")])
    one.start([spec(3)])
    events = heard(one)
    ends = {event.trial: event for event in events if isinstance(event, TrialFinished)}
    assert [ends[trial].outcome for trial in (1, 2, 3)] == ["failed", "failed", "completed"]
    assert "another config" in ends[1].error
    assert "none.safetensors" in ends[2].error


def test_what_a_function_raises_between_reports_fails_its_trial():
    one = runner(broken_later)
    one.start([spec(0)])
    report, end = heard(one)
    assert isinstance(report, TrialReported)
    assert end.outcome == "failed"
    assert "no luck" in end.error


def test_a_loss_that_is_not_finite_is_divergence():
    one = runner(lambda spec: iter([{"val_loss": math.nan}]))
    one.start([spec(0)])
    assert heard(one)[-1].outcome == "diverged"


def test_a_whole_study_runs_in_simulated_time(tmp_path):
    """As a user has it: a function, the runner by its name, a journal; 200 steps take no time to speak of."""
    from hpo.study import search_over
    from tests.objectives_sample import SPACE

    sample = Path(__file__).parents[1] / "objectives_sample.py"
    outcome = search_over(
        f"{sample}:curve",
        root=tmp_path,
        name="simulated",
        space=SPACE,
        trial={"steps": 20, "reports": 4},
        runner={"name": "replayed", "lanes": 2},
        limits={"trials": 20},
        search={"sampler": "random", "pruner": "asha"},
        tracking=False,
    )
    history = outcome.history
    assert len(history.trials) == 20
    assert history.count("completed") + history.count("stopped") == 20
    # Two lanes, one second a step.
    assert history.elapsed() == pytest.approx(history.spent / 2, abs=21)
