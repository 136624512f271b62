import math
import warnings

import numpy as np
import pytest
from optuna.samplers import RandomSampler

from hpo.events import Event, TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.samplers.base import build
from hpo.samplers.optuna import Method, OptunaSampler
from hpo.space import Choice, Float, Int, Space
from tests.hpo_strategies import BUDGET, EXAMPLE, RUNGS, Play
from trials.spec import Report, TrialSpec

PLANE = Space({"x": Float(0, 1), "y": Float(0, 1)})
OPTIONS = {
    "tpe": {"startup_trials": 5},
    "gp": {"startup_trials": 5},
    "cmaes": {},
    "nsga2": {"population_size": 8},
}


def bowl(config):
    return (config["x"] - 0.8) ** 2 + (config["y"] - 0.2) ** 2


def tell(sampler, number: int, config, value: float, outcome="completed", budget=BUDGET) -> None:
    sampler.tell(TrialStarted(TrialSpec(number, config, 0, budget, (budget,), budget, 0), 0.0))
    sampler.tell(TrialReported(Report(number, budget, budget, 0.0, {"val_loss": value}), 0.0))
    sampler.tell(TrialFinished(number, outcome, 0.0))


def minimised(name, space, function, trials, seed=0, goal="min"):
    """The configs of a study of one trial after another."""
    objective = Objective("val_loss", goal)
    sampler = build(name, space, objective, seed, OPTIONS[name])
    configs = []
    for number in range(trials):
        configs.append(sampler.ask(1)[0].config)
        tell(sampler, number, configs[-1], function(configs[-1]))
    return configs


