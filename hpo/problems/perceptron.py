"""Recorded here: a perceptron on digits with wrong labels, where short runs flatter large rates.

The rank correlation of the first reports with the end is negative, and stays so to a tenth of the budget:
large rates lead until they learn the wrong labels by heart. 48 configs are in `perceptron.npz`, each with the
six seeds (wrong labels, first weights, batches) that are the six instances, made by
`python -m tests.bench.perceptron`. A config is answered with the nearest recorded.
"""

from functools import cache
from pathlib import Path

import numpy as np

from hpo.space import Float, Space
from trials.spec import Config

SPACE = Space({"lr": Float(2e-4, 3e-2, "log"), "weight_decay": Float(1e-3, 1.0, "log")})
STEPS = 50  # reports; a step is 40 updates
RECORDED = Path(__file__).with_name("perceptron.npz")


@cache
def _recorded() -> tuple[np.ndarray, np.ndarray]:
    """((48, 2) points of the unit cube, (48, 6, 50) validation losses)."""
    with np.load(RECORDED) as found:
        rows = zip(found["lr"].tolist(), found["weight_decay"].tolist(), strict=True)
        points = SPACE.encode([dict(zip(SPACE.names, row, strict=True)) for row in rows])
        return points, found["losses"].astype(float)


class Perceptron:
    """One seed."""

    space, steps = SPACE, STEPS

    def __init__(self, instance: int) -> None:
        self.name = f"perceptron:{instance}"
        self._points, losses = _recorded()
        self._losses = losses[:, instance]  # (48, 50)
        ends = self._losses[:, -1]
        self.best_known, self.median = float(ends.min()), float(np.median(ends))

    def _found(self, config: Config) -> np.ndarray:
        """The nearest recorded curve."""
        nearest = int(np.square(self._points - self.space.encode([config])).sum(1).argmin())
        return self._losses[nearest]

    def curve(self, config: Config, seed: int) -> np.ndarray:
        """(50,) validation losses; the seed makes no difference."""
        return self._found(config)

    def final(self, config: Config) -> float:
        """The last of them."""
        return float(self._found(config)[-1])

    def seconds_per_step(self, config: Config) -> float:
        """A second, whatever the config: all are of one size."""
        return 1.0
