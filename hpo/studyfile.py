"""A study file: what may be in it, read with overrides, every key known and of its type.

Every error is a UsageError of one line: file, key, value, and what would be right.
"""

import copy
import math
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hpo.compared import COMPARED
from hpo.errors import UsageError
from hpo.options import unknown
from hpo.replicas import LEADING
from trials.names import TASKS

DEFAULT_STEPS = 500  # of a trial

# What a section may hold: key -> (default, what it must be).
_KEYS: dict[str, dict[str, tuple[Any, str]]] = {
    "": {
        "task": (None, "text or table"),
        "name": ("", "text"),
        "metric": ("val_loss", "text, table or list"),
        "start": ([], "tables"),
        "base": ("", "text"),
        "kind": ("", "text"),
    },
    "trial": {
        "steps": (DEFAULT_STEPS, "count"),
        "reports": (10, "count"),
        "tick": (10, "count"),
        "horizon": (0, "whole"),
        "save": ("best", "best|all|none"),
        "sharpness": (False, "switch"),
        "split_seed": (0, "whole"),
    },
    "validation": {
        "kind": ("plain", "text"),
        "families": ([], "texts"),
        "folds": (2, "count"),
        "folds_for": ("leading", "leading|all"),
        "seed": (0, "whole"),
        "fold": (0, "whole"),
        "group": ("", "text"),
        "time": ("", "text"),
        "interval": (0.0, "not negative"),
    },
    "constraints": {},
    "search": {
        "sampler": ("curve", "text"),
        "pruner": ("asha", "text"),
        "seed": (0, "whole"),
        "unreported": ("refuse", "refuse|allow"),
        "from": ([], "texts"),
    },
    "seeds": {
        "replicas": ("auto", "auto or count"),
        "leading": (LEADING, "count"),
        "tuning": ([], "wholes"),
        "test": (0, "whole or wholes"),
    },
    "sampler": {},
    "pruner": {},
    "runner": {
        "name": ("auto", "text"),
        "lanes": ("auto", "auto or count"),
        "workers": ("auto", "auto or count"),
        "compile": ("auto", "auto|never|always"),
        "device": ("", "text"),
        "save_every": ("auto", "auto or whole"),
        "save_to": ("", "text"),
        # Of runner "ray".
        "address": ("auto", "text"),
        "cpus_per_worker": (1, "not negative"),
        "gpus_per_worker": ("auto", "auto or share"),
        "stall_seconds": ("auto", "auto or positive"),
        "memory_per_worker": ("auto", "auto or positive"),
    },
    "limits": {
        "trials": (None, "count"),
        "total_steps": (None, "count"),
        "seconds": (None, "positive"),
        "target": (None, "number"),
        "no_improvement": (None, "count"),
        "min_improvement": (None, "positive or positives"),
    },
    "report": {"targets": ({}, "table"), "compared": (COMPARED, "count")},
    "tracking": {"uri": ("sqlite:///mlflow.db", "text"), "experiment": ("hpo", "text")},
}
_SECTIONS = (*filter(None, _KEYS), "space")


def default(section: str, key: str) -> Any:
    """What a key has where a study says nothing of it."""
    return _KEYS[section][key][0]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _each(value: Any) -> list[Any]:
    """The values of a table, what is none as one of them."""
    return list(cast(Mapping[str, Any], value).values()) if isinstance(value, Mapping) and value else [value]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in cast(list[Any], value))


def _are_wholes(value: Any) -> bool:
    return isinstance(value, list) and all(type(one) is int and one >= 0 for one in cast(list[Any], value))


def check(value: Any, wanted: str, place: str) -> Any:
    """The value, if it is what is wanted."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    right, words = {
        "text": (isinstance(value, str), "a text"),
        "text, table or list": (
            isinstance(value, (str, Mapping, list)),
            "a text, a table or a list of these",
        ),
        "text or table": (isinstance(value, (str, Mapping)), "a text or a table"),
        "table": (isinstance(value, Mapping), "a table"),
        "whole": (whole and value >= 0, "a whole number of at least 0"),
        "count": (whole and value >= 1, "a whole number of at least 1"),
        "auto or count": (
            value in ("auto",) or (whole and value >= 1),
            "'auto' or a whole number of at least 1",
        ),
        "auto or whole": (
            value in ("auto",) or (whole and value >= 0),
            "'auto' or a whole number of at least 0",
        ),
        "switch": (isinstance(value, bool), "true or false"),
        "number": (_is_number(value), "a number"),
        "not negative": (_is_number(value) and value >= 0, "a number of at least 0"),
        "tables": (isinstance(value, list), "a list of tables, each written under [[start]]"),
        "texts": (
            _are_texts(value),
            "a list of texts",
        ),
        "wholes": (_are_wholes(value), "a list of whole numbers of at least 0"),
        "whole or wholes": (
            (whole and value >= 0) or _are_wholes(value),
            "a whole number of at least 0 or a list of them",
        ),
        "auto or share": (
            value in ("auto",) or (_is_number(value) and value >= 0),
            "'auto' or a number of at least 0",
        ),
        "positive": (_is_number(value) and value > 0, "a number above 0"),
        "positive or positives": (
            all(_is_number(one) and one > 0 for one in _each(value)),
            "a number above 0, or a table with one for each metric",
        ),
        "auto or positive": (
            value in ("auto",) or (_is_number(value) and value > 0),
            "'auto' or a number above 0",
        ),
    }.get(wanted, (value in wanted.split("|"), f"one of {', '.join(wanted.split('|'))}"))
    if not right:
        raise UsageError(f"{place} = {value!r} must be {words}")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """The table in a file.

    Raises:
        UsageError: the file is missing or is not TOML; the message has the line number.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error


