"""Studies whose trials pause and go on: through the loop, killed anywhere, and to their end."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from hpo.events import (
    Event,
    StudyFinished,
    StudyStarted,
    TrialFinished,
    TrialPaused,
    TrialReported,
    TrialResumed,
    TrialStarted,
    TrialStopped,
)
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Plan, Search
from hpo.objective import Objective
from hpo.pruners.never import Never
from hpo.pruners.pause import Pause, stages
from hpo.runners.base import Runner, Target
from hpo.runners.inline import InlineRunner
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers.curve import Curve
from hpo.space import table as space_table
from hpo.store import Memory
from hpo.study import search_over
from tests.objectives_sample import SPACE

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
BUDGET, TOTAL = 40, 400
PLAN = Plan(BUDGET, (2, 4, 8, 16, 28, BUDGET), BUDGET, 0, 0)
BEGIN = StudyStarted("study", {}, 0, {}, "", 0.0)
BY_STEPS = Limits(total_steps=TOTAL)


def searched(
    lanes: int = 2,
    limits: Limits = BY_STEPS,
    recorded: Sequence[Event] = (),
    runner: type[InlineRunner] | type[ReplayedRunner] = ReplayedRunner,
    **options: float,
) -> list:
    """The journal of a study, taken up from the events that are given."""
    objective, store = Objective(), Memory()
    store.append(recorded)
    made: Runner = runner(Target(f"{SAMPLE}:curve"), lanes)
    Search(
        store,
        Curve(space_table.read(SPACE, "[space]"), objective, 0, startup_trials=4),
        Pause(objective, **{"pilot": 5, **options}),  # type: ignore[arg-type]
        made,
        History(objective),
        limits,
        PLAN,
        BEGIN,
        clock=getattr(made, "clock", lambda: 0.0),
    ).run(list(recorded))
    return list(store)


def of(kind: type[Event], events: Sequence[Event]) -> list:
    return [event for event in events if isinstance(event, kind)]


def assert_whole(events: Sequence[Event]) -> None:
    """Every trial ends once, none reports where it reported, pauses and resumptions alternate."""
    started = [event.spec.trial for event in of(TrialStarted, events)]
    assert Counter(event.trial for event in of(TrialFinished, events)) == Counter(started)
    reports = Counter((event.report.trial, event.report.spent) for event in of(TrialReported, events))
    assert max(reports.values()) == 1
    for trial in started:
        moves = [e for e in events if isinstance(e, (TrialPaused, TrialResumed)) and e.trial == trial]
        assert all(isinstance(move, (TrialPaused, TrialResumed)[n % 2]) for n, move in enumerate(moves))
    assert isinstance(events[-1], StudyFinished)


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("runner", [InlineRunner, ReplayedRunner])
def test_paused_trials_go_on_and_no_more_is_spent_than_may_be(lanes, runner) -> None:
    events = searched(lanes, runner=runner)
    assert_whole(events)
    history = History(Objective(), events)
    assert of(TrialPaused, events)
    assert of(TrialResumed, events)
    assert history.count("completed") >= 2
    assert TOTAL - 1.5 * BUDGET <= history.spent <= TOTAL
    assert len(history.trials) > 1.2 * TOTAL / BUDGET
    # None was stopped before the end: those that did not end by themselves were paused until then.
    stops = of(TrialStopped, events)
    assert {event.reason for event in stops} == {f"paused until the end ({events[-1].reason})"}
    assert of(TrialStarted, events)[-1].time <= min(event.time for event in stops)


def test_a_study_killed_anywhere_gets_done() -> None:
    """Rows of paused trials were in memory: those that go on begin anew and repeat nothing in the journal."""
    events = searched()
    for cut in range(1, len(events), 7):
        taken_up = searched(recorded=events[:cut])
        assert taken_up[:cut] == events[:cut]
        assert_whole(taken_up)


def test_the_loop_pauses_whom_a_verdict_was_given_that_the_journal_lost() -> None:
    events = searched()
    first = next(n for n, event in enumerate(events) if isinstance(event, TrialPaused))
    taken_up = searched(recorded=events[:first])
    begin, again = taken_up[first], taken_up[first + 1]
    assert isinstance(begin, StudyStarted)
    assert isinstance(again, TrialPaused)
    assert (again.trial, again.spent, again.reason) == (
        events[first].trial,
        events[first].spent,
        events[first].reason,
    )


def test_a_number_of_trials_ends_with_a_last_round_of_the_leading() -> None:
    events = searched(limits=Limits(trials=12))
    assert_whole(events)
    history = History(Objective(), events)
    assert len(history.trials) == 12
    assert history.best is not None
    assert history.best.state == "completed"
    assert history.spent < 0.65 * 12 * BUDGET
    last = {event.trial for event in of(TrialResumed, events) if event.reason == "the last round"}
    assert 1 <= len(last) <= 3


@pytest.mark.parametrize("trainings", [2, 3, 4])
def test_a_study_of_a_few_trainings_leaves_its_pilot_to_bring_one_to_its_end(trainings: int) -> None:
    history = History(Objective(), searched(1, limits=Limits(total_steps=trainings * BUDGET), pilot=24))
    assert history.count("completed") >= 1
    assert len(history.trials) > trainings


def test_steps_are_kept_for_those_that_may_become_the_best() -> None:
    """A study that begins trials to the last has no steps for a last round, but for less than a training."""
    kept, none = searched(1, reserve=0.5), searched(1, reserve=0.0)
    history = History(Objective())
    for event in kept:
        if isinstance(event, TrialResumed) and event.reason == "the last round":
            assert TOTAL - history.spent <= 0.5 * TOTAL
        history.tell(event)
    last = [sum(event.reason == "the last round" for event in of(TrialResumed, one)) for one in (kept, none)]
    assert last[0] > last[1]
    assert len(history.trials) < len(of(TrialStarted, none))


def test_time_that_is_up_ends_paused_trials_too() -> None:
    events = searched(limits=Limits(seconds=60.0))
    assert_whole(events)
    assert events[-1].reason == "time is up (60 s)"


def test_a_study_taken_up_with_another_pruner_ends_what_was_paused() -> None:
    events = searched()
    cut = 1 + next(n for n, event in enumerate(events) if isinstance(event, TrialPaused))
    store = Memory()
    store.append(events[:cut])
    objective = Objective()
    space = space_table.read(SPACE, "[space]")
    runner = ReplayedRunner(Target(f"{SAMPLE}:curve"), 2)
    search = Search(
        *(store, Curve(space, objective, 0), Never(), runner, History(objective)),
        *(Limits(trials=4), PLAN, BEGIN),
        clock=runner.clock,
    )
    search.run(events[:cut])
    assert_whole(list(store))


def test_stages_are_far_apart() -> None:
    assert stages((10,)) == [10]
    assert stages(tuple(range(10, 101, 10))) == [10, 30, 100]


def test_a_trial_that_leads_the_forecasts_goes_on_at_once() -> None:
    events = searched(1)
    resumed = of(TrialResumed, events)
    assert any(event.reason == "it leads the forecasts" for event in resumed)
    best = History(Objective(), events).best
    assert best is not None
    assert best.state == "completed"


def test_a_task_is_searched_with_pauses(tmp_path: Path) -> None:
    found = search_over(
        "digits",
        root=tmp_path,
        search={"pruner": "pause", "sampler": "curve"},
        pruner={"pilot": 3},
        trial={"steps": 60, "reports": 6},
        limits={"trials": 5},
        runner={"lanes": 2, "compile": "never"},
        tracking=False,
    )
    history = found.history
    assert history.ended == 5
    assert history.count("completed") >= 1
    assert history.best is not None
    assert (found.folder / history.best.row).is_file()
    assert "paused until the end (5 trials)" in {trial.stop_reason for trial in history.trials.values()}
