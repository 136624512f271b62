"""The mirror's process: follows a journal until its search ends, and keeps a store equal to it.

Run as a module by `hpo.listeners.mirror`, with the journal, the store and the experiment as arguments. Reads
how the study ended from its input, and answers with one line of JSON.
"""

import fcntl
import json
import os
import select
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from hpo import codec
from hpo.errors import JournalError
from hpo.events import Event
from hpo.listeners.mirror import MirrorError
from hpo.listeners.runs import STUDY, Ending, Runs

if TYPE_CHECKING:
    from hpo.listeners.mlflow import Store

_FLUSH_SECONDS = 2.0  # between two looks at the journal
_LIVE_SECONDS = 10.0  # between two looks at a trial that runs; a short one is written once, at its end
_FLUSH_SHARE = 0.05  # of one core that may go into writing while the study runs
_ATTEMPTS = 3  # in a row
_NICENESS = 5
_LOCK = ".mirror.lock"  # beside the journal: one mirror of a study at a time


class _Follower:
    """Whole lines of a file that grows at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._number = 0

    def read(self) -> list[Event]:
        """The events appended since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError as error:
            raise JournalError(f"{self._path}: {error.strerror}") from error
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        events: list[Event] = []
        for line in whole.split(b"\n")[:-1]:
            self._number += 1
            try:
                events.append(codec.decode(line))
            except JournalError as error:
                raise JournalError(f"{self._path}, line {self._number}: {error}") from error
        return events


class _Input:
    """What the search says: how the study's run ends, or nothing when the search was killed."""

    def __init__(self) -> None:
        self.is_open = True
        self.was_killed = False
        self.ending: Ending | None = None

    def wait(self, seconds: float) -> None:
        """Return after this time, or as soon as the search is done."""
        if not self.is_open:
            time.sleep(seconds)
        elif select.select([sys.stdin], [], [], seconds)[0]:
            line = sys.stdin.readline()
            self.is_open = False
            self.was_killed = not line
            self.ending = cast(Ending, line.strip()) or None


def _lock(file: IO[str], search: _Input) -> bool:
    """Become the only mirror of the study; False if that is no longer worth waiting for."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            # A mirror whose search was killed is still at work. If this one's search was killed too, whoever
            # takes the study up completes the store; many waiting mirrors would help nobody.
            search.wait(0.2)
            if search.was_killed:
                return False
        else:
            return True


def _open(uri: str, experiment: str) -> "Store":
    # Imported here, because a mirror that waits needs none of the seconds and megabytes of MLflow.
    from hpo.listeners.mlflow import Store

    return Store(uri, experiment)


def _serve(journal: Path, uri: str, experiment: str, search: _Input) -> None:
    """Follow the journal until the search is done, then write the rest."""
    follower, runs = _Follower(journal), Runs(str(journal))
    store: Store | None = None
    wrote: dict[int, float] = {}  # run -> when it was last written, or first seen
    wait = 0.0
    while True:
        search.wait(wait if search.is_open else 0.0)
        is_last = not search.is_open
        for event in follower.read():
            runs.tell(event)
        if runs.identity:
            if is_last:
                runs.close(search.ending)
            started, worked = time.monotonic(), time.process_time()
            if store is None:
                store = _open(uri, experiment)
                store.take_up(runs)
            for key in sorted(runs.changed):
                run = runs.runs[key]
                is_live = key != STUDY and run.status == "RUNNING"
                if not is_live or started - wrote.setdefault(key, started) > _LIVE_SECONDS:
                    store.write(key, run)
                    wrote[key] = started
                    runs.changed.discard(key)
            wait = max(_FLUSH_SECONDS, (time.process_time() - worked) / _FLUSH_SHARE)
            if is_last:
                store.keep(journal.parent, runs.artifacts())
        else:
            wait = _FLUSH_SECONDS
        if is_last:
            return


def _main(journal: Path, uri: str, experiment: str) -> dict[str, Any]:
    """Serve; what to answer the search."""
    search = _Input()
    failures = 0
    while True:
        started = time.monotonic()
        try:
            with (journal.parent / _LOCK).open("w") as lock:
                if not _lock(lock, search):
                    return {"error": "another mirror of this study is at work"}
                _serve(journal, uri, experiment, search)
            return {"done": True}
        except (JournalError, MirrorError) as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - the boundary of the process
            # What reached the store is unknown now, so the next attempt looks again.
            failures = failures + 1 if time.monotonic() - started < 60 else 1
            if failures == _ATTEMPTS:
                return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            time.sleep(failures)


if __name__ == "__main__":
    os.nice(_NICENESS)
    # Libraries that print must not be taken for the answer.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        answer.write(json.dumps(_main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])) + "\n")
