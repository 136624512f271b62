"""The one metric a study is about, turned into a number to minimise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


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
