"""A space as the `[space]` table of a study file, and back.

lr = {low = 1e-4, high = 1e-1, scale = "log"}             # Float; Int if both bounds are integers
momentum = {low = 0.8, high = 0.99, when = {optimizer = "sgd"}, prior = {center = 0.9, confidence = "high"}}
optimizer = {choice = ["adamw", "sgd"]}
batch_size = 64                                           # fixed
"""

from collections.abc import Mapping
from typing import Any, cast

from hpo.errors import UsageError
from hpo.options import unknown
from hpo.space.domains import Choice, Domain, Float, Int, is_value
from hpo.space.prior import Prior, read_prior
from hpo.space.space import Conditions, Space
from trials.spec import Value

_RANGE_KEYS = ("low", "high", "scale", "type", "when", "prior")
_CHOICE_KEYS = ("choice", "when", "prior")
_SYNTAX = "write a value, {low = ..., high = ...} or {choice = [...]}"


def read(table: Mapping[str, Any], where: str) -> Space:
    """The space a table describes; `where` names the place in messages, such as "study.toml [space]".

    >>> read({"width": {"choice": [8, 16]}, "batch_size": 64}, "[space]").grid_size()
    2

    Raises:
        UsageError: a table that does not describe a space.
    """
    domains: dict[str, Domain] = {}
    fixed: dict[str, Value] = {}
    when: dict[str, Conditions] = {}
    priors: dict[str, Prior] = {}
    for name, entry in table.items():
        try:
            if isinstance(entry, Mapping):
                fields = cast(Mapping[str, Any], entry)
                domains[name] = _read_domain(fields)
                if "when" in fields:
                    when[name] = _read_conditions(fields["when"])
                if "prior" in fields:
                    priors[name] = read_prior(fields["prior"], domains[name])
            elif is_value(entry):
                fixed[name] = entry
            elif isinstance(entry, (list, tuple)):
                raise UsageError(
                    f"{_shown(entry)} is a list: write {{choice = {_shown(entry)}}} to choose from it"
                )
            else:
                raise UsageError(f"{entry!r} is no value: {_SYNTAX}")
        except UsageError as error:
            raise UsageError(f"{where} {name}: {error}") from None
    try:
        return Space(domains, fixed, when, priors)
    except UsageError as error:
        raise UsageError(f"{where} {error}") from None


def _shown(values: Any) -> str:
    return "[" + ", ".join(repr(value) for value in values) + "]"


def _read_domain(fields: Mapping[str, Any]) -> Domain:
    keys = _CHOICE_KEYS if "choice" in fields else _RANGE_KEYS
    for key in fields:
        if key not in keys:
            if key in _RANGE_KEYS or key in _CHOICE_KEYS:
                raise UsageError(f"{key} does not go with choice: {_SYNTAX}")
            raise UsageError(unknown("key", key, {*_CHOICE_KEYS, *_RANGE_KEYS}))
    if "choice" in fields:
        choices = fields["choice"]
        if not isinstance(choices, (list, tuple)):
            raise UsageError(f"choice={choices!r} must be a list")
        values = cast(list[Value], choices)
        if any(isinstance(value, float) for value in values) and all(map(_is_number, values)):
            # One kind for all: a float rides in the row, a whole number picks the program.
            values = [float(value) for value in values]
        return Choice(tuple(values))
    if "low" not in fields and "high" not in fields:
        raise UsageError(f"neither a range nor a choice: {_SYNTAX}")
    for key in ("low", "high"):
        if key not in fields:
            raise UsageError(f"{key} is missing: {_SYNTAX}")
    low, high, scale = fields["low"], fields["high"], fields.get("scale", "linear")
    if not isinstance(scale, str):
        raise UsageError(f"scale={scale!r} must be 'linear' or 'log'")
    kind = fields.get("type", "int" if isinstance(low, int) and isinstance(high, int) else "float")
    if kind == "float":
        return Float(low, high, cast(Any, scale))
    if kind == "int":
        return Int(_whole(low), _whole(high), cast(Any, scale))
    raise UsageError(f"type={kind!r} must be 'int' or 'float'")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(bound: Any) -> Any:
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _read_conditions(entry: Any) -> Conditions:
    if not isinstance(entry, Mapping):
        raise UsageError(f"when={entry!r} must be a table such as {{optimizer = 'sgd'}}")
    return {
        parent: tuple(cast(list[Value], wanted))
        if isinstance(wanted, (list, tuple))
        else (cast(Value, wanted),)
        for parent, wanted in cast(Mapping[str, Any], entry).items()
    }


def write(space: Space) -> dict[str, Any]:
    """The table that `read` turns into this space: plain dicts, lists and values."""
    table: dict[str, Any] = {}
    for name, domain in space.domains.items():
        entry: dict[str, Any]
        if isinstance(domain, Choice):
            entry = {"choice": list(domain.choices)}
        else:
            entry = {"low": domain.low, "high": domain.high}
            if domain.scale != "linear":
                entry["scale"] = domain.scale
        if name in space.when:
            entry["when"] = {
                parent: values[0] if len(values) == 1 else list(values)
                for parent, values in space.when[name].items()
            }
        if name in space.priors:
            prior = space.priors[name]
            entry["prior"] = {"center": prior.center, "confidence": prior.confidence}
        table[name] = entry
    return {**table, **space.fixed}
