"""The laws of pruners, over the whole table."""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo import codec
from hpo.bounds import Bound
from hpo.dominance import fronts
from hpo.events import Event, TrialFinished, TrialPaused, TrialReported, TrialResumed, TrialStarted
from hpo.objective import Objective
from hpo.pruners.base import PRUNERS, Pauser, Pruner, build
from hpo.space import Float, Space
from tests.hpo_strategies import BUDGET, RUNGS, Play, actions
from trials.seeding import stream
from trials.spec import Report, TrialSpec

OPTIONS = {
    "median": {"startup_trials": 1},
    "asha": {"eta": 2},
    "trust": {"calibration": 2, "chance": 0.4},
    "pause": {"pilot": 2},
}
SPACE = Space({"lr": Float(0, 1)})

PAUSERS = [name for name, entry in PRUNERS.items() if entry.pauses]
law = settings(max_examples=60, derandomize=True, deadline=None)
goals = st.sampled_from(["min", "max"])
over_table = pytest.mark.parametrize("name", PRUNERS)


def fresh(name: str, objective: Objective, events: Sequence[Event] = ()) -> Pruner:
    pruner = build(name, objective, OPTIONS.get(name))
    for event in events:
        pruner.tell(event)
    return pruner


def played(
    script: list[tuple[str, float]],
    hear: Callable[[Event], None] = lambda event: None,
    others: tuple[str, ...] = (),
) -> list[Event]:
    """A study whose trials go on whatever the pruner says."""
    return Play(SPACE, lambda n: [SPACE.sample(stream(n))] * n, hear, others=others).run(script)


def several(goal: str) -> Objective:
    """Two metrics, and a bound on a third."""
    return Objective(
        "val_loss",
        others=(Objective("size", "max" if goal == "max" else "min"),),
        bounds=(Bound("seconds", high=2.0),),
    )


JUDGES_SEVERAL = [name for name, entry in PRUNERS.items() if entry.several]


def trials(events: Sequence[Event]) -> list[int]:
    return [event.spec.trial for event in events if isinstance(event, TrialStarted)]


def test_the_table_says_which_pause() -> None:
    assert [name for name in PRUNERS if isinstance(fresh(name, Objective()), Pauser)] == PAUSERS
    assert PAUSERS


@over_table
@law
@given(script=actions, goal=goals)
def test_replaying_gives_the_same_verdicts_and_asking_changes_nothing(name, script, goal) -> None:
    objective = Objective("val_loss", goal)
    asked = fresh(name, objective)

    def hear(event: Event) -> None:
        asked.tell(event)
        for trial in range(3):
            asked.keep(trial)
            asked.reason(trial)

    events = played(script, hear)
    replayed = fresh(name, objective, [codec.decode(codec.encode(event)) for event in events])
    for trial in trials(events):
        assert asked.keep(trial) == asked.keep(trial) == replayed.keep(trial)
        assert asked.reason(trial) == replayed.reason(trial)
        assert asked.keep(trial) == (asked.reason(trial) == "")


@over_table
@law
@given(script=actions, goal=goals)
def test_the_best_trial_at_every_rung_it_reached_is_never_stopped(name, script, goal) -> None:
    objective = Objective("val_loss", goal)
    events = played(script)
    pruner = fresh(name, objective, events)
    values: dict[int, dict[int, float]] = defaultdict(dict)
    for event in events:
        if isinstance(event, TrialReported):
            report = event.report
            values[report.spent][report.trial] = objective.value(report.metrics)
    for trial in trials(events):
        reached = [at_rung for at_rung in values.values() if trial in at_rung]
        if all(at_rung[trial] == min(at_rung.values()) for at_rung in reached):
            assert pruner.keep(trial)


@pytest.mark.parametrize("name", JUDGES_SEVERAL)
@law
@given(script=actions, goal=goals)
def test_of_several_metrics_none_in_the_first_front_at_every_rung_is_stopped(name, script, goal) -> None:
    objective = several(goal)
    events = played(script, others=("size", "seconds"))
    pruner = fresh(name, objective, events)
    rows: dict[int, dict[int, tuple[float, ...]]] = defaultdict(dict)
    for event in events:
        if isinstance(event, TrialReported):
            metrics = event.report.metrics
            rows[event.report.spent][event.report.trial] = (
                *objective.values(metrics),
                objective.excess(metrics),
            )
    leads = dict.fromkeys(trials(events), True)
    for at_rung in rows.values():
        table = np.array(list(at_rung.values()))
        for trial, front in zip(at_rung, fronts(table[:, :-1], table[:, -1]), strict=True):
            leads[trial] &= bool(front == 0)
    for trial, does_lead in leads.items():
        assert pruner.keep(trial) or not does_lead
    replayed = fresh(name, objective, [codec.decode(codec.encode(event)) for event in events])
    assert [replayed.reason(trial) for trial in leads] == [pruner.reason(trial) for trial in leads]


