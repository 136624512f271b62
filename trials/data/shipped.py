"""Tables that ship with scikit-learn, split three ways, and kept in the cache folder.

Importing the library takes a second, which is a tenth of a small study, and what it returns never changes.
"""

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trials.data import splits
from trials.names import cache_folder


@dataclass(frozen=True)
class Table:
    """Examples, and which of them train, validate and test."""

    features: NDArray[np.float64]  # (N, inputs)
    target: NDArray[Any]  # (N,) or (N, outputs)
    train: NDArray[np.int64]  # indices, sorted, as of the next two
    val: NDArray[np.int64]
    test: NDArray[np.int64]


def table(loader: str, split_seed: int, is_classification: bool) -> Table:
    """What this function of `sklearn.datasets` returns; classes keep their share in each split."""
    path = _path(loader, split_seed, is_classification)
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            kept: Mapping[str, NDArray[Any]] = {place.name: file[place.name] for place in fields(Table)}
        return Table(**kept)
    # Absent, or damaged in any of the ways that a file of arrays can be.
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        made = _made(loader, split_seed, is_classification)
        _write(path, made)
        return made


def _path(loader: str, split_seed: int, is_classification: bool) -> Path:
    facts: list[Any] = [loader, split_seed, is_classification, version("scikit-learn"), np.__version__]
    # The code that makes it: a copy that other code made is not this one.
    facts += [Path(file).read_text(encoding="utf-8") for file in (__file__, splits.__file__)]
    return cache_folder() / "tables" / f"{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]}.npz"


def _made(loader: str, split_seed: int, is_classification: bool) -> Table:
    import sklearn.datasets

    found = getattr(sklearn.datasets, loader)()
    features, target = np.asarray(found.data, np.float64), np.asarray(found.target)
    labels = target if is_classification else None
    return Table(features, target, *splits.three_way(len(features), split_seed, labels=labels))


def _write(path: Path, made: Table) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **asdict(made))
        partial.replace(path)
    except OSError:
        # A cache that cannot be written costs a second in the next study, and nothing else.
        return
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
