import math
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo import codec
from hpo.events import (
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialReported,
    TrialStarted,
    TrialStopped,
)
from hpo.history import UNDER_WAY, History, State
from hpo.objective import Objective
from tests.hpo_strategies import EXAMPLE, Play, actions
from tests.strategies import law
from trials.seeding import stream
from trials.spec import Report, TrialSpec

goals = st.sampled_from(["min", "max"])


def played(script):
    return Play(EXAMPLE, lambda n: [EXAMPLE.sample(stream(n))] * n).run(script)


def started(trial, time=0.0):
    return TrialStarted(TrialSpec(trial, {"lr": 0.1}, 0, 30, (10, 30), 30, 0), time)


def reported(trial, spent, value, time=0.0, metric="val_loss"):
    return TrialReported(Report(trial, spent, spent, 0.0, {metric: value}), time)


def session(time):
    return StudyStarted("study", {}, 0, {}, "", time)


def state(history):
    public = ("trials", "study", "finish", "sessions", "spent", "incumbents", "notices")
    return repr([getattr(history, name) for name in public]) + repr(history.elapsed())


@law
@given(script=actions, goal=goals, data=st.data())
def test_folding_piece_by_piece_or_from_the_journal_is_folding_at_once(script, goal, data):
    objective = Objective("val_loss", goal)
    events = played(script)
    split = data.draw(st.integers(0, len(events)))
    history = History(objective, events[:split])
    for event in events[split:]:
        history.tell(event)
    read = History(objective, [codec.decode(codec.encode(event)) for event in events])
    assert state(history) == state(read) == state(History(objective, events))


@law
@given(script=actions, goal=goals)
def test_the_best_trial_is_the_lowest_of_those_with_the_whole_budget(script, goal):
    history = History(Objective("val_loss", goal), played(script))
    completed = [
        history.value(trial)
        for trial in history.trials.values()
        if trial.state == "completed" and math.isfinite(history.value(trial))
    ]
    if completed:
        assert history.best is not None
        assert history.best.state == "completed"
        assert history.value(history.best) == min(completed)
    values = [incumbent.value for incumbent in history.incumbents]
    assert values == sorted(set(values), reverse=True)
    assert [i.spent for i in history.incumbents] == sorted(i.spent for i in history.incumbents)


@law
@given(script=actions)
def test_what_was_spent_adds_up(script):
    history = History(Objective(), played(script))
    assert history.spent == sum(trial.spent for trial in history.trials.values())
    states = get_args(State)
    assert sum(history.count(state) for state in states) == len(history.trials)
    for state, kept in (("running", history.running), ("paused", history.paused)):
        assert kept == [trial for trial in history.trials.values() if trial.state == state]
    assert history.is_running == bool(history.running)
    assert history.ended == sum(trial.finished is not None for trial in history.trials.values())
    assert all((trial.finished is None) == (trial.state in UNDER_WAY) for trial in history.trials.values())


def test_while_none_is_complete_the_best_of_the_others_stands_in():
    history = History(Objective(), [started(0), started(1), reported(0, 10, 2.0), reported(1, 10, 1.0)])
    assert history.best is history.trials[1]
    history.tell(TrialStopped(1, 10, "asha", 0.0))
    history.tell(TrialFinished(1, "stopped", 0.0))
    assert history.best is history.trials[1]
    assert history.trials[1].stop_reason == "asha"
    history.tell(reported(0, 30, 3.0))
    history.tell(TrialFinished(0, "completed", 0.0))
    assert history.best is history.trials[0]


@pytest.mark.parametrize("outcome", ["diverged", "failed", "out_of_memory"])
def test_a_trial_that_broke_off_is_never_the_best(outcome):
    history = History(Objective(), [started(0), reported(0, 10, 0.001), TrialFinished(0, outcome, 0.0)])
    assert history.best is None
    assert history.value(history.trials[0]) == math.inf


def test_a_metric_to_maximise_is_turned_round_and_shown_as_it_is():
    objective = Objective("accuracy", "max")
    events = [
        event
        for trial, value in enumerate([0.5, 0.9, 0.7])
        for event in (
            started(trial),
            reported(trial, 30, value, metric="accuracy"),
            TrialFinished(trial, "completed", 0.0),
        )
    ]
    history = History(objective, events)
    assert history.best is history.trials[1]
    assert [objective.shown(incumbent.value) for incumbent in history.incumbents] == [0.5, 0.9]


def test_the_time_between_sessions_does_not_count():
    history = History(Objective(), [session(100.0), started(0, 105.0), reported(0, 10, 1.0, 110.0)])
    assert history.elapsed() == 10
    assert history.elapsed(now=130.0) == 30
    history.tell(session(1000.0))
    assert history.elapsed() == 10
    history.tell(reported(0, 30, 0.5, 1007.0))
    history.tell(TrialFinished(0, "completed", 1008.0))
    assert history.elapsed() == 18
    assert history.incumbents[0].seconds == 18
    assert history.sessions == 2


def test_the_time_in_which_a_study_is_paused_does_not_count():
    history = History(Objective(), [session(100.0), started(0, 105.0), StudyPaused(110.0)])
    assert history.is_paused
    assert [trial.spec.trial for trial in history.running] == [0]
    assert (history.elapsed(), history.elapsed(now=500.0)) == (10, 10)
    # What a function was in the middle of is told while it is paused; ordered twice is ordered once.
    for event in (reported(0, 10, 1.0, 112.0), StudyPaused(113.0)):
        history.tell(event)
    assert history.elapsed() == 10
    for event in (StudyResumed(130.0), StudyResumed(131.0), StudyScaled(3, 132.0)):
        history.tell(event)
    assert not history.is_paused
    assert history.elapsed(now=135.0) == 15
    # Killed while it was paused: the next session goes on.
    for event in (StudyPaused(140.0), reported(0, 20, 0.5, 144.0), session(1000.0)):
        history.tell(event)
    assert not history.is_paused
    assert history.elapsed(now=1003.0) == 23


def test_taking_up_a_finished_study_opens_it_again():
    history = History(Objective(), [session(0.0), StudyFinished("trials", 1.0, best=None)])
    assert history.finish is not None
    history.tell(session(2.0))
    assert history.finish is None


def test_notices_are_kept_in_order_and_are_no_trials():
    lines = [Noticed("compile", "no compiler", 1.0), Noticed("capacity", "8 lanes", 2.0)]
    history = History(Objective(), [session(0.0), *lines])
    assert history.notices == lines
    assert history.trials == {}
    assert history.elapsed() == 2


def test_a_history_of_nothing():
    history = History()
    assert (history.best, history.running, history.elapsed(), history.spent) == (None, [], 0.0, 0)
