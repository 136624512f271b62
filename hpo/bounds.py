"""Constraints: bounds that metrics of a finished trial have to keep, as in `[constraints]` of a study file.

parameters = {max = 1e6}
val_accuracy = {min = 0.9}
seconds = {min = 1, max = 60}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from hpo.errors import UsageError
from hpo.options import unknown

_SYNTAX = "{max = 1e6}, {min = 0.9} or both"


@dataclass(frozen=True, slots=True)
class Bound:
    """What a metric has to be at least and at most.

    >>> Bound("parameters", high=1e6).words()
    'parameters at most 1e+06'
    """

    metric: str
    low: float = -math.inf
    high: float = math.inf

    def margins(self, value: float) -> tuple[float, ...]:
        """How far beyond each side that there is, in units of that side; what is not above 0 keeps it.

        A value that is not a number is infinitely far.

        >>> Bound("seconds", 1.0, 60.0).margins(90.0)
        (-89.0, 0.5)
        """
        sides: list[float] = []
        if self.low > -math.inf:
            sides.append((self.low - value) / (abs(self.low) or 1.0))
        if self.high < math.inf:
            sides.append((value - self.high) / (abs(self.high) or 1.0))
        return tuple(math.inf if math.isnan(side) else side for side in sides)

    def words(self) -> str:
        """As a person would say it."""
        parts = [f"at least {self.low:g}"] if self.low > -math.inf else []
        if self.high < math.inf:
            parts.append(f"at most {self.high:g}")
        return f"{self.metric} {' and '.join(parts)}"


def read_bounds(table: Mapping[str, Any], where: str) -> tuple[Bound, ...]:
    """The bounds that a section `[constraints]` names.

    >>> read_bounds({"parameters": {"max": 1000}}, "study [constraints]")
    (Bound(metric='parameters', low=-inf, high=1000.0),)

    Raises:
        UsageError: anything that is no table of numbers `min` and `max`, or leaves no room between them.
    """
    found: list[Bound] = []
    for metric, entry in table.items():
        place = f"{where} {metric}"
        if not isinstance(entry, Mapping) or not entry:
            raise UsageError(f"{place} = {entry!r} must be a table: {_SYNTAX}")
        sides = cast(Mapping[str, Any], entry)
        for side, value in sides.items():
            if side not in ("min", "max"):
                raise UsageError(f"{place}: {unknown('key', side, ['min', 'max'])}")
            if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
                raise UsageError(f"{place}: {side} = {value!r} must be a number")
        low, high = float(sides.get("min", -math.inf)), float(sides.get("max", math.inf))
        if low > high:
            raise UsageError(f"{place}: min = {low:g} is above max = {high:g}: no value keeps both")
        found.append(Bound(metric, low, high))
    return tuple(found)
