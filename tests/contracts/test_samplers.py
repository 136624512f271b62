"""The laws of samplers, over the whole table."""

import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import codec
from hpo.bounds import Bound
from hpo.errors import UsageError
from hpo.events import EarlierResult, EarlierTaken, Event, TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.problems.base import build as problem_named
from hpo.samplers.base import SAMPLERS, Sampler, build
from hpo.samplers.earlier import EarlierStarts
from hpo.space import Choice, Float, Space
from tests.hpo_strategies import EXAMPLE, Play, actions, seeds, spaces
from trials.spec import Config, Report, TrialSpec

# Small enough for the model to be reached within a few trials.
OPTIONS = {
    "tpe": {"startup_trials": 2},
    "gp": {"startup_trials": 2},
    "curve": {"startup_trials": 2},
    "nsga2": {"population_size": 3},
    "cmaes": {"population_size": 4},
}
EXAMPLES = {"gp": 1, "curve": 6, "random": 30}
IGNORE_RESULTS = ("random", "sobol", "grid")

Case = tuple[Space, int, list[tuple[str, float]]]
cases = st.tuples(st.one_of(st.just(EXAMPLE), spaces(small=True)), seeds, actions)


SEVERAL = Objective(
    others=(Objective("size", "max"), Objective("seconds")), bounds=(Bound("seconds", high=2.0),)
)


def fresh(
    name: str, space: Space, seed: int, events: Sequence[Event] = (), objective: Objective | None = None
) -> Sampler:
    sampler = build(name, space, objective or Objective(), seed, OPTIONS.get(name))
    for event in events:
        sampler.tell(event)
    return sampler


def asked(sampler: Sampler, n: int) -> list[Config]:
    return [suggestion.config for suggestion in sampler.ask(n)]


def played(name: str, case: Case, objective: Objective | None = None) -> tuple[Sampler, list[Event]]:
    """A sampler that was asked all the time, and what it was told."""
    space, seed, script = case
    sampler = fresh(name, space, seed, objective=objective)
    others = tuple(part.metric for part in objective.others) if objective else ()
    return sampler, Play(space, lambda n: asked(sampler, n), sampler.tell, others=others).run(script)


# Every outcome, and enough trials for the models to be used.
SCRIPT = [("batch", 0.3), ("complete", 0.2), ("report", 0.9), ("complete", 0.6), ("start", 0.4)]
SCRIPT += [("enqueue", 0.5), ("report", 0.7), ("stop", 0.7), ("diverge", 0.1), ("fail", 0.3)]
SCRIPT += [("batch", 0.1), ("report", 0.2), ("pause", 0.2), ("report", 0.4), ("pause", 0.4), ("resume", 0.9)]
SCRIPT += [("replicate", 0.1), ("replicate", 0.1), ("complete", 0.9)]
LONG = [*SCRIPT, *SCRIPT, *SCRIPT]
# A suggestion of the Gaussian process takes a fifth of a second.
SHORT = [("batch", 0.3), ("report", 0.9), ("stop", 0.9), ("complete", 0.6), ("start", 0.5), ("diverge", 0.5)]
SHORT += [("replicate", 0.5), ("complete", 0.9)]
SMALL = Space(
    {"lr": Float(1e-4, 1e-1, "log"), "optimizer": Choice(("adamw", "sgd")), "momentum": Float(0.8, 0.99)},
    when={"momentum": {"optimizer": ("sgd",)}},
)


def over_cases(name: str, law: Callable[[Case], None]) -> None:
    law((SMALL, 11, SHORT) if name == "gp" else (EXAMPLE, 11, LONG))
    examples = EXAMPLES.get(name, 15)
    settings(max_examples=examples, derandomize=True, deadline=None)(given(cases)(law))()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_fresh_sampler_told_the_same_events_asks_the_same(name: str) -> None:
    def law(case: Case) -> None:
        sampler, events = played(name, case)
        read = [codec.decode(codec.encode(event)) for event in events]
        assert asked(fresh(name, *case[:2], read), 3) == asked(sampler, 3)

    over_cases(name, law)


