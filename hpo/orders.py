"""Orders to a running search, given through its study's folder: to pause, to go on, to have other workers.

An order is a small file that appears whole. Whoever has the folder may give one, on any machine; the search
looks for them about once a second, and what it does about one is an event of the journal that has its name.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from trials.files import whole

Verb = Literal["pause", "resume", "scale"]

_LOOK = 1.0  # seconds between two looks at the folder
_FILES = ".order-*.json"  # hidden, as all that is on its way; their names are in the order of their times


@dataclass(frozen=True, slots=True)
class Order:
    """What the search is to do."""

    name: str  # no other order's
    verb: Verb
    workers: int = 0  # to have at most, of `scale`


def give(folder: Path, verb: Verb, workers: int = 0) -> Order:
    """Leave an order in a study's folder.

    Raises:
        OSError: nothing can be written there.
    """
    order = Order(f"{time.time_ns():020d}-{secrets.token_hex(4)}", verb, workers)
    with whole(_path(folder, order.name)) as file:
        file.write(json.dumps({"verb": verb, "workers": workers}).encode())
    return order


def withdraw(folder: Path, order: Order) -> None:
    """Take an order back that nobody has taken."""
    _path(folder, order.name).unlink(missing_ok=True)


def _path(folder: Path, name: str) -> Path:
    return folder / f".order-{name}.json"


def _read(path: Path) -> Order:
    """The order in a file.

    Raises:
        OSError, ValueError: it cannot be read, or is none that this version knows.
    """
    found = json.loads(path.read_bytes())
    if not isinstance(found, dict):
        raise ValueError(f"{found!r} is no table")
    table = cast(dict[str, Any], found)
    verb, workers = table.get("verb"), table.get("workers", 0)
    if (
        verb is None
        or verb not in get_args(Verb)
        or type(workers) is not int
        or (verb == "scale" and workers < 1)
    ):
        raise ValueError(f"{table!r} is none of {', '.join(get_args(Verb))}")
    return Order(path.name.removeprefix(".order-").removesuffix(".json"), verb, workers)


class Orders:
    """What was ordered of a search, each order once; nothing where the study has no folder."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._looked = 0.0
        self._seen: set[str] = set()

    def take(self, warn: Callable[[str], None]) -> list[Order]:
        """Orders given since the last look, the oldest first; most calls do not look.

        `warn` is told of what cannot be read.
        """
        now = time.monotonic()
        if self._folder is None or now - self._looked < _LOOK:
            return []
        self._looked = now
        orders: list[Order] = []
        for path in self.waiting():
            try:
                orders.append(_read(path))
            except (OSError, ValueError) as error:
                warn(f"an order to this study could not be read: {error}")
            self._remove(path)
        return orders

    def forget(self, old: Iterable[Path]) -> None:
        """Drop what was ordered of a search that is gone: what waited before this one had the journal."""
        for path in old:
            self._remove(path)

    def waiting(self) -> list[Path]:
        """Files of the orders that nobody has taken, the oldest first."""
        if self._folder is None:
            return []
        return [path for path in sorted(self._folder.glob(_FILES)) if path.name not in self._seen]

    def _remove(self, path: Path) -> None:
        self._seen.add(path.name)
        with contextlib.suppress(OSError):  # another user's, in a folder that lets nobody else remove it
            path.unlink(missing_ok=True)
