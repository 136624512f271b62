"""Which example a lane sees at a step: a pure function of (seed, step).

Examples come in epochs without replacement; a batch may span two epochs, so no example is dropped. Because
nothing is advanced, a rewound or resumed row sees the batches it saw, and probes share theirs.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from trials.seeding import stream


@lru_cache(maxsize=256)
def _epoch(seed: int, epoch: int, size: int) -> NDArray[np.int64]:
    return stream(seed, "order", epoch).permutation(size)


def batches(seed: int, step: int, steps: int, batch_size: int, size: int) -> NDArray[np.int64]:
    """(steps, batch_size) indices of the examples of steps `step`, `step + 1`, ….

    >>> first = batches(seed=0, step=0, steps=5, batch_size=2, size=10)
    >>> sorted(first.reshape(-1).tolist()) == list(range(10))
    True
    >>> bool((batches(0, 3, 1, 2, 10) == first[3]).all())
    True
    """
    start, count = step * batch_size, steps * batch_size
    parts: list[NDArray[np.int64]] = []
    position = start
    while position < start + count:
        epoch, offset = divmod(position, size)
        take = min(size - offset, start + count - position)
        parts.append(_epoch(seed, epoch, size)[offset : offset + take])
        position += take
    return np.concatenate(parts).reshape(steps, batch_size)
