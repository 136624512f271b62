"""Synthetic curves whose lowest final loss is known, and whose first rungs mislead in ways seen in practice.

Every family has a landscape of final losses and its own way there. A curve is
`final + gap(config, progress)`, the gap 0 at the end, with a little noise. `honest` is the control: its ranks
hold from the first rung on.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from hpo.problems.base import Problem, sampled_median
from hpo.problems.landscape import Landscape
from hpo.space import Choice, Float, Int, Space
from trials.seeding import key
from trials.spec import Config

STEPS = 81
_NOISE = 0.004  # standard deviation of a report


def _progress() -> np.ndarray:
    return np.arange(1, STEPS + 1) / STEPS


def power(progress: np.ndarray, speed: float, exponent: float) -> np.ndarray:
    """(steps,) Falls from near 1 to 0 as a power of the progress."""
    low = (1 + speed) ** -exponent
    return ((1 + speed * progress) ** -exponent - low) / (1 - low)


def _alike(landscape: Landscape, config: Config) -> float:
    return 1.0


Gap = Callable[[Landscape, Config, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Synthetic:
    """A landscape and the way there."""

    name: str
    landscape: Landscape
    gap: Gap  # of a config, at each progress; 0 at the end
    breaks: Callable[[Landscape, Config], float]  # progress at which it diverges; above 1: never
    fits: Callable[[Landscape, Config], bool]  # the memory
    pace: Callable[[Landscape, Config], float] = _alike  # seconds of a step
    median: float = field(init=False)  # of the final losses of random configs

    def __post_init__(self) -> None:
        object.__setattr__(self, "median", sampled_median(self.space, self.final))

    @property
    def space(self) -> Space:
        """Configs it has a curve for."""
        return self.landscape.space

    @property
    def steps(self) -> int:
        """Of one full training."""
        return STEPS

    @property
    def best_known(self) -> float:
        """Exactly the lowest there is."""
        return self.landscape.floor

    def final(self, config: Config) -> float:
        """Without noise; infinite where it breaks off."""
        if self.breaks(self.landscape, config) <= 1 or not self.fits(self.landscape, config):
            return math.inf
        return self.landscape.final(config)

    def curve(self, config: Config, seed: int) -> np.ndarray:
        """(steps,) losses; NaN from where it diverged."""
        if not self.fits(self.landscape, config):
            raise MemoryError("it does not fit the imagined device")
        progress = _progress()
        losses = self.landscape.final(config) + self.gap(self.landscape, config, progress)
        text = json.dumps(dict(config), sort_keys=True)
        noise = np.random.default_rng(key(seed, self.name, text)).normal(0.0, _NOISE, STEPS)
        return np.where(progress >= self.breaks(self.landscape, config), np.nan, losses + noise)

    def seconds_per_step(self, config: Config) -> float:
        """By the pace of its family."""
        return self.pace(self.landscape, config)


def never(landscape: Landscape, config: Config) -> float:
    """Where it diverges: nowhere."""
    return 2.0


def always(landscape: Landscape, config: Config) -> bool:
    """Whether it fits the memory: whatever the config."""
    return True


# -- annealed: short runs flatter large rates, whose cost shows late ----------------------------------------

_ANNEALED = Space(
    {
        "lr": Float(1e-4, 1.0, "log"),
        "momentum": Float(0.5, 0.99),
        "weight_decay": Float(1e-6, 1e-1, "log"),
        "warmup_fraction": Float(0.0, 0.3),
        "label_smoothing": Float(0.0, 0.3),
        "batch_size": Int(16, 512, "log"),
    }
)


def _anneals(landscape: Landscape, config: Config, progress: np.ndarray) -> np.ndarray:
    rate = landscape.unit(config, "lr")
    slow = 4.0 * (1 - rate) ** 1.5 * power(progress, 15.0, 0.5)
    shaken = 0.5 * rate * rate * 0.5 * (1 + np.cos(np.pi * progress)) * np.minimum(1.0, 4 * progress)
    return slow + shaken


def _diverges(landscape: Landscape, config: Config) -> float:
    """Above a cliff that high momentum lowers; the sooner, the further above."""
    over = landscape.unit(config, "lr") - 0.9 + 0.12 * landscape.unit(config, "momentum")
    return 0.02 + 0.03 / over if over > 0.02 else 2.0


def _annealed(name: str, instance: int) -> Problem:
    return Synthetic(name, Landscape(_ANNEALED, instance, within=(0.2, 0.55)), _anneals, _diverges, always)


# -- crossing: what starts fast ends early on a plateau; the best are slow -----------------------------------

_CROSSING = Space(
    {
        "lr": Float(1e-5, 1e-1, "log"),
        "beta1": Float(0.7, 0.99),
        "weight_decay": Float(1e-6, 1.0, "log"),
        "dropout": Float(0.0, 0.6),
        "depth": Int(1, 8),
        "activation": Choice(("relu", "gelu", "tanh")),
        "mixup": Float(0.0, 0.5),
    }
)


def _crosses(landscape: Landscape, config: Config, progress: np.ndarray) -> np.ndarray:
    final = landscape.final(config)
    quality = (landscape.chance - final) / (landscape.chance - landscape.floor)  # 1 at the optimum
    regular = 0.5 * landscape.unit(config, "dropout") + 0.5 * landscape.unit(config, "mixup")
    exponent = 2.2 - 1.2 * quality - 0.5 * regular
    return (2.3 * landscape.chance - final) * power(progress, 12.0, exponent)


def _crossing(name: str, instance: int) -> Problem:
    return Synthetic(name, Landscape(_CROSSING, instance), _crosses, never, always)


# -- branches: three optimizers with hyperparameters of their own; one is fast and ends no better -----------

_BRANCHES = Space(
    {
        "optimizer": Choice(("sgd", "adamw", "lion")),
        "sgd_lr": Float(1e-3, 1.0, "log"),
        "sgd_momentum": Float(0.5, 0.99),
        "sgd_nesterov": Choice((True, False)),
        "adamw_lr": Float(1e-5, 1e-2, "log"),
        "adamw_beta1": Float(0.7, 0.99),
        "adamw_beta2": Float(0.9, 0.9999),
        "lion_lr": Float(1e-6, 1e-3, "log"),
        "lion_beta": Float(0.8, 0.99),
        "weight_decay": Float(1e-6, 1e-1, "log"),
        "layers": Int(1, 4),
        "width": Int(16, 512, "log"),
    },
    when={
        **{name: {"optimizer": ("sgd",)} for name in ("sgd_lr", "sgd_momentum", "sgd_nesterov")},
        **{name: {"optimizer": ("adamw",)} for name in ("adamw_lr", "adamw_beta1", "adamw_beta2")},
        **{name: {"optimizer": ("lion",)} for name in ("lion_lr", "lion_beta")},
        "width": {"layers": (2, 3, 4)},
    },
)


def _branches_off(landscape: Landscape, config: Config, progress: np.ndarray) -> np.ndarray:
    speed = {"sgd": 6.0, "adamw": 15.0, "lion": 60.0}[str(config["optimizer"])]
    return (1.2 * landscape.chance - landscape.final(config)) * power(progress, speed, 0.8)


def _branches(name: str, instance: int) -> Problem:
    return Synthetic(name, Landscape(_BRANCHES, instance), _branches_off, never, always)


# -- memory: larger is better up to an edge that only trying shows -------------------------------------------

_MEMORY = Space(
    {
        "width": Int(32, 2048, "log"),
        "depth": Int(1, 12),
        "batch_size": Int(8, 1024, "log"),
        "lr": Float(1e-5, 1e-1, "log"),
        "weight_decay": Float(1e-6, 1e-1, "log"),
    }
)


def _load(landscape: Landscape, config: Config) -> float:
    return sum(landscape.unit(config, name) for name in ("width", "depth", "batch_size"))


def _fits(landscape: Landscape, config: Config) -> bool:
    return _load(landscape, config) <= _load(landscape, landscape.optimum) + 0.15


def _larger_is_slower(landscape: Landscape, config: Config, progress: np.ndarray) -> np.ndarray:
    speed = 40.0 * math.exp(-1.2 * _load(landscape, config))
    return (1.1 * landscape.chance - landscape.final(config)) * power(progress, speed, 0.7)


def _memory(name: str, instance: int) -> Problem:
    return Synthetic(name, Landscape(_MEMORY, instance, within=(0.4, 0.7)), _larger_is_slower, never, _fits)


# -- honest: the control ------------------------------------------------------------------------------------


def _falls(landscape: Landscape, config: Config, progress: np.ndarray) -> np.ndarray:
    return 0.8 * power(progress, 10.0, 0.6)


def _honest(name: str, instance: int) -> Problem:
    return Synthetic(name, Landscape(_CROSSING, instance + 100), _falls, never, always)


# -- costly: a step of a large model takes up to 64 times as long as one of a small one ---------------------

_COSTLY = Space(
    {
        "width": Int(16, 512, "log"),
        "depth": Int(1, 8),
        "lr": Float(1e-5, 1e-1, "log"),
        "weight_decay": Float(1e-6, 1e-1, "log"),
        "dropout": Float(0.0, 0.6),
    }
)


def _by_size(landscape: Landscape, config: Config) -> float:
    return 2.0 ** (4 * landscape.unit(config, "width") + 2 * landscape.unit(config, "depth") - 3)


def _costly(name: str, instance: int) -> Problem:
    return Synthetic(name, Landscape(_COSTLY, instance), _falls, never, always, _by_size)


_FAMILIES: dict[str, Callable[[str, int], Problem]] = {
    "annealed": _annealed,
    "crossing": _crossing,
    "branches": _branches,
    "memory": _memory,
    "honest": _honest,
    "costly": _costly,
}


def synthetic(family: str, instance: int) -> Problem:
    """One of a family; each instance has its own landscape."""
    return _FAMILIES[family](f"{family}:{instance}", instance)
