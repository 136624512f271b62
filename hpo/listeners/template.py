"""A fresh SQLite store by copying an empty one.

MLflow builds a new database by running all its migrations, 1.6 s of CPU on one core; a copy takes 5 ms. The
empty store is made once for each version of MLflow, by MLflow, and kept in the user's cache. Whatever does
not work out here is left to MLflow, which builds the database as ever.
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
    """Put an empty store where the URI says, if it is an SQLite file that does not exist.

    Args:
        uri: of the store.
        version: of MLflow; stores of different versions have different tables.
        build: makes a store of this URI, as MLflow does.
    """
    path = Path(uri.removeprefix(_PREFIX))
    if (
        not uri.startswith(_PREFIX)
        or "?" in uri
        or ":memory:" in uri
        or path.exists()
        or not path.parent.is_dir()
    ):
        return
    with contextlib.suppress(OSError, sqlite3.Error):
        template = _cache() / f"mlflow-{version}.db"
        if not template.exists():
            _make(template, build)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
            copy = Path(folder) / "copy.db"
            shutil.copyfile(template, copy)
            # A link, unlike a rename, never replaces a store that another study made meanwhile.
            os.link(copy, path)


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpo"


def _make(template: Path, build: Callable[[str], object]) -> None:
    template.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=template.parent) as folder:
        made = Path(folder) / "made.db"
        build(f"{_PREFIX}{made}")
        with contextlib.closing(sqlite3.connect(made)) as connection:
            # The default experiment names the folder it was made for; MLflow makes it anew where it is
            # missing.
            connection.execute("DELETE FROM experiments")
            connection.commit()
            # All in one file, whatever the journal mode.
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        os.replace(made, template)
