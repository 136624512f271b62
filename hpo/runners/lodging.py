"""A folder of a worker's own, on a machine where workers may be killed before they can tidy up.

Each holds a lock on a file in its folder. Locks end with their process: a folder that nobody holds was left
by a worker that was killed, and the next one on that machine removes it.
"""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "hpo-worker-"
_HELD = ".held"


def lodging(place: Path | None = None) -> Path:
    """A new folder that is this process's until it ends, in the place for temporary ones."""
    place = place or Path(tempfile.gettempdir())
    _sweep(place)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    early = folder / f"{_HELD}.early"
    lock = os.open(early, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Only now under the name that others look for: never is it there unlocked while this process lives.
    early.rename(folder / _HELD)
    return folder


def _sweep(place: Path) -> None:
    for held in place.glob(f"{_PREFIX}*/{_HELD}"):
        try:
            lock = os.open(held, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # it is gone, or another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            continue  # its worker lives
        else:
            shutil.rmtree(held.parent, ignore_errors=True)
        finally:
            os.close(lock)
