"""What was measured at every step of a trial: an array file beside the journal.

The journal says what a trial reported; this says how it went there, step by step, and what was tried on the
way. It is a view: nothing is decided by it, and without it the study is as good.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.files import whole
from trials.signals import LOSS, SIGNALS

Signals = NDArray[np.float32]  # (T, S) of so many steps; SIGNALS names the columns


@dataclass
class Tried:
    """One probed segment."""

    step: int  # position at which it began
    number: int  # of the probed segments since the last kept one, from 0
    start: int  # number of the segment that it went on from, or -1
    signals: Signals
    val_losses: Sequence[float]
    is_adopted: bool = False


@dataclass
class Record:
    """The kept steps of a trial, in order, and the probes on the way."""

    first_step: int = 0
    kept: list[Signals] = field(default_factory=list[Signals])
    tried: list[Tried] = field(default_factory=list[Tried])
    lr: float = math.nan  # that factors multiply, as the trial began
    optimizer: str = ""

    def save(self, path: Path, facts: Iterable[Mapping[str, Any]] = ()) -> None:
        """Write atomically: whoever looks sees the whole file or none.

        Arrays: `step` of the first kept update; `lr`; `optimizer`; each signal (T,) of the kept steps. For n
        probed segments `probe_step`, `probe_number`, `probe_start`, `probe_adopted` and `probe_steps`, each
        (n,), and one after another `probe_loss`, `probe_factor` and `probe_val_losses`, of which each has
        `probe_evals`.
        `facts` is what the tuner says of them, as JSON.
        """
        nothing = np.zeros((0, len(SIGNALS)), np.float32)
        kept = np.concatenate([nothing, *self.kept])
        tried = np.concatenate([nothing, *(one.signals for one in self.tried)])
        arrays: dict[str, Any] = {
            "step": np.asarray(self.first_step),
            "lr": np.asarray(self.lr),
            "optimizer": np.asarray(self.optimizer),
            **{name: kept[:, column] for column, name in enumerate(SIGNALS)},
            "probe_step": np.asarray([one.step for one in self.tried], np.int64),
            "probe_number": np.asarray([one.number for one in self.tried], np.int64),
            "probe_start": np.asarray([one.start for one in self.tried], np.int64),
            "probe_adopted": np.asarray([one.is_adopted for one in self.tried], np.bool_),
            "probe_steps": np.asarray([len(one.signals) for one in self.tried], np.int64),
            "probe_evals": np.asarray([len(one.val_losses) for one in self.tried], np.int64),
            "probe_loss": tried[:, LOSS],
            "probe_factor": tried[:, SIGNALS.index("factor")],
            "probe_val_losses": np.asarray([x for one in self.tried for x in one.val_losses], np.float64),
            "facts": np.asarray(json.dumps([dict(one) for one in facts])),
        }
        with whole(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
