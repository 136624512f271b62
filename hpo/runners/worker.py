"""What runs inside a worker process: load the objective, run trials, report, obey.

`python -m hpo.runners.worker` is a nursery: it imports torch once, forks one worker for each connection it
was given, and tells how each ended. It is asked by JSON on standard input. Should the search process
vanish, every worker finds its connection closed and ends.

A worker is the head of a process group: what it has started (a compilation) ends with it, however it ends.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any, Literal, Protocol

from hpo.collecting import uncollected
from hpo.errors import HpoError
from hpo.runners.base import Runner, Target, Word

_GRACE = 5.0  # seconds that workers have to end by themselves when the search is gone


class Local(Runner, Protocol):
    """A runner of one process."""

    def take_back(self) -> tuple[int, ...]:
        """Trials that found no lane; they are forgotten here."""
        ...

    def take_saved(self) -> tuple[int, ...]:
        """Trials under way whose rows were saved since this was last asked."""
        ...

    def take_held(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Trials that made room since this was last asked: those that were saved, and those kept here."""
        ...


class Channel(Protocol):
    """Where a worker is told what to do, and says what happened: one end of a pipe, or the like of it."""

    def poll(self, timeout: float | None) -> bool:
        """Whether there is a message, waiting so many seconds for one; None: as long as it takes."""
        ...

    def recv(self) -> Any:
        """The next message."""
        ...

    def send(self, word: Word) -> None:
        """Say something."""
        ...


def local(kind: str, target: Target, lanes: int | None, loaded: Any = None) -> Local:
    """The runner that a worker is."""
    if kind == "inline":
        from hpo.runners.inline import InlineRunner

        return InlineRunner(target, lanes)
    from hpo.runners.lanes import LanesRunner

    return LanesRunner(target, lanes, loaded)


def serve(
    connection: "Channel | Connection[Any, Any]",
    kind: str,
    target: Target,
    lanes: int | None,
    loaded: Any = None,
) -> None:
    """Obey messages and train in between, until told to close or the search is gone.

    Messages are (verb, *arguments) of a runner; what is said is a `Word`.
    """
    runner: Local | None = None
    try:
        try:
            runner = local(kind, target, lanes, loaded)
        except HpoError as error:
            connection.send(Word("error", str(error)))
            return
        told = 0  # lanes that the search knows of
        is_resting = False
        while True:
            while connection.poll(0 if runner.busy()[0] and not is_resting else None):
                verb, *arguments = connection.recv()
                if verb == "close":
                    return
                if verb in ("check", "test", "explore", "data", "targets"):
                    try:
                        connection.send(_word(runner, "answer", getattr(runner, verb)(*arguments)))
                        told = runner.busy()[1]
                    except HpoError as error:
                        connection.send(Word("error", str(error)))
                else:
                    is_resting = verb == "rest" or (is_resting and verb != "wake")
                    getattr(runner, verb)(*arguments)
                    # Even a trial that cannot begin, or was stopped, has an end to tell of.
                    break
            returned = runner.take_back()
            events = runner.poll(0.0)
            saved = runner.take_saved()
            if events or returned or saved or runner.busy()[1] != told:
                held, bound = runner.take_held()  # with the reports after which they made room
                word = _word(runner, "events", events)
                connection.send(word._replace(returned=returned, saved=saved, held=held, bound=bound))
                told = runner.busy()[1]
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    finally:
        if runner is not None:
            runner.close()


def _word(runner: Local, kind: Literal["events", "answer"], value: Any) -> Word:
    return Word(kind, value, runner.busy()[1], runner.busy_seconds())


def _kill(groups: Iterable[int]) -> None:
    """End process groups of workers, as far as they are there."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


def _end_with_the_search(status: int, numbers: dict[int, int]) -> None:
    """When the search has vanished, end what does not notice by itself: an objective in a long call."""
    poller = select.poll()
    poller.register(status, 0)
    poller.poll()  # returns when the other end of the pipe is closed
    time.sleep(_GRACE)
    _kill(list(numbers))


def _nursery() -> None:
    request = json.loads(sys.stdin.readline())
    target = Target(**request["target"])
    with uncollected():
        loaded = importlib.import_module(f"hpo.runners.{request['kind']}").preload(target, request["memory"])
    # Never looked at again, so that workers go on sharing the pages.
    gc.freeze()
    descriptors: list[int] = request["descriptors"]
    status: int = request["status"]
    numbers: dict[int, int] = {}  # process, and group of processes -> worker
    for number, descriptor in enumerate(descriptors):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setpgid(0, 0)
                own = replace(target, device=request["devices"][number])
                for other in [*descriptors, status]:
                    if other != descriptor:
                        os.close(other)
                serve(Connection(descriptor), request["kind"], own, request["lanes"], loaded)
                code = 0
            except BaseException:  # noqa: BLE001 - the last frame of a forked process: say why, leave nothing behind
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        # Here too, as nobody knows which of the two comes first.
        with contextlib.suppress(OSError):
            os.setpgid(child, child)
        numbers[child] = number
    for descriptor in descriptors:
        os.close(descriptor)
    threading.Thread(target=_end_with_the_search, args=(status, numbers), daemon=True).start()

    def end(number: int, frame: object) -> None:
        _kill(list(numbers))

    # The search asks for it where a worker does not end by itself. Only now, so that no worker inherits it.
    signal.signal(signal.SIGTERM, end)
    while numbers:
        child, code = os.wait()
        if child in numbers:
            _kill([child])
            line = f"{numbers.pop(child)} {os.waitstatus_to_exitcode(code)}\n"
            try:
                os.write(status, line.encode())
            except BrokenPipeError:
                return


if __name__ == "__main__":
    _nursery()
    # Nothing is left to tidy, and taking torch apart would take most of a second.
    os._exit(0)
