"""What samplers make of earlier studies: starting points, and models believed as far as they agree."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hpo.errors import UsageError
from hpo.events import EarlierResult, EarlierTaken, TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.samplers.base import build, check
from hpo.samplers.earlier import MOST, EarlierStarts, leaders
from hpo.samplers.gaussian import Kernel, Posterior
from hpo.samplers.lessons import Lesson
from hpo.space import Choice, Float, Space
from trials.spec import Config, Report, TrialSpec

SPACE = Space({"x": Float(0, 1), "y": Float(0, 1)})


def told(
    points: list[tuple[Config, float]], source: str = "old", mapped: tuple[str, ...] = ("x", "y")
) -> EarlierTaken:
    results = tuple(EarlierResult(config, (value,), 0.0) for config, value in points)
    return EarlierTaken(source, "val_loss, minimised", results, mapped, (), (), {}, 0.0)


def bowl(x: float, y: float, sign: float = 1.0, count: int = 40, seed: int = 0) -> EarlierTaken:
    """An earlier study whose optimum is at (x, y)."""
    rng = np.random.default_rng(seed)
    points = [{"x": float(a), "y": float(b)} for a, b in rng.random((count, 2))]
    return told([(p, sign * 100 * ((p["x"] - x) ** 2 + (p["y"] - y) ** 2)) for p in points])


def finish(sampler, trial: int, config: Config, value: float) -> None:
    sampler.tell(TrialStarted(TrialSpec(trial, config, 0, 1, (1,), 1, 0), 0.0))
    if math.isfinite(value):
        sampler.tell(TrialReported(Report(trial, 1, 1, 1.0, {"val_loss": value}), 0.0))
    sampler.tell(TrialFinished(trial, "completed" if math.isfinite(value) else "diverged", 0.0))


def test_leaders_are_the_best_of_each_study_in_turn_and_not_near_each_other() -> None:
    one = told([({"x": 0.5, "y": 0.5}, 1.0), ({"x": 0.55, "y": 0.5}, 1.1), ({"x": 0.9, "y": 0.5}, 2.0)])
    other = told([({"y": 0.1}, 5.0), ({"y": 0.9}, math.inf)], "other", ("y",))
    found = leaders(SPACE, [one, other], 0)
    assert [leader.origin for leader in found] == [
        "earlier: the best of old",
        "earlier: the best of other",
        "earlier: number 3 of old",
    ]
    assert found[0].config == {"x": 0.5, "y": 0.5}
    assert found[1].config["y"] == 0.1
    SPACE.validate(found[1].config)  # x is drawn
    assert len(leaders(SPACE, [bowl(0.5, 0.5)], 0)) == MOST


def test_what_is_beyond_the_constraints_is_led_by_nobody_while_others_keep_them() -> None:
    points = [({"x": 0.1 + 0.2 * n, "y": 0.5}, float(n)) for n in range(5)]
    event = told(points)
    beyond = tuple(replace(one, excess=1.0 / (1 + n)) for n, one in enumerate(event.results))
    some = replace(event, results=(*beyond[:2], *event.results[2:]))
    assert [one.config["x"] for one in leaders(SPACE, [some], 0)] == pytest.approx([0.5, 0.7, 0.9])
    # Where none keeps them, those that are less far beyond are better.
    every = leaders(SPACE, [replace(event, results=beyond)], 0)
    assert [one.config["x"] for one in every] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])


def test_curve_models_earlier_trials_beyond_the_constraints_as_broken_off() -> None:
    event = bowl(0.3, 0.7)
    # What was best breaks a constraint; further away are those that keep it.
    bounded = [replace(one, excess=float(one.config["x"] < 0.5)) for one in event.results]
    lessons = Lesson(SPACE, replace(event, results=tuple(bounded))), Lesson(SPACE, event)
    at = np.array([[0.3, 0.7], [0.6, 0.7]])
    (kept_there, kept_here), (free_there, free_here) = (one.expected(at) for one in lessons)
    assert free_there < free_here
    assert kept_there > kept_here


def test_a_sampler_without_a_model_of_them_tries_the_leaders_first_and_then_goes_its_way() -> None:
    plain = build("tpe", SPACE, Objective(), 3)
    sampler = EarlierStarts(build("tpe", SPACE, Objective(), 3), SPACE, 3)
    assert sampler.ask(2) == plain.ask(2)
    sampler.tell(told([({"x": 0.2, "y": 0.3}, 1.0), ({"x": 0.7, "y": 0.3}, 2.0)]))
    asked = sampler.ask(3)
    assert [one.config for one in asked[:2]] == [{"x": 0.2, "y": 0.3}, {"x": 0.7, "y": 0.3}]
    for trial, one in enumerate(asked[:2]):
        finish(sampler, trial, one.config, 1.0)
        finish(plain, trial, one.config, 1.0)
    assert sampler.ask(2) == plain.ask(2)


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["alike", "reversed"])
def test_curve_begins_where_the_earlier_study_was_best_and_learns_whether_it_agrees(sign: float) -> None:
    sampler = build("curve", SPACE, Objective(), 1)
    sampler.tell(bowl(0.3, 0.7, sign))
    first = sampler.ask(4)
    assert [one.origin.partition(":")[0] for one in first] == ["earlier", "random", "earlier", "random"]
    for trial in range(24):
        (one,) = sampler.ask(1)
        finish(sampler, trial, one.config, (one.config["x"] - 0.3) ** 2 + (one.config["y"] - 0.7) ** 2)
    last = [sampler.ask(12)[n].config for n in range(12)]
    near = [abs(config["x"] - 0.3) < 0.15 and abs(config["y"] - 0.7) < 0.15 for config in last]
    assert np.mean(near) > 0.5


def test_an_earlier_study_that_agrees_saves_trials() -> None:
    def best(event: EarlierTaken | None, seed: int) -> float:
        sampler = build("curve", SPACE, Objective(), seed)
        if event is not None:
            sampler.tell(event)
        values = []
        for trial in range(6):
            (one,) = sampler.ask(1)
            values.append((one.config["x"] - 0.33) ** 2 + (one.config["y"] - 0.67) ** 2)
            finish(sampler, trial, one.config, values[-1])
        return min(values)

    gains = [best(None, seed) - best(bowl(0.3, 0.7, seed=seed), seed) for seed in range(10)]
    assert np.mean(np.array(gains) > 0) >= 0.8


def test_suggestions_say_how_much_each_earlier_study_counts() -> None:
    sampler = build("curve", SPACE, Objective(), 1)
    sampler.tell(bowl(0.3, 0.7))
    for trial in range(6):
        (one,) = sampler.ask(1)
        finish(sampler, trial, one.config, (one.config["x"] - 0.3) ** 2 + (one.config["y"] - 0.7) ** 2)
    assert "by 6 results and old " in sampler.ask(1)[0].origin


def test_trends_of_a_kernel_are_coefficients_that_values_decide() -> None:
    rng = np.random.default_rng(0)
    columns = rng.random((30, 3))
    kernel = Kernel(np.array([0.5, 0.5]), 0.1, 1e-3, np.arange(2), trends=1)
    values = 1.7 * columns[:, 2]
    posterior = Posterior(kernel, columns, values, np.zeros(30))
    assert posterior.coefficients() == pytest.approx([1.7], abs=0.1)
    fresh = rng.random((10, 3))
    np.testing.assert_allclose(posterior.means(fresh), 1.7 * fresh[:, 2], atol=0.05)

    # As a process whose coefficient is normal with variance 1, written out.
    def covariance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        plain = Kernel(kernel.lengths, kernel.signal, kernel.noise, kernel.owners)
        return plain.between(plain.scaled(a[:, :2]), plain.scaled(b[:, :2])) + np.outer(a[:, 2], b[:, 2])

    noisy = covariance(columns, columns) + (kernel.noise + 1e-8) * np.eye(30)
    across = covariance(fresh, columns)
    wanted = np.diag(covariance(fresh, fresh) - across @ np.linalg.solve(noisy, across.T))
    np.testing.assert_allclose(posterior.at(fresh).variances, wanted, atol=1e-6)
    _, logarithm = np.linalg.slogdet(noisy)
    assert posterior.log_evidence() == pytest.approx(
        -0.5 * (values @ np.linalg.solve(noisy, values) + logarithm)
    )


def test_one_result_of_an_earlier_study_is_a_starting_point_and_no_model() -> None:
    space = Space({"kind": Choice(("a", "b")), "z": Float(0, 1)}, when={"z": {"kind": ("b",)}})
    sampler = build("curve", space, Objective(), 0)
    sampler.tell(told([({"kind": "a"}, 1.0)], mapped=("kind", "z")))
    assert sampler.ask(1)[0].config == {"kind": "a"}
    for trial in range(4):
        (one,) = sampler.ask(1)
        finish(sampler, trial, one.config, 1.0 + trial)
        assert not one.origin.startswith("model")


def test_a_sampler_that_enumerates_refuses_earlier_studies_and_says_which_take_them() -> None:
    with pytest.raises(
        UsageError, match=r"'grid' begins with nothing of earlier studies; .*: cmaes, curve, "
    ):
        check("grid", Objective(), SPACE, ["old"])
