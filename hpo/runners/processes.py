"""Local processes, each a lanes or inline runner of its own, so that every core is used.

A worker knows nothing of the search: it is sent specs and trials to stop, and sends events. Workers are
forked by a nursery that imports torch once for all of them (`hpo.runners.worker`).
"""

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
from hpo.events import TrialFinished, TrialReported
from hpo.runners.base import Target
from trials.spec import Config, TrialSpec

_DEATHS = 3  # workers that may die in a row without a trial ending in between
_PATIENCE = 10.0  # seconds that a worker may take to close, or a nursery to say how one ended


class _Nursery:
    """The process that forks workers, and what it says of their ends."""

    def __init__(self, kind: str, target: Target, lanes: int, count: int) -> None:
        pairs = [socket.socketpair() for _ in range(count)]
        self._status, status = os.pipe()
        theirs = [pair[1].detach() for pair in pairs]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hpo.runners.worker"],
            stdin=subprocess.PIPE,
            pass_fds=[*theirs, status],
            # The package is found as it was found here, from whatever folder the search is run.
            # Ctrl-C is for the search to understand.
            process_group=0,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(_search_path())},
        )
        for descriptor in [*theirs, status]:
            os.close(descriptor)
        request = {
            "descriptors": theirs,
            "status": status,
            "kind": kind,
            "target": dataclasses.asdict(target),
            "lanes": lanes,
        }
        assert self.process.stdin is not None
        self.process.stdin.write((json.dumps(request) + "\n").encode())
        self.process.stdin.close()
        self.connections = [Connection(pair[0].detach()) for pair in pairs]
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
            # The whole group: the workers are children of the nursery, and they are what does not end.
            os.killpg(self.process.pid, signal.SIGKILL)
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
    lanes: int
    trials: dict[int, tuple[Any, ...]] = dataclasses.field(default_factory=dict[int, tuple[Any, ...]])

    @property
    def connection(self) -> "Connection[Any, Any]":
        return self.nursery.connections[self.number]

    def free(self) -> int:
        return self.lanes - len(self.trials)


def structure(config: Config) -> tuple[Any, ...]:
    """What of a config is likely to pick the program: all but floats. Only used to place trials together."""
    return tuple(
        sorted(
            (name, str(value))
            for name, value in config.items()
            if not isinstance(value, float) and name != "schedule"
        )
    )


class ProcessesRunner:
    """`workers` processes of `lanes` lanes each."""

    def __init__(self, target: Target, lanes: int, workers: int) -> None:
        self.lanes, self.workers = lanes, workers
        self._target = replace(
            target,
            threads=target.threads or max(1, (os.cpu_count() or 1) // workers),
            expected_steps=target.expected_steps // workers,
        )
        self._nurseries: list[_Nursery] = []
        self._workers = self._hatch(workers)
        self._deaths = 0
        self._events: list[TrialReported | TrialFinished] = []
        self._closed = False

    def _hatch(self, count: int) -> list[_Worker]:
        nursery = _Nursery(self._target.kind, self._target, self.lanes, count)
        self._nurseries.append(nursery)
        return [_Worker(nursery, number, self.lanes) for number in range(count)]

    def _ask(self, verb: str, *arguments: Any) -> Any:
        """Ask the first worker something and wait for the answer."""
        worker = self._workers[0]
        try:
            worker.connection.send((verb, *arguments))
            while True:
                kind, value = worker.connection.recv()
                if kind == "events":
                    self._take(worker, value)
                elif kind == "error":
                    raise UsageError(value)
                else:
                    return value
        except (EOFError, ConnectionResetError, BrokenPipeError) as error:
            said = worker.nursery.end_of(worker.number)
            raise RunnerError(f"a worker process died while it was asked to {verb}: {said}") from error

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Names of the metrics; see `Runner.check`."""
        return cast(tuple[str, ...], self._ask("check", [dict(config) for config in configs]))

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Metrics on the test split; see `Runner.test`."""
        return cast(Mapping[str, float], self._ask("test", spec, row))

    def free(self) -> int:
        """Lanes without a trial, over all workers."""
        return sum(worker.free() for worker in self._workers)

    def busy(self) -> tuple[int, int]:
        """(training, all)."""
        return sum(len(worker.trials) for worker in self._workers), self.lanes * self.workers

    def start(self, specs: Sequence[TrialSpec]) -> None:
        """Place trials: evenly, and equal structures together."""
        shares: dict[int, list[TrialSpec]] = {number: [] for number in range(self.workers)}
        even = -(-(len(specs) + self.busy()[0]) // self.workers)
        common = Counter(structure(spec.config) for spec in specs)
        # The most common structure first, so that it finds a worker with room for all of it.
        for spec in sorted(specs, key=lambda one: (-common[structure(one.config)], structure(one.config))):
            kind = structure(spec.config)

            def preference(number: int, kind: tuple[Any, ...] = kind) -> tuple[bool, bool, int]:
                worker = self._workers[number]
                # An even load comes first: a lane too many on one core costs more than one more program.
                room = len(worker.trials) < even
                return worker.free() > 0, room and kind in worker.trials.values(), worker.free()

            number = max(range(self.workers), key=preference)
            self._workers[number].trials[spec.trial] = kind
            shares[number].append(spec)
        for number, share in shares.items():
            if share:
                self._send(self._workers[number], "start", sorted(share, key=lambda spec: spec.trial))

    def stop(self, trials: Collection[int]) -> None:
        """Tell the workers that have these trials."""
        for worker in list(self._workers):
            here = [trial for trial in trials if trial in worker.trials]
            if here:
                self._send(worker, "stop", here)

    def _send(self, worker: _Worker, *message: Any) -> None:
        try:
            worker.connection.send(message)
        except (BrokenPipeError, ConnectionResetError):
            self._bury(worker)

    def poll(self, timeout: float) -> list[TrialReported | TrialFinished]:
        """What workers said, waiting up to `timeout` seconds for the first word."""
        ready = wait([worker.connection for worker in self._workers], 0 if self._events else timeout)
        for worker in [worker for worker in self._workers if worker.connection in ready]:
            try:
                while worker.connection.poll(0):
                    kind, value = worker.connection.recv()
                    if kind == "error":
                        raise RunnerError(f"a worker could not begin: {value}")
                    self._take(worker, value)
            except (EOFError, OSError):
                self._bury(worker)
        events, self._events = self._events, []
        return events

    def _take(self, worker: _Worker, events: list[TrialReported | TrialFinished]) -> None:
        for event in events:
            if isinstance(event, TrialFinished):
                worker.trials.pop(event.trial, None)
                self._deaths = 0
            self._events.append(event)

    def _bury(self, worker: _Worker) -> None:
        """A dead worker's trials have failed; another takes its place."""
        if worker not in self._workers:
            return
        try:
            # What it said before it died still counts.
            while worker.connection.poll(0):
                kind, value = worker.connection.recv()
                if kind == "events":
                    self._take(worker, value)
        except (EOFError, OSError):
            pass
        said = worker.nursery.end_of(worker.number)
        for trial in sorted(worker.trials):
            error = f"the worker process died: {said}"
            self._events.append(TrialFinished(trial, "failed", time.time(), error))
        worker.connection.close()
        self._deaths += 1
        if self._deaths > _DEATHS:
            raise RunnerError(f"{self._deaths} workers died without ending a trial, the last: {said}")
        self._workers[self._workers.index(worker)] = self._hatch(1)[0]

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
