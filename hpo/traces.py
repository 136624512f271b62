"""What every kept step of a finished trial was: a file of arrays in the study's folder, beside its row."""

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpo.errors import UsageError


@dataclass(frozen=True, eq=False)
class TrialTrace:
    """The kept steps of one trial, T of them; probed steps that were gone back on are not among them."""

    factor: NDArray[np.float64]  # (T,) on the learning rate of each update
    loss: NDArray[np.float64]  # (T,) training loss before it
    grad_l1: NDArray[np.float64]  # (T,) norm of its gradient, before clipping
    grad_l2: NDArray[np.float64]  # (T,)


def trace_name(trial: int) -> str:
    """Where the trace of a trial lies in the study's folder.

    >>> trace_name(12)
    'traces/trial-00012.npz'
    """
    return f"traces/trial-{trial:05d}.npz"


def load_trace(folder: Path, trial: int) -> TrialTrace:
    """The trace of a trial of the study in this folder.

    Raises:
        UsageError: no such trial, no trace of it, or a file that cannot be read as one.
    """
    from hpo import study

    history, _, _ = study.read(folder)
    if trial not in history.trials:
        known = f"0 to {max(history.trials)}" if history.trials else "none"
        raise UsageError(f"study {folder.name!r} has no trial {trial}; it has {known}")
    path = folder / trace_name(trial)
    if not path.is_file():
        state = history.trials[trial].state
        raise UsageError(
            f"trial {trial} of study {folder.name!r} has no {trace_name(trial)}: "
            + (
                f"it is {state}, and traces are kept of completed trials"
                if state != "completed"
                else "it was run by a version of hpo that kept no traces; search again to have one"
            )
        )
    return read_trace(path)


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
            found = TrialTrace(
                **{one.name: np.asarray(arrays[one.name], np.float64) for one in fields(TrialTrace)}
            )
    except KeyError as error:
        raise UsageError(f"{path}: {error.args[0]}") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is damaged: {error}") from None
    lengths = {
        len(getattr(found, one.name)) if getattr(found, one.name).ndim == 1 else -1 for one in fields(found)
    }
    if len(lengths) > 1 or min(lengths) < 1:
        raise UsageError(
            f"{path} is damaged: its arrays must be one number for each step, of equally many steps"
        )
    return found
