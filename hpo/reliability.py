"""How far a score ranks trials by what they are, rather than by the examples that happened to validate.

Trials are ranked by two random halves of the examples. The correlation of the two rankings, extrapolated to
all examples (C. Spearman; W. Brown, British Journal of Psychology 3, 1910), is the score's reliability.
"""

import numpy as np
from numpy.typing import NDArray

from hpo.correlation import spearman
from trials.seeding import stream

RELIABLE = 0.8  # below it, a score cannot rank the trials it was given


def split_half(
    scores: NDArray[np.floating],  # (T, N) of T trials on N examples
    seed: int = 0,
    draws: int = 50,
) -> float:
    """Reliability of the mean over the examples; NaN for fewer than three trials or no differences.

    The mean over `draws` random halves, then 2 r / (1 + r).
    """
    trials, size = scores.shape
    if trials < 3 or size < 2:
        return float("nan")
    found: list[float] = []
    for draw in range(draws):
        order = stream(seed, "halves", draw).permutation(size)
        halves = (scores[:, part].mean(1) for part in (order[: size // 2], order[size // 2 :]))
        found.append(float(spearman(*halves)))
    mean = float(np.mean(found))
    return 2 * mean / (1 + mean) if mean > -1 else float("nan")
