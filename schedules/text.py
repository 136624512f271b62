"""A name with arguments as text, and as a table. Nothing in it is executed; all errors are ValueError."""

import ast
import json
from numbers import Integral
from typing import Any, cast

# Written like schedules, but asked for what to run: `schedules.tuner_spec` has them, and a test compares.
TUNER_NAMES = ("auto", "race", "lean", "autolrs", "plateau", "accelat", "range_test")

SUFFIXES = (".toml", ".csv")  # endings of files that hold the knots of a schedule

_NAMED = {"true": True, "false": False}


def read(text: str) -> dict[str, Any]:
    """The table of a text; only its form is checked.

    >>> read('wsd(cooldown_fraction=0.2, cooldown="sqrt")')
    {'name': 'wsd', 'cooldown_fraction': 0.2, 'cooldown': 'sqrt'}
    """
    if text.endswith(SUFFIXES):
        raise ValueError(
            f"schedule {text!r} is a file, a text is wanted: `hpo export STUDY --what schedule "
            f"--format text` writes that of a trial, to_text(load_knots({text!r})) that of a file"
        )
    wrong = f"schedule {text!r} must be a name with arguments, as in wsd(cooldown_fraction=0.2)"
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError(wrong) from None
    if isinstance(tree, ast.Name):
        return {"name": tree.id}
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise ValueError(wrong)
    table: dict[str, Any] = {"name": tree.func.id}
    if tree.args or any(keyword.arg is None for keyword in tree.keywords):
        raise ValueError(f"schedule {text!r}: arguments are written with their names; {wrong}")
    for keyword in tree.keywords:
        argument = str(keyword.arg)
        if argument in table:
            raise ValueError(f"schedule {text!r}: {argument} is given twice")
        table[argument] = _value(text, argument, keyword.value)
    return table


def written(name: str, arguments: dict[str, Any]) -> str:
    """The text of a name with these arguments.

    >>> written("race", {"k": 4, "base": "wsd", "guarded": True})
    'race(k=4, base="wsd", guarded=true)'
    """
    texts = [f"{argument}={_literal(value)}" for argument, value in arguments.items()]
    return f"{name}({', '.join(texts)})" if texts else name


def _value(text: str, argument: str, node: ast.expr) -> Any:
    """A literal number, text, truth value or list of them; a tuple becomes a list."""
    if isinstance(node, ast.Name) and node.id in _NAMED:
        return _NAMED[node.id]
    if isinstance(node, ast.Name) and node.id not in ("inf", "nan"):
        raise ValueError(
            f'schedule {text!r}: {argument}={node.id} is written in quotes: {argument}="{node.id}"'
        )
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(
            f"schedule {text!r}: {argument} must be a number, a quoted text or a list of numbers"
        ) from None
    return list(cast(tuple[Any, ...], value)) if isinstance(value, tuple) else value


def _literal(value: Any) -> str:
    """A value as it is read back: float and int literals, quoted text, true and false, list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_literal(item) for item in cast(list[Any], value))}]"
    return repr(int(value) if isinstance(value, Integral) else float(value))
