"""Starting points: configs that the user wants tried first, before the sampler is followed."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from hpo.errors import UsageError
from hpo.events import Event, Listener, Suggestion, TrialStarted
from hpo.options import unknown
from hpo.space import Space
from hpo.space.domains import Float
from trials.seeding import stream
from trials.spec import Config, Value


class _Sampler(Listener, Protocol):
    def ask(self, n: int) -> list[Suggestion]: ...


class Starts:
    """The first trials are the starting points, the others what the sampler inside asks for.

    What a starting point leaves out is drawn at random.
    """

    def __init__(self, inner: _Sampler, space: Space, points: Sequence[Config], seed: int) -> None:
        self._inner, self._next = inner, 0
        self._points = [
            completed(space, point, stream(seed, "start", number).random(len(space.names)))
            for number, point in enumerate(points)
        ]

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, TrialStarted):
            self._next = max(self._next, event.spec.trial + 1)
        self._inner.tell(event)

    def ask(self, n: int) -> list[Suggestion]:
        """The next n suggestions."""
        ahead = self._points[self._next : self._next + n]
        first = [
            Suggestion(dict(point), origin=f"start: {self._next + place + 1} of {len(self._points)}")
            for place, point in enumerate(ahead)
        ]
        # Asked for as many all the same: what a sampler suggests goes by the number of the trial.
        return [*first, *(self._inner.ask(n)[len(first) :] if len(first) < n else [])]


def completed(space: Space, given: Config, uniform: np.ndarray) -> dict[str, Value]:
    """The config of these values, the others as at a (d,) point of the unit cube."""
    found: dict[str, Value] = {}
    for name, at in zip(space.names, uniform, strict=True):
        domain = space.domains[name]
        if space.is_active(name, found):
            value = given.get(name, domain.decode(float(at)))
            found[name] = float(value) if isinstance(domain, Float) else value
    return {**found, **space.fixed}


def read_starts(entries: Sequence[Any], space: Space, where: str) -> list[Config]:
    """The starting points of a study file, `[[start]]`.

    Raises:
        UsageError: an entry that is no table, an unknown name, a value outside of its domain, or one that is
            inactive whatever is drawn for the names that are left out.
    """
    points: list[Config] = []
    for number, entry in enumerate(entries, start=1):
        place = f"{where} [[start]] {number}"
        if not isinstance(entry, Mapping) or not entry:
            raise UsageError(f"{place} = {entry!r} must be a table of hyperparameters, such as lr = 1e-3")
        given = cast(Mapping[str, Value], entry)
        for name, value in given.items():
            if name in space.fixed:
                if value != space.fixed[name]:
                    raise UsageError(f"{place}: {name}={value!r} must be {space.fixed[name]!r}: it is fixed")
            elif name not in space.domains:
                known = {*space.domains, *space.fixed}
                raise UsageError(f"{place}: {unknown('hyperparameter', name, known)}")
            elif not space.domains[name].contains(value):
                raise UsageError(f"{place}: {name}={value!r} must be {space.domains[name]}")
            _check_active(space, name, given, place)
        points.append(dict(given))
    return points


def _check_active(space: Space, name: str, given: Config, place: str) -> None:
    for parent, wanted in space.when.get(name, {}).items():
        if parent not in given and parent not in space.fixed:
            raise UsageError(
                f"{place}: {name} needs {parent}, which decides whether it has a value: name it too"
            )
        if not space.is_active(name, {**space.fixed, **given}):
            values = " or ".join(repr(value) for value in wanted)
            raise UsageError(
                f"{place}: {name}={given[name]!r} must be left out: it is active when {parent} is {values}"
            )
