"""`hpo schedule list`: every family, what it means and what it takes."""

import inspect
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hpo.cli.options import Debug
from schedules import HYPERPARAMETERS, SCHEDULES
from schedules.spec import COMMON

_WIDTH = 100  # letters

# Arguments that have no one name of their own in a space.
_MEANINGS = {
    "milestones": "fractions of the horizon, in any order",
    "factors": "the factors at the knots, two at least",
    "factor": "the factor; the size of the learning rate is lr",
    "fractions": "where the factors are, increasing fractions of the horizon; evenly spaced unless given",
    "read_fractions": "fractions of the horizon at which it is read, once warm, and held between",
}


def arguments(names: Sequence[str], family: str = "") -> Iterator[tuple[str, str, str]]:
    """(argument with its default, its meaning, its name in a space) of each; of every family without one.

    >>> list(arguments(["beta"], "rex"))[0][0]
    'beta = 0.5'
    """
    shape: Mapping[str, Any] = inspect.signature(SCHEDULES[family].shape).parameters if family else {}
    for name in names:
        found = {
            flat: one
            for flat, one in HYPERPARAMETERS.items()
            if one.argument == name and (not one.families or family in one.families)
        }
        default: Any = shape[name].default if name in shape else None
        is_given = default is not None and default is not inspect.Parameter.empty
        meaning = _MEANINGS[name] if name in _MEANINGS else next(iter(found.values())).meaning
        flat = list(found)
        searched = f"{flat[0]} to {flat[-1]}" if len(flat) > 1 else "".join(flat)
        written = f'"{default}"' if isinstance(default, str) else str(default)
        yield (f"{name} = {written}" if is_given else name), meaning, searched


def list_schedules(debug: Debug = False) -> None:
    """List every family of schedules, its meaning and its arguments."""
    lines: list[str] = []
    for family, entry in SCHEDULES.items():
        lines += [f"{family}: {entry.meaning}", *_rows(arguments(entry.arguments, family)), ""]
    lines += ["every family also takes", *_rows(arguments(COMMON)), ""]
    lines += ["see one with: hpo schedule show 'wsd(cooldown_fraction=0.3)'"]
    sys.stdout.write("\n".join(lines) + "\n")


def _rows(found: Iterator[tuple[str, str, str]]) -> Iterator[str]:
    for argument, meaning, searched in found:
        name = argument.partition(" ")[0]
        also = f" (in a space: {searched})" if searched and searched != name else ""
        yield textwrap.fill(
            f"    {argument:<26} {meaning}{also}", _WIDTH, subsequent_indent=" " * 31, break_on_hyphens=False
        )
