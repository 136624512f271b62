import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.history import History
from hpo.objective import Objective
from hpo.samplers.finals import clipped, finals, mean_over_seeds, stand_ins, worst
from tests.hpo_strategies import EXAMPLE, Play, actions
from tests.strategies import law
from trials.seeding import stream
from trials.spec import Report, TrialSpec

finite = st.floats(-1e6, 1e6)


def history(**curves):
    """A study from curves such as stopped=[1.0, 0.9]; a number in the name keeps names apart."""
    found = History(Objective())
    for number, (name, curve) in enumerate(curves.items()):
        found.tell(TrialStarted(TrialSpec(number, {}, 0, 30, (10, 20, 30), 30, 0), 0.0))
        for index, value in enumerate(curve):
            spent = 10 * (index + 1)
            found.tell(TrialReported(Report(number, spent, spent, 0.0, {"val_loss": value}), 0.0))
        outcome = name.split("_")[0]
        if outcome != "running":
            found.tell(TrialFinished(number, outcome, 0.0))
    return found


@law
@given(
    values=st.lists(finite, max_size=5),
    pairs=st.lists(st.tuples(finite, finite), min_size=1, max_size=5),
)
def test_stand_ins_keep_the_order_and_are_no_better_than_the_best(values, pairs):
    at_rung, ends = zip(*pairs, strict=True)
    found = stand_ins(values, at_rung, ends)
    assert np.all(found >= min(ends))
    order = np.argsort(values, kind="stable")
    assert np.all(np.diff(found[order]) >= -1e-6)


def test_a_stand_in_has_the_quantile_of_its_rung():
    found = stand_ins([1.0, 2.0, 3.0], at_rung=[3.0, 1.0, 2.0], finals=[0.1, 0.3, 0.2])
    assert found == pytest.approx([0.1, 0.2, 0.3])


def test_without_survivors_a_stand_in_is_the_value_itself():
    assert stand_ins([0.4], [], []).tolist() == [0.4]


def test_stopped_trials_are_compared_with_those_that_went_on():
    found = finals(
        history(
            completed_1=[1.0, 0.8, 0.5],
            completed_2=[2.0, 1.2, 0.9],
            stopped_late=[1.5, 1.4],  # 0.2 worse than the worst that completed: 0.9 + 0.2
            stopped_early=[3.0],  # 1.0 worse than the worst that went on: 1.1 + 1.0
            stopped_between=[1.5],  # where a trial stood that counts as 0.9
            running=[0.1],
            diverged=[0.2],
            failed=[0.3],
        )
    )
    assert found == pytest.approx({0: 0.5, 1: 0.9, 2: 1.1, 3: 2.1, 4: 0.9})


def test_a_value_that_is_not_finite_is_none():
    assert finals(history(completed=[1.0, math.nan], stopped=[math.inf])) == {}
    assert worst({}) == 0


@law
@given(script=actions)
def test_every_finished_trial_with_a_value_counts_for_something_finite(script):
    found = History(Objective())
    Play(EXAMPLE, lambda n: [EXAMPLE.sample(stream(n))] * n, found.tell).run(script)
    values = finals(found)
    for number, trial in found.trials.items():
        states = ("completed", "stopped", "paused")
        usable = trial.state in states and math.isfinite(found.value(trial))
        if trial.state == "completed" and found.replicas(trial):
            usable = math.isfinite(mean_over_seeds(found, trial, found.objective))
        assert (number in values) == (usable and trial.replica_of is None)
    assert all(math.isfinite(value) for value in values.values())
    completed = [values[n] for n in values if found.trials[n].state == "completed"]
    assert not completed or min(values.values()) == min(completed)


@law
@given(values=st.lists(finite, min_size=1, max_size=9))
def test_clipping_keeps_the_order_and_the_better_half(values):
    before = dict(enumerate(values))
    after = clipped(before)
    median = np.median(values)
    for n, value in before.items():
        assert after[n] == value or value > median
        assert after[n] <= value
        assert all(after[n] <= after[m] for m in before if before[n] <= before[m])
