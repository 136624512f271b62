"""What the end-to-end tests of limits cannot say: room, and which limit is named."""

import pytest

from hpo.events import Event, StudyStarted, TrialFinished, TrialReported, TrialStarted
from hpo.history import History
from hpo.limits import Limits
from hpo.objective import Objective
from trials.spec import Report, TrialSpec

BUDGET = 10


def played(*trials: tuple[int, float, bool], goal: str = "min") -> History:
    """A study whose trials are (spent steps, value, has ended), one after the other."""
    events: list[Event] = [StudyStarted("study", {}, 0, {}, "", 0.0)]
    for number, (spent, value, has_ended) in enumerate(trials):
        now = float(number + 1)
        events.append(TrialStarted(TrialSpec(number, {}, 0, BUDGET, (5, BUDGET), BUDGET, 0), now))
        if spent:
            events.append(TrialReported(Report(number, spent, spent, 0.0, {"val_loss": value}), now))
        if has_ended:
            events.append(TrialFinished(number, "completed" if spent == BUDGET else "stopped", now))
    return History(Objective("val_loss", goal), events)  # type: ignore[arg-type]


DONE, HALF, NEW = (BUDGET, 1.0, True), (5, 1.0, False), (0, 0.0, False)


@pytest.mark.parametrize(
    ("limits", "trials", "room"),
    [
        (Limits(), [DONE], None),
        (Limits(trials=3), [], 3),
        (Limits(trials=3), [DONE, NEW], 1),
        (Limits(trials=1), [DONE, NEW], 0),
        (Limits(total_steps=35), [], 3),
        (Limits(total_steps=35), [DONE], 2),
        # What runs is promised its whole budget; what it has spent is counted once.
        (Limits(total_steps=35), [DONE, HALF], 1),
        (Limits(total_steps=35), [DONE, HALF, NEW], 0),
        # A stopped trial gives back what it did not spend.
        (Limits(total_steps=35), [DONE, (5, 1.0, True)], 2),
        (Limits(trials=9, total_steps=35), [DONE], 2),
        (Limits(trials=2, total_steps=35), [DONE], 1),
        (Limits(seconds=5, target=0.0), [DONE], None),
        (Limits(no_improvement=2), [DONE, DONE], None),
        (Limits(no_improvement=2), [DONE, DONE, DONE], 0),
        (Limits(no_improvement=2), [DONE, DONE, (BUDGET, 0.5, True)], None),
        # Without any result, patience counts from the beginning.
        (Limits(no_improvement=2), [(5, 1.0, True)], None),
        (Limits(no_improvement=2), [(5, 1.0, True), (5, 1.0, True)], 0),
    ],
)
def test_room_is_what_every_limit_leaves(limits: Limits, trials: list, room: int | None) -> None:
    assert limits.room(played(*trials), BUDGET) == room


def test_a_study_is_exhausted_when_there_is_no_room_and_says_by_what() -> None:
    assert Limits(trials=2).exhausted(played(DONE), BUDGET) == ""
    assert Limits(trials=2).exhausted(played(DONE, DONE), BUDGET) == "2 trials"
    assert Limits(total_steps=25).exhausted(played(DONE, DONE), BUDGET) == "25 steps"
    assert Limits(no_improvement=1).exhausted(played(DONE, DONE), BUDGET) == "no improvement in 1 trials"
    # Also where trials were kept free that replicas do not need.
    both = Limits(trials=9, no_improvement=1)
    assert both.exhausted(played(DONE, DONE), BUDGET, 7) == "no improvement in 1 trials"


@pytest.mark.parametrize(
    ("goal", "target", "value", "reached"),
    [
        ("min", 0.5, 0.6, ""),
        ("min", 0.5, 0.5, "target reached (val_loss 0.5)"),
        ("max", 0.5, 0.4, ""),
        ("max", 0.5, 0.75, "target reached (val_loss 0.75)"),
        ("min", -1.0, -2.0, "target reached (val_loss -2)"),
    ],
)
def test_a_target_is_in_the_users_units(goal: str, target: float, value: float, reached: str) -> None:
    assert Limits(target=target).reached(played((BUDGET, value, True), goal=goal), 0.0) == reached


def test_a_value_on_the_way_reaches_no_target() -> None:
    assert Limits(target=0.5).reached(played((5, 0.1, False)), 0.0) == ""


def test_seconds_are_added_up_over_sessions() -> None:
    history = played(DONE, DONE)  # the last event is 2 seconds after the start
    limits = Limits(seconds=10)
    assert limits.reached(history, 9.9) == ""
    assert limits.reached(history, 10.0) == "time is up (10 s)"
    history.tell(StudyStarted("study", {}, 0, {}, "", 1000.0))
    assert limits.reached(history, 1007.9) == ""
    assert limits.reached(history, 1008.0) == "time is up (10 s)"
