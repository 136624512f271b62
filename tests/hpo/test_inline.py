"""What is particular to the inline runner: budgets, copies, metrics that are not finite."""

import math
from pathlib import Path

import pytest

from hpo.events import TrialFinished, TrialReported
from hpo.runners.base import Target
from hpo.runners.inline import InlineRunner
from trials.spec import TrialSpec

TEXT = """
import math
import sys

def endless(spec):
    while True:
        yield {"val_loss": 1.0}

def late(spec):
    yield {"val_loss": 1.0, "step": 5000}

def early(spec):
    yield {"val_loss": 1.0}

def popping(spec):
    return spec.config.pop("lr")

def penalised(spec):
    return sys.float_info.max

def before(spec):
    yield {"val_loss": 1.0, "step": -5}

def between(spec):
    yield {"val_loss": 1.0, "step": 0.5}

def nowhere(spec):
    yield {"val_loss": 1.0, "step": math.nan}

def wordy(spec):
    yield {"val_loss": "low"}

def side(spec):
    for rung in spec.rungs:
        yield {"val_loss": 1.0, "f1": math.nan}
"""


@pytest.fixture
def run(tmp_path: Path):
    (tmp_path / "objectives.py").write_text(TEXT)

    def go(name: str) -> tuple[list[TrialReported], TrialFinished, TrialSpec]:
        runner = InlineRunner(Target(f"objectives.py:{name}", base=str(tmp_path)))
        spec = TrialSpec(0, {"lr": 0.5}, 0, 20, (10, 20), 20, 0)
        runner.start([spec])
        events = [event for _ in range(50) for event in runner.poll(0.0)]
        ends = [event for event in events if isinstance(event, TrialFinished)]
        assert len(ends) == 1
        return [event for event in events if isinstance(event, TrialReported)], ends[0], spec

    return go


def test_an_objective_that_never_ends_is_complete_at_its_budget(run):
    reports, end, _ = run("endless")
    assert [event.report.spent for event in reports] == [10, 20]
    assert end.outcome == "completed"


def test_a_report_past_the_budget_fails_the_trial_and_says_so(run):
    reports, end, _ = run("late")
    assert (reports, end.outcome) == ([], "failed")
    assert "past the budget of 20" in end.error


def test_an_objective_that_ends_early_is_complete(run):
    reports, end, _ = run("early")
    assert ([event.report.spent for event in reports], end.outcome) == ([10], "completed")


def test_what_an_objective_does_to_its_config_does_not_reach_the_study(run):
    reports, _, spec = run("popping")
    assert reports[0].report.metrics == {"val_loss": 0.5}
    assert spec.config == {"lr": 0.5}


def test_a_metric_beside_the_objective_may_be_undefined(run):
    reports, end, _ = run("side")
    assert end.outcome == "completed"
    assert math.isnan(reports[-1].report.metrics["f1"])


def test_a_value_as_large_as_a_penalty_is_a_divergence(run):
    _, end, _ = run("penalised")
    assert (end.outcome, end.error) == ("diverged", "val_loss is 1.7976931348623157e+308")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("before", "step = -5 must be a whole number of at least 0"),
        ("between", "step = 0.5 must be a whole number of at least 0"),
        ("nowhere", "step = nan must be a whole number of at least 0"),
        ("wordy", "val_loss = 'low' must be a number"),
    ],
)
def test_a_report_that_cannot_be_fails_the_trial_and_says_what_is_wrong(run, name, message):
    reports, end, _ = run(name)
    assert (reports, end.outcome) == ([], "failed")
    assert end.error.strip().endswith(message)
