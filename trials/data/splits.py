"""Which examples train, validate and test. Seeded by the study, never by the trial."""

import numpy as np
from numpy.typing import NDArray

from trials.seeding import stream


def three_way(
    size: int, seed: int, val_fraction: float = 0.2, test_fraction: float = 0.2, labels: NDArray[np.integer] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Indices of train, validation and test: disjoint, together everything, each sorted.

    With `labels`, every class keeps its share in each split. The test split does not depend on the seed, so
    that studies with different split seeds can be compared on it.
    """
    if val_fraction <= 0 or test_fraction < 0 or val_fraction + test_fraction >= 1:
        raise ValueError(f"val_fraction={val_fraction} and test_fraction={test_fraction} must leave some to train on")
    groups = [np.arange(size)] if labels is None else [np.flatnonzero(labels == c) for c in np.unique(labels)]
    parts: tuple[list[NDArray[np.int64]], ...] = ([], [], [])
    for number, group in enumerate(groups):
        mixed = group[stream(0, "test split", number).permutation(len(group))]
        tests = round(test_fraction * len(group))
        rest = mixed[tests:]
        rest = rest[stream(seed, "validation split", number).permutation(len(rest))]
        vals = round(val_fraction * len(group))
        for part, chosen in zip(parts, (rest[vals:], rest[:vals], mixed[:tests]), strict=True):
            part.append(chosen)
    train, val, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, val, test
