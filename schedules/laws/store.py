"""A fitted law <-> text of JSON."""

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, cast

from schedules.check import unknown
from schedules.laws.kernels import LAWS
from schedules.laws.law import Coefficients, FittedLaw

FORMAT = 1
_POSITIVE = ("peak", "trained_area", "noise")


def to_json(law: FittedLaw) -> str:
    """The text of a law; `from_json` gives an equal one back."""
    return json.dumps({"format": FORMAT, **dataclasses.asdict(law)}, indent=1) + "\n"


def from_json(text: str) -> FittedLaw:
    """The law that `to_json` wrote.

    Raises:
        ValueError: text that is no law, is damaged, or was written by a newer version.
    """
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(table, dict) or "format" not in table:
        raise ValueError("not a law: write one with `hpo schedule fit`")
    fields = cast(dict[str, Any], table)
    written = fields.pop("format")
    if written != FORMAT:
        raise ValueError(f"format {written!r} is not {FORMAT}, the one this version reads: fit the law again")
    names = {field.name for field in dataclasses.fields(FittedLaw)}
    for name in sorted(names ^ set(fields)):
        raise ValueError(f"{name} is {'missing' if name in names else 'not known'}: fit the law again")
    name = fields["law"]
    if name not in LAWS:
        raise ValueError(unknown("law", name, LAWS))
    try:
        refits = [_coefficients(one) for one in fields["refits"]]
        law = FittedLaw(
            name,
            coefficients=_coefficients(fields["coefficients"]),
            constants=_constants(name, fields["constants"]),
            warmup_steps=_whole(fields["warmup_steps"]),
            refits=refits,
            curves=[str(one) for one in fields["curves"]],
            refit_constants=[_constants(name, one) for one in fields["refit_constants"]],
            **{key: _number(key, fields[key], key in _POSITIVE) for key in _POSITIVE},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"damaged ({type(error).__name__}: {error}): fit the law again") from None
    if law.refit_constants and len(law.refit_constants) != len(refits):
        raise ValueError("damaged: refits and refit_constants differ in number: fit the law again")
    return law


def _coefficients(table: Mapping[str, Any]) -> Coefficients:
    found = Coefficients(**table)
    for name, value in dataclasses.asdict(found).items():
        _number(name, value, False)
    return found


def _constants(law: str, table: Mapping[str, Any]) -> dict[str, float]:
    entry = LAWS[law]
    if set(table) != set(entry.constants):
        raise ValueError(
            f"damaged: constants of law {law!r} are {', '.join(entry.constants)}, not {', '.join(table)}"
        )
    for name, value in table.items():
        low, high = entry.bounds[name]
        if not low <= _number(name, value, False) <= high:
            raise ValueError(f"damaged: {name}={value!r} must be at least {low:g} and at most {high:g}")
    return dict(table)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"damaged: warmup_steps={value!r} must be a whole number at least 0")
    return value


def _number(name: str, value: object, is_positive: bool) -> float:
    least = 1e-300 if is_positive else -math.inf if name == "delta" else 0.0
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not least <= value < math.inf:
        what = "of any size" if name == "delta" else f"{'above' if is_positive else 'at least'} 0"
        raise ValueError(f"damaged: {name}={value!r} must be a number {what}")
    return float(value)