@pytest.mark.parametrize(("name", "trials"), [("tpe", 40), ("gp", 16), ("cmaes", 48), ("nsga2", 48)])
def test_suggestions_approach_the_minimum(name, trials):
    """The last quarter of the trials: a random one has a mean value of 0.35."""
    ends = [bowl(config) for config in minimised(name, PLANE, bowl, trials)[-trials // 4 :]]
    assert np.mean(ends) < 0.1


def test_a_maximum_is_sought_when_the_goal_says_so():
    configs = minimised("tpe", PLANE, lambda config: 1 - bowl(config), 40, goal="max")
    assert np.mean([bowl(config) for config in configs[-10:]]) < 0.1


def test_cmaes_learns_choices_too():
    """Optuna draws them at random."""
    space = Space({"x": Float(0, 1), "kind": Choice(("bad", "good")), "layers": Int(1, 3)})
    configs = minimised("cmaes", space, lambda c: c["x"] + (c["kind"] == "bad") + c["layers"], 60)
    assert sum(config["kind"] == "good" for config in configs[-15:]) >= 13


@pytest.mark.parametrize("name", ["tpe", "gp"])
def test_suggestions_of_one_ask_keep_their_distance(name):
    sampler = build(name, PLANE, Objective(), 1, OPTIONS[name])
    for number in range(10):
        config = sampler.ask(1)[0].config
        tell(sampler, number, config, bowl(config))
    configs = [suggestion.config for suggestion in sampler.ask(4)]
    assert len({tuple(config.values()) for config in configs}) == 4


@pytest.mark.parametrize("name", ["tpe", "gp"])
@pytest.mark.parametrize("outcome", ["diverged", "failed", "out_of_memory"])
def test_what_diverged_is_avoided(name, outcome):
    """Half of the line diverges; of the other half nothing is known to be better than the rest."""
    space = Space({"x": Float(0, 1)})
    sampler = build(name, space, Objective(), 2, {"startup_trials": 4})
    for number, x in enumerate(np.linspace(0, 1, 12)):
        bad = x > 0.5
        tell(
            sampler,
            number,
            {"x": float(x)},
            math.nan if bad else 1.0 - 0.1 * x,
            outcome if bad else "completed",
        )
    assert max(suggestion.config["x"] for suggestion in sampler.ask(3)) < 0.6


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes", "nsga2"])
def test_a_study_in_which_all_diverged_goes_on(name):
    sampler = build(name, EXAMPLE, Objective(), 2, {"startup_trials": 2} if name != "nsga2" else {})
    for number in range(6):
        tell(sampler, number, sampler.ask(1)[0].config, math.nan, "diverged")
    configs = [suggestion.config for suggestion in sampler.ask(3)]
    assert len({config["lr"] for config in configs}) == 3  # still at random: there is nothing to learn from


def test_stopped_trials_teach_the_gaussian_process():
    """Optuna's own leaves them out, and would go on drawing at random."""
    space = Space({"x": Float(0, 1)})
    sampler = build("gp", space, Objective(), 0, {"startup_trials": 4})
    for number, x in enumerate(np.linspace(0, 1, 9)):
        spec = TrialSpec(number, {"x": float(x)}, 0, BUDGET, RUNGS, BUDGET, 0)
        sampler.tell(TrialStarted(spec, 0.0))
        sampler.tell(TrialReported(Report(number, 3, 3, 0.0, {"val_loss": abs(x - 0.3)}), 0.0))
        sampler.tell(TrialFinished(number, "stopped", 0.0))
    assert all(abs(suggestion.config["x"] - 0.3) < 0.2 for suggestion in sampler.ask(2))


def test_a_suggestion_that_was_not_started_leaves_no_trace():
    sampler = build("cmaes", PLANE, Objective(), 0, OPTIONS["cmaes"])
    twin = build("cmaes", PLANE, Objective(), 0, OPTIONS["cmaes"])
    for number in range(20):
        sampler.ask(3)
        config = {"x": number / 20, "y": 0.5} if number % 5 == 0 else twin.ask(1)[0].config
        for one in (sampler, twin):
            tell(one, number, config, bowl(config))
    assert sampler.ask(3) == twin.ask(3)


def test_of_many_trials_the_best_the_newest_and_the_running_are_learned_from():
    seen: list[int] = []

    class Spy(RandomSampler):
        def sample_relative(self, study, trial, search_space):
            seen.extend(other.number for other in study.get_trials(deepcopy=False))
            return {}

    sampler = OptunaSampler(
        PLANE, Objective(), 0, Method(lambda seed, options, known: Spy(seed), most=30), {}
    )
    running = TrialSpec(0, {"x": 0.5, "y": 0.5}, 0, BUDGET, RUNGS, BUDGET, 0)
    sampler.tell(TrialStarted(running, 0.0))
    values = np.random.default_rng(0).permutation(60).tolist()
    for number, value in enumerate(values, start=1):
        tell(sampler, number, {"x": 0.5, "y": value / 60}, float(value))
    sampler.ask(1)
    best = [number for number, value in enumerate(values, start=1) if value < 25]
    assert seen == sorted({0, *best, 56, 57, 58, 59, 60, 61})


def test_multivariate_tpe_draws_what_is_active_together():
    sampler = build("tpe", EXAMPLE, Objective(), 0, {"multivariate": True, "startup_trials": 3})
    heard: list[Event] = []

    def hear(event: Event) -> None:
        heard.append(event)
        sampler.tell(event)

    play = Play(EXAMPLE, lambda n: [suggestion.config for suggestion in sampler.ask(n)], hear)
    play.run([("batch", 0.0), ("complete", 0.3), ("complete", 0.7), ("diverge", 0.1)] * 6)
    fresh = build("tpe", EXAMPLE, Objective(), 0, {"multivariate": True, "startup_trials": 3})
    for event in heard:
        fresh.tell(event)
    assert fresh.ask(3) == sampler.ask(3)
    for suggestion in sampler.ask(3):
        EXAMPLE.validate(suggestion.config)


def test_optunas_warnings_and_log_are_kept_where_they_arise(capsys):
    import optuna

    optuna.logging.set_verbosity(optuna.logging.INFO)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name, options in (
            ("tpe", {"multivariate": True}),
            ("gp", {"deterministic": True, "startup_trials": 2}),
        ):
            sampler = build(name, PLANE, Objective(), 0, options)
            for number in range(3):
                tell(sampler, number, sampler.ask(1)[0].config, float(number))
            sampler.ask(1)
    assert caught == []
    assert capsys.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
