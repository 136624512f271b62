"""The sampler over curves: features, process, densities, and what it does with trials that break."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.samplers.base import build
from hpo.samplers.features import Features
from hpo.samplers.gaussian import Kernel, Posterior, default, learn, log_improvement
from hpo.samplers.parzen import Density
from hpo.samplers.results import Result, normal_scores
from hpo.space import Choice, Domain, Float, Int, Space
from tests.hpo_strategies import EXAMPLE, random_points, spaces
from trials.spec import Report, TrialSpec

law = settings(max_examples=40, derandomize=True, deadline=None)


@law
@given(space=spaces(), seed=st.integers(0, 100))
def test_points_are_snapped_and_active_as_the_space_says(space: Space, seed: int) -> None:
    features, points = Features(space), random_points(space, 20, seed)
    configs = [space.decode(point) for point in points]
    np.testing.assert_allclose(features.snapped(points), space.encode(configs), atol=1e-9)
    snapped = features.snapped(points)
    found = features.active(snapped)
    for row, config in zip(found, configs, strict=True):
        assert [name for name, here in zip(space.names, row, strict=True) if here] == [
            name for name in space.names if name in config
        ]


@pytest.mark.parametrize(
    "domain",
    [
        Float(0.0, 5e-324),
        Float(1e9, 1e9 + 1e-6),
        Float(1.0, 1.0 + 1e-9),
        Float(1.0, 1.0 + 1e-9, "log"),
        Float(5e-324, 2e-322, "log"),
        Float(5e-324, 1.0, "log"),
        Int(2**40 - 1, 2**40, "log"),
    ],
    ids=str,
)
def test_points_are_snapped_where_few_numbers_lie_between_the_bounds(domain: Domain) -> None:
    space = Space({"x": domain})
    points = random_points(space, 50)
    configs = [space.decode(point) for point in points]
    np.testing.assert_allclose(Features(space).snapped(points), space.encode(configs), atol=1e-9)


def distance(features: Features, a: list[float], b: list[float]) -> float:
    points = np.array([a, b])
    rows = features.columns(points, features.active(points))
    return float(np.linalg.norm(rows[0] - rows[1]))


def test_an_inactive_hyperparameter_never_enters_the_distance() -> None:
    space = Space({"kind": Choice(("near", "far")), "reach": Float(0, 1)}, when={"reach": {"kind": ("far",)}})
    features = Features(space)
    near, far = 0.25, 0.75
    assert distance(features, [near, 0.0], [near, 1.0]) == 0
    assert distance(features, [far, 0.0], [far, 1.0]) > 0.5
    across = [distance(features, [near, 0.3], [far, value]) for value in (0.0, 0.4, 1.0)]
    assert max(across) - min(across) < 1e-12


def test_the_process_learns_which_hyperparameters_matter() -> None:
    rng = np.random.default_rng(0)
    columns = rng.random((60, 3))
    values = np.sin(6 * columns[:, 0]) + 0.05 * rng.normal(size=60)
    values = (values - values.mean()) / values.std()
    kernel = learn(columns, values, np.zeros(60), default(np.arange(3), 3), 40)
    assert kernel.lengths[0] < 0.3 * min(kernel.lengths[1:])
    posterior = Posterior(kernel, columns, values, np.zeros(60))
    fresh = rng.random((40, 3))
    expected = np.sin(6 * fresh[:, 0])
    assert np.corrcoef(posterior.means(fresh), expected)[0, 1] > 0.97


@pytest.mark.parametrize("is_alone", [False, True])
def test_the_gradient_of_what_is_learnt_is_that_of_its_cost(is_alone: bool) -> None:
    from hpo.samplers.gaussian import _cost

    rng = np.random.default_rng(1)
    columns, values, extra = rng.random((15, 2)), rng.normal(size=15), 0.3 * rng.random(15)
    apart = np.stack([np.square(c[:, None] - c) for c in columns.T])
    point = np.array([-0.3, 0.4, 0.2, -2.0, *[-0.7] * is_alone])
    size = len(point)
    rest = (apart, values, extra, np.zeros(size), np.ones(size))
    _, gradient = _cost(point, *rest)
    for index in range(size):
        moved = np.eye(size)[index] * 1e-5
        slope = (_cost(point + moved, *rest)[0] - _cost(point - moved, *rest)[0]) / 2e-5
        assert gradient[index] == pytest.approx(slope, rel=1e-4)


def test_what_hyperparameters_do_alone_is_known_wherever_the_others_are() -> None:
    rng = np.random.default_rng(3)
    columns = rng.random((30, 8))
    values = np.square(columns - 0.5).sum(1)
    values = (values - values.mean()) / values.std()
    fresh = rng.random((200, 8))
    expected = np.square(fresh - 0.5).sum(1)
    fits: list[float] = []
    for has_alone in (False, True):
        start = default(np.arange(8), 8, has_alone)
        kernel = learn(columns, values, np.zeros(30), start, 30)
        assert (kernel.alone > 0) == has_alone
        means = Posterior(kernel, columns, values, np.zeros(30)).means(fresh)
        fits.append(float(np.corrcoef(means, expected)[0, 1]))
    assert fits[1] > fits[0] + 0.1


def test_covariances_of_hyperparameters_alone_are_those_of_a_kernel_with_their_columns() -> None:
    kernel = Kernel(np.array([0.5, 2.0]), 0.0, 0.01, np.array([0, 1, 1]), alone=0.8)
    a, b = np.array([[0.0, 0.0, 0.7]]), np.array([[0.3, 0.7, 0.0]])
    apart = np.array([0.09 / 0.5**2, 0.98 / 2.0**2])
    (found,) = kernel.between(kernel.scaled(a), kernel.scaled(b))
    assert found[0] == pytest.approx(0.8 * (1 / (1 + 2 * apart)).mean())
    assert kernel.between(kernel.scaled(a), kernel.scaled(a))[0, 0] == pytest.approx(kernel.peak)


def test_equal_values_have_one_rank_and_what_broke_off_counts_as_often_as_it_did() -> None:
    def scores(*values: float) -> np.ndarray:
        results = [Result(n, value, 0.0, math.isinf(value), n) for n, value in enumerate(values)]
        return normal_scores(results)[0]

    found = scores(1.0, 1.0, 1.0, 2.0, 3.0)
    once = scores(1.0, 2.0, 3.0)
    # In units of the one and the other's spread: the middle value lies as far between its neighbours.
    share, share_once = [(s[-2] - s[0]) / (s[-1] - s[0]) for s in (found, once)]
    assert share == pytest.approx(share_once)
    broken, single = scores(1.0, 2.0, math.inf, math.inf), scores(1.0, 2.0, math.inf)
    assert (broken[1] - broken[0]) / (broken[2] - broken[0]) < (single[1] - single[0]) / (
        single[2] - single[0]
    )


@pytest.mark.parametrize("alone", [0.0, 0.5])
def test_believing_in_running_trials_keeps_means_and_takes_variance(alone: float) -> None:
    rng = np.random.default_rng(2)
    kernel = Kernel(np.array([0.5, 0.5]), 1.0, 0.01, np.arange(2), alone=alone)
    columns, values = rng.random((8, 2)), rng.normal(size=8)
    places, running = rng.random((30, 2)), rng.random((3, 2))
    before = Posterior(kernel, columns, values, np.zeros(8)).at(places)
    after = (
        Posterior(kernel, columns, values, np.zeros(8))
        .believing(running)
        .at(np.concatenate([places, running]))
    )
    np.testing.assert_allclose(after.means[:30], before.means, atol=1e-9)
    assert (after.variances[:30] <= before.variances + 1e-12).all()
    assert (after.variances[30:] < 0.02).all()
    # Taking candidates one by one is the same as believing in them from the start.
    one_by_one = Posterior(kernel, columns, values, np.zeros(8)).at(np.concatenate([places, running]))
    for place in (30, 31, 32):
        one_by_one.take(place)
    np.testing.assert_allclose(one_by_one.variances, after.variances, atol=1e-5)


def test_the_logarithm_of_the_improvement_agrees_with_the_integral_and_stays_finite() -> None:
    grid = np.linspace(-12, 12, 200_001)
    density = np.exp(-0.5 * grid**2) / math.sqrt(2 * math.pi)
    for mean, best in ((0.0, 0.5), (0.0, -3.0), (1.0, 0.99)):
        value = np.trapezoid(np.maximum(best - (mean + 0.7 * grid), 0) * density, grid)
        (found,) = log_improvement(np.array([mean]), np.array([0.49]), best)
        assert found == pytest.approx(math.log(value), rel=1e-4)
    far = log_improvement(np.array([0.0, 0.0]), np.array([1.0, 1.0]), -1e5)
    assert np.isfinite(far).all()
    steps = log_improvement(np.linspace(0, 60, 500), np.ones(500), 0.0)
    assert (np.diff(steps) < 0).all()


def test_a_density_integrates_to_one_and_is_high_where_its_configs_are() -> None:
    space = Space({"x": Float(0, 1), "kind": Choice(("a", "b", "c"))})
    features = Features(space)
    points = features.snapped(np.array([[0.1, 0.1], [0.15, 0.1], [0.2, 0.1]]))
    density = Density(features, points, features.active(points))
    grid = features.snapped(
        np.stack([g.ravel() for g in np.meshgrid(np.linspace(0, 1, 2001), [0.1, 0.5, 0.9])], 1)
    )
    heights = np.exp(density.log(grid, features.active(grid)))
    assert heights.mean() == pytest.approx(1.0, abs=0.01)
    drawn = features.snapped(density.draw(np.random.default_rng(0), 400))
    assert np.mean((drawn[:, 0] < 0.5) & (drawn[:, 1] < 0.3)) > 0.5
    assert len(np.unique(drawn[:, 1])) == 3


def told(sampler, trial: int, config, value: float | None, outcome="completed") -> None:
    sampler.tell(TrialStarted(TrialSpec(trial, config, 0, 10, (10,), 10, 0), 0.0))
    if value is not None:
        sampler.tell(TrialReported(Report(trial, 10, 10, 1.0, {"val_loss": value}), 0.0))
    sampler.tell(TrialFinished(trial, outcome, 0.0))


def test_what_has_no_memory_or_diverges_is_avoided() -> None:
    space = Space({"width": Int(1, 100), "lr": Float(0, 1)})
    sampler = build("curve", space, Objective(), 3)
    rng = np.random.default_rng(0)
    for trial in range(25):
        config = space.sample(rng)
        broke = config["width"] > 60
        # The wider the better, up to where the memory ends.
        told(
            sampler,
            trial,
            config,
            None if broke else -config["width"],
            "out_of_memory" if broke else "completed",
        )
    widths = [suggestion.config["width"] for suggestion in sampler.ask(12)]
    assert np.mean([width <= 66 for width in widths]) >= 0.75
    assert np.median(widths) > 40


def test_a_study_where_everything_breaks_goes_on_at_random() -> None:
    sampler = build("curve", EXAMPLE, Objective(), 3, {"startup_trials": 2})
    for trial in range(6):
        told(sampler, trial, EXAMPLE.sample(np.random.default_rng(trial)), None, "diverged")
    assert len(sampler.ask(3)) == 3


def test_the_proposals_of_a_batch_differ_and_know_of_what_runs() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    sampler = build("curve", space, Objective(), 5)
    rng = np.random.default_rng(0)
    for trial in range(20):
        config = space.sample(rng)
        told(sampler, trial, config, (config["x"] - 0.3) ** 2 + (config["y"] - 0.6) ** 2)
    batch = [suggestion.config for suggestion in sampler.ask(16)]
    assert len({tuple(config.values()) for config in batch}) == 16
    near = [config for config in batch if abs(config["x"] - 0.3) < 0.2 and abs(config["y"] - 0.6) < 0.2]
    assert len(near) >= 4
    sampler.tell(TrialStarted(TrialSpec(20, batch[0], 0, 10, (10,), 10, 0), 0.0))
    assert sampler.ask(1)[0].config != batch[0]


def test_what_is_looked_for_lies_further_off_the_longer_nothing_better_was_found() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1), "z": Float(0, 1)})
    apart: list[float] = []
    for is_best_first in (False, True):
        distances: list[float] = []
        for seed in range(10):
            rng = np.random.default_rng(seed)
            points = rng.random((30, 3))
            losses = np.square(points - 0.3).sum(1)
            order = np.argsort(losses if is_best_first else -losses)
            sampler = build("curve", space, Objective(), seed)
            for trial, row in enumerate(order):
                told(sampler, trial, space.decode(points[row]), float(losses[row]))
            asked = space.encode([suggestion.config for suggestion in sampler.ask(32)])
            distances.append(float(np.linalg.norm(asked - 0.3, axis=1).mean()))
        apart.append(float(np.mean(distances)))
    assert apart[1] > apart[0] + 0.05


def test_a_random_share_of_suggestions_remains_after_many_results() -> None:
    space = Space({"x": Float(0, 1)})
    sampler = build("curve", space, Objective(), 5)
    for trial in range(40):
        told(sampler, trial, {"x": trial / 40}, abs(trial / 40 - 0.1))
    far = [s.config["x"] > 0.5 for s in sampler.ask(400)]
    assert any(far)


def test_a_suggestion_costs_milliseconds_also_late() -> None:
    """A bound that a busy machine keeps: the measured figures are in docs/benchmarks.md."""
    space = Space({f"h{index}": Float(0, 1) for index in range(8)})
    sampler = build("curve", space, Objective(), 0)
    rng = np.random.default_rng(0)
    for trial in range(300):
        config = space.sample(rng)
        told(sampler, trial, config, sum((value - 0.4) ** 2 for value in config.values()))
    began = time.process_time()
    sampler.ask(32)
    assert time.process_time() - began < 0.5
