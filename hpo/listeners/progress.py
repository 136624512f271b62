"""How far a study is, and how long it will go on."""

from collections.abc import Mapping
from typing import Any, cast

from hpo.history import History
from hpo.limits import Limits


class Progress:
    """Watches a history against the study's limits."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits
        self._start: tuple[float, float] | None = None  # seconds of search, and part done, at first

    def begin(self, history: History, time: float) -> None:
        """A session begins: what was done before says nothing about its pace."""
        if history.study is not None and self._limits is None:
            table = cast(Mapping[str, Any], history.study.study.get("limits", {}))
            known = Limits.__dataclass_fields__
            self._limits = Limits(**{name: limit for name, limit in table.items() if name in known})
        self._start = (history.elapsed(time), self.part(history, time) or 0.0)

    @property
    def trials(self) -> int | None:
        """How many trials there may be."""
        return self._limits.trials if self._limits else None

    def part(self, history: History, now: float) -> float | None:
        """The part done, from 0 to 1; None when no limit says where the end is."""
        if self._limits is None:
            return None
        parts: list[float] = []
        if self._limits.trials:
            under_way = (*history.running, *history.paused)
            done = history.ended + sum(trial.spent / trial.spec.budget for trial in under_way)
            parts.append(done / self._limits.trials)
        if self._limits.total_steps:
            parts.append(history.spent / self._limits.total_steps)
        if self._limits.seconds:
            parts.append(history.elapsed(now) / self._limits.seconds)
        return min(1.0, max(parts)) if parts else None

    def seconds_left(self, history: History, now: float) -> float | None:
        """How long it will go on at the pace of this session; None when that cannot be said yet."""
        part = self.part(history, now)
        if part is None or self._start is None:
            return None
        begun, before = self._start
        passed = history.elapsed(now) - begun
        if part - before < 0.02 or passed <= 0:
            return None
        left = passed * (1 - part) / (part - before)
        if self._limits is not None and self._limits.seconds:
            left = min(left, max(0.0, self._limits.seconds - history.elapsed(now)))
        return left
