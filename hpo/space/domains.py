"""One hyperparameter's set of values: `Float`, `Int`, `Choice`.

A domain maps its values to the unit interval and back. A uniform number decodes to a uniform value on the
domain's scale, so that a point of the unit cube stands for a config.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeGuard, get_args

import numpy as np

from hpo.errors import UsageError
from hpo.options import unknown
from trials.spec import Value

Scale = Literal["linear", "log"]

LARGEST_INT = 2**40  # encoding is exact in float64 up to here


def same(a: Value, b: Value) -> bool:
    """Whether two values are one value of a choice: equal, and not a boolean beside a number.

    >>> same(1, 1.0), same(1, True)
    (True, False)
    """
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def is_value(value: object) -> TypeGuard[Value]:
    """Whether this can stand in a config: a boolean, a finite number or a text."""
    return isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value))


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_scale(scale: str, low: float, high: float) -> None:
    if scale not in get_args(Scale):
        raise UsageError(unknown("scale", scale, get_args(Scale)))
    if not low < high:
        raise UsageError(f"low={low!r} must be less than high={high!r}")
    if scale == "log" and low <= 0:
        raise UsageError(f"low={low!r} must be greater than 0 on a log scale")


@dataclass(frozen=True, slots=True)
class Float:
    """Real numbers from `low` to `high`, both included.

    >>> Float(1.0, 3.0).decode(0.5), Float(1.0, 4.0, "log").decode(0.5)
    (2.0, 2.0)
    """

    low: float
    high: float
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high)):
            if not _is_number(bound):
                raise UsageError(f"{name}={bound!r} must be a finite number")
            object.__setattr__(self, name, float(bound))
        _check_scale(self.scale, self.low, self.high)
        if not math.isfinite(self.high - self.low):
            raise UsageError(f"low={self.low!r} to high={self.high!r} is too wide a range")
        if self.scale == "log" and math.log(self.low) == math.log(self.high):
            raise UsageError(f"low={self.low!r} to high={self.high!r} is too narrow a range on a log scale")

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"

    def contains(self, value: object) -> bool:
        """Whether this is a number within the bounds."""
        return _is_number(value) and self.low <= value <= self.high

    def encode(self, value: Value) -> float:
        """Where the value lies between the bounds, from 0 to 1, on the scale."""
        number = float(value)
        if self.scale == "log":
            low, high, number = math.log(self.low), math.log(self.high), math.log(number)
        else:
            low, high = self.low, self.high
        return min(1.0, max(0.0, (number - low) / (high - low)))

    def decode(self, point: float) -> float:
        """The value at this point of the unit interval; 0 and 1 give exactly the bounds."""
        if point <= 0:
            return self.low
        if point >= 1:
            return self.high
        if self.scale == "log":
            found = math.exp((1 - point) * math.log(self.low) + point * math.log(self.high))
        else:
            found = (1 - point) * self.low + point * self.high
        return min(self.high, max(self.low, found))

    def sample(self, rng: np.random.Generator) -> float:
        """A value drawn uniformly on the scale."""
        return self.decode(float(rng.random()))

    def levels(self, points: int) -> Sequence[float]:
        """So many values, evenly spaced on the scale, ends included; one value is the middle.

        Fewer if there are not so many floats between the bounds.
        """
        if points == 1:
            return (self.decode(0.5),)
        return tuple(dict.fromkeys(self.decode(float(point)) for point in np.linspace(0, 1, points)))


@dataclass(frozen=True, slots=True)
class Int:
    """Whole numbers from `low` to `high`, both included.

    The unit interval is cut into cells, one a number: of equal width, or, on a log scale, as wide as
    log((n + 1/2) / (n - 1/2)). A number is encoded as a point inside its own cell: `decode(encode(n)) == n`.
    """

    low: int
    high: int
    scale: Scale = "linear"

    def __post_init__(self) -> None:
        for name, bound in (("low", self.low), ("high", self.high)):
            if not _is_whole(bound):
                raise UsageError(f"{name}={bound!r} must be an integer")
            if abs(bound) > LARGEST_INT:
                raise UsageError(f"{name}={bound!r} must lie within {-LARGEST_INT} and {LARGEST_INT}")
        _check_scale(self.scale, self.low, self.high)

    def __str__(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def contains(self, value: object) -> bool:
        """Whether this is an integer within the bounds."""
        return _is_whole(value) and self.low <= value <= self.high

    def _log_bounds(self) -> tuple[float, float]:
        return math.log(self.low - 0.5), math.log(self.high + 0.5)

    def encode(self, value: Value) -> float:
        """A point inside the number's cell of the unit interval; its middle on a linear scale."""
        number = int(value)
        if self.scale == "log":
            low, high = self._log_bounds()
            return (math.log(number) - low) / (high - low)
        return (number - self.low + 0.5) / (self.high - self.low + 1)

    def decode(self, point: float) -> int:
        """The number whose cell holds this point of the unit interval."""
        if self.scale == "log":
            low, high = self._log_bounds()
            found = math.floor(math.exp((1 - point) * low + point * high) + 0.5)
        else:
            found = self.low + math.floor(point * (self.high - self.low + 1))
        return min(self.high, max(self.low, found))

    def sample(self, rng: np.random.Generator) -> int:
        """A number drawn uniformly on the scale."""
        return self.decode(float(rng.random()))

    def levels(self, points: int) -> Sequence[int]:
        """Every number, whatever `points`."""
        return range(self.low, self.high + 1)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values without an order.

    >>> Choice(("adamw", "sgd")).decode(0.7)
    'sgd'
    """

    choices: tuple[Value, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(self.choices))
        if not self.choices:
            raise UsageError("choice=[] must list at least one value")
        for index, value in enumerate(self.choices):
            if not is_value(value):
                raise UsageError(f"choice lists {value!r}: booleans, finite numbers and texts are possible")
            # Equal values of different types are one key to every library we talk to.
            if value in self.choices[:index]:
                raise UsageError(f"choice lists {value!r} twice")

    def __str__(self) -> str:
        return "one of " + ", ".join(repr(value) for value in self.choices)

    def contains(self, value: object) -> bool:
        """Whether this is one of the choices."""
        return is_value(value) and any(same(value, choice) for choice in self.choices)

    def index(self, value: Value) -> int:
        """The place of the value among the choices.

        Raises:
            UsageError: not one of them.
        """
        for index, choice in enumerate(self.choices):
            if same(value, choice):
                return index
        raise UsageError(f"{value!r} must be {self}")

    def encode(self, value: Value) -> float:
        """The middle of the value's cell; all cells are of equal width."""
        return (self.index(value) + 0.5) / len(self.choices)

    def decode(self, point: float) -> Value:
        """The value whose cell holds this point of the unit interval."""
        index = math.floor(point * len(self.choices))
        return self.choices[min(len(self.choices) - 1, max(0, index))]

    def sample(self, rng: np.random.Generator) -> Value:
        """One of the values, each as likely."""
        return self.decode(float(rng.random()))

    def levels(self, points: int) -> Sequence[Value]:
        """Every value, whatever `points`."""
        return self.choices


Domain = Float | Int | Choice