@pytest.mark.parametrize("name", SAMPLERS)
def test_asking_twice_is_asking_once_and_fewer_are_the_first_of_more(name: str) -> None:
    def law(case: Case) -> None:
        sampler, events = played(name, case)
        many = asked(sampler, 4)
        assert asked(sampler, 4) == many
        assert asked(fresh(name, *case[:2], events), 2) == many[:2] == asked(sampler, 2)
        assert asked(sampler, 0) == []

    over_cases(name, law)


@pytest.mark.parametrize("name", [name for name, entry in SAMPLERS.items() if entry.several])
@pytest.mark.parametrize("space", [SMALL, EXAMPLE], ids=["small", "example"])
def test_the_laws_hold_for_several_metrics_and_constraints(name: str, space: Space) -> None:
    if name == "gp" and space is EXAMPLE:
        pytest.skip("seconds a suggestion")
    case = space, 11, SHORT if name == "gp" else LONG
    sampler, events = played(name, case, SEVERAL)
    many = asked(sampler, 4)
    assert asked(sampler, 4) == many
    read = [codec.decode(codec.encode(event)) for event in events]
    again = fresh(name, *case[:2], read, SEVERAL)
    assert asked(again, 2) == many[:2]
    assert asked(again, 4) == many
    for config in many:
        space.validate(config)


EARLIER = EarlierTaken(
    source="old",
    metric="val_loss, minimised",
    results=tuple(
        EarlierResult({"lr": 10 ** -(1.5 + 0.4 * n), "optimizer": ("adamw", "sgd")[n % 2]}, (value,), 0.0)
        for n, value in enumerate((1.0, 0.5, 3.0, math.inf, 0.2, 2.0))
    ),
    mapped=("lr", "optimizer"),
    lacking=("momentum",),
    others=("depth",),
    left_out={},
    time=0.0,
)


@pytest.mark.parametrize("name", [name for name, entry in SAMPLERS.items() if entry.earlier != "no"])
@pytest.mark.parametrize("objective", [Objective(), SEVERAL], ids=["one", "several"])
def test_the_laws_hold_after_an_earlier_study(name: str, objective: Objective) -> None:
    if objective.others and not SAMPLERS[name].several:
        pytest.skip("searches by one metric")
    if objective.others and name == "gp":
        pytest.skip("seconds a suggestion")
    earlier = EARLIER
    if objective.others:
        results = tuple(replace(one, values=one.values * 3) for one in EARLIER.results)
        earlier = replace(EARLIER, results=results)

    def begun(events: Sequence[Event] = ()) -> Sampler:
        sampler = build(name, SMALL, objective, 11, OPTIONS.get(name))
        if SAMPLERS[name].earlier == "starts":
            sampler = EarlierStarts(sampler, SMALL, 11)
        for event in events:
            sampler.tell(event)
        return sampler

    for script in ([], SHORT if name == "gp" else LONG):
        sampler = begun([earlier])
        others = tuple(part.metric for part in objective.others)
        play = Play(SMALL, lambda n, one=sampler: asked(one, n), sampler.tell, others=others)
        events = [earlier, *play.run(script)]
        many = asked(sampler, 4)
        assert asked(sampler, 4) == many
        read = [codec.decode(codec.encode(event)) for event in events]
        assert asked(begun(read), 2) == many[:2]
        assert asked(begun(read), 4) == many
        for config in many:
            SMALL.validate(config)
        if not script:
            assert any(one.origin.startswith("earlier: the best of old") for one in sampler.ask(1))


@pytest.mark.parametrize("name", [name for name, entry in SAMPLERS.items() if not entry.several])
def test_a_sampler_of_one_metric_refuses_several_and_says_which_take_them(name: str) -> None:
    with pytest.raises(UsageError, match=r"by one metric, not by val_loss, size, seconds; .* curve, "):
        fresh(name, SMALL, 0, objective=SEVERAL)


