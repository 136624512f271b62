"""What every step of a trial was: a file of arrays in the study's folder, beside its row.

Written when a trial ends, however it ends, as far as it came; at reports too where the rates are found while
training. `trials.record` says what is in it.
"""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hpo.errors import UsageError
from hpo.history import UNDER_WAY
from schedules.tuner_spec import is_tuner
from trials.spec import Config

Numbers = NDArray[np.float64]

_KEPT = ("factor", "loss", "grad_l1", "grad_l2")  # in every trace there ever was
_PROBED = ("step", "number", "start", "adopted", "steps", "evals")  # one for each probe
_ALONG = (("loss", "steps"), ("factor", "steps"), ("val_losses", "evals"))  # one after another, and how many


def _none() -> Numbers:
    return np.zeros(0)


@dataclass(frozen=True, eq=False)
class Probed:
    """One segment that was tried, n steps of it."""

    step: int  # position at which it began
    number: int  # of the probes since the last kept segment, from 0
    start: int  # number of the probe that it went on from, or -1: from where the trial stood
    is_adopted: bool  # its steps are among the kept ones
    factor: Numbers  # (n,)
    loss: Numbers  # (n,)
    val_losses: Numbers  # at its evaluations, on the split that tuners are told of


@dataclass(frozen=True, eq=False)
class TrialTrace:
    """The kept steps of one trial, T of them; probed steps that were gone back on are in `probes` only."""

    factor: Numbers  # (T,) on the learning rate of each update
    loss: Numbers  # (T,) training loss before it
    grad_l1: Numbers  # (T,) norm of its gradient, before clipping
    grad_l2: Numbers  # (T,)
    update_norm: Numbers = field(default_factory=_none)  # (T,) of the weights' change; (0,) in old files
    first_step: int = 0  # position of the first of them
    lr: float = math.nan  # that factors multiply; NaN in old files
    optimizer: str = ""
    probes: tuple[Probed, ...] = ()  # in the order in which they ended
    facts: tuple[Mapping[str, Any], ...] = ()  # what the tuner says of its candidates; `schedules.plan`

    @property
    def steps(self) -> NDArray[np.int64]:
        """(T,) positions."""
        return self.first_step + np.arange(len(self.factor))


def trace_name(trial: int) -> str:
    """Where the trace of a trial lies in the study's folder.

    >>> trace_name(12)
    'traces/trial-00012.npz'
    """
    return f"traces/trial-{trial:05d}.npz"


def is_found_online(config: Config) -> bool:
    """Whether the rates of a task's trial are known only once it was trained, from its trace.

    >>> is_found_online({"lr": 0.1, "schedule": "race(k=4)"}), is_found_online({"lr": 0.1, "rule": "none"})
    (True, False)
    """
    return is_tuner(config) or config.get("rule", "none") != "none"


def load_trace(folder: Path, trial: int) -> TrialTrace:
    """The trace of a trial of the study in this folder, of one kept step at least.

    Raises:
        UsageError: no such trial, no trace of it, or a file that cannot be read as one.
    """
    from hpo import study

    history, _, _ = study.read(folder)
    if trial not in history.trials:
        known = f"0 to {max(history.trials)}" if history.trials else "none"
        raise UsageError(f"study {folder.name!r} has no trial {trial}; it has {known}")
    path = folder / trace_name(trial)
    # A view may show half a trial; nothing is to be made of it.
    if history.trials[trial].state in UNDER_WAY:
        raise UsageError(
            f"trial {trial} of study {folder.name!r} is {history.trials[trial].state}: "
            "its trace is whole when it has ended"
        )
    if not path.is_file():
        raise UsageError(
            f"trial {trial} of study {folder.name!r} has no {trace_name(trial)}: it was run by a version of "
            "hpo that kept no traces, or without saving; search again to have one"
        )
    found = read_trace(path)
    if not len(found.factor):
        raise UsageError(
            f"trial {trial} of study {folder.name!r} kept no step: it ended while it tried its first rates"
        )
    return found


def find_trace(folder: Path, trial: int) -> TrialTrace | None:
    """The trace of a trial for a view, which shows nothing where there is none or it cannot be read."""
    path = folder / trace_name(trial)
    try:
        return read_trace(path) if path.is_file() else None
    except UsageError:
        return None


def read_trace(path: Path) -> TrialTrace:
    """The trace in a file.

    Raises:
        UsageError: it cannot be read as one.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} is not there: name a file of arrays that `hpo train --trace` or a study wrote"
        )
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            found = {name: np.asarray(arrays[name]) for name in arrays.files}
        kept = {name: np.asarray(found[name], np.float64) for name in _KEPT}
        lengths = {len(array) if array.ndim == 1 else -1 for array in kept.values()}
        if len(lengths) > 1 or min(lengths) < 0:
            raise ValueError("its arrays must be one number for each step, of equally many steps")
        trace = TrialTrace(
            **kept,
            update_norm=np.asarray(found.get("update_norm", ()), np.float64),
            first_step=int(found["step"]) if "step" in found else 0,
            lr=float(found["lr"]) if "lr" in found else math.nan,
            optimizer=str(found["optimizer"]) if "optimizer" in found else "",
            probes=tuple(_probes(found)),
            facts=tuple(json.loads(str(found["facts"]))) if "facts" in found else (),
        )
    except KeyError as error:
        raise UsageError(f"{path} is damaged: it has no {error.args[0]}") from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is damaged: {error}") from None
    return trace


def _probes(found: Mapping[str, NDArray[Any]]) -> Sequence[Probed]:
    """The probes, of arrays named as `trials.record.Record.save` names them."""
    if "probe_step" not in found:
        return ()
    told = [[int(one) for one in found[f"probe_{name}"]] for name in _PROBED]
    along: list[list[Numbers]] = []
    for name, count in _ALONG:
        ends = np.cumsum(told[_PROBED.index(count)])
        array = np.asarray(found[f"probe_{name}"], np.float64)
        if len(array) != (int(ends[-1]) if len(ends) else 0):
            raise ValueError(f"probe_{name} must be as long as probe_{count} says")
        along.append(np.split(array, ends[:-1]) if len(ends) else [])
    return [
        Probed(step, number, start, bool(adopted), factor, loss, val_losses)
        for step, number, start, adopted, loss, factor, val_losses in zip(*told[:4], *along, strict=True)
    ]


def sampled(values: Numbers, points: int) -> NDArray[np.int64]:
    """Places of at most so many of the values, four or more: both ends, and the extremes of every stretch.

    >>> sampled(np.array([0.0, 5.0, 1.0, 1.0, 1.0, -3.0, 2.0, 2.0]), 6).tolist()
    [0, 1, 3, 5, 7]
    """
    count = len(values)
    if count <= points:
        return np.arange(count)
    known = np.where(np.isfinite(values), values, math.inf)
    places = {0, count - 1}
    for stretch in np.array_split(np.arange(count), max(1, (points - 2) // 2)):
        places |= {int(stretch[known[stretch].argmin()])}
        places |= {int(stretch[np.where(np.isfinite(values[stretch]), values[stretch], -math.inf).argmax()])}
    return np.array(sorted(places))
