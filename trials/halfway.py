"""A trial under way as a file: its rows and its course, for another process to go on.

What a tuner knows is in no row. It is told again what it was told, and so asks for what it would have.
"""

import json
import zipfile
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.typing import NDArray

from schedules.types import Segment, Trace
from trials.course import Course, End, Strand, scheduled
from trials.files import whole
from trials.record import Record, Tried
from trials.rows import Row
from trials.signals import SIGNALS
from trials.spec import Report, TrialSpec

_TENSORS = ("weights", "buffers", "state", "memory")
_COUNTS = ("first", "spent", "step", "wall", "rung", "seconds")  # of a course


@dataclass(frozen=True)
class Halfway:
    """A trial as it is between two ticks: what it takes to go on as if nothing had been."""

    course: Course
    rows: Mapping[int, Row]  # by lane: its own, and copies that probe
    is_paused: bool = False  # it gave up its lanes, and was not in the middle of its work

    def save(self, path: Path) -> None:
        """Write atomically; not forced to the disk, as it is only a shorter way.

        Raises:
            OSError: it cannot be written there.
        """
        with whole(path) as file:
            self.write(file)

    def write(self, file: IO[bytes]) -> None:
        """Write to a file that is open; of a trial whose config names its tuner."""
        writing = _Writing()
        facts = writing.course(self.course)
        facts["rows"] = {str(lane): writing.row(row) for lane, row in self.rows.items()}
        facts["is_paused"] = self.is_paused
        arrays: dict[str, Any] = {str(number): array for number, array in enumerate(writing.arrays)}
        np.savez(file, allow_pickle=False, facts=json.dumps(facts), **arrays)

    @classmethod
    def load(cls, path: Path, spec: TrialSpec) -> "Halfway | None":
        """What `save` wrote of this very trial; None where there is no such file, or none that can be read.

        Without it a trial begins from its first step, and says the same.
        """
        try:
            with path.open("rb") as file:
                return cls.read(file, spec)
        except OSError:
            return None

    @classmethod
    def read(cls, file: IO[bytes], spec: TrialSpec) -> "Halfway | None":
        """What `write` wrote of this very trial, as `load`."""
        try:
            with np.load(file, allow_pickle=False) as arrays:
                facts: Mapping[str, Any] = json.loads(str(arrays["facts"]))
                if facts["spec"] != _plain(spec):
                    return None
                reading = _Reading([arrays[str(number)] for number in range(len(arrays.files) - 1)])
            rows = {int(lane): reading.row(row) for lane, row in facts["rows"].items()}
            return cls(reading.course(spec, facts), rows, facts["is_paused"])
        except (OSError, ValueError, LookupError, TypeError, zipfile.BadZipFile):
            return None


class _Writing:
    """Parts of a course as JSON in which arrays are numbers; one that is met again has its number again."""

    def __init__(self) -> None:
        self.arrays: list[NDArray[Any]] = []
        self._parts: list[object] = []  # kept, so that no other has the identity of one that was met
        self._known: dict[int, Any] = {}  # identity -> what was written of it

    def array(self, array: NDArray[Any]) -> int:
        if id(array) not in self._known:
            self.arrays.append(array)
            self._remember(array, len(self.arrays) - 1)
        return self._known[id(array)]

    def _remember(self, part: object, written: Any) -> None:
        self._parts.append(part)
        self._known[id(part)] = written

    def row(self, row: Row | None) -> Any:
        if row is None:
            return None
        if id(row) not in self._known:
            tensors = {name: self.array(getattr(row, name).numpy()) for name in _TENSORS}
            facts = {"hyper": dict(row.hyper), "step": row.step, "key": row.key, "names": dict(row.names)}
            self._remember(row, {**tensors, **facts})
        return self._known[id(row)]

    def trace(self, trace: Trace) -> Any:
        return {
            "steps": trace.segment.steps,
            "losses": self.array(trace.losses),
            "val_losses": self.array(trace.val_losses),
            "example_losses": self.array(trace.example_losses),
        }

    def strand(self, strand: Strand) -> Any:
        return {
            "lane": strand.lane,
            "number": strand.number,
            "steps": strand.segment.steps,
            "local": strand.local,
            "signals": self.array(_joined(strand.signals)),
            "val_losses": strand.val_losses,
            "example_losses": self.array(strand.example_losses),
        }

    def record(self, record: Record) -> Any:
        tried = [
            {
                "step": one.step,
                "number": one.number,
                "start": one.start,
                "signals": self.array(one.signals),
                "val_losses": list(one.val_losses),
                "is_adopted": one.is_adopted,
            }
            for one in record.tried
        ]
        return {
            "first_step": record.first_step,
            "lr": record.lr,
            "optimizer": record.optimizer,
            "kept": self.array(_joined(record.kept)),
            "tried": tried,
        }

    def end(self, end: End | None, tried: Sequence[Tried]) -> Any:
        if end is None:
            return None
        numbers = {id(one): number for number, one in enumerate(tried)}
        return {
            "row": self.row(end.row),
            "past": [self.array(signals) for signals in end.past],
            "line": [numbers[id(one)] for one in end.line],
        }

    def course(self, course: Course) -> dict[str, Any]:
        first, since = course.first_losses, course.since_report
        return {
            "spec": _plain(course.spec),
            "told": [[self.trace(trace) for trace in traces] for traces in course.told],
            "record": self.record(course.record),
            "strands": [self.strand(strand) for strand in course.strands],
            "queue": list(course.queue),
            "traces": {str(number): self.trace(trace) for number, trace in course.traces.items()},
            "mark": self.row(course.mark),
            "ends": [self.end(end, course.record.tried) for end in course.ends],
            "first_losses": None if first is None else self.array(first),
            "reports": [asdict(report) for report in course.reports],
            "since_report": [self.array(np.concatenate(since))] if since else [],
            **{name: getattr(course, name) for name in _COUNTS},
        }


