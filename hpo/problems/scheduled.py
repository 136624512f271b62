"""Synthetic curves of trials whose schedules differ: those that have yet to anneal look worse than they end.

Beside the peak rate the schedule is searched, and how long its cooldown takes. A curve is what the landscape
ends at, and on the way there the two terms of the Multi-Power Law (Luo et al.: A Multi-Power Law for Loss
Curve Prediction Across Learning Rate Schedules, ICLR 2025): a power of the area under the rate, and what
each of its drops has still to give. Large rates learn faster and are shaken more.
"""

import numpy as np

from hpo.problems.landscape import Landscape
from hpo.problems.synthetic import STEPS, Synthetic, always, never
from hpo.space import Choice, Float, Space
from schedules import from_config
from schedules.laws import LAWS, Curve
from schedules.laws.annealing import annealing
from trials.spec import Config

_LAW = LAWS["multi_power"]
_UPDATES = 50  # of a step: the law's memory is counted in updates
_TRUNK = 0.15
_GAIN = (
    0.3,
    0.9,
)  # what annealing from the peak to 0 gives, of the lowest rate, and how much more of the highest

_SPACE = Space(
    {
        "lr": Float(1e-4, 1e-1, "log"),
        "schedule": Choice(("constant", "cosine", "linear", "wsd")),
        "cooldown_fraction": Float(0.05, 0.6),
        "weight_decay": Float(1e-6, 1e-1, "log"),
        "dropout": Float(0.0, 0.6),
        "label_smoothing": Float(0.0, 0.3),
    },
    when={"cooldown_fraction": {"schedule": ("wsd",)}},
)


def _anneals(landscape: Landscape, config: Config, progress: np.ndarray) -> np.ndarray:
    horizon = STEPS * _UPDATES
    updates = np.arange(horizon)
    factors = from_config(config, horizon)(updates)
    seen = annealing(Curve(updates, factors), (np.round(progress * horizon) - 1).astype(np.int64), 1.0)
    effect = _LAW.effect(seen, _LAW.constants)
    unit = landscape.unit(config, "lr")
    low, more = _GAIN
    trunk = _TRUNK * (0.02 + (0.3 + 2.0 * unit) * seen.area / horizon) ** -0.5
    return trunk - trunk[-1] + (low + more * unit) * (effect[-1] - effect)


def scheduled(instance: int) -> Synthetic:
    """One of the family `schedules`."""
    return Synthetic(f"schedules:{instance}", Landscape(_SPACE, instance), _anneals, never, always)
