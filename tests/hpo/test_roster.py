"""Who has which trial while workers come and go: no Ray is needed to know."""

import numpy as np

from hpo.events import Noticed, TrialFinished, TrialReported
from hpo.runners.base import Word
from hpo.runners.roster import _DEATHS, Post, Roster
from trials.spec import Report, TrialSpec

RUNGS = (2, 4, 6)


def spec(trial: int) -> TrialSpec:
    return TrialSpec(trial, {"x": 0.5}, trial, 6, RUNGS, 6, 0)


def report(trial: int, spent: int) -> TrialReported:
    return TrialReported(Report(trial, spent, spent, 0.0, {"val_loss": 1 / spent}), 0.0)


def end(trial: int) -> TrialFinished:
    return TrialFinished(trial, "completed", 0.0)


def words(*events: object, lanes: int = 1, returned: tuple[int, ...] = ()) -> Word:
    return Word("events", list(events), lanes, (1.0, 2.0), returned)


def paused(event: TrialReported, is_bound: bool) -> Word:
    """A report after which the trial made room."""
    trials = (event.report.trial,)
    return words(event)._replace(**{"bound" if is_bound else "held": trials})


def staffed(*lanes: int) -> tuple[Roster, list[Post]]:
    roster = Roster()
    for count in lanes:
        roster.join(Post(count))
    return roster, list(roster.posts)


def given(roster: Roster) -> dict[int, list[int]]:
    """Number of a post -> trials it was given now."""
    return {roster.posts.index(post): [one.trial for one in share] for post, share in roster.assign()}


def test_a_trial_that_starts_again_says_nothing_twice() -> None:
    roster, (first, second) = staffed(1, 1)
    roster.wait([spec(0)])
    assert given(roster) == {0: [0]}
    roster.take(first, words(report(0, 2), report(0, 4)))
    roster.leave(first, "its node has left", is_blamed=False)
    assert given(roster) == {0: [0]}
    roster.take(second, words(report(0, 2), report(0, 4), report(0, 6), end(0)))
    heard = roster.heard()
    assert [event.report.spent for event in heard if isinstance(event, TrialReported)] == [2, 4, 6]
    assert [event for event in heard if isinstance(event, TrialFinished)] == [end(0)]
    assert roster.heard() == []
    # What is said once more, of a trial that is over, is not heard at all.
    roster.take(second, words(report(0, 6), end(0)))
    assert roster.heard() == []


def test_a_trial_alone_at_its_second_death_has_failed_with_the_reason() -> None:
    roster, _ = staffed(1)
    roster.wait([spec(3)])
    for death in (1, 2):
        given(roster)
        roster.leave(roster.posts[0], "its process died (SIGSEGV)", is_blamed=True)
        roster.join(Post(1))
        ends = [event for event in roster.heard() if isinstance(event, TrialFinished)]
        assert len(ends) == death - 1
    assert ends[0].outcome == "failed"
    assert ends[0].error == "its worker died 2 times, the last time with it alone: its process died (SIGSEGV)"
    assert given(roster) == {}


def test_a_trial_that_gets_further_between_the_deaths_of_its_workers_is_not_their_reason() -> None:
    roster, _ = staffed(1)
    roster.wait([spec(0)])
    assert given(roster) == {0: [0]}
    for rung in RUNGS:
        for _ in range(_DEATHS - 1):
            roster.leave(roster.posts[0], "killed", is_blamed=True)
            roster.join(Post(1))
            assert given(roster) == {0: [0]}
            # It says again what it has said, which is nothing new.
            roster.take(roster.posts[0], words(*(report(0, told) for told in RUNGS if told < rung)))
        roster.take(roster.posts[0], words(report(0, rung)))
    roster.take(roster.posts[0], words(end(0)))
    heard = roster.heard()
    assert [event.report.spent for event in heard if isinstance(event, TrialReported)] == [*RUNGS]
    assert [event for event in heard if isinstance(event, TrialFinished)] == [end(0)]


