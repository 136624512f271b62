"""The final loss as a valley in the unit cube, its lowest point known."""

import math
from dataclasses import dataclass, field

import numpy as np

from hpo.space import Choice, Space
from trials.seeding import stream
from trials.spec import Config


@dataclass(frozen=True)
class Landscape:
    """`floor + (chance - floor) (1 - exp(-distance))`, the distance a quadratic form of what is active.

    Hyperparameters matter by factors of up to 40 to each other; wrong choices cost between 0.1 and 0.6.
    """

    space: Space
    instance: int
    floor: float = 0.1
    chance: float = 1.0
    within: tuple[float, float] = (0.2, 0.8)  # where the lowest point may lie, each coordinate
    optimum: Config = field(init=False)
    _center: np.ndarray = field(init=False, repr=False)  # (d,) unit cube
    _weights: np.ndarray = field(init=False, repr=False)  # (d,)
    _slant: np.ndarray = field(init=False, repr=False)  # (d,) a direction that costs more

    def __post_init__(self) -> None:
        rng = stream(self.instance, "landscape", *self.space.names)
        d = len(self.space.names)
        config = self.space.decode(rng.uniform(*self.within, d))
        center = rng.uniform(*self.within, d)
        for column, name in enumerate(self.space.names):
            if name in config:
                center[column] = self.space.encode([config])[0, column]
        object.__setattr__(self, "optimum", config)
        object.__setattr__(self, "_center", center)
        object.__setattr__(self, "_weights", 0.1 * 40 ** rng.random(d))
        object.__setattr__(self, "_slant", rng.normal(0.0, 0.7, d) * (rng.random(d) < 0.5))

    def final(self, config: Config) -> float:
        """The loss after a full training; `floor` at `optimum`, nowhere less."""
        distance = along = 0.0
        points = self.space.encode([config])[0]
        for column, name in enumerate(self.space.names):
            if name not in config:
                continue
            domain = self.space.domains[name]
            if isinstance(domain, Choice):
                index = domain.index(config[name])
                best = self.optimum.get(name)
                wrong = domain.contains(best) and domain.index(best) != index if best is not None else True
                cost = 0.1 + 0.5 * float(stream(self.instance, "choice", name, index).random())
                distance += cost * wrong
            else:
                step = float(points[column] - self._center[column])
                distance += float(self._weights[column]) * step * step
                along += float(self._slant[column]) * step
        return self.floor + (self.chance - self.floor) * -math.expm1(-distance - along * along)

    def unit(self, config: Config, name: str, default: float = 0.5) -> float:
        """Where the hyperparameter lies between its bounds, from 0 to 1."""
        return self.space.domains[name].encode(config[name]) if name in config else default