@pytest.mark.parametrize("name", SAMPLERS)
def test_suggestions_lie_in_the_space_and_are_no_more_than_asked_for(name: str) -> None:
    def law(case: Case) -> None:
        sampler, events = played(name, case)
        configs = asked(sampler, 4)
        assert len(configs) <= 4
        assert name == "grid" or len(configs) == 4
        started = [event.spec.config for event in events if isinstance(event, TrialStarted)]
        for config in [*configs, *started]:
            case[0].validate(config)

    over_cases(name, law)


# A suggestion of the Gaussian process takes most of a second.
@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "gp"])
def test_five_hundred_trials_of_three_branches_hold_no_inactive_value(name: str) -> None:
    """Three optimizers with hyperparameters of their own, twelve in all; a tenth of the trials breaks off."""
    problem = problem_named("branches:1")
    space = problem.space
    assert len(space.domains) == 12
    sampler = build(name, space, Objective(), 0)
    branches, finals = Counter(), []
    for first in range(0, 500, 20):
        suggestions = sampler.ask(20)
        for trial, suggestion in enumerate(suggestions, first):
            config = suggestion.config
            space.validate(config)
            assert set(config) == {*space.active(config)}
            own = {other.partition("_")[0] for other in config} & {"sgd", "adamw", "lion"}
            assert own == {config["optimizer"]}
            branches.update(own)
            finals.append(problem.final(config))
            sampler.tell(TrialStarted(TrialSpec(trial, config, 0, 10, (10,), 10, 0), 0.0))
            if trial % 10 == 9:
                sampler.tell(TrialFinished(trial, "diverged", 0.0))
                continue
            sampler.tell(TrialReported(Report(trial, 10, 10, 1.0, {"val_loss": finals[-1]}), 0.0))
            sampler.tell(TrialFinished(trial, "completed", 0.0))
    assert len(finals) == 500
    assert len(branches) == 3
    if name not in IGNORE_RESULTS:
        assert np.median(finals[-100:]) < np.median(finals[:20])


@pytest.mark.parametrize("name", IGNORE_RESULTS)
def test_what_trials_reported_does_not_matter_to_samplers_that_ignore_results(name: str) -> None:
    def law(case: Case) -> None:
        sampler, events = played(name, case)
        started = [event for event in events if isinstance(event, TrialStarted)]
        assert asked(fresh(name, *case[:2], started), 3) == asked(sampler, 3)

    over_cases(name, law)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_seed_matters(name: str) -> None:
    space = Space({"a": Float(0, 1), "b": Float(0, 1)})
    assert asked(fresh(name, space, 1), 3) != asked(fresh(name, space, 2), 3)


@pytest.mark.parametrize("name", SAMPLERS)
def test_trials_outside_an_edited_space_are_survived(name: str) -> None:
    before = Space({"a": Float(0, 100), "gone": Float(0, 1)})
    after = Space({"a": Float(0, 1), "new": Float(0, 1)}, {"gone": 0.5})
    script = [("start", 0.5), ("complete", 0.5)] * 4 + [("start", 0.5), ("report", 0.5)]
    _, events = played(name, (before, 0, script))
    for config in asked(fresh(name, after, 0, events), 2):
        after.validate(config)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_space_in_which_all_is_fixed_has_one_config(name: str) -> None:
    space = Space({}, {"lr": 0.1})
    assert asked(fresh(name, space, 0), 1) == [{"lr": 0.1}]


PROCESS = """
from tests.contracts.test_samplers import LONG, SHORT, SMALL, asked, played
from tests.hpo_strategies import EXAMPLE
from hpo.samplers.base import SAMPLERS
for name in SAMPLERS:
    sampler, _ = played(name, (SMALL, 5, SHORT) if name == "gp" else (EXAMPLE, 5, LONG))
    print(name, asked(sampler, 2))
"""


def test_answers_do_not_depend_on_the_process() -> None:
    """Text hashes differ from process to process, and with them the order of sets."""
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PROCESS],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.getcwd()},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1


def test_the_table_and_the_protocol_load_neither_optuna_nor_scipy() -> None:
    code = (
        "import sys; import hpo.samplers.base, hpo.pruners.base, hpo.space;"
        "print([name for name in ('optuna', 'scipy', 'torch', 'sklearn', 'mlflow') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
