"""The set of configs: a domain for every hyperparameter that is searched, values for those that are fixed.

A hyperparameter may depend on others (`when`): it is active if every one of them is active and has one of the
values named. A config holds the fixed values and the active hyperparameters, never an inactive one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from hpo.errors import UsageError
from hpo.options import unknown
from hpo.space.domains import Choice, Domain, Float, is_value, same
from hpo.space.prior import Prior
from trials.spec import Config, Value

Conditions = Mapping[str, tuple[Value, ...]]  # name of another hyperparameter -> the values that are wanted


@dataclass(frozen=True, slots=True)
class Space:
    """Domains, fixed values, conditions, and what is believed of some.

    *Laws.* `sample` and `decode` give configs that `validate` accepts. `decode(encode([config])[0])` is the
    config, up to rounding of floats. No config holds an inactive hyperparameter.

    >>> domains = {"lr": Float(1e-4, 1e-1, "log"), "optimizer": Choice(("adamw", "sgd"))}
    >>> Space(domains, fixed={"batch_size": 64}).decode([0.0, 0.9])
    {'lr': 0.0001, 'optimizer': 'sgd', 'batch_size': 64}
    """

    domains: Mapping[str, Domain]
    fixed: Mapping[str, Value] = field(default_factory=dict[str, Value])
    when: Mapping[str, Conditions] = field(default_factory=dict[str, Conditions])
    priors: Mapping[str, Prior] = field(default_factory=dict[str, Prior])
    names: tuple[str, ...] = field(init=False, repr=False)  # searched; those depended on come first

    def __post_init__(self) -> None:
        when = {
            name: {parent: tuple(values) for parent, values in conditions.items()}
            for name, conditions in self.when.items()
            if conditions
        }
        object.__setattr__(self, "domains", dict(self.domains))
        object.__setattr__(self, "fixed", dict(self.fixed))
        object.__setattr__(self, "when", when)
        for name, value in self.fixed.items():
            if name in self.domains:
                raise UsageError(f"{name}: both fixed at {value!r} and searched over {self.domains[name]}")
            if not is_value(value):
                raise UsageError(f"{name}: {value!r} must be a boolean, a finite number or a text")
        for name in when:
            self._check_conditions(name)
        object.__setattr__(self, "names", self._ordered())

    def _check_conditions(self, name: str) -> None:
        known = {*self.domains, *self.fixed}
        if name in self.fixed:
            raise UsageError(
                f"{name}: a fixed value takes no `when`; give it a choice of one value, {self.fixed[name]!r}"
            )
        if name not in self.domains:
            raise UsageError(f"when: {unknown('hyperparameter', name, known)}")
        for parent, values in self.when[name].items():
            place = f"{name}: when {parent}"
            if parent not in known:
                raise UsageError(f"{name}: when: {unknown('hyperparameter', parent, known)}")
            if not values:
                raise UsageError(f"{place} must name at least one value")
            for value in values:
                if not is_value(value):
                    raise UsageError(f"{place}={value!r} must be a boolean, a finite number or a text")
            if parent in self.fixed:
                continue
            domain = self.domains[parent]
            if isinstance(domain, Float):
                raise UsageError(f"{place}: a condition needs a choice or an integer, not {domain}")
            for value in values:
                if not domain.contains(value):
                    raise UsageError(f"{place}={value!r} never holds: {parent} is {domain}")

    def _ordered(self) -> tuple[str, ...]:
        ordered: dict[str, None] = {}
        path: list[str] = []

        def visit(name: str) -> None:
            if name in ordered or name not in self.domains:
                return
            if name in path:
                circle = " -> ".join([*path[path.index(name) :], name])
                raise UsageError(f"{name}: conditions go round in a circle: {circle}")
            path.append(name)
            for parent in self.when.get(name, {}):
                visit(parent)
            path.pop()
            ordered[name] = None

        for name in self.domains:
            visit(name)
        return tuple(ordered)

    def is_active(self, name: str, config: Config) -> bool:
        """Whether the hyperparameter has a value in a config with these values of those it depends on."""
        return all(
            (parent in config or parent in self.fixed)
            and any(same(config.get(parent, self.fixed.get(parent, "")), value) for value in values)
            for parent, values in self.when.get(name, {}).items()
        )

    def active(self, config: Config) -> tuple[str, ...]:
        """The searched hyperparameters that have a value in a config which agrees with this one so far."""
        found: dict[str, Value] = dict(self.fixed)
        for name in self.names:
            if self.is_active(name, found) and name in config:
                found[name] = config[name]
        return tuple(name for name in self.names if self.is_active(name, found))

    def sample(self, rng: np.random.Generator) -> dict[str, Value]:
        """A config at a uniform point of the unit cube; draws one number for every name, active or not."""
        return self.decode(rng.random(len(self.names)))

    def encode(self, configs: Sequence[Config]) -> np.ndarray:
        """(n, d) points of the unit cube, columns in the order of `names`; 0.5 where inactive."""
        points = np.full((len(configs), len(self.names)), 0.5)
        for row, config in zip(points, configs, strict=True):
            for column, name in enumerate(self.names):
                if name in config:
                    row[column] = self.domains[name].encode(config[name])
        return points

    def decode(self, point: Sequence[float] | np.ndarray) -> dict[str, Value]:
        """The config at a point of the unit cube, (d,), without the inactive hyperparameters."""
        found: dict[str, Value] = {}
        for name, coordinate in zip(self.names, point, strict=True):
            if self.is_active(name, found):
                found[name] = self.domains[name].decode(float(coordinate))
        return {**found, **self.fixed}

    def complete(self, config: Config) -> dict[str, Value]:
        """The config with the fixed values filled in, and whole numbers of floats as floats.

        Raises:
            UsageError: an unknown or inactive name, a missing active one, a value outside its domain, or one
                that differs from the fixed value.
        """
        for name, value in config.items():
            if name in self.fixed:
                if not same(value, self.fixed[name]):
                    raise UsageError(f"{name}={value!r} must be {self.fixed[name]!r}: it is fixed")
            elif name not in self.domains:
                raise UsageError(unknown("hyperparameter", name, {*self.domains, *self.fixed}))
        found: dict[str, Value] = {}
        for name in self.names:
            domain = self.domains[name]
            if not self.is_active(name, found):
                if name in config:
                    wanted = " and ".join(
                        f"{parent} is {Choice(values)}" for parent, values in self.when[name].items()
                    )
                    raise UsageError(f"{name}={config[name]!r} must be left out: it is active when {wanted}")
            elif name not in config:
                raise UsageError(f"{name} is missing: it must be {domain}")
            elif not domain.contains(config[name]):
                raise UsageError(f"{name}={config[name]!r} must be {domain}")
            else:
                value = config[name]
                found[name] = float(value) if isinstance(domain, Float) else value
        return {**found, **self.fixed}

    def validate(self, config: Config) -> None:
        """Do nothing if this is a whole config of the space.

        Raises:
            UsageError: as `complete`, or a fixed value is missing.
        """
        for name, value in self.complete(config).items():
            if name not in config:
                raise UsageError(f"{name} is missing: it must be {value!r}")

    def holds(self, config: Config) -> bool:
        """Whether what is searched lies in this space, whatever the fixed values were."""
        try:
            self.complete({name: config[name] for name in self.names if name in config})
        except UsageError:
            return False
        return True

    def grid_size(self, points: int | None = None) -> int | None:
        """How many configs there are if a float has so many values; without `points`, floats make it None."""
        if points is None and any(isinstance(domain, Float) for domain in self.domains.values()):
            return None
        return self._count(0, {}, points or 1)

    def grid_config(self, index: int, points: int) -> dict[str, Value]:
        """The config of this number, below `grid_size(points)`; the last name changes fastest."""
        found: dict[str, Value] = {}
        for position, name in enumerate(self.names):
            if not self.is_active(name, found):
                continue
            for values, rest in self._branches(position, found, points):
                if index < len(values) * rest:
                    found[name] = values[index // rest]
                    index %= rest
                    break
                index -= len(values) * rest
        return {**found, **self.fixed}

    def _branches(self, position: int, config: Config, points: int) -> list[tuple[Sequence[Value], int]]:
        """Runs of values of one active hyperparameter, with the number of ways to go on from each value.

        Values that no condition names go on alike, so a run of them is counted once.
        """
        name = self.names[position]
        values = self.domains[name].levels(points)
        cuts = {0, len(values)}
        for conditions in self.when.values():
            for value in conditions.get(name, ()):
                cuts |= {values.index(value), values.index(value) + 1}
        edges = sorted(cuts)
        runs = [values[start:end] for start, end in pairwise(edges)]
        return [(run, self._count(position + 1, {**config, name: run[0]}, points)) for run in runs]

    def _count(self, position: int, config: Config, points: int) -> int:
        if position == len(self.names):
            return 1
        if not self.is_active(self.names[position], config):
            return self._count(position + 1, config, points)
        return sum(len(values) * rest for values, rest in self._branches(position, config, points))
