"""Which examples train, validate and test. Seeded by the study, never by the trial."""

import numpy as np
from numpy.typing import NDArray


def three_way(
    size: int,
    seed: int,
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    labels: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Indices of train, validation and test: disjoint, together everything, each sorted.

    With `labels`, every class keeps its share in each split. The test split does not depend on the seed, so
    that studies with different split seeds can be compared on it.

    Raises:
        ValueError: the fractions leave nothing to train on, or a class has too few examples.
    """
    from sklearn.model_selection import train_test_split

    if val_fraction <= 0 or test_fraction <= 0 or val_fraction + test_fraction >= 1:
        raise ValueError(
            f"val_fraction={val_fraction} and test_fraction={test_fraction} must be above 0 "
            "and leave some to train on"
        )
    everything = np.arange(size)
    rest, test = train_test_split(everything, test_size=test_fraction, random_state=0, stratify=labels)
    train, val = train_test_split(
        rest,
        test_size=val_fraction / (1 - test_fraction),
        random_state=seed % 2**32,
        stratify=None if labels is None else labels[rest],
    )
    return np.sort(train), np.sort(val), np.sort(test)
