"""A scrambled Sobol' sequence: configs that fill the space more evenly than independent ones.

Owen, "Scrambling Sobol' and Niederreiter-Xing Points", Journal of Complexity 14 (1998); the sequence is that
of Joe and Kuo, "Constructing Sobol Sequences with Better Two-Dimensional Projections", SIAM Journal on
Scientific Computing 30 (2008).
"""

import numpy as np

from hpo.events import Event, Suggestion, TrialStarted
from hpo.space import Space
from trials.seeding import stream


class Sobol:
    """The config of a trial is the point of its number; the study's seed scrambles the sequence."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._next = 0  # number of the next trial

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, TrialStarted):
            self._next = max(self._next, event.spec.trial + 1)

    def ask(self, n: int) -> list[Suggestion]:
        """The configs at the next n points."""
        return [Suggestion(self._space.decode(point), origin="sobol") for point in self._points(n)]

    def _points(self, n: int) -> np.ndarray:
        d = len(self._space.names)
        if not n or not d:
            return np.empty((n, d))
        # Imported here because it takes half a second.
        from scipy.stats import qmc  # pyright: ignore[reportMissingTypeStubs]

        sequence = qmc.Sobol(d, rng=stream(self._seed, "sampler", "sobol"))
        if self._next:
            sequence.fast_forward(self._next)
        # One at a time: a first draw of several points warns unless it is a power of two.
        return np.concatenate([sequence.random(1) for _ in range(n)])