def test_nodes_that_leave_are_nobodys_fault() -> None:
    roster, _ = staffed(1)
    roster.wait([spec(0)])
    for _ in range(9):
        assert given(roster) == {0: [0]}
        roster.leave(roster.posts[0], "its node has left the cluster", is_blamed=False)
        roster.join(Post(1))
    assert roster.heard() == []


def test_of_neighbours_that_died_twice_each_has_a_worker_to_itself_and_only_the_killer_fails() -> None:
    roster, _ = staffed(3, 3)
    killer, ends = 1, {}
    roster.wait([spec(trial) for trial in range(3)])
    for _ in range(30):
        given(roster)
        for post in list(roster.posts):
            if killer in post.trials:
                roster.leave(post, "SIGSEGV", is_blamed=True)
                roster.join(Post(3))
            else:
                roster.take(post, words(*map(end, list(post.trials)), lanes=3))
        ends |= {event.trial: event.outcome for event in roster.heard() if isinstance(event, TrialFinished)}
        if len(ends) == 3:
            break
    assert ends == {0: "completed", 1: "failed", 2: "completed"}
    assert roster.busy() == (0, 6)


def test_a_worker_is_kept_for_a_suspect_although_others_have_much_to_do() -> None:
    roster, _ = staffed(2)
    roster.wait([spec(0), spec(1)])
    for _ in range(2):
        assert given(roster) == {0: [0, 1]}
        roster.leave(roster.posts[0], "killed", is_blamed=True)
        roster.join(Post(2))
    roster.join(Post(2))
    roster.wait([spec(trial) for trial in range(2, 12)])
    alone: list[int] = []
    for _ in range(12):
        roster.assign()
        for post in list(roster.posts):
            if post.trials.keys() & {0, 1}:
                assert len(post.trials) == 1
                alone.extend(post.trials)
            roster.take(post, words(*map(end, list(post.trials)), lanes=2))
    assert sorted(alone) == [0, 1]
    assert sorted(event.trial for event in roster.heard() if isinstance(event, TrialFinished)) == list(
        range(12)
    )


def test_a_trial_that_was_told_to_stop_ends_as_stopped_wherever_it_is() -> None:
    roster, (only,) = staffed(1)
    roster.wait([spec(0), spec(1)])
    given(roster)
    assert roster.stop([0, 1, 9]) == [(only, [0])]
    assert [(event.trial, event.outcome) for event in roster.heard() if isinstance(event, TrialFinished)] == [
        (1, "stopped")
    ]
    roster.leave(only, "killed", is_blamed=True)
    assert [(event.trial, event.outcome) for event in roster.heard() if isinstance(event, TrialFinished)] == [
        (0, "stopped")
    ]
    assert roster.stop([0, 1]) == []


def test_trials_that_a_worker_gives_back_wait_for_the_next() -> None:
    roster, (only,) = staffed(2)
    roster.wait([spec(0), spec(1)])
    given(roster)
    roster.take(only, words(lanes=1, returned=(1,)))
    assert roster.free() == 0
    assert given(roster) == {}
    roster.take(only, words(end(0), lanes=1))
    assert given(roster) == {0: [1]}


def test_what_is_no_trials_is_passed_on() -> None:
    roster, (only,) = staffed(1)
    notice = Noticed("compile", "no compiler", 0.0)
    roster.take(only, words(notice))
    assert roster.has_news()
    assert roster.heard() == [notice]


