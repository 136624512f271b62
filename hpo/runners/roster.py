"""Who has which trial, where workers come and go: what runner `ray` knows, without Ray.

A trial whose worker is gone is started again with the same spec, and says again what it has said; what the
search has heard already is dropped, so that it hears of every rung once. A trial whose worker died twice by
itself, with nothing new reported in between, is tried once more with no other beside it, unless it was alone:
then it is the reason, and has failed.
"""

import time
from collections import Counter, deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hpo.events import TrialFinished, TrialReported
from hpo.runners.base import NOWHERE, Heard, Word
from hpo.runners.placing import placed, structure
from trials.spec import TrialSpec

_DEATHS = 2  # of its worker, that a trial may have been there for since it last reported something new


@dataclass(eq=False)
class Post:
    """A worker, as the search knows it."""

    lanes: int | None  # as it said last; None: not measured yet
    trials: dict[int, TrialSpec] = field(default_factory=dict[int, TrialSpec])
    busy_seconds: tuple[float, float] = (0.0, 0.0)  # of its lanes, as it said last
    is_leaving: bool = False  # it takes no more trials
    idle_since: float | None = None  # None: it has trials, or the study has none yet

    def room(self) -> int:
        """How many more trials it takes; a first one has the lanes measured where that was not done."""
        return 0 if self.is_leaving else max(0, (1 if self.lanes is None else self.lanes) - len(self.trials))

    def idle_seconds(self, now: float) -> float:
        """Lane-seconds that it has been without any trial by now."""
        return 0.0 if self.idle_since is None else (self.lanes or 1) * max(0.0, now - self.idle_since)


