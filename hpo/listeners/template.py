"""A fresh SQLite store by copying an empty one.

MLflow builds a database by running all its migrations, over a second of CPU on one core, and a database left
halfway never opens again. So an empty store is built aside, once for each version of MLflow, by MLflow, and
kept in the user's cache; a new store is a copy, whole from the moment it exists.
"""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

_PREFIX = "sqlite:///"


def prepare(uri: str, version: str, build: Callable[[str], object]) -> None:
    """Put an empty store where the URI says, if that is an SQLite file which does not exist.

    Args:
        uri: of the store.
        version: of MLflow; stores of different versions have different tables.
        build: makes a store of this URI, as MLflow does.
    """
    path = Path(uri.removeprefix(_PREFIX))
    if not uri.startswith(_PREFIX) or "?" in uri or ":memory:" in uri or not path.parent.is_dir():
        return
    # What is left of a store that was removed would be taken for a part of the new one.
    if any(path.with_name(path.name + end).exists() for end in ("", "-journal", "-wal")):
        return
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
        copy = Path(folder) / "empty.db"
        template = _cache() / f"mlflow-{version}.db"
        try:
            if not template.exists():
                _make(template, build)
            shutil.copyfile(template, copy)
        except OSError:  # no cache on this machine
            _build_empty(copy, build)
        # A link, unlike a rename, never replaces a store that another study made meanwhile.
        # Where there are no links, MLflow builds.
        with contextlib.suppress(OSError):
            os.link(copy, path)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpo"


def _make(template: Path, build: Callable[[str], object]) -> None:
    template.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        made = Path(folder) / "made.db"
        _build_empty(made, build)
        made.replace(template)


def _build_empty(path: Path, build: Callable[[str], object]) -> None:
    build(f"{_PREFIX}{path}")
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        # The default experiment names the folder it was made in; MLflow makes a missing one anew.
        connection.execute("DELETE FROM experiments")
