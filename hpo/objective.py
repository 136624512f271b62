"""The one metric a study is about, turned into a number to minimise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from hpo.errors import UsageError
from hpo.options import unknown


@dataclass(frozen=True, slots=True)
class Objective:
    """Name and direction of the metric.

    >>> Objective("val_accuracy", "max").value({"val_accuracy": 0.9})
    -0.9
    """

    metric: str = "val_loss"
    goal: Literal["min", "max"] = "min"

    def value(self, metrics: Mapping[str, float]) -> float:
        """The metric, negated when it is to be maximised; infinite when missing or not finite."""
        found = metrics.get(self.metric, math.nan)
        if not math.isfinite(found):
            return math.inf
        return found if self.goal == "min" else -found

    def shown(self, value: float) -> float:
        """The metric as the user knows it, from a number that `value` returned."""
        return value if self.goal == "min" else -value

    @classmethod
    def read(cls, value: Any, where: str = "study") -> "Objective":
        """The objective that a study's `metric` names: a text, or {name = ..., goal = "min" or "max"}.

        >>> Objective.read({"name": "val_accuracy", "goal": "max"}).goal
        'max'

        Raises:
            UsageError: anything else.
        """
        table = cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {"name": value}
        for name in table:
            if name not in ("name", "goal"):
                raise UsageError(f"{where} metric: {unknown('key', name, ['name', 'goal'])}")
        metric, goal = table.get("name"), table.get("goal", "min")
        if not isinstance(metric, str) or not metric:
            raise UsageError(f'{where} metric: name = {metric!r} must be a text, such as "val_accuracy"')
        if goal not in ("min", "max"):
            raise UsageError(f"{where} metric: goal = {goal!r} must be 'min' or 'max'")
        return cls(metric, goal)
