"""The workers that a search has on a Ray cluster: begun, told, heard, replaced, dismissed.

A call that hears is always under way for each, so that nobody waits for anybody. Nodes may come and go,
workers may die, hang, or grow: what they had goes to others (`hpo.runners.roster`).
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import ray as ray_package
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from hpo.errors import RunnerError
from hpo.events import Noticed, TrialFinished
from hpo.loop import versions
from hpo.runners import actor, joining
from hpo.runners.actor import Answer, Place
from hpo.runners.arrivals import kept
from hpo.runners.base import Cluster, Target, Word
from hpo.runners.cluster import End, end_of, last_line, memory_of, nodes_of, share_of
from hpo.runners.roster import Post, Roster

ray = cast(Any, ray_package)  # its own types are half known

_FAILURES = 3  # workers that may die in a row without any trial, or before they began
_PATIENCE = 15.0  # seconds that workers may take to close: killed, they leave shared memory behind
_LOOK = 1.0  # seconds between two looks at which nodes there are
_HEAR = 2.0  # seconds that a call waits for a first word
_WAIT = 120.0  # seconds without any worker, after which the search gives up


class Actor(actor.Actor):
    """The same, each of its calls in a thread of its own; said once, as clients of ray:// cannot by call."""

    obey = ray.method(concurrency_group="obeying")(actor.Actor.obey)
    hear = ray.method(concurrency_group="hearing")(actor.Actor.hear)


@dataclass(eq=False)
class Worker:
    """An actor, from when it was asked for."""

    actor: Any
    lanes: int | None  # that it was made with
    call: Any  # that is under way: `begin`, then one `hear` after another
    place: Place | None = None  # None: it has not begun
    post: Post | None = None
    answered: float = 0.0  # when it was last heard
    is_doubtful: bool = False  # it could not be reached


