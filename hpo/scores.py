"""What completed trials scored on every validation example, read from the study's folder.

`trials.scores` writes it: `scores/trial-NNNNN.npz`, beside the journal. Studies whose validation is shifted
have it, of completed trials; a view shows nothing where there is none.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hpo.errors import UsageError
from hpo.reliability import split_half
from trials.scores import Scores, unpacked


def scores_name(trial: int) -> str:
    """Where the scores of a trial lie in the study's folder.

    >>> scores_name(12)
    'scores/trial-00012.npz'
    """
    return f"scores/trial-{trial:05d}.npz"


def read_scores(path: Path) -> Scores:
    """The scores in a file.

    Raises:
        UsageError: it cannot be read as such.
    """
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return unpacked({name: np.asarray(arrays[name]) for name in arrays.files})
    except KeyError as error:
        raise UsageError(f"{path} is damaged: it has no {error.args[0]}") from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be read as scores: {error}") from None


def found_scores(folder: Path, trials: Iterable[int]) -> dict[int, Scores]:
    """Trial -> its scores, of those that have any."""
    found: dict[int, Scores] = {}
    for trial in trials:
        path = folder / scores_name(trial)
        if path.is_file():
            found[trial] = read_scores(path)
    return found


def plain_examples(scores: Iterable[Scores], name: str) -> NDArray[np.float64]:
    """(T, N) a metric on every validation example of T trials."""
    return np.array([one.metrics[name][0] for one in scores], np.float64)


def shifted_examples(scores: Iterable[Scores], name: str) -> NDArray[np.float64]:
    """(T, N) the mean over families of a metric on every validation example; NaN where a family has none."""
    return np.array([one.metrics[name][1:].mean(0) for one in scores], np.float64)


def reliabilities(scores: Iterable[Scores], name: str, seed: int = 0) -> tuple[float, float]:
    """Split-half reliability of a metric on the validation split, and of its mean over families."""
    every = list(scores)
    whole = [one for one in every if not np.isnan(one.metrics[name]).any()]
    plain = split_half(plain_examples(every, name), seed) if every else float("nan")
    return plain, split_half(shifted_examples(whole, name), seed) if whole else float("nan")
