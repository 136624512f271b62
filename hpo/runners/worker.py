"""What runs inside a worker process: load the objective, run trials, report, obey.

`python -m hpo.runners.worker` is a nursery: it imports torch once, forks one worker for each connection it
was given, and tells how each ended. It is asked by JSON on standard input. Should the search process
vanish, every worker finds its connection closed and ends.
"""

import importlib
import json
import os
import select
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

from hpo.errors import HpoError
from hpo.runners.base import Runner, Target

_GRACE = 5.0  # seconds that workers have to end by themselves when the search is gone


def local(kind: str, target: Target, lanes: int, loaded: Any = None) -> Runner:
    """The runner that a worker is."""
    if kind == "inline":
        from hpo.runners.inline import InlineRunner

        return InlineRunner(target, lanes)
    from hpo.runners.lanes import LanesRunner

    return LanesRunner(target, lanes, loaded)


def serve(
    connection: "Connection[Any, Any]", kind: str, target: Target, lanes: int, loaded: Any = None
) -> None:
    """Obey messages and train in between, until told to close or the search is gone.

    Messages are (verb, *arguments) of `Runner`; answers are ("events", …), ("answer", …) or ("error", text).
    """
    runner: Runner | None = None
    try:
        try:
            runner = local(kind, target, lanes, loaded)
        except HpoError as error:
            connection.send(("error", str(error)))
            return
        while True:
            while connection.poll(0 if runner.busy()[0] else None):
                verb, *arguments = connection.recv()
                if verb == "close":
                    return
                if verb in ("check", "test"):
                    try:
                        connection.send(("answer", getattr(runner, verb)(*arguments)))
                    except HpoError as error:
                        connection.send(("error", str(error)))
                else:
                    getattr(runner, verb)(*arguments)
                    # Even a trial that cannot begin, or was stopped, has an end to tell of.
                    break
            events = runner.poll(0.0)
            if events:
                connection.send(("events", events))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    finally:
        if runner is not None:
            runner.close()


def _end_with_the_search(status: int) -> None:
    """When the search has vanished, end what does not notice by itself: an objective in a long call."""
    poller = select.poll()
    poller.register(status, 0)
    poller.poll()  # returns when the other end of the pipe is closed
    time.sleep(_GRACE)
    # This process is the head of a group of its own, so this reaches the workers and nobody else.
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)


def _nursery() -> None:
    request = json.loads(sys.stdin.readline())
    target = Target(**request["target"])
    loaded = importlib.import_module(f"hpo.runners.{request['kind']}").preload(target)
    descriptors: list[int] = request["descriptors"]
    status: int = request["status"]
    numbers: dict[int, int] = {}
    for number, descriptor in enumerate(descriptors):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for other in [*descriptors, status]:
                    if other != descriptor:
                        os.close(other)
                serve(Connection(descriptor), request["kind"], target, request["lanes"], loaded)
                code = 0
            except BaseException:  # noqa: BLE001 - the last frame of a forked process: say why, leave nothing behind
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        numbers[child] = number
    for descriptor in descriptors:
        os.close(descriptor)
    threading.Thread(target=_end_with_the_search, args=(status,), daemon=True).start()
    while numbers:
        child, code = os.wait()
        if child in numbers:
            line = f"{numbers.pop(child)} {os.waitstatus_to_exitcode(code)}\n"
            try:
                os.write(status, line.encode())
            except BrokenPipeError:
                return


if __name__ == "__main__":
    _nursery()
    # Nothing is left to tidy, and taking torch apart would take most of a second.
    os._exit(0)
