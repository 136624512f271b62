"""Event <-> one line of JSON.

Every line is an object with `event`, the name of its class, and that class's fields. JSON has no infinities,
so a number that is not finite is spelled as an object, `{"$float": "inf"}`. A `StudyStarted` line carries
the `format` number; older formats are read, what this version does not know, it refuses.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, cast

from hpo.errors import JournalError
from hpo.events import (
    DataLoaded,
    DataSet,
    EarlierResult,
    EarlierTaken,
    Event,
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialPaused,
    TrialReported,
    TrialResumed,
    TrialScored,
    TrialStarted,
    TrialStopped,
)
from trials.spec import Report, TrialSpec
from trials.validation import FoldModel

# 2: Noticed, and trials that ended out of memory; 3: wall of reports; 4: TrialScored, and folds of specs,
# DataLoaded, and targets; 5: studies that ended in an error, origins of trials, TrialPaused and TrialResumed;
# 6: replicas, what test seeds said, StudyPaused, StudyResumed and StudyScaled, EarlierTaken
FORMAT = 6
_READS = (1, 2, 3, 4, 5, FORMAT)

_SPELLED = ("inf", "-inf", "nan")

_EVENTS: dict[str, type[Event]] = {
    kind.__name__: kind
    for kind in (
        StudyStarted,
        DataLoaded,
        EarlierTaken,
        TrialStarted,
        TrialReported,
        TrialScored,
        TrialStopped,
        TrialPaused,
        TrialResumed,
        TrialFinished,
        StudyPaused,
        StudyResumed,
        StudyScaled,
        StudyFinished,
        Noticed,
    )
}


def _spell(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, dict):
        return {str(name): _spell(item) for name, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, (list, tuple)):
        return [_spell(item) for item in cast(list[Any], value)]
    return value


def _unspell(value: Any) -> Any:
    if isinstance(value, dict):
        table = cast(dict[str, Any], value)
        if table.keys() == {"$float"} and table["$float"] in _SPELLED:
            return float(table["$float"])
        return {name: _unspell(item) for name, item in table.items()}
    if isinstance(value, list):
        return [_unspell(item) for item in cast(list[Any], value)]
    return value


def _outside(value: Any) -> Any:
    """What JSON's own encoder does not know: dataclasses by their fields, other mappings as tables."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return dict(cast(Mapping[Any, Any], value))
    raise TypeError(f"{type(value).__name__} is no part of an event")


_ENCODER = json.JSONEncoder(
    allow_nan=False, separators=(",", ":"), ensure_ascii=False, default=_outside, check_circular=False
)
_DECODER = json.JSONDecoder()
_FIELDS = {kind: tuple(one.name for one in dataclasses.fields(kind)) for kind in _EVENTS.values()}


def encode(event: Event) -> str:
    """One line of JSON without a line break."""
    return _line(event, FORMAT)


def _line(event: Event, written: int) -> str:
    kind = type(event)
    table: dict[str, Any] = {"event": kind.__name__}
    if kind is StudyStarted:
        table["format"] = written
    for name in _FIELDS[kind]:
        table[name] = getattr(event, name)
    try:
        return _ENCODER.encode(table)
    except ValueError:
        # Some number is not finite.
        return _ENCODER.encode({**table, **_spell(dataclasses.asdict(event))})


def identity(event: StudyStarted) -> str:
    """16 hexadecimal digits that name a study by its first event, whatever format it was written in."""
    return hashlib.blake2b(_line(event, _READS[0]).encode(), digest_size=8).hexdigest()


def decode(line: str | bytes) -> Event:
    """The event that `encode` wrote.

    Raises:
        JournalError: the line is not JSON, names an unknown event or field, lacks one, or has a newer format.
    """
    try:
        text = (line if isinstance(line, str) else line.decode()).strip()
        table, end = _DECODER.raw_decode(text)  # `loads` would find out the encoding and look for spaces
    except ValueError as error:
        raise JournalError(f"not JSON: {error}") from error
    if end < len(text):
        raise JournalError(f"not JSON: more follows after character {end}")
    if not isinstance(table, dict) or "event" not in table:
        raise JournalError("not an event: a JSON object with the key 'event' is wanted")
    fields = cast(dict[str, Any], _unspell(table) if "$float" in text else table)
    name = str(fields.pop("event"))
    if name not in _EVENTS:
        raise JournalError(f"unknown event {name!r}; known: {', '.join(sorted(_EVENTS))}")
    kind = _EVENTS[name]
    if kind is StudyStarted:
        written = fields.pop("format", None)
        if written not in _READS:
            readable = ", ".join(map(str, _READS))
            raise JournalError(
                f"journal format {written}, this version reads formats {readable}: use a newer version of hpo"
                if isinstance(written, int) and written > FORMAT
                else f"journal format {written!r} is none of {readable}"
            )
    try:
        if kind is TrialStarted:
            spec = cast(dict[str, Any], fields["spec"])
            spec["rungs"] = tuple(spec["rungs"])
            fields["spec"] = TrialSpec(**spec)
        elif kind is TrialReported:
            fields["report"] = Report(**fields["report"])
        elif kind is DataLoaded:
            fields["sets"] = tuple(DataSet(**one) for one in fields["sets"])
        elif kind is EarlierTaken:
            fields["results"] = tuple(
                EarlierResult(one["config"], tuple(one["values"]), one["spread"], one.get("excess", 0.0))
                for one in fields["results"]
            )
            fields |= {name: tuple(fields[name]) for name in ("mapped", "lacking", "others")}
        elif kind is TrialScored:
            fields["folds"] = tuple(
                FoldModel(tuple(one["trained"]), tuple(one["scored"])) for one in fields["folds"]
            )
        return kind(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(f"{name} does not fit this version: {error}") from error