class _Reading:
    """The same parts again."""

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        self._arrays = arrays

    def row(self, facts: Any) -> Row:
        tensors = {name: torch.from_numpy(self._arrays[facts[name]]) for name in _TENSORS}
        return Row(**{**facts, **tensors})

    def trace(self, segment: Segment, facts: Any) -> Trace:
        self._refuse_other(segment, facts)
        arrays = [self._arrays[facts[name]] for name in ("losses", "val_losses", "example_losses")]
        return Trace(segment, *arrays)

    def _refuse_other(self, segment: Segment, facts: Any) -> None:
        if segment.steps != facts["steps"]:
            raise ValueError("the tuner asks for something else than it did: it is of another version")

    def strand(self, segments: Sequence[Segment], facts: Any) -> Strand:
        segment = segments[facts["number"]]
        self._refuse_other(segment, facts)
        signals = self._arrays[facts["signals"]]
        return Strand(
            lane=facts["lane"],
            number=facts["number"],
            segment=segment,
            local=facts["local"],
            signals=[signals] if len(signals) else [],
            val_losses=facts["val_losses"],
            example_losses=self._arrays[facts["example_losses"]],
        )

    def record(self, facts: Any) -> Record:
        tried = [Tried(**{**one, "signals": self._arrays[one["signals"]]}) for one in facts["tried"]]
        kept = self._arrays[facts["kept"]]
        return Record(**{**facts, "kept": [kept] if len(kept) else [], "tried": tried})

    def end(self, facts: Any, tried: Sequence[Tried]) -> End | None:
        if facts is None:
            return None
        row = None if facts["row"] is None else self.row(facts["row"])
        past = tuple(self._arrays[number] for number in facts["past"])
        return End(row, past, tuple(tried[number] for number in facts["line"]))

    def course(self, spec: TrialSpec, facts: Mapping[str, Any]) -> Course:
        """Raises a ValueError where its tuner does not ask for what it asked for then."""
        record = self.record(facts["record"])
        course = Course(spec, scheduled(spec, record.first_step), record=record)
        for said in facts["told"]:
            course.wish = course.tuner.ask()
            traces = [self.trace(*one) for one in zip(course.segments, said, strict=True)]
            course.tuner.tell(traces)
            course.told.append(traces)
        course.wish = course.tuner.ask()
        course.strands = [self.strand(course.segments, one) for one in facts["strands"]]
        course.queue = deque(facts["queue"])
        traces = facts["traces"].items()
        course.traces = {int(n): self.trace(course.segments[int(n)], one) for n, one in traces}
        course.mark = None if facts["mark"] is None else self.row(facts["mark"])
        course.ends = [self.end(one, record.tried) for one in facts["ends"]]
        if facts["first_losses"] is not None:
            course.first_losses = self._arrays[facts["first_losses"]]
        course.reports = [Report(**one) for one in facts["reports"]]
        course.since_report = [self._arrays[number] for number in facts["since_report"]]
        for name in _COUNTS:
            setattr(course, name, facts[name])
        return course


def _joined(signals: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return np.concatenate([np.zeros((0, len(SIGNALS)), np.float32), *signals])


def _plain(spec: TrialSpec) -> Any:
    """A spec as JSON gives it back."""
    return json.loads(json.dumps(asdict(spec)))