class Crew:
    """As many workers as the cluster has room for, or `most`.

    Raises:
        UsageError: a share that no node has.
        RunnerError: there is no worker for long, or none that can work; from `renew` and `listen`.
    """

    def __init__(
        self, link: joining.Link, target: Target, lanes: int | None, most: int | None, cluster: Cluster
    ) -> None:
        nodes = nodes_of(ray.nodes())
        self._share = share_of(cluster, target, nodes)
        count = sum(map(self._share.fits, nodes))
        self._most = most
        self._folder = Path(target.folder)
        self.lanes = lanes  # of a new worker
        self._memory = memory_of(cluster, self._share, nodes)
        self._stall = cluster.stall_seconds
        self._hear_seconds = _HEAR if self._stall is None else min(_HEAR, self._stall / 2)
        self._target = replace(
            link.target,
            threads=target.threads or max(1, int(self._share.cpus)),
            expected_steps=target.expected_steps // min(most or count, count),
            most_lanes=target.most_lanes if most else -(-target.most_lanes // count),
            device=target.device or ("" if self._share.gpus else "cpu"),
        )
        self._make = ray.remote(
            num_cpus=self._share.cpus,
            num_gpus=self._share.gpus,
            max_restarts=0,
            concurrency_groups={"obeying": 1, "hearing": 1},
        )(Actor)
        self.name = uuid.uuid4().hex  # of what its workers share on a machine
        self.roster = Roster()
        self.workers: list[Worker] = []
        self.replies: list[tuple[Worker, Word]] = []  # to what was asked
        self.failures, self.end = 0, End("")
        self._is_resting = False
        self._looked, self._had_worker = 0.0, time.monotonic()
        self.renew()

    # -- they come and go ---------------------------------------------------------------------------------

    def renew(self) -> None:
        """Have as many workers as there is room for now."""
        self._retire()
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        room = sum(map(self._share.fits, nodes_of(ray.nodes())))
        wanted = room if self._most is None else min(room, self._most)
        for _ in range(wanted - len(self.workers)):
            made = self._make.remote(self._target.kind, self._target, self.lanes, self.name)
            self.workers.append(Worker(made, self.lanes, made.begin.remote()))
        # Those whose node is gone say so themselves; those that wait for one would wait for ever.
        surplus = len(self.workers) - wanted
        for worker in [one for one in self.workers if one.place is None][: max(0, surplus)]:
            self._dismiss(worker)
        if self.roster.posts:
            self._had_worker = self._looked
        elif self._looked - self._had_worker > _WAIT:
            raise RunnerError(f"there was no worker for {_WAIT:.0f} seconds: {self._why_none(room)}")

    def _why_none(self, room: int) -> str:
        if self.end.reason:
            return self.end.reason
        if not room:
            return f"no node has the {self._share} that each is to have"
        free = ray.available_resources()
        return (
            f"the cluster has room for {room} with {self._share} each, but others use it: "
            f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs are free"
        )

    def scale(self, most: int) -> str:
        """Have at most so many: further ones as there is room; those too many leave after their trials.

        Returns for how many there is room, where that is fewer.
        """
        self._most = most
        self._looked = 0.0
        room = sum(map(self._share.fits, nodes_of(ray.nodes())))
        # Those that have not begun go first, when it is next looked how many there are to be.
        begun = [one.post for one in self.workers if one.post is not None and not one.post.is_leaving]
        for post in sorted(begun, key=lambda post: -len(post.trials))[most:]:
            post.is_leaving = True
        if room >= most:
            return ""
        return f"the cluster has room for {room} now, with {self._share} each; others begin as nodes come"

    def rest(self) -> None:
        """Have all rest, those too that begin before `wake`."""
        self._is_resting = True
        self._tell_all("rest")

    def wake(self) -> None:
        """Have them go on."""
        self._is_resting = False
        self._tell_all("wake")

    def _tell_all(self, verb: str) -> None:
        for worker in self.workers:
            if worker.post is not None:
                self.send(worker, verb)

    def _dismiss(self, worker: Worker) -> None:
        self.workers.remove(worker)
        ray.kill(worker.actor)

    def _retire(self) -> None:
        """Let go of those that are to leave, once they have no trial: they have grown, or are too many."""
        for worker in [one for one in self.workers if one.post is not None and one.post.is_leaving]:
            assert worker.post is not None
            if not worker.post.trials:
                self._dismiss(worker)
                self.roster.leave(worker.post, "", is_blamed=False)
                self._looked = 0.0  # there is room for another at once

    def lose(self, worker: Worker, end: End) -> None:
        """A worker is gone, or to be gone; others take over what it had."""
        if worker not in self.workers:
            return
        self._dismiss(worker)
        self.end = end
        self._looked = 0.0  # there may be room for another at once
        if worker.post is None or not worker.post.trials:
            self.failures += end.is_blamed
        if worker.post is not None:
            trials = ", ".join(map(str, sorted(worker.post.trials)))
            had = f"trial{'s' * (len(worker.post.trials) > 1)} {trials}" if trials else "no trial"
            self.roster.leave(worker.post, end.reason, end.is_blamed)
            self.roster.tell(Noticed("worker", f"a worker with {had} is gone: {end.reason}", time.time()))
        if self.failures > _FAILURES:
            raise RunnerError(f"{self.failures} workers in a row could not work, the last: {end.reason}")

    # -- telling and hearing ------------------------------------------------------------------------------

    def send(self, worker: Worker, *message: Any, files: Mapping[str, bytes] | None = None) -> None:
        """Tell a worker something, with files that it needs for that."""
        worker.actor.obey.remote([message], dict(files or {}))

    def resize(self, lanes: int) -> None:
        """Have so many lanes in every worker, as one of them measured."""
        self.lanes = lanes
        for worker in self.workers:
            if worker.post is not None and worker.post.lanes != lanes:
                worker.post.lanes = lanes
                self.send(worker, "resize", lanes)

    def listen(self, timeout: float) -> None:
        """Take in what workers have said, waiting so long for a first one."""
        calls = {worker.call: worker for worker in self.workers}
        if not calls:
            time.sleep(min(timeout, 0.05))
            return
        ready, _ = ray.wait(list(calls), timeout=timeout)
        if ready and len(calls) > 1:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in ready:
            self._hear(calls[call])
        self._replace_stalled()

    def _hear(self, worker: Worker) -> None:
        try:
            said = ray.get(worker.call)
        except RayTaskError as error:
            self.lose(worker, End(last_line(str(error)), is_raised=worker.place is None))
        except ActorUnavailableError:
            # Something said may be lost. Asked again it answers, or Ray knows by then how it ended.
            worker.is_doubtful = True
            worker.call = self._listening(worker)
        except RayActorError as error:
            self.lose(worker, end_of(str(error)))
        except RayError as error:
            is_early = worker.place is None
            self.lose(worker, End(last_line(str(error)), is_blamed=is_early, is_raised=is_early))
        else:
            worker.answered = time.monotonic()
            if isinstance(said, Place):
                self._begin(worker, said)
            elif worker.is_doubtful:
                self.lose(worker, End("it could not be reached for a while", is_blamed=False))
            else:
                self._take(worker, cast(Answer, said))
            worker.call = self._listening(worker)

    def _listening(self, worker: Worker) -> Any:
        return worker.actor.hear.remote(self._hear_seconds)

    def _begin(self, worker: Worker, place: Place) -> None:
        worker.place = place
        problem = joining.mismatch(place, versions()) if self._target.kind == "lanes" else ""
        if problem:
            self.lose(worker, End(problem, is_raised=True))
            return
        worker.post = Post(self.lanes)
        self.roster.join(worker.post)
        if worker.lanes != self.lanes:
            self.send(worker, "resize", self.lanes)  # measured since
        if self._is_resting:
            self.send(worker, "rest")

    def _take(self, worker: Worker, said: Answer) -> None:
        assert worker.post is not None
        for word in said.words:
            if word.kind == "events":
                events = kept(word, self._folder)
                if any(isinstance(event, TrialFinished) for event in events):
                    self.failures = 0
                word = word._replace(value=events)
            else:
                self.replies.append((worker, word))
            self.roster.take(worker.post, word)
        if self._stall is not None and worker.post.trials and said.turn_seconds > self._stall:
            self.lose(worker, End(f"it came to no end of a tick for {said.turn_seconds:.0f} seconds"))
        if said.memory_bytes > self._memory and not worker.post.is_leaving:
            worker.post.is_leaving = True
            text = (
                f"a worker has grown to {said.memory_bytes / 2**30:.1f} GiB, more than "
                f"{self._memory / 2**30:.1f}: another takes its place once its trials have ended"
            )
            self.roster.tell(Noticed("memory", text, time.time()))

    def _replace_stalled(self) -> None:
        if self._stall is None:
            return
        now = time.monotonic()
        for worker in list(self.workers):
            silent = now - worker.answered
            if worker.place is not None and silent > self._stall + self._hear_seconds:
                self.lose(worker, End(f"it has not answered for {silent:.0f} seconds"))

    def close(self) -> None:
        """End all workers."""
        open_ones = [worker for worker in self.workers if worker.place is not None]
        for worker in open_ones:
            self.send(worker, "close")
        until = time.monotonic() + _PATIENCE
        while open_ones and time.monotonic() < until:
            ready, _ = ray.wait([worker.call for worker in open_ones], timeout=0.5)
            for worker in [one for one in open_ones if one.call in ready]:
                try:
                    said = cast(Answer, ray.get(worker.call))
                except RayError:
                    open_ones.remove(worker)
                    continue
                if said.has_ended:
                    open_ones.remove(worker)
                else:
                    worker.call = self._listening(worker)
        for worker in list(self.workers):
            self._dismiss(worker)