class Roster:
    """The workers there are, their trials, and the trials that wait for one.

    Each started trial ends once; its reports come in order, each once.
    """

    def __init__(self) -> None:
        self.posts: list[Post] = []
        self._waiting: deque[TrialSpec] = deque()
        self._suspects: deque[TrialSpec] = deque()  # each waits for a worker of its own
        self._alone: set[int] = set()  # trials that have one
        # trial -> workers that died by themselves while they had it, since it last got further
        self._deaths = Counter[int]()
        self._told: dict[int, int] = {}  # trial -> spent steps of its last report
        self._until: dict[int, int] = {}  # trial -> spent steps at which it is to make room
        self._bound: dict[int, Post] = {}  # paused trial -> the only worker that can go on with it
        self._homing: list[tuple[Post, TrialSpec]] = []  # trials that wait for theirs
        self._stopping: set[int] = set()  # trials that a worker was told to stop
        self._events: list[Heard] = []
        self._idle_seconds = 0.0  # lane-seconds of workers without a trial
        self._gone_seconds = (0.0, 0.0)  # lane-seconds of workers that are gone
        self._last_end = 0.0  # when the last trial ended, at first when the first began; 0: none has

    # -- workers come and go ------------------------------------------------------------------------------

    def join(self, post: Post) -> None:
        """There is one more worker."""
        post.idle_since = time.monotonic() if self._last_end else None
        self.posts.append(post)

    def leave(self, post: Post, reason: str, is_blamed: bool) -> None:
        """A worker is gone: its trials wait for another.

        Args:
            post: the worker.
            reason: how it ended, in words.
            is_blamed: whether one of its trials may have been the reason.
        """
        self.posts.remove(post)
        # What it kept of trials is gone: they begin again.
        self._bound = {trial: one for trial, one in self._bound.items() if one is not post}
        self._waiting.extend(spec for one, spec in self._homing if one is post)
        self._homing = [(one, spec) for one, spec in self._homing if one is not post]
        # Those that waited are younger.
        again = sorted(post.trials.values(), key=lambda spec: spec.trial, reverse=True)
        for spec in again:
            self._alone.discard(spec.trial)
            self._deaths[spec.trial] += is_blamed
            if spec.trial in self._stopping:
                self._end(TrialFinished(spec.trial, "stopped", time.time()))
            elif self._deaths[spec.trial] < _DEATHS:
                self._waiting.appendleft(spec)
            elif len(again) > 1 or not is_blamed:
                self._suspects.appendleft(spec)
            else:
                error = (
                    f"its worker died {self._deaths[spec.trial]} times, the last time with it alone: {reason}"
                )
                self._end(TrialFinished(spec.trial, "failed", time.time(), error))
        now = time.monotonic()
        self._idle_seconds += post.idle_seconds(now)
        before, mine = self._gone_seconds, post.busy_seconds
        self._gone_seconds = before[0] + mine[0], before[1] + mine[1]

    # -- trials -------------------------------------------------------------------------------------------

    def free(self) -> int:
        """How many more trials there is room for."""
        return max(0, sum(self._rooms()) - len(self._waiting))

    def _rooms(self) -> list[int]:
        """How many more each worker takes: none beside a suspect; one is kept for a suspect that waits."""
        rooms = [0 if self._alone & post.trials.keys() else post.room() for post in self.posts]
        if self._suspects and self.posts:
            emptiest = min(range(len(self.posts)), key=lambda number: len(self.posts[number].trials))
            rooms[emptiest] = 0
        return rooms

    def wait(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        """These trials are to be run; see `Runner.start`.

        One that only a worker can go on with waits for that worker, and for nobody else's room.
        """
        self._until.update(until)
        if specs and not self._last_end:
            # The first trials of all: from now on a worker without one is idle.
            self._last_end = now = time.monotonic()
            for post in self.posts:
                post.idle_since = now
        for spec in specs:
            if spec.trial in self._bound:
                self._homing.append((self._bound.pop(spec.trial), spec))
            else:
                self._waiting.append(spec)

    def until(self, specs: Sequence[TrialSpec]) -> dict[int, int]:
        """Spent steps at which those of these trials make room that are to."""
        return {spec.trial: self._until[spec.trial] for spec in specs if spec.trial in self._until}

    def assign(self) -> list[tuple[Post, list[TrialSpec]]]:
        """Give the trials that wait to workers with room: evenly, and equal structures together."""
        orders: dict[Post, list[TrialSpec]] = {}
        for post in self.posts:
            if self._suspects and not post.trials and not post.is_leaving:
                spec = self._suspects.popleft()
                self._alone.add(spec.trial)
                orders[post] = [spec]
                self._give(post, [spec])
        homing, self._homing = self._homing, []
        for post, spec in homing:
            if self._rooms()[self.posts.index(post)]:
                orders.setdefault(post, []).append(spec)
                self._give(post, [spec])
            else:
                self._homing.append((post, spec))
        if self._waiting:
            waiting = list(self._waiting)
            running = [[structure(spec.config) for spec in post.trials.values()] for post in self.posts]
            places = placed([structure(spec.config) for spec in waiting], running, self._rooms())
            for number, post in enumerate(self.posts):
                share = [spec for spec, place in zip(waiting, places, strict=True) if place == number]
                if share:
                    orders.setdefault(post, []).extend(share)
                    self._give(post, share)
            self._waiting = deque(spec for spec, place in zip(waiting, places, strict=True) if place is None)
        return list(orders.items())

    def _give(self, post: Post, share: Sequence[TrialSpec]) -> None:
        post.trials.update((spec.trial, spec) for spec in share)
        self._idle_seconds += post.idle_seconds(time.monotonic())
        post.idle_since = None

    def stop(self, trials: Collection[int]) -> list[tuple[Post, list[int]]]:
        """Which workers are to stop or forget which of these trials; those that wait have ended."""
        orders: list[tuple[Post, list[int]]] = []
        keepers = [(one, trial) for trial, one in self._bound.items()]
        keepers += [(one, spec.trial) for one, spec in self._homing]
        for post in self.posts:
            here = [trial for trial in trials if trial in post.trials]
            kept = [trial for one, trial in keepers if one is post and trial in trials]
            self._stopping.update(here)
            if here or kept:
                orders.append((post, [*here, *kept]))
        self._end_waiting(trials)
        for trial in trials:
            self._bound.pop(trial, None)
            if trial not in self._stopping:
                self._told.pop(trial, None)
        return orders

    def _end_waiting(self, trials: Collection[int]) -> None:
        for queue in (self._waiting, self._suspects):
            for spec in [spec for spec in queue if spec.trial in trials]:
                queue.remove(spec)
                self._end(TrialFinished(spec.trial, "stopped", time.time()))
        ended = [spec for _, spec in self._homing if spec.trial in trials]
        self._homing = [one for one in self._homing if one[1].trial not in trials]
        for spec in ended:
            self._end(TrialFinished(spec.trial, "stopped", time.time()))

    # -- what is heard ------------------------------------------------------------------------------------

    def take(self, post: Post, word: Word) -> None:
        """What a worker said; only of trials that it has."""
        if word.kind != "error":  # which says nothing of them
            post.lanes, post.busy_seconds = word.lanes, word.busy_seconds
        for trial in word.returned:
            if trial in post.trials:
                self._waiting.append(post.trials.pop(trial))
        # An order to stop may have crossed the trial on its way back.
        self._end_waiting(self._stopping)
        for event in word.value if word.kind == "events" else ():
            match event:
                case TrialReported(report=report):
                    if report.trial in post.trials and report.spent > self._told.get(report.trial, 0):
                        self._told[report.trial] = report.spent
                        # What kills its worker never comes past where it does: others do it to this one.
                        self._deaths.pop(report.trial, None)
                        self._events.append(event)
                case TrialFinished(trial=trial):
                    if post.trials.pop(trial, None) is not None:
                        self._end(event)
                case _:
                    self._events.append(event)
        for trial in (*word.held, *word.bound):
            if post.trials.pop(trial, None) is not None:
                self._made_room(post, trial, trial in word.bound)
        if not post.trials and post.idle_since is None and self._last_end:
            post.idle_since = time.monotonic()

    def _made_room(self, post: Post, trial: int, is_bound: bool) -> None:
        self._until.pop(trial, None)
        self._alone.discard(trial)
        if trial in self._stopping:
            # The order to stop crossed it, and finds nothing that would say an end.
            self._end(TrialFinished(trial, "stopped", time.time()))
        elif is_bound:
            self._bound[trial] = post

    def _end(self, event: TrialFinished) -> None:
        for known in (self._stopping, self._alone):
            known.discard(event.trial)
        self._until.pop(event.trial, None)
        self._told.pop(event.trial, None)
        self._deaths.pop(event.trial, None)
        self._last_end = time.monotonic()
        self._events.append(event)

    def heard(self) -> list[Heard]:
        """What the search is to hear; it is forgotten here."""
        events, self._events = self._events, []
        return events

    def tell(self, event: Heard) -> None:
        """Something else that the search is to hear."""
        self._events.append(event)

    def has_news(self) -> bool:
        """Whether there is something to hear."""
        return bool(self._events)

    # -- how busy it is -----------------------------------------------------------------------------------

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        lanes = sum(1 if post.lanes is None else post.lanes for post in self.posts)
        return sum(len(post.trials) for post in self.posts), lanes

    def busy_seconds(self) -> tuple[float, float]:
        """(with a trial, all); see `Runner.busy_seconds`."""
        counts = [self._gone_seconds, *(post.busy_seconds for post in self.posts)]
        now = time.monotonic() if self.busy()[0] else self._last_end
        # Workers that wait at the end, while others train what is left.
        idle = self._idle_seconds + sum(post.idle_seconds(now) for post in self.posts)
        return sum(busy for busy, _ in counts), sum(every for _, every in counts) + idle
