"""Improvement per second: when costs count, how much, and what is suggested then."""

import math

import numpy as np
import pytest

from hpo.errors import UsageError
from hpo.events import StudyStarted, TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.samplers.base import Sampler, build
from hpo.samplers.costs import Costs
from hpo.samplers.features import Features
from hpo.space import Float, Space
from trials.spec import Report, TrialSpec

SPACE = Space({"x": Float(0, 1), "size": Float(0, 1)})


def started(seconds: float | None = None, time: float = 0.0, **others: float) -> StudyStarted:
    return StudyStarted("s", {"limits": {"seconds": seconds, "trials": None, **others}}, 0, {}, "", time)


def run(sampler: Sampler, count: int, pace: float, seconds: float | None, **others: float) -> list[float]:
    """Sizes of what is suggested, where a trial's seconds grow with its size, by up to this factor."""
    sampler.tell(started(seconds, **others))
    clock, sizes = 0.0, []
    for trial in range(count):
        (one,) = sampler.ask(1)
        sizes.append(one.config["size"])
        took = pace ** one.config["size"]
        sampler.tell(TrialStarted(TrialSpec(trial, one.config, 0, 10, (10,), 10, 0), clock))
        clock += took
        value = (one.config["x"] - 0.4) ** 2 + 0.05 * (one.config["size"] - 0.6) ** 2
        sampler.tell(TrialReported(Report(trial, 10, 10, took, {"val_loss": value}), clock))
        sampler.tell(TrialFinished(trial, "completed", clock))
    return sizes


def curve(cost: str = "auto") -> Sampler:
    return build("curve", SPACE, Objective(), 2, {"cost": cost})


def test_where_seconds_are_the_limit_what_is_quick_is_tried_sooner() -> None:
    plain, quick = run(curve(), 22, 30.0, None), run(curve(), 22, 30.0, 1e4)
    assert plain[:10] == quick[:10]
    assert np.mean(quick[10:]) < np.mean(plain[10:]) - 0.05


@pytest.mark.parametrize(
    ("cost", "pace", "seconds", "others"),
    [
        ("never", 30.0, 1e4, {}),
        ("auto", 30.0, None, {}),
        ("auto", 30.0, 1e4, {"trials": 100}),
        ("auto", 30.0, 1e4, {"total_steps": 1000}),
        ("auto", 1.0, 1e4, {}),
        ("always", 1.0, None, {}),
    ],
)
def test_costs_change_nothing_where_they_are_alike_or_not_what_is_spent(
    cost: str, pace: float, seconds: float | None, others: dict[str, float]
) -> None:
    assert run(curve(cost), 16, pace, seconds, **others) == run(curve("never"), 16, pace, seconds, **others)


def test_what_is_asked_for_counts_without_a_limit_of_seconds() -> None:
    assert run(curve("always"), 16, 30.0, None) == run(curve(), 16, 30.0, 1e12)


def told(costs: Costs, points: np.ndarray, clock: float) -> None:
    for trial, point in enumerate(points):
        report = Report(trial, 5, 5, 5 * math.exp(2 * point[1]), {})
        costs.tell(TrialReported(report, clock))
    costs.learn(points, {trial: trial for trial in range(len(points))}, 30)


def test_seconds_are_learnt_and_count_less_as_time_runs_out_over_all_sessions() -> None:
    features, points = Features(SPACE), np.random.default_rng(0).random((30, 2))
    costs = Costs(features, "auto")
    costs.tell(started(110.0))
    assert costs.weight == 0
    told(costs, points, 10.0)
    assert costs.weight == 1
    fresh = np.random.default_rng(1).random((20, 2))
    found = costs.log_seconds(features.columns(fresh, features.active(fresh)))
    np.testing.assert_allclose(found - found.mean(), 2 * (fresh[:, 1] - fresh[:, 1].mean()), atol=0.05)
    told(costs, points, 60.0)
    assert costs.weight == pytest.approx(0.5)
    costs.tell(started(110.0, 1000.0))  # taken up: the time between does not count
    assert costs.weight == pytest.approx(0.5)
    told(costs, points, 1040.0)
    assert costs.weight == pytest.approx(0.1)
    told(costs, points, 1090.0)
    assert costs.weight == 0
    costs.tell(started(None, 2000.0, trials=50))  # taken up with another limit
    assert costs.weight == 0


def test_a_suggestion_says_what_it_is_expected_to_cost() -> None:
    sampler = curve()
    run(sampler, 14, 30.0, 1e4)
    assert " times the usual seconds" in sampler.ask(1)[0].origin


def test_the_option_is_checked() -> None:
    with pytest.raises(UsageError, match="cost='per_second' must be one of auto, always, never"):
        curve("per_second")
