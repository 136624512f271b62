"""What users type, checked against what is known: messages that name the nearest valid spelling."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import UsageError


def unknown(what: str, name: object, known: Iterable[object]) -> str:
    """A message about a name that is not known.

    >>> unknown("sampler", "sobel", ["grid", "sobol"])
    "unknown sampler 'sobel'; did you mean 'sobol'? known: grid, sobol"
    """
    texts = sorted(str(item) for item in known)
    close = difflib.get_close_matches(str(name), texts, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"unknown {what} {name!r}{hint} known: {', '.join(texts) or 'none'}"


@dataclass(frozen=True, slots=True)
class Option:
    """A knob of a sampler or pruner: its default and what it may be."""

    default: bool | int | float | str
    low: float = -math.inf  # for numbers
    high: float = math.inf
    choices: tuple[str, ...] = ()  # for texts

    def read(self, value: Any, place: str) -> Any:
        """The value, of the default's type.

        Raises:
            UsageError: another type, out of bounds, or not among the choices.
        """
        if isinstance(self.default, bool):
            if not isinstance(value, bool):
                raise UsageError(f"{place}={value!r} must be true or false")
            return value
        if isinstance(self.default, str):
            if value not in self.choices:
                raise UsageError(f"{place}={value!r} must be one of {', '.join(self.choices)}")
            return value
        whole = isinstance(self.default, int)
        kind = "an integer" if whole else "a number"
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
            raise UsageError(f"{place}={value!r} must be {kind}")
        if not self.low <= value <= self.high:
            bounds = (
                f"of at least {self.low:g}"
                if self.high == math.inf
                else f"between {self.low:g} and {self.high:g}"
            )
            raise UsageError(f"{place}={value!r} must be {kind} {bounds}")
        return value if whole else float(value)


def read_options(options: Mapping[str, Any], known: Mapping[str, Option], what: str) -> dict[str, Any]:
    """Every known option: the given value, else the default.

    Raises:
        UsageError: an unknown name or a value that does not fit, as "sampler 'tpe': unknown option ...".
    """
    for name in options:
        if name not in known:
            raise UsageError(f"{what}: {unknown('option', name, known)}")
    return {
        name: option.read(options[name], f"{what}: {name}") if name in options else option.default
        for name, option in known.items()
    }
