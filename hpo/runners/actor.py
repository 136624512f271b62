"""What runs in a process of a cluster: a local runner in a thread, and the calls that tell and hear it.

Nothing here knows of Ray. The process may be on a machine that shares no disk with the search: rows and
traces are written to a folder of its own and travel with the words that name them.
"""

import dataclasses
import importlib
import os
import re
import shutil
import socket
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hpo.events import TrialFinished, TrialScored
from hpo.records import target_name
from hpo.rows import halfway_name
from hpo.runners.base import Target, Word
from hpo.runners.lodging import lodging
from hpo.runners.memory import NodeMemory
from hpo.runners.worker import serve
from hpo.scores import scores_name
from hpo.traces import trace_name


class Place(NamedTuple):
    """Where a worker is, said when it begins."""

    node: str  # name of its machine
    process: int
    versions: Mapping[str, str]  # package -> version


class Answer(NamedTuple):
    """What a worker said since it was heard last."""

    words: list[Word]
    turn_seconds: float  # since it last looked whether there is a message; 0 while it waits for one
    has_ended: bool  # it was closed, and has
    memory_bytes: int = 0  # that its process has for itself; 0 where nobody says


class _Inside:
    """A channel between threads: the calls put messages in and take words out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed = threading.Condition()
        self._messages: deque[Any] = deque()
        self._words: list[Word] = []
        self._looked: float | None = time.monotonic()  # None: it waits
        self._has_ended = False

    # What the thread that trains calls.

    def poll(self, timeout: float | None) -> bool:
        with self._changed:
            if timeout is None:
                self._looked = None
                self._changed.wait_for(lambda: self._messages)
            self._looked = time.monotonic()
            return bool(self._messages)

    def recv(self) -> Any:
        with self._changed:
            return self._messages.popleft()

    def send(self, word: Word) -> None:
        word = word._replace(files=self._files(word))
        with self._changed:
            self._words.append(word)
            self._changed.notify_all()

    def _files(self, word: Word) -> tuple[tuple[str, bytes], ...]:
        """Rows saved of trials, trace and scores of every one that has ended, taken from the disk here.

        With an answer, what examples of targets gave.
        """
        names = [halfway_name(trial) for trial in word.saved]
        for event in word.value if word.kind == "events" else ():
            if isinstance(event, TrialFinished):
                names.extend(filter(None, (event.row, trace_name(event.trial))))
            if isinstance(event, TrialFinished | TrialScored):
                names.append(scores_name(event.trial))
        if word.kind == "answer":
            names.extend(target_name(path.stem) for path in self._folder.glob(target_name("*")))
        files: list[tuple[str, bytes]] = []
        for path in [self._folder / name for name in names]:
            if path.is_file():
                files.append((path.relative_to(self._folder).as_posix(), path.read_bytes()))
                path.unlink()
        return tuple(files)

    def end(self) -> None:
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    # What the calls call.

    def put(self, messages: list[Any]) -> None:
        with self._changed:
            self._messages.extend(messages)
            self._changed.notify_all()

    def take(self, seconds: float) -> Answer:
        with self._changed:
            self._changed.wait_for(lambda: self._words or self._has_ended, seconds)
            words, self._words = self._words, []
            turn = 0.0 if self._looked is None else time.monotonic() - self._looked
            return Answer(words, turn, self._has_ended, _own_memory())


def _own_memory() -> int:
    """Bytes of this process that no other shares."""
    status = Path("/proc/self/status")
    if not status.is_file():
        return 0
    found = re.search(r"^RssAnon:\s*(\d+) kB", status.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


class Actor:
    """One worker: `begin` once, then `obey` and `hear`, each from a thread of its own.

    Workers of one search on one machine have one copy of a task's data; `search` is its name there.
    """

    def __init__(self, kind: str, target: Target, lanes: int | None, search: str) -> None:
        self._folder, self._here = lodging(), Path.cwd()
        self._kind, self._lanes, self._search = kind, lanes, search
        self._target = dataclasses.replace(
            target, base=os.path.abspath(target.base), folder=str(self._folder)
        )
        self._inside = _Inside(self._folder)

    def begin(self) -> Place:
        """Start to work; where that is."""
        from hpo.loop import versions

        threading.Thread(target=self._work, daemon=True, name="trials").start()
        return Place(socket.gethostname(), os.getpid(), versions())

    def _work(self) -> None:
        memory: NodeMemory | None = None
        try:
            loaded = None
            # Nodes that share a machine share the folder of the user's code too, and each that comes makes it
            # anew. Torch cannot be imported by a process whose working folder is no more.
            os.chdir(self._folder)
            runner = importlib.import_module(f"hpo.runners.{self._kind}")
            os.chdir(self._here)
            if self._kind == "lanes":
                memory = NodeMemory(self._search)
                loaded = runner.shared(memory.descriptor)
            serve(self._inside, self._kind, self._target, self._lanes, loaded)
        except BaseException:  # noqa: BLE001 - the last frame of a thread: the search is told why
            self._inside.send(Word("error", traceback.format_exc()))
        finally:
            if memory is not None:
                memory.close()
            shutil.rmtree(self._folder, ignore_errors=True)
            self._inside.end()

    def obey(self, messages: list[Any], files: Mapping[str, bytes]) -> None:
        """Pass messages (verb, *arguments) on, once the files they name are here."""
        try:
            Path.cwd()
        except FileNotFoundError:
            os.chdir(self._here)  # where it was made anew
        for name, data in files.items():
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self._inside.put(messages)

    def hear(self, seconds: float) -> Answer:
        """What it said, waiting so long for a first word."""
        return self._inside.take(seconds)
