"""Workers on a Ray cluster: actors that each own a share of a node and are a lanes or inline runner there.

Built on Ray's actors. The search process starts them, tells them and hears them; a call that hears is always
under way, so that nobody waits for anybody. Nodes may come and go, workers may die: what they had is started
again (`hpo.runners.roster`). Actors are not detached: they end with the search, however it ends.
"""

import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import ray as ray_package
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from hpo.errors import RunnerError, UsageError
from hpo.events import DataSet, Figures, Noticed, TrialFinished
from hpo.loop import versions
from hpo.runners import joining
from hpo.runners.actor import Actor, Answer, Place
from hpo.runners.arrivals import kept
from hpo.runners.base import Cluster, Heard, Target, Word
from hpo.runners.cluster import End, end_of, last_line, nodes_of, share_of
from hpo.runners.roster import Post, Roster
from trials.spec import Config, TrialSpec

ray = cast(Any, ray_package)  # its own types are half known

_FAILURES = 3  # workers that may die in a row without any trial, or before they began
_PATIENCE = 15.0  # seconds that workers may take to close: killed, they leave shared memory behind
_LOOK = 1.0  # seconds between two looks at which nodes there are
_HEAR = 2.0  # seconds that a call waits for a first word
_WAIT = 120.0  # seconds without any worker, after which the search gives up


@dataclass(eq=False)
class _Worker:
    actor: Any
    lanes: int | None  # that it was made with
    call: Any  # that is under way: `begin`, then one `hear` after another
    place: Place | None = None  # None: it has not begun
    post: Post | None = None
    answered: float = 0.0  # when it was last heard
    is_doubtful: bool = False  # it could not be reached


