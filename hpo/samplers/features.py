"""Configs as rows of numbers between which distances mean something.

A point of the unit cube (`Space.encode`) has a coordinate for every hyperparameter, active or not. Here the
inactive ones are taken out: `columns` gives a choice a column a value, a conditional number a place on an arc
whose centre stands for "inactive" (Hutter and Osborne, "A kernel for hierarchical parameter spaces", 2013,
arXiv:1310.5738). Two configs that both lack a hyperparameter are at no distance in it; one that has it is as
far from one that lacks it whatever the value.
"""

import math
from collections.abc import Callable

import numpy as np

from hpo.space import Choice, Domain, Float, Space
from hpo.space.domains import same

_APART = 0.7  # size of a choice's column, and radius of the arc: different is about as far as low from high

_FINE = 1e-10  # of a range, by which a point may differ from that of its value


class Features:
    """Arithmetic on many points of the unit cube of a space at once.

    Legend: n points, d hyperparameters, D columns.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.d = len(space.names)
        self._domains = [space.domains[name] for name in space.names]
        self._levels = [_levels(domain) for domain in self._domains]
        self._conditions = [self._of(name) for name in space.names]
        self.is_choice = np.array([isinstance(domain, Choice) for domain in self._domains], bool)
        self.sizes = np.array([len(d.choices) if isinstance(d, Choice) else 0 for d in self._domains], int)
        owners: list[int] = []
        for index, (domain, name) in enumerate(zip(self._domains, space.names, strict=True)):
            if isinstance(domain, Choice):
                owners += [index] * len(domain.choices)
            else:
                owners += [index] * (2 if name in space.when else 1)
        self.owners = np.array(owners, int)  # (D,) the hyperparameter of each column

    def _of(self, name: str) -> list[tuple[int, np.ndarray]] | bool:
        """Conditions as (column of the parent, its wanted levels); or whether a fixed value decides."""
        found: list[tuple[int, np.ndarray]] = []
        for parent, values in self.space.when.get(name, {}).items():
            if parent in self.space.fixed:
                if not any(same(value, self.space.fixed[parent]) for value in values):
                    return False
                continue
            domain = self.space.domains[parent]
            wanted = [domain.index(v) if isinstance(domain, Choice) else int(v) for v in values]
            found.append((self.space.names.index(parent), np.array(wanted, float)))
        return found

    def active(self, points: np.ndarray) -> np.ndarray:
        """(n, d) whether each hyperparameter has a value in the config at each point."""
        found = np.ones(points.shape, bool)
        for column, conditions in enumerate(self._conditions):
            if isinstance(conditions, bool):
                found[:, column] = conditions
                continue
            for parent, wanted in conditions:
                level = self._levels[parent](points[:, parent])[0]
                found[:, column] &= found[:, parent] & np.isin(level, wanted)
        return found

    def snapped(self, points: np.ndarray) -> np.ndarray:
        """(n, d) the points that `encode` gives for the configs at these; 0.5 where inactive."""
        found = np.clip(points, 0.0, 1.0)
        for column, levels in enumerate(self._levels):
            found[:, column] = levels(found[:, column])[1]
        return np.where(self.active(found), found, 0.5)

    def columns(self, points: np.ndarray, active: np.ndarray) -> np.ndarray:
        """(n, D) of snapped points and what is active in them."""
        parts: list[np.ndarray] = []
        for column, (domain, name) in enumerate(zip(self._domains, self.space.names, strict=True)):
            here, values = active[:, column], points[:, column]
            if isinstance(domain, Choice):
                index = self._levels[column](values)[0]
                parts.append(_APART * (index[:, None] == np.arange(len(domain.choices))) * here[:, None])
            elif name in self.space.when:
                angle = 0.5 * math.pi * values
                parts.append(_APART * np.stack([np.sin(angle), np.cos(angle)], 1) * here[:, None])
            else:
                parts.append(values[:, None])
        return np.concatenate(parts, 1) if parts else np.zeros((len(points), 0))


def _is_coarse(domain: Float) -> bool:
    """Whether so few floats lie between the bounds that a point is not the one its value is encoded as."""
    low, high, step = domain.low, domain.high, np.spacing(max(abs(domain.low), abs(domain.high)))
    if domain.scale == "log":
        low, high = math.log(low), math.log(high)
        # What a value is rounded by, and what its logarithm is.
        step = max(float(np.finfo(float).eps), float(np.spacing(max(abs(low), abs(high)))))
        if domain.low < np.finfo(float).tiny:
            step = max(step, math.ulp(0.0) / domain.low)
    return step > _FINE * (high - low)


def _levels(domain: Domain) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """(n,) coordinates -> ((n,) whole number or index of the choice, (n,) coordinate it is encoded as)."""
    if isinstance(domain, Float):
        if not _is_coarse(domain):
            return lambda points: (points, points)

        def of_few(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = np.array([domain.encode(domain.decode(float(point))) for point in points], float)
            return found, found

        return of_few
    if isinstance(domain, Choice):
        count = len(domain.choices)

        def of_choice(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            index = np.clip(np.floor(points * count), 0, count - 1)
            return index, (index + 0.5) / count

        return of_choice
    if domain.scale == "log":
        low, high = math.log(domain.low - 0.5), math.log(domain.high + 0.5)

        def of_log(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            number = np.floor(np.exp((1 - points) * low + points * high) + 0.5)
            number = np.clip(number, domain.low, domain.high)
            return number, (np.log(number) - low) / (high - low)

        return of_log
    count = domain.high - domain.low + 1

    def of_linear(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        number = np.clip(domain.low + np.floor(points * count), domain.low, domain.high)
        return number, (number - domain.low + 0.5) / count

    return of_linear
