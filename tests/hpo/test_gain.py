"""A study ends when going on promises little, and not before."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hpo import config as configs
from hpo.errors import UsageError
from hpo.events import Event, StudyFinished, StudyStarted, TrialFinished, TrialReported, TrialStarted
from hpo.gain import LEAST_TRIALS, Gains
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Search
from hpo.objective import Objective
from hpo.plan import Plan
from hpo.pruners.asha import Asha
from hpo.replicas import Replicas
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers import base as samplers
from hpo.space import Float, Space
from hpo.space import table as space_table
from hpo.store import Memory
from tests.objectives_sample import SPACE
from trials.seeding import stream
from trials.spec import Config, Report, TrialSpec

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
PLAIN = Objective()
SQUARE = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0), "c": Float(0.0, 1.0)})
SEEDS = range(6)


def bowl(config: Config) -> float:
    """Lowest at 0.6 each, 0 there."""
    return sum((float(value) - 0.6) ** 2 for value in config.values())


def played(
    function: Callable[[Config], float], sampler: str, seed: int, bound: float, most: int, noise: float = 0.0
) -> tuple[Gains, int, float]:
    """(what was said last, after how many trials it was small or `most`, true regret of the best seen)."""
    gains = Gains(SQUARE, PLAIN, seed, bound)
    asked = samplers.build(sampler, SQUARE, PLAIN, seed)
    seen: list[tuple[float, float]] = []
    for number in range(most):
        if gains.small() is not None:
            break
        config = asked.ask(1)[0].config
        value = function(config) + noise * float(stream(seed, "noise", number).normal())
        seen.append((value, function(config)))
        for event in trial(number, config, value):
            gains.tell(event)
            asked.tell(event)
    return gains, len(seen), min(seen)[1]


def trial(number: int, config: Config, value: float) -> list[Event]:
    return [
        TrialStarted(TrialSpec(number, config, number, 4, (4,), 4, 0), 0.0),
        TrialReported(Report(number, 4, 4, 0.0, {"val_loss": value}), 0.0),
        TrialFinished(number, "completed", 0.0),
    ]


@pytest.mark.parametrize("sampler", ["random", "curve"])
def test_a_flat_problem_ends_soon(sampler: str) -> None:
    for seed in SEEDS:
        _, count, _ = played(lambda config: 1.0, sampler, seed, bound=0.01, most=40, noise=0.003)
        assert LEAST_TRIALS <= count < 20


def test_one_that_is_still_improving_goes_on() -> None:
    for seed in SEEDS[:4]:
        gains, count, regret = played(bowl, "random", seed, bound=0.001, most=30)
        assert count == 30
        found = gains.gain()
        assert found is not None
        assert found.low < 1.5 * regret
        assert found.high > 0.001


def test_what_is_left_when_it_ends_is_less_than_the_bound() -> None:
    counts = []
    for seed in SEEDS:
        _, count, regret = played(bowl, "curve", seed, bound=0.01, most=60)
        assert regret < 0.01
        counts.append(count)
    assert np.mean(counts) < 50


def test_trials_that_broke_off_and_losses_that_exploded_are_survived() -> None:
    gains = Gains(SQUARE, PLAIN, 0, 0.01)
    for number in range(30):
        config = SQUARE.sample(stream(0, "config", number))
        value = 1e12 if number % 5 == 4 else bowl(config)
        events = trial(number, config, value)
        if number % 5 == 3:
            events = [events[0], TrialFinished(number, "diverged", 0.0)]
        for event in events:
            gains.tell(event)
    found = gains.gain()
    assert found is not None
    assert all(map(math.isfinite, (found.low, found.mean, found.high)))
    assert 0 < found.mean < 1


def searched(
    recorded: list[Event], bound: float, name: str = "flat", trials: int = 60, lanes: int = 2
) -> list[Event]:
    space = space_table.read(SPACE, "[space]")
    store = Memory()
    store.append(recorded)
    runner = ReplayedRunner(Target(f"{SAMPLE}:{name}"), lanes)
    search = Search(
        *(store, samplers.build("random", space, PLAIN, 0), Asha(PLAIN), runner, History(PLAIN)),
        *(Limits(trials=trials, min_improvement=bound), Plan(8, (4, 8), 8, 0, 0)),
        StudyStarted("study", {}, 0, {}, "", 0.0),
        replicas=Replicas(3, 2),
        gains=Gains(space, PLAIN, 0, bound),
        clock=runner.clock,
    )
    search.run(recorded)
    return list(store)


def test_the_journal_says_why_with_estimate_and_interval_and_replicas_follow() -> None:
    events = searched([], 0.01)
    end = events[-1]
    assert isinstance(end, StudyFinished)
    assert end.reason == "going on would improve by less than 0.01 (by 0, between 0 and 0)"
    assert end.gain == {"mean": 0.0, "low": 0.0, "high": 0.0, "bound": 0.01}
    started = [event for event in events if isinstance(event, TrialStarted)]
    assert len(started) < 20
    assert any(event.replica_of is not None for event in started)


def test_it_goes_on_with_a_lower_bound_and_ends_again_with_the_same() -> None:
    events = searched([], 2.0, "curve", 40)
    assert isinstance(events[-1], StudyFinished)
    assert events[-1].reason.startswith("going on would improve by less than 2 ")
    begun = sum(isinstance(event, TrialStarted) for event in events)
    same = searched(events, 2.0, "curve", 40)
    assert sum(isinstance(event, TrialStarted) for event in same) == begun
    lower = searched(events, 1e-6, "curve", 40)
    assert sum(isinstance(event, TrialStarted) for event in lower) == 40
    assert isinstance(lower[-1], StudyFinished)
    assert lower[-1].reason == "40 trials"
    assert lower[-1].gain == {}


def test_killed_anywhere_it_ends_as_it_would_have() -> None:
    whole = searched([], 0.01, lanes=1)
    wanted = [event.spec for event in whole if isinstance(event, TrialStarted)]
    for cut in range(1, len(whole), 7):
        again = searched(whole[:cut], 0.01, lanes=1)
        assert isinstance(again[-1], StudyFinished)
        assert again[-1].gain["bound"] == 0.01
        assert [event.spec for event in again if isinstance(event, TrialStarted)] == wanted


def test_a_bound_for_several_metrics_is_refused() -> None:
    table = {
        "task": f"{SAMPLE}:noisy",
        "metric": ["val_loss", "price"],
        "limits": {"trials": 9, "min_improvement": 0.1},
    }
    with pytest.raises(UsageError, match=r"min_improvement is of one metric without constraints"):
        configs.build(table, "study.toml", Path.cwd())
    table = {"task": f"{SAMPLE}:noisy", "limits": {"min_improvement": 0}}
    with pytest.raises(UsageError, match=r"min_improvement = 0 must be a number above 0"):
        configs.build(table, "study.toml", Path.cwd())
