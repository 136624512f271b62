"""Where truth lives: an append-only file of events with one writer.

A line is on the disk before anything acts on it. A process killed while writing leaves at most one torn
line at the end, which is dropped; anything else that cannot be read is an error that names the line.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from hpo import codec
from hpo.errors import JournalError, UsageError
from hpo.events import Event, StudyFinished, StudyPaused, StudyResumed, StudyScaled, StudyStarted

_BUFFER = 2**20  # bytes read at a time
_LOOKED = 0.2  # seconds in which whoever only looks whether a journal is being written has done so
_STUDY = b'"Study'  # in lines that say something of a study as a whole


class Latest(NamedTuple):
    """The latest session of a journal, by the few lines that speak of it."""

    start: StudyStarted
    is_finished: bool = False  # the last event of all is that the study finished
    is_paused: bool = False
    workers: int | None = None  # that it was scaled to; None: it was not


class Store(Protocol):
    """What was appended is what is iterated, in order."""

    def append(self, events: Sequence[Event]) -> None:
        """Add events; durable on return."""
        ...

    def __iter__(self) -> Iterator[Event]:
        """All events, oldest first."""
        ...


class Memory:
    """A store that lives as long as the process: for tests and throw-away searches."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self._events = list(events)

    def append(self, events: Sequence[Event]) -> None:
        """Add events."""
        self._events.extend(events)

    def __iter__(self) -> Iterator[Event]:
        return iter(tuple(self._events))


class Journal:
    """One file, one event a line. Reading needs no lock; `open` takes the only right to append."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._file: int | None = None

    def __iter__(self) -> Iterator[Event]:
        """All whole events that are there by now, read as they are asked for.

        Raises:
            JournalError: the file is missing, or a line that is not the torn last one cannot be read.
        """
        try:
            size = self.path.stat().st_size
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error
        return self._events(size)

    def _events(self, size: int) -> Iterator[Event]:
        read = 0
        try:
            with self.path.open("rb", buffering=_BUFFER) as file:
                for number, line in enumerate(file, start=1):
                    read += len(line)
                    if read > size or not line.endswith(b"\n"):
                        return  # written since, or torn
                    yield self._decoded(line, number)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error

    def read(self) -> tuple[list[Event], str]:
        """All whole events, and the torn last line ("" when there is none).

        Raises:
            JournalError: the file is missing, or a line that is not the torn last one cannot be read.
        """
        return list(self), self.torn().decode(errors="replace")

    def torn(self) -> bytes:
        """What follows the last line break: a line being written, or that a killed writer left."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                tail = b""
                while len(tail) < size and b"\n" not in tail:
                    at = max(0, size - len(tail) - _BUFFER)
                    file.seek(at)
                    tail = file.read(size - len(tail) - at) + tail
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error
        return tail[tail.rfind(b"\n") + 1 :]

    def latest(self) -> Latest | None:
        """How the latest session stands; None where none has begun.

        Of a large journal only lines that speak of a session are decoded.

        Raises:
            JournalError: the file is missing, or one of these lines cannot be read.
        """
        found: Latest | None = None
        is_finished = False
        try:
            with self.path.open("rb", buffering=_BUFFER) as file:
                for number, line in enumerate(file, start=1):
                    if not line.endswith(b"\n"):
                        break
                    event = self._decoded(line, number) if _STUDY in line else None
                    is_finished = isinstance(event, StudyFinished)
                    if isinstance(event, StudyStarted):
                        found = Latest(event)
                    elif found is not None and isinstance(event, StudyPaused | StudyResumed):
                        found = found._replace(is_paused=isinstance(event, StudyPaused))
                    elif found is not None and isinstance(event, StudyScaled) and not event.error:
                        found = found._replace(workers=event.workers)
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error
        return None if found is None else found._replace(is_finished=is_finished)

    def is_being_written(self) -> bool:
        """Whether a process has the right to write, as far as this machine can see.

        Raises:
            JournalError: the file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error
        return False

    def _decoded(self, line: bytes, number: int) -> Event:
        try:
            return codec.decode(line)
        except JournalError as error:
            raise JournalError(f"{self.path}, line {number}: {error}") from error

    def open(self) -> list[Event]:
        """Take the right to write, drop a torn last line, return the events already there; see `lock`."""
        self.lock()
        try:
            return list(self)
        except BaseException:
            self.close()
            raise

    def lock(self) -> None:
        """Take the right to write, and drop a torn last line.

        Raises:
            UsageError: another process is writing this journal.
            JournalError: the file cannot be read.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        created = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        until = time.monotonic() + _LOOKED
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if time.monotonic() > until:
                    os.close(file)
                    raise UsageError(
                        f"{self.path} is being written by another process: wait for that search to end, "
                        "or stop it"
                    ) from error
                time.sleep(_LOOKED / 10)
        self._file = file
        if created:
            # The name of a new file is durable only once its folder is.
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        torn = self.torn()
        if torn:
            os.ftruncate(file, os.fstat(file).st_size - len(torn))

    def append(self, events: Sequence[Event]) -> None:
        """Add events in one write; they are on the disk when this returns."""
        if self._file is None:
            self.lock()
        assert self._file is not None
        # Half a character, as in a traceback with an undecodable file name, is written as JSON escapes it.
        data = "".join(codec.encode(event) + "\n" for event in events).encode(errors="backslashreplace")
        try:
            while data:
                data = data[os.write(self._file, data) :]
            getattr(os, "fdatasync", os.fsync)(self._file)  # not every system has the first
        except OSError as error:
            what = f"{error.strerror}: what was written before is kept; make room, then `hpo resume` goes on"
            raise OSError(error.errno, what, str(self.path)) from error

    def close(self) -> None:
        """Give the right to write back; safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
