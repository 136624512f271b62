"""Where truth lives: an append-only file of events with one writer.

A line is on the disk before anything acts on it. A process killed while writing leaves at most one torn
line at the end, which is dropped; anything else that cannot be read is an error that names the line.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from hpo import codec
from hpo.errors import JournalError, UsageError
from hpo.events import Event


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
        return iter(self.read()[0])

    def read(self) -> tuple[list[Event], str]:
        """All whole events, and the torn last line ("" when there is none).

        Raises:
            JournalError: the file is missing, or a line that is not the torn last one cannot be read.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise JournalError(f"{self.path}: {error.strerror}") from error
        *lines, torn = data.split(b"\n")
        events: list[Event] = []
        for number, line in enumerate(lines, start=1):
            try:
                events.append(codec.decode(line))
            except JournalError as error:
                raise JournalError(f"{self.path}, line {number}: {error}") from error
        return events, torn.decode(errors="replace")

    def open(self) -> list[Event]:
        """Take the right to write, drop a torn last line, return the events already there.

        Raises:
            UsageError: another process is writing this journal.
            JournalError: the file cannot be read as written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        created = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(file)
            raise UsageError(
                f"{self.path} is being written by another process: wait for that search to end, or stop it"
            ) from error
        try:
            events, torn = self.read()
            if torn:
                os.ftruncate(file, self.path.read_bytes().rfind(b"\n") + 1)
        except BaseException:
            os.close(file)
            raise
        self._file = file
        if created:
            # The name of a new file is durable only once its folder is.
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return events

    def append(self, events: Sequence[Event]) -> None:
        """Add events in one write; they are on the disk when this returns."""
        if self._file is None:
            self.open()
        assert self._file is not None
        # Half a character, as in a traceback with an undecodable file name, is written as JSON escapes it.
        data = "".join(codec.encode(event) + "\n" for event in events).encode(errors="backslashreplace")
        while data:
            data = data[os.write(self._file, data) :]
        getattr(os, "fdatasync", os.fsync)(self._file)  # not every system has the first

    def close(self) -> None:
        """Give the right to write back; safe to call twice."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
