"""Local processes, each a lanes or inline runner of its own, so that every core and every device is used.

A worker knows nothing of the search: it is sent specs and trials to stop, and sends events. Workers are
forked by a nursery that imports torch once for all of them (`hpo.runners.worker`).
"""

import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from hpo.errors import RunnerError, UsageError
from hpo.events import DataSet, Figures, TrialFinished
from hpo.rows import remove_halfway
from hpo.runners.base import NOWHERE, Heard, Target, Word
from hpo.runners.placing import cuda_devices, devices, placed, structure
from trials.names import TASKS
from trials.spec import Config, TrialSpec

_DEATHS = 3  # workers that may die in a row without a trial ending in between
_PATIENCE = 10.0  # seconds that a worker may take to close, or a nursery to say how one ended


class _Nursery:
    """The process that forks workers, and what it says of their ends."""

    def __init__(self, target: Target, lanes: int | None, devices: Sequence[str], memory: int | None) -> None:
        with contextlib.ExitStack() as opened:  # where there cannot be so many, nothing stays open
            pairs = [[opened.enter_context(end) for end in socket.socketpair()] for _ in devices]
            ours, status = os.pipe()
            opened.callback(os.close, status)
            kept = opened.enter_context(contextlib.ExitStack())
            kept.callback(os.close, ours)
            theirs = [pair[1].fileno() for pair in pairs]
            shared = [] if memory is None else [memory]
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hpo.runners.worker"],
                stdin=subprocess.PIPE,
                pass_fds=[*theirs, status, *shared],
                # The package is found as it was found here, from whatever folder the search is run.
                # Ctrl-C is for the search to understand.
                process_group=0,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
            )
            kept.pop_all()
            self._status = ours
            self.connections = [Connection(pair[0].detach()) for pair in pairs]
        request = {
            "descriptors": theirs,
            "status": status,
            "memory": memory,
            "kind": target.kind,
            "target": dataclasses.asdict(target),
            "devices": list(devices),
            "lanes": lanes,
        }
        assert self.process.stdin is not None
        self.process.stdin.write((json.dumps(request) + "\n").encode())
        self.process.stdin.close()
        self._said = b""

    def end_of(self, number: int) -> str:
        """How the worker ended, in words."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            for line in self._said.decode().splitlines():
                worker, _, code = line.partition(" ")
                if int(worker) == number:
                    return _in_words(int(code))
            if not wait([self._status], 0.1):
                continue
            more = os.read(self._status, 4096)
            if not more:
                break
            self._said += more
        code = self.process.poll()
        return "without a word" if code is None else f"with its nursery, {_in_words(code)}"

    def close(self) -> None:
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            # It ends the workers, which are what does not end by itself, and whatever they have started.
            self.process.terminate()
            try:
                self.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self._status >= 0:
            os.close(self._status)
            self._status = -1


def _search_path() -> list[str]:
    own = str(Path(__file__).resolve().parents[2])
    return list(dict.fromkeys([own, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]))


def _in_words(code: int) -> str:
    return f"killed by signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


@dataclasses.dataclass(eq=False)
class _Worker:
    nursery: _Nursery
    number: int  # within its nursery
    device: str
    lanes: int | None  # as it said last; None: not measured yet
    trials: dict[int, TrialSpec] = dataclasses.field(default_factory=dict[int, TrialSpec])
    busy_seconds: tuple[float, float] = (0.0, 0.0)  # of its lanes, as it said last
    idle_since: float | None = None  # None: it has trials, or the study has none yet
    is_leaving: bool = False  # it takes no more trials

    @property
    def connection(self) -> "Connection[Any, Any]":
        return self.nursery.connections[self.number]

    def free(self) -> int:
        """How many more trials it takes; a first one has the lanes measured where that was not done."""
        return 0 if self.is_leaving else max(0, (1 if self.lanes is None else self.lanes) - len(self.trials))


class ProcessesRunner:
    """`workers` processes of `lanes` lanes each; None: as many as are measured to be best."""

    def __init__(self, target: Target, lanes: int | None, workers: int) -> None:
        self._lanes = lanes  # of a new worker
        self._threads = target.threads  # of each, as the user wants; 0: a share of the cores
        self._target = replace(
            target,
            threads=self._share_of_cores(workers),
            expected_steps=target.expected_steps // workers,
        )
        self._memory = self._shared_memory(workers)
        self._nurseries: list[_Nursery] = []
        self._is_resting = False
        try:
            self._workers = self._hatch(self._devices(workers))
        except OSError as error:
            raise UsageError(
                f"{workers} workers cannot begin on this machine ({error.strerror}): have fewer with "
                "--workers, or let it have more open files and processes (`ulimit -n`, `ulimit -u`)"
            ) from error
        self._waiting: list[TrialSpec] = []  # given back by a worker that had no lane for them
        self._until: dict[int, int] = {}  # trial -> spent steps at which it is to make room
        self._bound: dict[int, _Worker] = {}  # paused trial -> the only worker that can go on with it
        self._homing: list[tuple[_Worker, TrialSpec]] = []  # trials that wait for theirs
        self._idle_seconds = 0.0  # lane-seconds of workers without a trial
        self._gone_seconds = (0.0, 0.0)  # lane-seconds of workers that have died or left
        self._last_end = 0.0  # when the last trial ended, at first when the first began; 0: none has
        self._stopping: set[int] = set()  # trials that a worker was told to stop
        self._deaths = 0
        self._events: list[Heard] = []
        self._closed = False

    def _share_of_cores(self, workers: int) -> int:
        return self._threads or max(1, (os.cpu_count() or 1) // workers)

    def _devices(self, workers: int) -> list[str]:
        present = cuda_devices() if self._target.kind == "lanes" else 0
        return devices(self._target.device, workers, present)

    def _shared_memory(self, workers: int) -> int | None:
        """A file in memory for the data of a user's task; built-in data is shared by forking."""
        is_wanted = self._target.kind == "lanes" and self._target.reference not in TASKS and workers > 1
        # Not on every system; workers then load the data themselves.
        create = getattr(os, "memfd_create", None)
        return cast(int, create("hpo-data")) if is_wanted and create is not None else None

    def _hatch(self, devices: Sequence[str]) -> list[_Worker]:
        nursery = _Nursery(self._target, self._lanes, devices, self._memory)
        self._nurseries.append(nursery)
        fresh = [_Worker(nursery, number, device, self._lanes) for number, device in enumerate(devices)]
        if self._is_resting:
            for worker in fresh:
                with contextlib.suppress(OSError):  # it is dead, which the next poll finds
                    worker.connection.send(("rest",))
        return fresh

    def _ask(self, verb: str, *arguments: Any) -> Any:
        """Ask the first worker something and wait for the answer."""
        worker = self._workers[0]
        try:
            worker.connection.send((verb, *arguments))
            while True:
                word = cast(Word, worker.connection.recv())
                if word.kind == "error":
                    raise UsageError(word.value)
                self._take(worker, word)
                if word.kind == "answer":
                    return word.value
        except (EOFError, ConnectionResetError, BrokenPipeError) as error:
            said = worker.nursery.end_of(worker.number)
            raise RunnerError(f"a worker process died while it was asked to {verb}: {said}") from error

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Names of the metrics, the lanes measured; see `Runner.check`."""
        names = cast(tuple[str, ...], self._ask("check", [dict(config) for config in configs]))
        if self._lanes is None:
            self._lanes = self._workers[0].lanes
            for worker in self._workers[1:]:
                # All alike: measured again, with the others training beside it, it might be another number.
                worker.lanes = self._lanes
                self._send(worker, "resize", self._lanes)
        return names

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Metrics on the test split; see `Runner.test`."""
        return cast(Mapping[str, float], self._ask("test", spec, row))

    def explore(self, spec: TrialSpec) -> Sequence[Mapping[str, Any]]:
        """What a tuner finds; see `Runner.explore`."""
        return cast(Sequence[Mapping[str, Any]], self._ask("explore", spec))

    def data(self) -> tuple[DataSet, ...]:
        """What trials are judged on; see `Runner.data`."""
        return cast(tuple[DataSet, ...], self._ask("data"))

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        """Metrics on every target; see `Runner.targets`."""
        return cast(Figures, self._ask("targets", list(trials)))

    def free(self) -> int:
        """Lanes without a trial, over all workers."""
        return max(0, sum(worker.free() for worker in self._workers) - len(self._waiting))

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        lanes = sum(1 if worker.lanes is None else worker.lanes for worker in self._workers)
        return sum(len(worker.trials) for worker in self._workers), lanes

    def busy_seconds(self) -> tuple[float, float]:
        """(with a trial, all); see `Runner.busy_seconds`."""
        counts = [self._gone_seconds, *(worker.busy_seconds for worker in self._workers)]
        now = time.monotonic() if self.busy()[0] else self._last_end
        # Workers that wait at the end, while others train what is left.
        idle = self._idle_seconds + sum(self._idle(worker, now) for worker in self._workers)
        return sum(busy for busy, _ in counts), sum(every for _, every in counts) + idle

    def _idle(self, worker: _Worker, now: float) -> float:
        """Lane-seconds that it has been without any trial by now."""
        return 0.0 if worker.idle_since is None else (worker.lanes or 1) * max(0.0, now - worker.idle_since)

    def start(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        """Place trials: evenly, and equal structures together; one that only a worker has goes there.

        Where that worker has no lane, the trial waits for it and others have the lanes that are free.
        """
        self._until.update(until)
        self._homing.extend((self._bound.pop(one.trial), one) for one in specs if one.trial in self._bound)
        home = {spec.trial for _, spec in self._homing}
        self._send_home()
        self._place([spec for spec in specs if spec.trial not in home])

    def _send_home(self) -> None:
        """Give trials that wait for their worker a lane there, as far as it has any."""
        waiting, self._homing = self._homing, []
        for worker, spec in waiting:
            if worker not in self._workers:
                self._waiting.append(spec)  # it has just died
            elif worker.free():
                self._give(worker, [spec])
            else:
                self._homing.append((worker, spec))

    def _place(self, specs: Sequence[TrialSpec]) -> None:
        now = time.monotonic()
        if specs and not self._last_end:
            # The first trials of all: from now on a worker without one is idle.
            self._last_end = now
            for worker in self._workers:
                worker.idle_since = now
        running = [[structure(spec.config) for spec in worker.trials.values()] for worker in self._workers]
        places = placed(
            [structure(spec.config) for spec in specs], running, [worker.free() for worker in self._workers]
        )
        for number, worker in enumerate(list(self._workers)):
            share = [spec for spec, place in zip(specs, places, strict=True) if place == number]
            if share:
                self._give(worker, share)
        self._waiting.extend(spec for spec, place in zip(specs, places, strict=True) if place is None)

    def _give(self, worker: _Worker, share: Sequence[TrialSpec]) -> None:
        worker.trials.update((spec.trial, spec) for spec in share)
        self._idle_seconds += self._idle(worker, time.monotonic())
        worker.idle_since = None
        until = {spec.trial: self._until[spec.trial] for spec in share if spec.trial in self._until}
        self._send(worker, "start", list(share), until)

    def stop(self, trials: Collection[int]) -> None:
        """Tell the workers that have these trials, or keep them."""
        keepers = [(one, trial) for trial, one in self._bound.items()]
        keepers += [(one, spec.trial) for one, spec in self._homing]
        for worker in list(self._workers):
            here = [trial for trial in trials if trial in worker.trials]
            kept = [trial for one, trial in keepers if one is worker and trial in trials]
            self._stopping.update(here)
            if here or kept:
                self._send(worker, "stop", [*here, *kept])
        self._end_waiting(trials)
        for trial in trials:
            self._bound.pop(trial, None)
            remove_halfway(Path(self._target.folder), trial)

    def rest(self) -> None:
        """Have all workers rest; each ends its tick, or what its function is in the middle of."""
        self._is_resting = True
        for worker in list(self._workers):
            self._send(worker, "rest")

    def wake(self) -> None:
        """Have them go on."""
        self._is_resting = False
        for worker in list(self._workers):
            self._send(worker, "wake")

    def scale(self, workers: int) -> str:
        """Have so many workers; see `Scaling.scale`."""
        before = self._target
        self._target = replace(before, threads=self._share_of_cores(workers))
        there = Counter(worker.device for worker in self._workers)
        lacking = list((Counter(self._devices(workers)) - there).elements())
        fresh: list[_Worker] = []
        if wanted := lacking[: max(0, workers - len(self._workers))]:
            try:
                fresh = self._hatch(wanted)
            except OSError as error:
                self._target = before
                raise UsageError(
                    f"{len(wanted)} workers more cannot begin on this machine ({error.strerror}): have fewer"
                ) from error
        for worker in self._workers:
            worker.is_leaving = False
        if fresh:
            self._workers.extend(fresh)
            for worker in fresh:
                worker.idle_since = time.monotonic() if self._last_end else None
        for worker in sorted(self._workers, key=lambda worker: -len(worker.trials))[workers:]:
            worker.is_leaving = True
        self._dismiss()
        return ""

    def _dismiss(self) -> None:
        """End the workers that are to leave and have no trial."""
        for worker in [one for one in self._workers if one.is_leaving and not one.trials]:
            with contextlib.suppress(OSError):  # it is gone already
                worker.connection.send(("close",))
            worker.connection.close()
            self._forget(worker)
            self._workers.remove(worker)

    def _forget(self, worker: _Worker) -> None:
        """Keep count of the time of a worker that is gone; what it kept begins again."""
        self._bound = {trial: one for trial, one in self._bound.items() if one is not worker}
        self._waiting.extend(spec for one, spec in self._homing if one is worker)
        self._homing = [(one, spec) for one, spec in self._homing if one is not worker]
        before, now = self._gone_seconds, worker.busy_seconds
        self._gone_seconds = before[0] + now[0], before[1] + now[1]
        self._idle_seconds += self._idle(worker, time.monotonic())

    def _end_waiting(self, trials: Collection[int]) -> None:
        homing = [spec for _, spec in self._homing]
        self._homing = [one for one in self._homing if one[1].trial not in trials]
        for spec in [spec for spec in (*self._waiting, *homing) if spec.trial in trials]:
            if spec in self._waiting:
                self._waiting.remove(spec)
            self._events.append(TrialFinished(spec.trial, "stopped", time.time()))

    def _send(self, worker: _Worker, *message: Any) -> None:
        try:
            worker.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            self._bury(worker)

    def poll(self, timeout: float) -> list[Heard]:
        """What workers said, waiting up to `timeout` seconds for the first word."""
        ready = wait([worker.connection for worker in self._workers], 0 if self._events else timeout)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            try:
                while worker.connection.poll(0):
                    word = cast(Word, worker.connection.recv())
                    if word.kind == "error":
                        raise RunnerError(f"a worker could not begin: {word.value}")
                    self._take(worker, word)
            except (EOFError, OSError):
                self._bury(worker)
        self._dismiss()
        self._send_home()
        if self._waiting and any(worker.free() for worker in self._workers):
            again, self._waiting = self._waiting, []
            self._place(again)
        events, self._events = self._events, []
        return events

    def _take(self, worker: _Worker, word: Word) -> None:
        worker.lanes, worker.busy_seconds = word.lanes, word.busy_seconds
        self._waiting.extend(worker.trials.pop(trial) for trial in word.returned if trial in worker.trials)
        # An order to stop may have crossed the trial on its way back.
        self._end_waiting(self._stopping)
        for event in word.value if word.kind == "events" else ():
            if isinstance(event, TrialFinished):
                worker.trials.pop(event.trial, None)
                self._until.pop(event.trial, None)
                self._stopping.discard(event.trial)
                self._deaths, self._last_end = 0, time.monotonic()
            self._events.append(event)
        for trial in (*word.held, *word.bound):
            if worker.trials.pop(trial, None) is not None:
                self._made_room(worker, trial, trial in word.bound)
        if not worker.trials and worker.idle_since is None and self._last_end:
            worker.idle_since = time.monotonic()

    def _made_room(self, worker: _Worker, trial: int, is_bound: bool) -> None:
        self._until.pop(trial, None)
        if trial in self._stopping:
            # The order to stop crossed it, and finds nothing that would say an end.
            self._stopping.discard(trial)
            self._events.append(TrialFinished(trial, "stopped", time.time()))
        elif is_bound:
            self._bound[trial] = worker

    def _bury(self, worker: _Worker) -> None:
        """A dead worker's trials have failed; another takes its place."""
        if worker not in self._workers:
            return
        try:
            # What it said before it died still counts.
            while worker.connection.poll(0):
                word = cast(Word, worker.connection.recv())
                if word.kind == "events":
                    self._take(worker, word)
        except (EOFError, OSError):
            pass
        said = worker.nursery.end_of(worker.number)
        for trial in sorted(worker.trials):
            error = f"the worker process died: {said}"
            self._events.append(TrialFinished(trial, "failed", time.time(), error))
        worker.connection.close()
        self._last_end = time.monotonic()
        self._deaths += 1
        if self._deaths > _DEATHS:
            raise RunnerError(f"{self._deaths} workers died without ending a trial, the last: {said}")
        self._forget(worker)
        if worker.is_leaving:
            self._workers.remove(worker)
            return
        (successor,) = self._hatch([worker.device])
        successor.idle_since = time.monotonic() if self._last_end else None
        self._workers[self._workers.index(worker)] = successor

    def close(self) -> None:
        """End all workers; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            try:
                worker.connection.send(("close",))
            except OSError:
                pass  # it is gone, or was buried without a successor
            finally:
                # A worker in the middle of a tick finds the connection closed at its end.
                worker.connection.close()
        for nursery in self._nurseries:
            nursery.close()
        if self._memory is not None:
            os.close(self._memory)
            self._memory = None
