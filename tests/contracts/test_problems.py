"""The laws of problems: the synthetic ones always, the recorded ones where the folder is there."""

import math
import os
from pathlib import Path

import numpy as np
import pytest

from hpo.errors import UsageError
from hpo.problems.base import DATA, METRIC, PROBLEMS, build, expand, regret, trial_of
from trials.seeding import stream
from trials.spec import TrialSpec

# `perceptron` ships, but was recorded.
SYNTHETIC = [name for name, family in PROBLEMS.items() if not family.recorded and name != "perceptron"]
HERE = [name for name, family in PROBLEMS.items() if not family.recorded or os.environ.get(DATA)]


def example(family: str, index: int = 0):
    return build(expand([family])[index])


def some(problem, count=40):
    return [problem.space.sample(stream(n, "configs")) for n in range(count)]


def losses(problem, config, seed=0):
    try:
        return problem.curve(config, seed)
    except MemoryError:
        return None


@pytest.mark.parametrize("family", PROBLEMS)
def test_equal_configs_have_equal_curves_of_the_right_length(family: str) -> None:
    if family not in HERE:
        pytest.skip(f"{DATA} does not say where recorded curves lie")
    one, again = example(family), example(family)
    for config in some(one, 10):
        curve = losses(one, config)
        assert (curve is None) == (losses(again, config) is None)
        if curve is not None:
            assert curve.shape == (one.steps,)
            np.testing.assert_array_equal(curve, losses(again, config))


@pytest.mark.parametrize("family", PROBLEMS)
def test_a_step_takes_some_seconds_by_the_config_alone(family: str) -> None:
    if family not in HERE:
        pytest.skip(f"{DATA} does not say where recorded curves lie")
    one, again = example(family), example(family)
    seconds = [one.seconds_per_step(config) for config in some(one, 20)]
    assert all(0 < found < math.inf for found in seconds)
    assert seconds == [again.seconds_per_step(config) for config in some(again, 20)]
    spec = TrialSpec(0, some(one, 1)[0], 0, one.steps, (1, one.steps), one.steps, 0)
    if losses(one, spec.config) is not None:
        timed = [report.seconds for report in trial_of(one, is_timed=True)(spec)]
        assert timed == pytest.approx([seconds[0], one.steps * seconds[0]])
        assert [report.seconds for report in trial_of(one)(spec)] == [1, one.steps]


@pytest.mark.parametrize("family", PROBLEMS)
def test_regret_is_scaled_by_random_configs_and_a_curve_ends_at_its_final_loss(family: str) -> None:
    if family not in HERE:
        pytest.skip(f"{DATA} does not say where recorded curves lie")
    one = example(family)
    assert one.best_known < one.median < math.inf
    regrets = []
    for config in some(one, 60):
        final, curve = one.final(config), losses(one, config)
        regrets.append(regret(one, final))
        if curve is None or not math.isfinite(curve[-1]):
            assert final == math.inf
        else:
            assert curve[-1] == pytest.approx(final, abs=0.03)
    assert 0 <= min(regrets) < 0.7
    assert 0.4 < np.median(regrets) < 1.6


@pytest.mark.parametrize("family", SYNTHETIC)
@pytest.mark.parametrize("index", [0, 3])
def test_no_config_ends_below_the_known_optimum_which_is_attained(family: str, index: int) -> None:
    one = example(family, index)
    assert one.final(one.landscape.optimum) == pytest.approx(one.best_known, abs=1e-9)
    assert regret(one, one.best_known) == 0
    assert min(one.final(config) for config in some(one, 200)) > one.best_known


@pytest.mark.parametrize("family", SYNTHETIC)
def test_first_rungs_mislead_except_where_they_are_honest(family: str) -> None:
    from scipy.stats import spearmanr

    one = example(family)
    curves = [losses(one, config) for config in some(one, 150)]
    ended = np.array([c for c in curves if c is not None and math.isfinite(c[-1])])
    early, late = (float(spearmanr(ended[:, step - 1], ended[:, -1])[0]) for step in (1, 60))
    # What has yet to anneal there looks worse than it ends.
    assert 0.5 < late < 0.9 if family == "schedules" else late > 0.9
    assert early > 0.95 if family in ("honest", "costly") else early < 0.7


