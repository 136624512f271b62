"""Synthetic curves of four models, of which the best is ranked wrongly for most of the way.

Three learn alike, and are ranked from the first rung on as they end. Of the fourth, what ends lowest is
slowest to begin, and behind all others until late: a rung that ranks three quarters of the trials rightly
misleads about it.
"""

import numpy as np

from hpo.problems.landscape import Landscape
from hpo.problems.synthetic import Synthetic, always, never, power
from hpo.space import Choice, Float, Space
from trials.spec import Config

_SPACE = Space(
    {
        "model": Choice(("linear", "shallow", "wide", "deep")),
        "lr": Float(1e-4, 1e-1, "log"),
        "weight_decay": Float(1e-6, 1e-1, "log"),
        "dropout": Float(0.0, 0.6),
        "mixup": Float(0.0, 0.5),
    }
)
_BEGINS = 2.3  # where a trial of the best model begins that would end at 0


def _learns(landscape: Landscape, config: Config, progress: np.ndarray) -> np.ndarray:
    if config["model"] != landscape.optimum["model"]:
        return 0.8 * power(progress, 10.0, 0.6)
    # A slope of -1 from the end to the beginning, until it falls.
    late = 1 / (1 + np.exp(20 * (progress - 0.6)))
    return (_BEGINS - 2 * landscape.final(config)) * (late - late[-1]) / (late[0] - late[-1])


def programs(instance: int) -> Synthetic:
    """One of the family `programs`."""
    return Synthetic(f"programs:{instance}", Landscape(_SPACE, instance), _learns, never, always)
