"""Seeds that configs are tuned by never report the winner."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import config as configs
from hpo.errors import UsageError
from hpo.events import StudyFinished, StudyStarted, Suggestion, TrialStarted
from hpo.history import History
from hpo.judgement import reported_by
from hpo.limits import Limits
from hpo.listeners.summary import summary
from hpo.loop import Search
from hpo.plan import TEST_SEEDS, TUNING_SEEDS, Plan, drawn_test_seeds
from hpo.pruners.never import Never
from hpo.replicas import Replicas
from hpo.runners.base import Target
from hpo.runners.inline import InlineRunner
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers.random import Random
from hpo.space import table as space_table
from hpo.store import Memory
from tests.objectives_sample import SPACE

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
PLAN = Plan(40, (20, 40), 40, 0, 0)


@given(seed=st.integers(0, 2**40), trials=st.integers(1, 40), named=st.booleans())
def test_no_tuning_seed_is_a_test_seed(seed: int, trials: int, named: bool) -> None:
    plan = replace(PLAN, seed=seed)
    # Named ones that trials would have been given: those draw others.
    test = tuple(plan.spec(n, Suggestion({})).seed for n in range(5)) if named else drawn_test_seeds(seed, 50)
    plan = replace(plan, test=test)
    specs = [plan.spec(number, Suggestion({})) for number in range(trials)]
    specs.append(plan.replica(specs[0], trials, [specs[0].seed]))
    tuned = {spec.seed for spec in specs}
    assert not tuned & set(test)
    assert max(tuned) < TUNING_SEEDS
    assert named or (min(test) >= TUNING_SEEDS and max(test) < TEST_SEEDS)
    plan.check_seeds(specs)


def test_named_tuning_seeds_are_used_in_their_order() -> None:
    plan = replace(PLAN, tuning=(7, 8, 9))
    first = plan.spec(0, Suggestion({"x": 1.0}))
    assert plan.spec(1, Suggestion({"x": 2.0})).seed == first.seed == 7
    second = plan.replica(first, 2, [7])
    assert (second.seed, second.config, second.trial) == (8, first.config, 2)
    assert plan.replica(first, 3, [7, 8, 9]).seed not in (7, 8, 9)


def study(**seeds: object) -> configs.StudyConfig:
    return configs.build({"task": f"{SAMPLE}:noisy", "seeds": seeds}, "study.toml", Path.cwd())


def test_seeds_of_a_study_file() -> None:
    assert study().plan().test == ()
    assert study(test=3).plan().test == drawn_test_seeds(0, 3)
    plan = study(tuning=[0, 1, 2], test=[3, 4]).plan()
    assert (plan.tuning, plan.test) == ((0, 1, 2), (3, 4))


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (
            {"tuning": [1, 2, 3], "test": [3, 4, 1]},
            r"study.toml \[seeds\] tuning and test share 1, 3: the winner",
        ),
        ({"tuning": [1, 1, 2]}, r"\[seeds\] tuning: 1 is named twice"),
        ({"test": [5, 5]}, r"\[seeds\] test: 5 is named twice"),
        ({"tuning": [1, 2]}, r"tuning names 2 seeds, and replicas = 3 needs 3"),
        ({"tuning": [2**31], "replicas": 1}, r"tuning: 2147483648 must be below 2147483648"),
        ({"test": [2**32]}, r"test: 4294967296 must be below 4294967296"),
        ({"test": -1}, r"test = -1 must be a whole number of at least 0 or a list of them"),
        ({"tuning": ["a"]}, r"tuning = \['a'\] must be a list of whole numbers of at least 0"),
    ],
)
def test_seeds_that_cannot_be_are_refused(seeds: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        study(**seeds)


def searched(store: Memory, plan: Plan, runner: InlineRunner | None = None, trials: int = 9) -> History:
    made = runner or ReplayedRunner(Target(f"{SAMPLE}:noisy"), 2)
    search = Search(
        *(store, Random(space_table.read(SPACE, "[space]"), 0), Never(), made, History()),
        *(Limits(trials=trials), plan, StudyStarted("study", {}, 0, {}, "", 0.0)),
        replicas=Replicas(3, 2),
    )
    return search.run(list(store))


def test_the_winner_is_trained_again_with_the_test_seeds_and_only_reported() -> None:
    plain, store = Memory(), Memory()
    searched(plain, PLAN)
    history = searched(store, replace(PLAN, test=drawn_test_seeds(0, 4)))
    assert [e for e in store if isinstance(e, TrialStarted)] == [
        replace(event, time=mine.time)
        for event, mine in zip(
            (e for e in plain if isinstance(e, TrialStarted)),
            (e for e in store if isinstance(e, TrialStarted)),
            strict=True,
        )
    ], "the search is the same"
    end = list(store)[-1]
    assert isinstance(end, StudyFinished)
    assert list(end.seeds) == [str(seed) for seed in drawn_test_seeds(0, 4)]
    assert len({found["val_loss"] for found in end.seeds.values()}) == 4
    assert history.best is not None
    assert history.retrained == {history.best.spec.trial: end.seeds}
    assert reported_by(history).startswith("trained again with 4 seeds that chose nothing: val_loss ")
    assert reported_by(history) in summary(history)


def test_a_study_taken_up_trains_only_what_is_missing() -> None:
    started: list[int] = []

    class Counting(InlineRunner):
        def start(self, specs) -> None:
            started.extend(spec.seed for spec in specs if spec.seed >= TUNING_SEEDS)
            super().start(specs)

    store = Memory()
    searched(store, replace(PLAN, test=drawn_test_seeds(0, 2)), Counting(Target(f"{SAMPLE}:noisy"), 2))
    assert started == list(drawn_test_seeds(0, 2))
    history = searched(
        store, replace(PLAN, test=drawn_test_seeds(0, 3)), Counting(Target(f"{SAMPLE}:noisy"), 2)
    )
    assert started == list(drawn_test_seeds(0, 3))
    assert history.finish is not None
    assert len(history.finish.seeds) == 3


def test_a_study_taken_up_with_a_seed_that_chose_is_refused_and_nothing_is_written() -> None:
    store = Memory()
    history = searched(store, PLAN)
    before, used = len(list(store)), history.trials[3].spec.seed
    with pytest.raises(UsageError, match=rf"\[seeds\] test: {used} trained trials that were chosen among"):
        searched(store, replace(PLAN, test=(used,)))
    assert len(list(store)) == before
