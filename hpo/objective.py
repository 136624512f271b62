"""The one metric a study is about, turned into a number to minimise.

A search may go by another metric than the winner is chosen by: by one that is known at every rung.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Optional, cast

from hpo.errors import UsageError
from hpo.options import unknown
from trials.validation import SHIFTED

_LOSS = "val_loss"


@dataclass(frozen=True, slots=True)
class Objective:
    """Name and direction of the metric.

    >>> Objective("val_accuracy", "max").value({"val_accuracy": 0.9})
    -0.9
    """

    metric: str = "val_loss"
    goal: Literal["min", "max"] = "min"
    chosen_by: Optional["Objective"] = None  # what the winner is chosen by, where that is another metric

    @property
    def is_ranked(self) -> bool:
        """Whether the winner is chosen by its scores on shifted copies, `hpo.shifted`."""
        return self.final.metric.startswith(SHIFTED)

    @property
    def final(self) -> "Objective":
        """What the winner is chosen by."""
        return self.chosen_by or self

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
    def of_study(cls, study: Mapping[str, Any], where: str = "study") -> "Objective":
        """What a study, as a table with its defaults filled in, searches by and chooses by.

        Where only leading trials get fold models, the shifted metric is known once the search is over: it
        goes by plain loss until then.
        """
        found = cls.read(study["metric"], where)
        validation = cast(Mapping[str, Any], study.get("validation", {}))
        is_late = validation.get("kind") == "shifted-kfold" and validation.get("folds_for") == "leading"
        return cls(_LOSS, "min", found) if is_late else found

    @classmethod
    def read(cls, value: Any, where: str = "study") -> "Objective":
        """The objective that a study's `metric` names: a text, or {name = ..., goal = "min" or "max"}.

        Shifted accuracy is maximised unless the goal says otherwise.

        >>> Objective.read({"name": "val_accuracy", "goal": "max"}).goal
        'max'
        >>> Objective.read("shifted_accuracy").goal
        'max'

        Raises:
            UsageError: anything else.
        """
        table = cast(Mapping[str, Any], value) if isinstance(value, Mapping) else {"name": value}
        for name in table:
            if name not in ("name", "goal"):
                raise UsageError(f"{where} metric: {unknown('key', name, ['name', 'goal'])}")
        metric = table.get("name")
        is_accuracy = isinstance(metric, str) and metric.startswith(SHIFTED) and "accuracy" in metric
        goal = table.get("goal", "max" if is_accuracy else "min")
        if not isinstance(metric, str) or not metric:
            raise UsageError(f'{where} metric: name = {metric!r} must be a text, such as "val_accuracy"')
        if goal not in ("min", "max"):
            raise UsageError(f"{where} metric: goal = {goal!r} must be 'min' or 'max'")
        return cls(metric, goal)
