"""Every config of a grid, once: all integers and choices, evenly spaced points of floats."""

from collections.abc import Hashable

from hpo.events import Event, Suggestion, TrialStarted
from hpo.space import Space
from trials.seeding import key
from trials.spec import Config


def shuffled(index: int, size: int, seed: int) -> int:
    """Where a permutation of `range(size)` that depends on the seed puts this index, without listing it.

    A Feistel network on the next even number of bits, walked until it is below `size` (Black and Rogaway,
    "Ciphers with Arbitrary Finite Domains", CT-RSA 2002): fewer than four rounds of four hashes on average.

    >>> sorted(shuffled(index, 10, seed=1) for index in range(10))
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for step in range(4):
            left, right = right, left ^ (key(seed, "shuffled", step, right) & mask)
        index = left << half | right
        if index < size:
            return index


class Grid:
    """Grid points in order, or shuffled by the study's seed; those that were tried already are left out."""

    def __init__(self, space: Space, seed: int, points: int = 5, shuffle: bool = True) -> None:
        self._space, self._seed = space, seed
        self._points, self._shuffle = points, shuffle
        self._size = space.grid_size(points) or 0
        self._position = 0  # all grid points before it were tried
        self._tried: set[Hashable] = set()

    def _key(self, config: Config) -> Hashable:
        return tuple(config.get(name) for name in self._space.names)

    def _config(self, position: int) -> Config:
        index = shuffled(position, self._size, self._seed) if self._shuffle else position
        return self._space.grid_config(index, self._points)

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, TrialStarted):
            self._tried.add(self._key(event.spec.config))
            while self._position < self._size and self._key(self._config(self._position)) in self._tried:
                self._position += 1

    def ask(self, n: int) -> list[Suggestion]:
        """The next n configs that were not tried; fewer at the end of the grid."""
        found: list[Suggestion] = []
        for position in range(self._position, self._size):
            if len(found) >= n:
                break
            config = self._config(position)
            if self._key(config) not in self._tried:
                found.append(Suggestion(config, origin="grid"))
        return found