def renewed(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table that was written down, in today's words: 0 lanes or workers once meant "auto".

    >>> renewed({"task": "digits", "runner": {"lanes": 0, "workers": 2}})
    {'task': 'digits', 'runner': {'lanes': 'auto', 'workers': 2}}
    """
    runner = table.get("runner")
    if not isinstance(runner, Mapping):
        return dict(table)
    found = dict(cast(Mapping[str, Any], runner))
    for name in ("lanes", "workers"):
        if type(found.get(name)) is int and not found[name]:
            found[name] = "auto"
    return {**table, "runner": found}


def builtin(name: str) -> Path:
    """The study file of a built-in task."""
    import trials

    return Path(next(iter(trials.__path__))) / "tasks" / f"{name}.toml"


def find(what: str) -> tuple[dict[str, Any], str, Path]:
    """What the user named, as (table, where, base): a study file, a built-in task, or module:object.

    Raises:
        UsageError: there is nothing of that name.
    """
    if what.endswith(".toml"):
        path = Path(what)
        table = renewed(read_toml(path))
        base = check(table.get("base", ""), "text", f"{path.name} base")
        return table, path.name, path.resolve().parent / base
    if what in TASKS:
        path = builtin(what)
        return read_toml(path), path.name, Path.cwd()
    if ":" in what:
        return {"task": what}, what, Path.cwd()
    if Path(f"{what}.toml").is_file():
        return find(f"{what}.toml")
    raise UsageError(
        unknown("task", what, TASKS) + "; or name a study file (study.toml) or an object (module:Class)"
    )


def override(table: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The table with `section.key=value` settings applied; values are as in TOML, bare words are texts.

    >>> override({"trial": {"steps": 100}}, ["trial.steps=200", "search.sampler=random"])
    {'trial': {'steps': 200}, 'search': {'sampler': 'random'}}

    Raises:
        UsageError: a setting that is not of this form.
    """
    result = copy.deepcopy(dict(table))
    for setting in settings:
        path, separator, text = setting.partition("=")
        names = [name.strip() for name in path.split(".")]
        if not separator or not all(names):
            raise UsageError(f"--set {setting!r} must look like section.key=value")
        text = text.strip()
        try:
            value: Any = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, KeyError) as error:
            if not re.fullmatch(r"[\w:./+ -]*", text):
                raise UsageError(f"--set {setting!r}: {text!r} is not a TOML value ({error})") from error
            value = text
        place = result
        for name in names[:-1]:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                raise UsageError(f"--set {setting!r}: {name} is {inner!r}, not a section")
            place = cast(dict[str, Any], inner)
        place[names[-1]] = value
    return result


def filled(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The table with defaults, every key known and of its type."""
    result: dict[str, Any] = {}
    for name in table:
        if name not in _KEYS[""] and name not in _SECTIONS:
            raise UsageError(f"{where}: {unknown('key', name, [*_KEYS[''], *_SECTIONS])}")
    for name, (default, wanted) in _KEYS[""].items():
        result[name] = check(table[name], wanted, f"{where} {name}") if name in table else default
    for section in _SECTIONS:
        found = table.get(section, {})
        if section == "tracking" and found is False:
            found = {"uri": "none"}
        if not isinstance(found, Mapping):
            raise UsageError(f"{where} {section} = {found!r} must be a section, [{section}]")
        known = _KEYS.get(section, {})
        if not known:
            for name in cast(Mapping[Any, Any], found):
                check(name, "text", f"{where} [{section}]: name")
            result[section] = dict(cast(Mapping[str, Any], found))
            continue
        for name in cast(Mapping[str, Any], found):
            if name not in known:
                raise UsageError(f"{where} [{section}]: {unknown('key', name, known)}")
        result[section] = {
            name: check(found[name], wanted, f"{where} [{section}] {name}") if name in found else default
            for name, (default, wanted) in known.items()
        }
    return result


def check_name(name: str) -> None:
    """Refuse a study name that cannot be a folder's.

    Raises:
        UsageError: it is empty, has a separator or unprintable letters, or begins with a dot, dash or blank.
    """
    check(name, "text", "name")
    separators = {"/", "\\", os.sep} & set(name)
    if not name or name[0] in ".-" or name != name.strip() or separators or not name.isprintable():
        raise UsageError(
            f"study name {name!r} must be a plain folder name: printable, without separators, "
            f"not beginning with a dot or dash nor with blanks around it"
        )
    if len(name.encode()) > 200:
        raise UsageError(f"study name of {len(name.encode())} bytes is too long: at most 200")
