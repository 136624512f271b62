"""Nodes that fail and trials that are slow, in simulated time: each trial still ends once."""

from collections import Counter
from collections.abc import Iterator

import pytest

from hpo.events import TrialFinished, TrialReported
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from hpo.runners.trouble import Trouble
from trials.spec import Report, TrialSpec


def minutes(spec: TrialSpec) -> Iterator[Report]:
    """A minute a step."""
    for rung in spec.rungs:
        yield Report(spec.trial, rung, rung, 60.0 * rung, {"val_loss": 1 / rung + spec.trial})


def specs(count: int) -> list[TrialSpec]:
    return [TrialSpec(trial, {}, 0, 9, (1, 3, 9), 9, 0) for trial in range(count)]


def played(runner: ReplayedRunner, waiting: list[TrialSpec]) -> list[TrialReported | TrialFinished]:
    """All events of trials that are started as there is room."""
    events: list[TrialReported | TrialFinished] = []
    while waiting or runner.busy()[0]:
        runner.start([waiting.pop(0) for _ in range(min(runner.free(), len(waiting)))])
        events += runner.poll(0.0)
    return events


@pytest.mark.parametrize("hear_every", [0.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_every_trial_says_and_ends_as_if_no_node_had_failed(seed: int, hear_every: float) -> None:
    trouble = Trouble(
        seed, lanes_per_node=3, seconds_between_failures=90.0, seconds_down=200.0, straggler_share=0.2
    )
    runner = ReplayedRunner(Target("minutes"), 10, minutes, 0.0, trouble, hear_every)
    events = played(runner, specs(40))
    assert Counter(event.trial for event in events if isinstance(event, TrialFinished)) == dict.fromkeys(
        range(40), 1
    )
    for one in specs(40):
        said = [e.report for e in events if isinstance(e, TrialReported) and e.report.trial == one.trial]
        assert [report.spent for report in said] == [1, 3, 9]
        assert [report.metrics["val_loss"] for report in said] == [1 / n + one.trial for n in (1, 3, 9)]
    times = [event.time for event in events]
    assert times == sorted(times)
    assert runner.failures > 5
    # What was lost takes time: a quiet cluster is done earlier, and each of its trials takes nine minutes.
    quiet = ReplayedRunner(Target("minutes"), 10, minutes)
    played(quiet, specs(40))
    assert quiet.clock() == pytest.approx(4 * 540.0)
    assert runner.clock() > quiet.clock()
    busy, there = runner.busy_seconds()
    assert 0 < busy <= there
    assert runner.busy()[0] == 0
    assert runner.free() <= 10


@pytest.mark.parametrize("hear_every", [0.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_trials_that_pause_among_failures_give_their_lanes_to_others(seed: int, hear_every: float) -> None:
    trouble = Trouble(seed, lanes_per_node=2, seconds_between_failures=90.0, seconds_down=400.0)
    runner = ReplayedRunner(Target("minutes"), 4, minutes, 0.0, trouble, hear_every)
    waiting, paused = specs(12), set[int]()
    said, ended = Counter[tuple[int, int]](), Counter[int]()
    while waiting or runner.busy()[0]:
        # Each makes room once, at its first report.
        some = [waiting.pop(0) for _ in range(min(runner.free(), len(waiting)))]
        runner.start(some, {one.trial: 1 for one in some if one.trial not in paused})
        events = runner.poll(0.0)
        reports = [event.report for event in events if isinstance(event, TrialReported)]
        said.update((report.trial, report.spent) for report in reports)
        ended.update(event.trial for event in events if isinstance(event, TrialFinished))
        now = {report.trial for report in reports} - paused - ended.keys()
        paused |= now
        waiting += [one for one in specs(12) if one.trial in now]
    assert paused == set(range(12))
    assert ended == dict.fromkeys(range(12), 1)
    assert said == dict.fromkeys([(trial, spent) for trial in range(12) for spent in (1, 3, 9)], 1)


def test_a_cluster_whose_last_node_fails_goes_on_when_it_is_there_again() -> None:
    trouble = Trouble(1, lanes_per_node=4, seconds_between_failures=400.0, seconds_down=5000.0)
    runner = ReplayedRunner(Target("minutes"), 4, minutes, 0.0, trouble)
    events = played(runner, specs(4))
    assert sum(isinstance(event, TrialFinished) for event in events) == 4
    assert runner.clock() > 5000


def test_trouble_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="straggler_share=2"):
        Trouble(straggler_share=2)
    with pytest.raises(ValueError, match="lanes_per_node=0"):
        Trouble(lanes_per_node=0)
