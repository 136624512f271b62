"""What a study is about, turned into numbers to minimise: one metric or several, and bounds on metrics.

A search may go by another metric than the winner is chosen by: by one that is known at every rung.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Optional, cast

from hpo.bounds import Bound, read_bounds
from hpo.errors import UsageError
from hpo.options import unknown
from trials.validation import SHIFTED

_LOSS = "val_loss"
_FARTHEST = 1e100  # from 0; models take squares, and those of larger numbers are soon infinite


def is_known(number: float) -> bool:
    """Whether a value can be compared: one that is not finite cannot, nor one as large as a penalty is.

    >>> [is_known(number) for number in (0.5, math.nan, -math.inf, 1.7e308)]
    [True, False, False, False]
    """
    return abs(number) <= _FARTHEST


@dataclass(frozen=True, slots=True)
class Objective:
    """Name and direction of the metric; of the further ones where there are several; what bounds them.

    >>> Objective("val_accuracy", "max").value({"val_accuracy": 0.9})
    -0.9
    """

    metric: str = "val_loss"
    goal: Literal["min", "max"] = "min"
    chosen_by: Optional["Objective"] = None  # what the winner is chosen by, where that is another metric
    others: tuple["Objective", ...] = ()  # further metrics, each as dear as the first
    bounds: tuple[Bound, ...] = ()
    is_lenient: bool = False  # a bound on what a trial does not report is one that it keeps

    @property
    def parts(self) -> tuple["Objective", ...]:
        """An objective for each metric alone, without bounds."""
        return (replace(self, others=(), bounds=()), *self.others)

    @property
    def names(self) -> tuple[str, ...]:
        """Every metric that is sought or bounded, each once."""
        named = [*(part.metric for part in self.parts), *(bound.metric for bound in self.bounds)]
        return tuple(dict.fromkeys(named))

    @property
    def is_single(self) -> bool:
        """Whether one number says which of two trials is better: one metric, no bounds."""
        return not self.others and not self.bounds

    @property
    def is_ranked(self) -> bool:
        """Whether the winner is chosen by its scores on shifted copies, `hpo.shifted`."""
        return self.is_single and self.final.metric.startswith(SHIFTED)

    @property
    def final(self) -> "Objective":
        """What the winner is chosen by."""
        return self.chosen_by or self

    def value(self, metrics: Mapping[str, float]) -> float:
        """The metric, negated when it is to be maximised; infinite when missing or not known (`is_known`)."""
        found = metrics.get(self.metric, math.nan)
        if not is_known(found):
            return math.inf
        return found if self.goal == "min" else -found

    def values(self, metrics: Mapping[str, float]) -> tuple[float, ...]:
        """(m,) of every metric, as `value`.

        >>> Objective(others=(Objective("accuracy", "max"),)).values({"val_loss": 0.5, "accuracy": 0.9})
        (0.5, -0.9)
        """
        return (self.value(metrics), *(other.value(metrics) for other in self.others))

    def is_told(self, metrics: Mapping[str, float]) -> bool:
        """Whether every metric is among these."""
        return all(part.metric in metrics for part in (self, *self.others))

    def margins(self, metrics: Mapping[str, float], missing: float = math.inf) -> tuple[float, ...]:
        """Of every side of every bound, as `Bound.margins`; `missing` where the metric is not among these."""
        found: list[float] = []
        for bound in self.bounds:
            sides = bound.margins(metrics.get(bound.metric, math.nan))
            found += sides if bound.metric in metrics else [0.0 if self.is_lenient else missing] * len(sides)
        return tuple(found)

    def excess(self, metrics: Mapping[str, float], missing: float = math.inf) -> float:
        """How far beyond the bounds these metrics are, in all; 0 within them.

        >>> Objective(bounds=(Bound("parameters", high=100.0),)).excess({"parameters": 150.0})
        0.5
        """
        return sum(max(0.0, side) for side in self.margins(metrics, missing))

    def words(self) -> str:
        """What is sought.

        >>> Objective(others=(Objective("accuracy", "max"),), bounds=(Bound("seconds", high=9.0),)).words()
        'minimises val_loss, maximises accuracy, with seconds at most 9'
        """
        aims = [f"{part.goal}imises {part.metric}" for part in self.parts]
        kept = " and ".join(bound.words() for bound in self.bounds)
        return ", ".join(aims) + (f", with {kept}" if kept else "")

    def shown(self, value: float) -> float:
        """The metric as the user knows it, from a number that `value` returned."""
        return value if self.goal == "min" else -value

    @classmethod
    def of_study(cls, study: Mapping[str, Any], where: str = "study") -> "Objective":
        """What a study, as a table with its defaults filled in, searches by and chooses by.

        Where only leading trials get fold models, the shifted metric is known once the search is over: it
        goes by plain loss until then.

        Raises:
            UsageError: as `read` and `read_bounds`; several metrics where one of them is known late.
        """
        found = cls.read(study["metric"], where)
        bounds = read_bounds(cast(Mapping[str, Any], study.get("constraints", {})), f"{where} [constraints]")
        search = cast(Mapping[str, Any], study.get("search", {}))
        found = replace(found, bounds=bounds, is_lenient=search.get("unreported") == "allow")
        validation = cast(Mapping[str, Any], study.get("validation", {}))
        if validation.get("kind") != "shifted-kfold" or validation.get("folds_for") != "leading":
            return found
        if not found.is_single:
            raise UsageError(
                f"{where} [validation] folds_for = 'leading' knows shifted metrics of the leading trials "
                "only: several metrics, or constraints, need folds_for = 'all'"
            )
        return cls(_LOSS, "min", found)

    @classmethod
    def read(cls, value: Any, where: str = "study") -> "Objective":
        """The objective that a study's `metric` names: one, or a list of several.

        Each is a text, or {name = ..., goal = "min" or "max"}. Shifted accuracy is maximised unless the goal
        says otherwise.

        >>> Objective.read({"name": "val_accuracy", "goal": "max"}).goal
        'max'
        >>> Objective.read(["val_loss", "parameters"]).words()
        'minimises val_loss, minimises parameters'

        Raises:
            UsageError: anything else, or a metric that is named twice.
        """
        if not isinstance(value, (list, tuple)):
            return cls._read_one(value, where)
        parts = [cls._read_one(one, where) for one in cast(Sequence[Any], value)]
        if not parts:
            raise UsageError(f'{where} metric = [] must name at least one metric, such as ["val_loss"]')
        for number, part in enumerate(parts):
            if part.metric in (other.metric for other in parts[:number]):
                raise UsageError(f"{where} metric: {part.metric!r} is named twice")
        return replace(parts[0], others=tuple(parts[1:]))

    @classmethod
    def _read_one(cls, value: Any, where: str) -> "Objective":
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
