"""Memory that the workers of one search on one machine share, although none is the other's parent.

A file in memory, by a name that the search chose, and a lock that each worker holds as long as it lives.
Locks end with their process: a file that nobody holds was left by workers that were killed, and is removed.
"""

import contextlib
import fcntl
import os
from pathlib import Path

_PLACE = Path("/dev/shm")
_PREFIX = "hpo-data-"


class NodeMemory:
    """The file of this name; `descriptor` is its own, None where there is no memory that has names."""

    def __init__(self, name: str, place: Path = _PLACE) -> None:
        self.descriptor: int | None = None
        self._file, self._held = place / f"{_PREFIX}{name}", place / f"{_PREFIX}{name}.held"
        self._lock: int | None = None
        if not place.is_dir() or not Path("/proc/self/fd").is_dir():
            return
        _sweep(place)
        while True:
            lock = os.open(self._held, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_there(lock, self._held):
                break
            os.close(lock)  # it was removed while we waited
        self._lock = lock
        self.descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def close(self) -> None:
        """Let go of it; the last removes it. Safe to call twice."""
        if self.descriptor is None or self._lock is None:
            return
        os.close(self.descriptor)
        self.descriptor = None
        _remove_unheld(self._lock, self._held)
        os.close(self._lock)
        self._lock = None


def _sweep(place: Path) -> None:
    """Remove what killed workers left."""
    for held in place.glob(f"{_PREFIX}*.held"):
        try:
            lock = os.open(held, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # it is gone, or another user's
        try:
            _remove_unheld(lock, held)
        finally:
            os.close(lock)


def _remove_unheld(lock: int, held: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return  # others have it
    if _is_there(lock, held):
        for path in (held.with_suffix(""), held):
            path.unlink(missing_ok=True)


def _is_there(lock: int, held: Path) -> bool:
    """Whether the name still is that of the file."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), held.stat())
    return False
