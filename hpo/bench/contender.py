"""A contender: a sampler and a pruner, each with options, as one text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hpo.errors import UsageError
from hpo.objective import Objective
from hpo.options import read_options, unknown
from hpo.pruners import base as pruners
from hpo.pruners.base import PRUNERS, Pruner
from hpo.samplers import base as samplers
from hpo.samplers.base import SAMPLERS, Sampler
from hpo.space import Space
from schedules.text import read


@dataclass(frozen=True, slots=True)
class Contender:
    """What stands on one line of a comparison."""

    text: str  # as it was written
    sampler: str
    sampler_options: Mapping[str, Any]
    pruner: str
    pruner_options: Mapping[str, Any]

    def build(self, space: Space, objective: Objective, seed: int) -> tuple[Sampler, Pruner]:
        """A fresh sampler and pruner for one study."""
        sampler = samplers.build(self.sampler, space, objective, seed, self.sampler_options)
        return sampler, pruners.build(self.pruner, objective, self.pruner_options)


def contender(text: str) -> Contender:
    """Read SAMPLER or SAMPLER+PRUNER, each a name with options or without.

    >>> contender("tpe(startup_trials=5)+asha(eta=3)").pruner_options
    {'eta': 3}

    Raises:
        UsageError: a name or an option that is not known, or text of another form.
    """
    first, *rest = _parts(text)
    if len(rest) > 1:
        raise UsageError(f"contender {text!r} must be SAMPLER or SAMPLER+PRUNER")
    sampler, sampler_options = _read(first, text, "sampler", SAMPLERS)
    pruner, pruner_options = _read(rest[0] if rest else "never", text, "pruner", PRUNERS)
    return Contender(text, sampler, sampler_options, pruner, pruner_options)


def _parts(text: str) -> Sequence[str]:
    """Split at + outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "+" and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _read(part: str, text: str, what: str, table: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    try:
        found = read(part)
    except ValueError:
        raise UsageError(
            f"contender {text!r}: {what} {part!r} must be a name with options, as in asha(eta=3)"
        ) from None
    name = str(found.pop("name"))
    if name not in table:
        raise UsageError(f"contender {text!r}: {unknown(what, name, table)}")
    read_options(found, table[name].options, f"contender {text!r}: {what} {name!r}")
    return name, found


def every() -> tuple[str, ...]:
    """Every sampler without a pruner, and every pruner with the plainest sampler and with two that learn."""
    pruned = [name for name in PRUNERS if name != "never"]
    return (
        *SAMPLERS,
        *(f"{sampler}+{pruner}" for sampler in ("random", "tpe", "curve") for pruner in pruned),
    )
