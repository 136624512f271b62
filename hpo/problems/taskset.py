"""Recorded: 1,000 Adam configs on six text-classification tasks, with the loss at 50 places of each.

Metz et al., "Using a thousand optimization tasks to learn hyperparameter search strategies", 2020,
arXiv:2002.11887 (Apache-2.0). A config is answered with the recorded one nearest to it in the unit cube.
"""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from hpo.errors import UsageError
from hpo.space import Float, Space
from trials.spec import Config

# The ranges the recorded configs were drawn from; 1 - beta was drawn, on a log scale.
_SPACE = Space(
    {
        "lr": Float(1e-8, 1e1, "log"),
        "one_minus_beta1": Float(1e-4, 1.0, "log"),
        "one_minus_beta2": Float(1e-6, 1.0, "log"),
        "epsilon": Float(1e-10, 1e3, "log"),
        "l1": Float(1e-8, 1e1, "log"),
        "l2": Float(1e-8, 1e1, "log"),
        "linear_decay": Float(1e-7, 1e-4, "log"),
        "exponential_decay": Float(1e-6, 1e-3, "log"),
    }
)


class TaskSet:
    """One task; a step is a fiftieth of 10,000 updates."""

    space, steps = _SPACE, 50

    def __init__(self, instance: str, folder: Path) -> None:
        self.name = f"taskset:{instance}"
        path = folder / f"FixedTextRNNClassification_imdb_{instance}.npz"
        try:
            with np.load(path) as found:
                values, losses = found["hp"].astype(float), found["valid"].astype(float)
        except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
            raise UsageError(f"{path}: {error}") from error
        values[:, 1:3] = 1 - values[:, 1:3]
        names = _SPACE.names
        configs = [dict(zip(names, row, strict=True)) for row in values.tolist()]
        self._points = _SPACE.encode(configs)  # (1000, 8)
        self._losses = losses[:, 1:]  # (1000, 50); the first of 51 is before training
        # Once undefined, undefined: what comes after is no training any more.
        self._losses[np.cumsum(~np.isfinite(self._losses), 1) > 0] = np.nan
        final = np.where(np.isnan(self._losses[:, -1]), np.inf, self._losses[:, -1])
        self.best_known, self.median = float(final.min()), float(np.median(final))

    def _nearest(self, config: Config) -> int:
        return int(np.square(self._points - self.space.encode([config])).sum(1).argmin())

    def curve(self, config: Config, seed: int) -> np.ndarray:
        """(50,) validation losses; the seed makes no difference."""
        return self._losses[self._nearest(config)]

    def final(self, config: Config) -> float:
        """The last of them, infinite where it diverged."""
        loss = float(self._losses[self._nearest(config), -1])
        return loss if np.isfinite(loss) else np.inf

    def seconds_per_step(self, config: Config) -> float:
        """Not known."""
        return 1.0
