"""Arguments are checked where they are given; the message names the value and what would be right.

`Interval` says which numbers are legal, here and in the table of hyperparameters.
"""

import difflib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import cast


@dataclass(frozen=True, slots=True)
class Interval:
    """Legal numbers, from low to high; `ends` tells whether the ends themselves are: "[]", "(]", "[)", "()".

    >>> 0.0 in Interval(0, 1, "(]"), str(Interval(0, 1, "(]"))
    (False, 'above 0 and at most 1')
    """

    low: float = 0.0
    high: float = math.inf
    ends: str = "[]"

    def __contains__(self, value: float) -> bool:
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return above and below and math.isfinite(value)

    def __str__(self) -> str:
        above = f"{'at least' if self.ends[0] == '[' else 'above'} {self.low:g}"
        below = f"{'at most' if self.ends[1] == ']' else 'below'} {self.high:g}"
        limits = [above] * (self.low > -math.inf) + [below] * (self.high < math.inf)
        return " and ".join(limits) or "of any size"


UNIT = Interval(0, 1)
FRACTION = Interval(0, 1, "[)")  # of the horizon; some steps are left for what follows
SHARE = Interval(0, 1, "(]")  # of the horizon or of the peak; never none of it
POSITIVE = Interval(0, math.inf, "()")
FACTOR = Interval(0, 1e6)  # a larger multiple of a learning rate is a mistake, and its slopes would overflow
COUNT = Interval(1)  # of steps


def _as_float(value: Real | Integral) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf


def number(name: str, value: object, legal: Interval) -> float:
    """The value as a float.

    Raises:
        ValueError: it is not a number, or not a legal one.
    """
    if isinstance(value, bool) or not isinstance(value, Real) or _as_float(value) not in legal:
        raise ValueError(f"{name}={value!r} must be a number {legal}")
    return float(value)


def whole(name: str, value: object, legal: Interval = COUNT) -> int:
    """The value as an int.

    Raises:
        ValueError: it is not a whole number, or not a legal one.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or _as_float(value) not in legal:
        raise ValueError(f"{name}={value!r} must be a whole number {legal}")
    return int(value)


def truth(name: str, value: object) -> bool:
    """The value, true or false.

    Raises:
        ValueError: it is neither.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name}={value!r} must be true or false")
    return value


def numbers(name: str, value: object, legal: Interval) -> list[float]:
    """The value as a list of floats.

    Raises:
        ValueError: it is not a sequence, is empty, or holds something that is not a legal number.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"{name}={value!r} must be a list of at least one number {legal}")
    items = cast(Sequence[object], value)
    return [number(f"{name}[{place}]", item, legal) for place, item in enumerate(items)]


def one_of(name: str, value: object, known: Iterable[str]) -> str:
    """The value, one of the known texts.

    Raises:
        ValueError: it is none of them.
    """
    texts = list(known)
    if not isinstance(value, str) or value not in texts:
        wanted = ", ".join(f'"{text}"' for text in texts)
        raise ValueError(f"{name}={value!r} must be one of {wanted}")
    return value


def unknown(what: str, name: object, known: Iterable[str], suggestion: str | None = None) -> str:
    """A message about a name that is not known, with the nearest one that is, unless a better one is given.

    >>> unknown("schedule", "cosin", ["cosine", "linear"])
    "unknown schedule 'cosin'; did you mean 'cosine'? known: cosine, linear"
    >>> unknown("schedule", "zzz", ["cosine", "linear"])
    "unknown schedule 'zzz'; known: cosine, linear"
    """
    names = list(known)
    close = [suggestion] if suggestion else difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    return f"unknown {what} {name!r};{hint} known: {', '.join(names)}"