class RayRunner:
    """As many workers as the cluster has room for, or `workers`; capacity follows the nodes there are."""

    def __init__(self, target: Target, lanes: int | None, workers: int | None, cluster: Cluster) -> None:
        self._closed = False
        self._link = joining.join(cluster.address, target)
        try:
            nodes = nodes_of(ray.nodes())
            self._share = share_of(cluster, target, nodes)
            count = sum(map(self._share.fits, nodes))
            self._most = workers
            self._folder = Path(target.folder)
            self._lanes = 1 if target.kind == "inline" and lanes is None else lanes  # of a new worker
            self._stall = cluster.stall_seconds
            self._hear_seconds = _HEAR if self._stall is None else min(_HEAR, self._stall / 2)
            self._target = replace(
                self._link.target,
                threads=target.threads or max(1, int(self._share.cpus)),
                expected_steps=target.expected_steps // min(workers or count, count),
                most_lanes=target.most_lanes if workers else -(-target.most_lanes // count),
                device=target.device or ("" if self._share.gpus else "cpu"),
            )
            self._make = ray.remote(
                num_cpus=self._share.cpus,
                num_gpus=self._share.gpus,
                max_restarts=0,
                concurrency_groups={"obeying": 1, "hearing": 1},
            )(Actor)
            self._name = uuid.uuid4().hex  # of what its workers share on a machine
            self._roster = Roster()
            self._workers: list[_Worker] = []
            self._replies: list[tuple[_Worker, Word]] = []  # to what was asked
            self._failures, self._end = 0, End("")
            self._looked, self._had_worker = 0.0, time.monotonic()
            self._renew()
        except BaseException:
            self._link.leave()
            raise

    # -- workers ------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Have as many workers as there is room for now."""
        if time.monotonic() - self._looked < _LOOK:
            return
        self._looked = time.monotonic()
        room = sum(map(self._share.fits, nodes_of(ray.nodes())))
        wanted = room if self._most is None else min(room, self._most)
        for _ in range(wanted - len(self._workers)):
            actor = self._make.remote(self._target.kind, self._target, self._lanes, self._name)
            self._workers.append(_Worker(actor, self._lanes, actor.begin.remote()))
        # Those whose node is gone say so themselves; those that wait for one would wait for ever.
        surplus = len(self._workers) - wanted
        for worker in [one for one in self._workers if one.place is None][: max(0, surplus)]:
            self._dismiss(worker)
        if self._roster.posts:
            self._had_worker = self._looked
        elif self._looked - self._had_worker > _WAIT:
            raise RunnerError(f"there was no worker for {_WAIT:.0f} seconds: {self._why_none(room)}")

    def _why_none(self, room: int) -> str:
        if self._end.reason:
            return self._end.reason
        if not room:
            return f"no node has the {self._share} that each is to have"
        free = ray.available_resources()
        return (
            f"the cluster has room for {room} with {self._share} each, but others use it: "
            f"{free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs are free"
        )

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        ray.kill(worker.actor)

    def _lose(self, worker: _Worker, end: End) -> None:
        """A worker is gone, or to be gone; others take over what it had."""
        if worker not in self._workers:
            return
        self._dismiss(worker)
        self._end = end
        self._looked = 0.0  # there may be room for another at once
        if worker.post is None or not worker.post.trials:
            self._failures += end.is_blamed
        if worker.post is not None:
            trials = ", ".join(map(str, sorted(worker.post.trials)))
            had = f"trial{'s' * (len(worker.post.trials) > 1)} {trials}" if trials else "no trial"
            self._roster.leave(worker.post, end.reason, end.is_blamed)
            self._roster.tell(Noticed("worker", f"a worker with {had} is gone: {end.reason}", time.time()))
        if self._failures > _FAILURES:
            raise RunnerError(f"{self._failures} workers in a row could not work, the last: {end.reason}")

    # -- telling and hearing ------------------------------------------------------------------------------

    def _send(self, worker: _Worker, *message: Any, files: Mapping[str, bytes] | None = None) -> None:
        worker.actor.obey.options(concurrency_group="obeying").remote([message], dict(files or {}))

    def _listen(self, timeout: float) -> None:
        """Take in what workers have said, waiting so long for a first one."""
        calls = {worker.call: worker for worker in self._workers}
        if not calls:
            time.sleep(min(timeout, 0.05))
            return
        ready, _ = ray.wait(list(calls), timeout=timeout)
        if ready and len(calls) > 1:
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=0)
        for call in ready:
            self._hear(calls[call])
        self._replace_stalled()

    def _hear(self, worker: _Worker) -> None:
        try:
            said = ray.get(worker.call)
        except RayTaskError as error:
            self._lose(worker, End(last_line(str(error)), is_raised=worker.place is None))
        except ActorUnavailableError:
            # Something said may be lost. Asked again it answers, or Ray knows by then how it ended.
            worker.is_doubtful = True
            worker.call = self._listening(worker)
        except RayActorError as error:
            self._lose(worker, end_of(str(error)))
        except RayError as error:
            is_early = worker.place is None
            self._lose(worker, End(last_line(str(error)), is_blamed=is_early, is_raised=is_early))
        else:
            worker.answered = time.monotonic()
            if isinstance(said, Place):
                self._begin(worker, said)
            elif worker.is_doubtful:
                self._lose(worker, End("it could not be reached for a while", is_blamed=False))
            else:
                self._take(worker, cast(Answer, said))
            worker.call = self._listening(worker)

    def _listening(self, worker: _Worker) -> Any:
        return worker.actor.hear.options(concurrency_group="hearing").remote(self._hear_seconds)

    def _begin(self, worker: _Worker, place: Place) -> None:
        worker.place = place
        problem = joining.mismatch(place, versions()) if self._target.kind == "lanes" else ""
        if problem:
            self._lose(worker, End(problem, is_raised=True))
            return
        worker.post = Post(self._lanes)
        self._roster.join(worker.post)
        if worker.lanes != self._lanes:
            self._send(worker, "resize", self._lanes)  # measured since

    def _take(self, worker: _Worker, said: Answer) -> None:
        assert worker.post is not None
        for word in said.words:
            if word.kind == "events":
                events = kept(word, self._folder)
                if any(isinstance(event, TrialFinished) for event in events):
                    self._failures = 0
                word = word._replace(value=events)
            else:
                self._replies.append((worker, word))
            self._roster.take(worker.post, word)
        if self._stall is not None and worker.post.trials and said.turn_seconds > self._stall:
            self._lose(worker, End(f"it came to no end of a tick for {said.turn_seconds:.0f} seconds"))

    def _replace_stalled(self) -> None:
        if self._stall is None:
            return
        now = time.monotonic()
        for worker in list(self._workers):
            silent = now - worker.answered
            if worker.place is not None and silent > self._stall + self._hear_seconds:
                self._lose(worker, End(f"it has not answered for {silent:.0f} seconds"))

    # -- before and after trials --------------------------------------------------------------------------

    def _ask(self, verb: str, *arguments: Any, files: Mapping[str, bytes] | None = None) -> Any:
        """Ask the first worker something and wait for the answer; another, where it dies over it."""
        while True:
            worker = self._first()
            self._send(worker, verb, *arguments, files=files)
            while worker in self._workers:
                replies, self._replies = self._replies, []
                for one, word in replies:
                    if one is worker and word.kind == "answer":
                        return word.value
                    if one is worker:
                        assert worker.place is not None
                        raise UsageError(f"{word.value.strip()} (on {worker.place.node})")
                self._listen(0.25)

    def _first(self) -> _Worker:
        """A worker that has begun, the first if there are several."""
        while True:
            begun = [worker for worker in self._workers if worker.post is not None]
            if begun:
                return begun[0]
            if self._end.is_raised:
                raise UsageError(f"a worker could not begin: {self._end.reason}")
            self._renew()
            self._listen(0.25)

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Names of the metrics, the lanes measured; see `Runner.check`."""
        try:
            names = cast(tuple[str, ...], self._ask("check", [dict(config) for config in configs]))
        except RunnerError as error:
            # Nothing has begun yet: it is for the user to change something.
            raise UsageError(str(error)) from error
        if self._lanes is None:
            self._lanes = next(worker.post.lanes for worker in self._workers if worker.post is not None)
            for worker in self._workers:
                if worker.post is not None and worker.post.lanes != self._lanes:
                    worker.post.lanes = self._lanes
                    self._send(worker, "resize", self._lanes)
        return names

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Metrics on the test split; see `Runner.test`."""
        return cast(Mapping[str, float], self._ask("test", spec, row, files=self._rows([row])))

    def explore(self, spec: TrialSpec) -> Sequence[Mapping[str, Any]]:
        """What a tuner finds; see `Runner.explore`."""
        return cast(Sequence[Mapping[str, Any]], self._ask("explore", spec))

    def data(self) -> tuple[DataSet, ...]:
        """What trials are judged on; see `Runner.data`."""
        return cast(tuple[DataSet, ...], self._ask("data"))

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        """Metrics on every target; see `Runner.targets`."""
        files = self._rows([row for _, row in trials])
        return cast(Figures, self._ask("targets", list(trials), files=files))

    def _rows(self, names: Collection[str | None]) -> dict[str, bytes]:
        """Saved rows, as far as they are there: who needs one that is not says so."""
        paths = {name: self._folder / name for name in names if name}
        return {name: path.read_bytes() for name, path in paths.items() if path.is_file()}

    # -- trials -------------------------------------------------------------------------------------------

    def free(self) -> int:
        """Lanes without a trial, over all workers."""
        return self._roster.free()

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        return self._roster.busy()

    def busy_seconds(self) -> tuple[float, float]:
        """(with a trial, all); see `Runner.busy_seconds`."""
        return self._roster.busy_seconds()

    def start(self, specs: Sequence[TrialSpec]) -> None:
        """Place trials: evenly, and equal structures together."""
        self._roster.wait(specs)
        self._assign()

    def _assign(self) -> None:
        by_post = {worker.post: worker for worker in self._workers}
        for post, share in self._roster.assign():
            self._send(by_post[post], "start", share, files=self._rows({spec.parent for spec in share}))

    def stop(self, trials: Collection[int]) -> None:
        """Tell the workers that have these trials."""
        by_post = {worker.post: worker for worker in self._workers}
        for post, here in self._roster.stop(trials):
            self._send(by_post[post], "stop", here)

    def poll(self, timeout: float) -> list[Heard]:
        """What workers said, waiting up to `timeout` seconds for the first word."""
        self._renew()
        self._listen(0 if self._roster.has_news() else timeout)
        for worker, word in self._replies:
            # Nobody asked: it could not begin, or what it does broke down as a whole.
            self._lose(worker, End(last_line(word.value)))
        self._replies.clear()
        self._assign()
        return self._roster.heard()

    def close(self) -> None:
        """End all workers; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            self._close_workers()
        finally:
            self._link.leave()

    def _close_workers(self) -> None:
        open_ones = [worker for worker in self._workers if worker.place is not None]
        for worker in open_ones:
            self._send(worker, "close")
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
        for worker in list(self._workers):
            self._dismiss(worker)