@pytest.mark.parametrize("name", [name for name in JUDGES_SEVERAL if name != "never"])
def test_a_trial_that_is_worse_in_every_metric_is_stopped(name: str) -> None:
    objective = several("max")
    pruner = fresh(name, objective)

    def run(trial: int, loss: float, size: float) -> None:
        pruner.tell(TrialStarted(TrialSpec(trial, {}, trial + 1, BUDGET, RUNGS, BUDGET, 0), 0.0))
        for rung in RUNGS:
            metrics = {"val_loss": loss + 1 / rung, "size": size, "seconds": 1.0}
            pruner.tell(TrialReported(Report(trial, rung, rung, 0.1, metrics), 0.0))
        pruner.tell(TrialFinished(trial, "completed", 0.0))

    for trial in range(8):
        run(trial, 0.1 * trial, 1.0 + 0.1 * trial)  # each gives up one metric for the other
    run(8, 0.65, 0.1)
    assert pruner.keep(0)
    assert pruner.keep(7) or name == "trust"  # at the far end of the front, the last to begin
    assert not pruner.keep(8)
    assert "front" in pruner.reason(8)


@over_table
@law
@given(script=actions)
def test_a_verdict_comes_with_a_report_before_the_end_and_is_not_taken_back(name, script) -> None:
    pruner = fresh(name, Objective())
    stopped: set[int] = set()
    for event in played(script):
        before = {trial for trial in range(100) if not pruner.keep(trial)}
        assert before == stopped
        pruner.tell(event)
        after = {trial for trial in range(100) if not pruner.keep(trial)}
        assert stopped <= after
        if after > stopped:
            assert isinstance(event, TrialReported)
            assert after - stopped == {event.report.trial}
            assert event.report.spent < BUDGET
        stopped = after


@over_table
def test_a_trial_without_the_metric_is_left_alone(name: str) -> None:
    def hear(event: Event) -> None:
        pruner.tell(event)

    pruner = fresh(name, Objective())
    played([("start", 0), ("complete", 0.1), ("start", 0), ("complete", 0.2)], hear)
    play = Play(SPACE, lambda n: [{"lr": 0.5}] * n, hear, metric="train_loss", started=2)
    play.run([("start", 0), ("report", 1.0), ("report", 1.0), ("report", 1.0)])
    assert pruner.keep(2)


@over_table
@pytest.mark.parametrize("outcome", ["diverged", "failed", "out_of_memory"])
def test_trials_that_ended_badly_do_not_end_others(name: str, outcome) -> None:
    events = played([("start", 0.0), ("report", 0.0)] + [("batch", 0.0)] * 10)
    ended = [TrialFinished(trial, outcome, 0.0) for trial in trials(events)[1:]]
    assert fresh(name, Objective(), [*events, *ended]).keep(0)


def asked(pauser: Pauser) -> list[object]:
    """All that a pauser can be asked, of a study with and without room."""
    verdicts: list[object] = [pauser.pause(trial) for trial in range(40)]
    return [
        *verdicts,
        *(pauser.resume(n, left, begins) for n in (1, 3) for left in (None, 30) for begins in (True, False)),
    ]


@pytest.mark.parametrize("name", PAUSERS)
@law
@given(script=actions)
def test_who_pauses_and_goes_on_is_a_function_of_what_was_told(name, script) -> None:
    pauser = fresh(name, Objective())
    states: dict[int, str] = {}
    spent: dict[int, int] = {}

    def hear(event: Event) -> None:
        pauser.tell(event)
        match event:
            case TrialStarted(spec):
                states[spec.trial], spent[spec.trial] = "running", 0
            case TrialReported(report):
                spent[report.trial] = report.spent
            case TrialPaused(trial):
                states[trial] = "paused"
            case TrialResumed(trial):
                states[trial] = "running"
            case TrialFinished(trial):
                states[trial] = "ended"
            case _:
                pass
        found = asked(pauser)
        assert asked(pauser) == found
        for trial, state in states.items():
            if pauser.pause(trial):
                assert state == "running"
                assert 0 < spent[trial] < BUDGET
                assert spent[trial] >= pauser.until(trial)
        for n, left in ((1, None), (3, 20)):
            chosen = pauser.resume(n, left, True)
            assert len(chosen) == len({one.trial for one in chosen}) <= n
            for one in chosen:
                assert states[one.trial] == "paused"
                assert spent[one.trial] < one.until <= BUDGET
            assert left is None or sum(one.until - spent[one.trial] for one in chosen) <= left

    events = played(script, hear)
    read = [codec.decode(codec.encode(event)) for event in events]
    assert asked(fresh(name, Objective(), read)) == asked(pauser)


@pytest.mark.parametrize("name", [name for name in PRUNERS if name != "never"])
def test_a_trial_that_only_probes_is_not_judged(name):
    """It stands where it stood, with the loss it had: what it spends, it spends to find out more."""
    pruner = build(name, Objective("val_loss"))

    def report(trial, step, spent, value):
        pruner.tell(TrialReported(Report(trial, step, spent, 0.0, {"val_loss": value}), 0.0))

    for trial in range(8):
        pruner.tell(TrialStarted(TrialSpec(trial, {}, 0, 100, (40, 50, 60, 100), 100, 0), 0.0))
    for trial in range(7):
        for spent in (40, 50, 60, 100):
            report(trial, spent, spent, 0.5)
        pruner.tell(TrialFinished(trial, "completed", 0.0))

    def is_judged() -> bool:
        return not pruner.keep(7) or (isinstance(pruner, Pauser) and pruner.pause(7) != "")

    report(7, 0, 40, 2.3)
    report(7, 0, 50, 2.3)
    assert not is_judged()
    report(7, 10, 60, 2.3)
    assert is_judged()
