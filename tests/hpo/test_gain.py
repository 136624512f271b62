"""A study ends when going on promises little, and not before."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpo import config as configs
from hpo.bounds import Bound
from hpo.dominance import fronts, lead
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


PAIR = Objective("val_loss", others=(Objective("gain", "max"),))
FLAT = Space({"a": Float(0.0, 1.0), "b": Float(0.0, 1.0)})
UNITS = np.array([0.05, 0.05])


def pair(config: Config) -> tuple[float, float]:
    """Squares of the distances to two places; what lies between them is the front."""
    a, b = float(config["a"]), float(config["b"])
    return (a - 0.3) ** 2 + (b - 0.5) ** 2, (a - 0.7) ** 2 + (b - 0.5) ** 2


def behind(seen: list[tuple[float, float]], most: float = math.inf) -> float:
    """How far what was seen is behind the true front, in units; where `val_loss` may be so high at most."""
    true = [pair({"a": a, "b": 0.5}) for a in np.linspace(0.3, 0.7, 401)]
    kept = [one for one in true if one[0] <= most]
    found = np.array([one for one in seen if one[0] <= most])
    return float(lead(np.array(kept), found[fronts(found, np.zeros(len(found))) == 0], UNITS).max())


def told(objective: Objective, some: list[Config]) -> Gains:
    """Has heard of these, each with two metrics."""
    gains = Gains(FLAT, objective, 0, 0.05, 0.05)
    for number, config in enumerate(some):
        for event in trial_of_pair(number, config, pair(config)):
            gains.tell(event)
    return gains


def trial_of_pair(number: int, config: Config, values: tuple[float, float]) -> list[Event]:
    started, _, finished = trial(number, config, 0.0)
    said = {"val_loss": values[0], "gain": -values[1]}
    return [started, TrialReported(Report(number, 4, 4, 0.0, said), 0.0), finished]


def played_pair(
    objective: Objective, sampler: str, seed: int, most: int, bounds: tuple[float, float] = (0.05, 0.05)
) -> tuple[Gains, list[tuple[float, float]]]:
    gains = Gains(FLAT, objective, seed, *bounds)
    asked = samplers.build(sampler, FLAT, objective, seed)
    seen: list[tuple[float, float]] = []
    for number in range(most):
        if gains.small() is not None:
            break
        config = asked.ask(1)[0].config
        seen.append(pair(config))
        for event in trial_of_pair(number, config, seen[-1]):
            gains.tell(event)
            asked.tell(event)
    return gains, seen


def test_of_several_metrics_what_is_left_is_less_than_the_bound_of_each() -> None:
    for seed in SEEDS[:2]:
        gains, seen = played_pair(PAIR, "curve", seed, 60)
        assert LEAST_TRIALS <= len(seen) < 60
        assert behind(seen) < 1
        small = gains.gain()
        assert small is not None
        assert 0 <= small.low <= small.mean <= small.high < 1
        assert gains.table(small)["bound"] == 1
        assert "less than 0.05 in val_loss and 0.05 in gain (by " in gains.reason(small)


def test_of_several_metrics_one_that_is_still_improving_goes_on() -> None:
    for seed in SEEDS[:2]:
        gains, seen = played_pair(PAIR, "random", seed, 18, (0.001, 0.001))
        found = gains.gain()
        assert len(seen) == 18
        assert found is not None
        # What are 0.05 there is 50 of this study's.
        assert found.low < 1.5 * 50 * behind(seen)
        assert found.high > 50 * behind(seen)


def test_a_metric_that_is_the_same_for_all_is_no_reason_to_go_on() -> None:
    gains = Gains(FLAT, PAIR, 0, 0.05, 1e-9)
    for number in range(40):
        config = FLAT.sample(stream(0, "config", number))
        for event in trial_of_pair(number, config, (pair(config)[0], 3.0)):
            gains.tell(event)
    assert gains.small() is not None


def test_only_what_may_keep_the_constraints_could_be_gained() -> None:
    most = 0.03  # without it the other end of the front would count
    bounded = replace(PAIR, bounds=(Bound("val_loss", high=most),))
    for seed in SEEDS[:3]:
        some = [FLAT.sample(stream(seed, "config", number)) for number in range(25)]
        found = told(bounded, some).gain()
        assert found is not None
        assert found.low < 1.5 * behind([pair(config) for config in some], most)
        assert found.high > behind([pair(config) for config in some], most)


def test_what_lies_beyond_a_bound_is_nothing_that_could_be_gained() -> None:
    high: list[float] = []
    for objective in (PLAIN, replace(PLAIN, bounds=(Bound("a", 0.6),))):
        gains = Gains(FLAT, objective, 0, 0.01)
        for number in range(30):
            drawn = FLAT.sample(stream(0, "config", number))
            config = {**drawn, "a": 0.5 + 0.5 * float(drawn["a"])}
            started, _, finished = trial(number, config, 0.0)
            said = {"val_loss": config["a"], "a": config["a"]}
            for event in (started, TrialReported(Report(number, 4, 4, 0.0, said), 0.0), finished):
                gains.tell(event)
        found = gains.gain()
        assert found is not None
        high.append(found.high)
    assert high[0] > 0.3  # nobody has looked below 0.5
    assert high[1] < 0.1


def test_nothing_is_said_before_a_trial_keeps_the_constraints() -> None:
    gains = Gains(SQUARE, replace(PLAIN, bounds=(Bound("price", high=1.0),)), 0, 0.01)
    lenient = Gains(SQUARE, replace(PLAIN, bounds=(Bound("price", high=1.0),), is_lenient=True), 0, 0.01)
    for number in range(20):
        for event in trial(number, SQUARE.sample(stream(0, "config", number)), 1.0):
            lenient.tell(event)
            gains.tell(event)
    assert gains.gain() is None
    assert lenient.gain() is not None  # nobody reports the price, and that is allowed


def test_a_bound_is_said_for_each_metric() -> None:
    def built(limit: object, **others: object) -> configs.StudyConfig:
        table = {"task": f"{SAMPLE}:noisy", "limits": {"trials": 9, "min_improvement": limit}, **others}
        return configs.build(table, "study.toml", Path.cwd())

    with pytest.raises(UsageError, match=r"min_improvement = 0 must be a number above 0, or a table"):
        built(0)
    with pytest.raises(UsageError, match=r"min_improvement = \{'val_loss': -1\} must be a number above 0"):
        built({"val_loss": -1})
    both = {"metric": ["val_loss", "price"]}
    with pytest.raises(
        UsageError, match=r"says one number, and the study .* such as \{val_loss = 0.1, price = 0.1\}; on"
    ):
        built(0.1, **both)
    with pytest.raises(UsageError, match=r"min_improvement says nothing of price"):
        built({"val_loss": 0.1}, **both)
    with pytest.raises(UsageError, match=r"unknown metric 'prize'; did you mean 'price'"):
        built({"val_loss": 0.1, "prize": 0.1}, **both)
    for config in (built({"val_loss": 0.1, "price": 2}, **both), built({"val_loss": 0.1}), built(0.1)):
        assert config.gains() is not None
