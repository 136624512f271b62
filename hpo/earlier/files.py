"""Databases that are files: there before they are opened, so that reading one never makes one."""

import sqlite3
from pathlib import Path

from hpo.errors import UsageError

_SQLITE = "sqlite:///"


def read_only(url: str, place: str) -> str:
    """The URL, such that a file of SQLite is opened for reading alone.

    Raises:
        UsageError: the file is not there.
    """
    path = _existing(url, place)
    return url if path is None else f"{_SQLITE}file:{path.resolve()}?mode=ro&uri=true"


def check_table(url: str, table: str, what: str, place: str) -> None:
    """Refuse a file of SQLite that is not there or has no such table; other databases answer themselves.

    Raises:
        UsageError: with what would be right.
    """
    path = _existing(url, place)
    if path is None:
        return
    try:
        found = sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)
        names = [name for (name,) in found.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found.close()
    except sqlite3.Error as error:
        raise UsageError(f"{place}: {path} is no {what}: {error}") from error
    if table not in names:
        raise UsageError(f"{place}: {path} is no {what}: it has no table {table!r}")


def _existing(url: str, place: str) -> Path | None:
    if not url.startswith(_SQLITE):
        return None
    path = Path(url.removeprefix(_SQLITE))
    if not path.is_file():
        raise UsageError(f"{place}: there is no file {path}")
    return path
