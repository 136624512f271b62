"""What single examples said of trials: files of arrays beside the journal, for intervals over examples.

`targets/NAME.npz` is of a target domain that the report read, for the trials that lead the study.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.files import whole

Values = Mapping[str, NDArray[np.float32]]  # metric -> (examples,)


def target_name(name: str) -> str:
    """Where what a target says lies in the study's folder."""
    return f"targets/{name}.npz"


@dataclass
class Examples:
    """Metrics of every example of one set of data, for some trials."""

    digest: str  # of the data
    trials: dict[int, Values] = field(default_factory=dict[int, Values])

    @classmethod
    def load(cls, path: Path) -> "Examples":
        """What was written.

        Raises:
            OSError, ValueError: the file is not there or was not written by `save`.
        """
        with np.load(path) as file:
            numbers: list[int] = file["trials"].tolist()
            metrics = {
                name.removeprefix("metric_"): file[name] for name in file.files if name[:7] == "metric_"
            }
            found = cls(str(file["digest"]))
            for at, number in enumerate(numbers):
                found.add(number, {name: part[at] for name, part in metrics.items()})
            return found

    def add(self, trial: int, values: Values) -> None:
        """Take in what a trial gave."""
        self.trials[trial] = values

    def save(self, path: Path) -> None:
        """Write atomically, together with the trials that the file has already of the same data."""
        before = Examples.load(path) if path.is_file() else self
        kept = {**(before.trials if before.digest == self.digest else {}), **self.trials}
        names = dict.fromkeys(name for values in kept.values() for name in values)
        arrays: dict[str, Any] = {
            "digest": np.asarray(self.digest),
            "trials": np.asarray(list(kept), np.int64),
            **{
                f"metric_{name}": np.stack([values[name] for values in kept.values()])
                for name in names
                if kept
            },
        }
        with whole(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
