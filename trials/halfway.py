"""A trial under way as a file: its row, its reports and what was recorded, for another process to go on."""

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from trials.files import whole
from trials.record import Signals
from trials.rows import Row
from trials.spec import Report, TrialSpec

_TENSORS = ("weights", "buffers", "state", "memory")


@dataclass(frozen=True)
class Halfway:
    """Where a trial is that follows a schedule: what it takes to go on as if nothing had been."""

    row: Row
    reports: tuple[Report, ...]  # all until now, to be said again: the last may not have been heard
    signals: Signals  # (T, S) of every step until now
    first_step: int  # position of the row that the trial began with
    seconds: float  # of training

    def save(self, path: Path, spec: TrialSpec) -> None:
        """Write atomically; not forced to the disk, as it is only a shorter way.

        Raises:
            OSError: it cannot be written there.
        """
        with whole(path) as file:
            self.write(file, spec)

    def write(self, file: IO[bytes], spec: TrialSpec) -> None:
        """Write to a file that is open."""
        facts = {
            "spec": _plain(spec),
            "reports": [asdict(report) for report in self.reports],
            "hyper": dict(self.row.hyper),
            "step": self.row.step,
            "key": self.row.key,
            "names": dict(self.row.names),
            "first_step": self.first_step,
            "seconds": self.seconds,
        }
        tensors: dict[str, Any] = {name: getattr(self.row, name).numpy() for name in _TENSORS}
        np.savez(file, allow_pickle=False, facts=json.dumps(facts), signals=self.signals, **tensors)

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
                tensors = {name: torch.from_numpy(arrays[name]) for name in _TENSORS}
                row = Row(
                    **tensors,
                    hyper=facts["hyper"],
                    step=facts["step"],
                    key=facts["key"],
                    names=facts["names"],
                )
                reports = tuple(Report(**one) for one in facts["reports"])
                return cls(row, reports, arrays["signals"], facts["first_step"], facts["seconds"])
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile):
            return None


def _plain(spec: TrialSpec) -> Any:
    """A spec as JSON gives it back."""
    return json.loads(json.dumps(asdict(spec)))