def test_under_any_deaths_every_trial_ends_once_and_reports_in_order() -> None:
    for seed in range(200):
        generator = np.random.default_rng(seed)
        roster, _ = staffed(*generator.integers(1, 4, size=3))
        roster.wait([spec(trial) for trial in range(12)])
        at: dict[int, int] = {}  # rung that a trial has come to on the worker it is on
        ends: list[int] = []
        spent: dict[int, list[int]] = {}
        for _ in range(400):
            for _, share in roster.assign():
                at.update({one.trial: 0 for one in share})
            for post in list(roster.posts):
                fate = generator.uniform()
                if fate < 0.1:
                    roster.leave(post, "killed", is_blamed=bool(generator.uniform() < 0.5))
                    roster.join(Post(post.lanes))
                    continue
                said: list[object] = []
                for trial in list(post.trials):
                    said.append(report(trial, RUNGS[at[trial]]))
                    at[trial] += 1
                    if at[trial] == len(RUNGS):
                        said.append(end(trial))
                roster.take(post, words(*said, lanes=post.lanes or 1))
            for event in roster.heard():
                if isinstance(event, TrialFinished):
                    ends.append(event.trial)
                elif isinstance(event, TrialReported):
                    assert event.report.trial not in ends
                    spent.setdefault(event.report.trial, []).append(event.report.spent)
            if len(ends) == 12:
                break
        assert sorted(ends) == list(range(12)), f"seed {seed}"
        assert all(tuple(one) == RUNGS[: len(one)] for one in spent.values())
        assert roster.busy()[0] == 0


def test_a_trial_that_made_room_goes_to_anyone_or_to_the_worker_that_keeps_it() -> None:
    roster, (first, second) = staffed(1, 1)
    roster.wait([spec(0), spec(1)], {0: 2, 1: 2})
    assert given(roster) == {0: [0], 1: [1]}
    assert roster.until([spec(0)]) == {0: 2}
    roster.take(first, paused(report(0, 2), is_bound=True))
    roster.take(second, paused(report(1, 2), is_bound=False))
    assert roster.free() == 2
    roster.wait([spec(2)])
    assert given(roster) == {0: [2]}
    # One may go anywhere; the other waits for its worker, and the free lane waits with nobody.
    roster.wait([spec(0)], {0: 4})
    assert given(roster) == {}
    assert roster.free() == 1
    roster.wait([spec(1)])
    assert given(roster) == {1: [1]}
    assert (roster.until([spec(0)]), roster.until([spec(1)])) == ({0: 4}, {})
    roster.take(first, words(end(2)))
    assert given(roster) == {0: [0]}


def test_what_a_worker_kept_begins_again_when_it_is_gone() -> None:
    roster, (first, second) = staffed(1, 1)
    roster.wait([spec(0), spec(1)], {0: 2})
    given(roster)
    roster.take(first, paused(report(0, 2), is_bound=True))
    roster.wait([spec(2)])
    given(roster)
    roster.wait([spec(0)])
    assert given(roster) == {}
    roster.take(second, words(end(1)))
    assert given(roster) == {}
    roster.leave(first, "its process died", is_blamed=False)
    assert given(roster) == {0: [2]}
    roster.take(second, words(end(2)))
    assert given(roster) == {0: [0]}
    roster.take(second, words(report(0, 2), report(0, 4)))
    said = [one.report.spent for one in roster.heard() if isinstance(one, TrialReported)]
    assert said == [2, 4], "what it says again is not heard"


def test_a_trial_that_makes_room_as_it_is_told_to_stop_has_ended() -> None:
    for is_bound in (True, False):
        roster, (first,) = staffed(1)
        roster.wait([spec(0)], {0: 2})
        given(roster)
        assert roster.stop([0]) == [(first, [0])]
        roster.take(first, paused(report(0, 2), is_bound))
        (ended,) = [one for one in roster.heard() if isinstance(one, TrialFinished)]
        assert ended.outcome == "stopped"
        # One that had made room before is forgotten without a word.
        roster.wait([spec(1)], {1: 2})
        given(roster)
        roster.take(first, paused(report(1, 2), is_bound))
        assert roster.stop([1]) == ([(first, [1])] if is_bound else [])
        assert not [one for one in roster.heard() if isinstance(one, TrialFinished)]


def test_a_worker_that_refuses_what_it_is_asked_has_its_lanes_still() -> None:
    roster, (post,) = staffed(3)
    roster.take(post, words(lanes=3))
    roster.take(post, Word("error", "a function is no task"))
    assert roster.free() == 3
    assert roster.busy_seconds()[1] == 2.0