def test_some_rates_diverge_and_some_trials_do_not_fit() -> None:
    annealed, memory = example("annealed"), example("memory")
    diverged = [not np.isfinite(annealed.curve(c, 0)[-1]) for c in some(annealed, 100)]
    assert 0.05 < np.mean(diverged) < 0.5
    assert 0.05 < np.mean([losses(memory, c) is None for c in some(memory, 100)]) < 0.5


def test_the_seed_is_noise_that_is_small_beside_the_differences() -> None:
    one = example("honest")
    config = some(one, 1)[0]
    a, b = one.curve(config, 1), one.curve(config, 2)
    assert 0 < np.abs(a - b).max() < 0.05


def test_an_inactive_hyperparameter_makes_no_difference_and_is_never_there() -> None:
    one = example("branches")
    for config in some(one, 50):
        one.space.validate(config)
        assert {name.split("_")[0] for name in config if "_" in name} <= {config["optimizer"], "weight"}


def test_a_problem_is_a_function_that_reports_its_rungs() -> None:
    one = example("honest")
    spec = TrialSpec(3, some(one, 1)[0], 5, 81, (1, 9, 81), 81, 0)
    reports = list(trial_of(one)(spec))
    assert [report.step for report in reports] == [1, 9, 81]
    assert reports[2].metrics[METRIC] == one.curve(spec.config, 5)[-1]


def test_what_is_not_there_is_said(monkeypatch, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown problem 'tasket'; did you mean 'taskset'"):
        expand(["tasket"])
    with pytest.raises(UsageError, match="problem 'honest:9': unknown instance '9'"):
        expand(["honest:9"])
    monkeypatch.delenv(DATA, raising=False)
    with pytest.raises(UsageError, match=f"--data or in the environment variable {DATA}"):
        build("taskset:patch32_GRU128_bs128")
    with pytest.raises(UsageError, match=r"there is no folder .*algoperf-curves"):
        build("algoperf:wmt", tmp_path)
    (tmp_path / "taskset-rnn").mkdir()
    with pytest.raises(UsageError, match="No such file"):
        build("taskset:patch32_GRU128_bs128", tmp_path)


def test_curves_that_were_recorded_are_read(tmp_path: Path) -> None:
    """A folder of the same form, small: the nearest config answers, and what is undefined stays so."""
    from hpo.problems.taskset import TaskSet

    config = {"lr": 1e-3, "one_minus_beta1": 0.1, "one_minus_beta2": 1e-3, "epsilon": 1e-8}
    config |= {"l1": 1e-6, "l2": 1e-6, "linear_decay": 1e-6, "exponential_decay": 1e-5}
    near = [1e-3, 0.9, 0.999, 1e-8, 1e-6, 1e-6, 1e-6, 1e-5]
    far = [1.0, 0.9, 0.999, 1e-8, 1e-6, 1e-6, 1e-6, 1e-5]
    good, bad = np.linspace(0.7, 0.3, 51), np.linspace(0.7, 0.3, 51)
    bad[10] = np.nan
    folder = tmp_path / "taskset-rnn"
    folder.mkdir()
    np.savez(
        folder / "FixedTextRNNClassification_imdb_tiny.npz",
        hp=np.array([near, far]),
        valid=np.array([good, bad]),
    )
    one = TaskSet("tiny", folder)
    np.testing.assert_allclose(one.curve({**config, "lr": 2e-3}, 0), good[1:])
    curve = one.curve({**config, "lr": 0.5}, 0)
    assert np.isfinite(curve[:9]).all()
    assert np.isnan(curve[9:]).all()
    assert one.final({**config, "lr": 0.5}) == math.inf
    assert one.best_known == pytest.approx(0.3)
