"""One seed -> independent named streams.

A stream is keyed, never advanced on the side: the numbers drawn for ("order", epoch 3) do not depend on
whether anything was drawn before, so a resumed, moved or re-run trial sees what it would have seen.
"""

import hashlib

import numpy as np


def key(seed: int, *names: int | str) -> int:
    """A 63-bit integer that depends on the seed and every name, and on nothing else.

    >>> key(0, "init") == key(0, "init"), key(0, "init") == key(0, "order")
    (True, False)
    """
    text = "/".join([str(int(seed)), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def stream(seed: int, *names: int | str) -> np.random.Generator:
    """A generator of its own for the named purpose.

    >>> float(stream(7, "order", 0).random()) == float(stream(7, "order", 0).random())
    True
    """
    return np.random.Generator(np.random.Philox(key(seed, *names)))
