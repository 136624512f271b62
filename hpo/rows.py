"""Where rows lie in a study's folder."""

import contextlib
from pathlib import Path

_HALFWAY = "running"


def row_name(trial: int) -> str:
    """Of a trial that has ended.

    >>> row_name(3)
    'rows/trial-00003.safetensors'
    """
    return f"rows/trial-{trial:05d}.safetensors"


def halfway_name(trial: int) -> str:
    """Of a trial under way, with what it has said until then; gone when it ends.

    >>> halfway_name(3)
    'running/trial-00003.npz'
    """
    return f"{_HALFWAY}/trial-{trial:05d}.npz"


def is_halfway(name: str) -> bool:
    """Whether this is the name of one.

    >>> is_halfway(halfway_name(3)), is_halfway(row_name(3))
    (True, False)
    """
    return name.startswith(f"{_HALFWAY}/")


def remove_halfway(folder: Path, trial: int) -> None:
    """Remove what was saved of a trial under way; what cannot be removed stays, and nobody reads it."""
    with contextlib.suppress(OSError):
        (folder / halfway_name(trial)).unlink()


def remove_halfway_folder(folder: Path) -> None:
    """Remove the folder of trials under way, unless something is in it."""
    with contextlib.suppress(OSError):
        (folder / _HALFWAY).rmdir()
