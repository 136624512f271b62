"""Asynchronous successive halving that stops: at each level only the best 1/eta of trials go on.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, arXiv:1810.05934, in the form
that Ray Tune and Syne Tune gave it: a trial that would wait for its promotion is ended, nothing is paused.
Several metrics, and constraints, rank by fronts, as in Schmucker et al., "Multi-objective Asynchronous
Successive Halving", 2021, arXiv:2106.12639, without an order within a front: none of the first is stopped.
"""

import heapq
import math
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from hpo.dominance import ahead
from hpo.events import Event, TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.pruners.progress import Progress


class _Level:
    """Values seen at a level, the best of them apart: one more costs the logarithm of their number."""

    def __init__(self, eta: int) -> None:
        self._eta = eta
        self._best: list[float] = []  # negated, a heap: the worst of them first
        self._rest: list[float] = []  # a heap: the best of them first

    def is_among_best(self, value: float) -> tuple[bool, int, int]:
        """Take a value in: (whether it is among the best, how many these are, of how many)."""
        heapq.heappush(self._rest, -heapq.heappushpop(self._best, -value) if self._best else value)
        seen = len(self._best) + len(self._rest)
        best = max(1, seen // self._eta)
        while len(self._best) < best:
            heapq.heappush(self._best, -heapq.heappop(self._rest))
        # Fewer than n are better exactly if the n-th best is no better.
        return value <= -self._best[0], best, seen


class Asha:
    """Judges a trial once at each level, `budget / eta**k` spent steps for k = `rungs` down to 1.

    A trial enters a level with its first report of the metric at or past it, if it has moved since the one
    before: one that only probes stands where it stood. It is judged then, by the n
    values seen at that level so far, its own among them: it stops unless fewer than max(1, n // eta) are
    better.
    """

    def __init__(self, objective: Objective, eta: int = 3, rungs: int = 1) -> None:
        self._objective, self._eta, self._rungs = objective, eta, rungs
        self._budgets: dict[int, int] = {}
        self._levels: dict[int, list[int]] = {}  # trial -> levels ahead of it, lowest first
        self._seen: dict[int, _Level] = defaultdict(lambda: _Level(eta))  # by level
        self._rows: dict[int, list[tuple[float, ...]]] = defaultdict(
            list
        )  # the same, several: (m,) and excess
        self._reasons: dict[int, str] = {}
        self._progress = Progress()

    def tell(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case TrialStarted(spec):
                self._budgets[spec.trial] = spec.budget
                levels = {math.ceil(spec.budget / self._eta**k) for k in range(1, self._rungs + 1)}
                self._levels[spec.trial] = sorted(levels)
            case TrialReported(report):
                unfinished = report.spent < self._budgets[report.trial]
                has_moved = self._progress.has_moved(report)
                if unfinished and has_moved and self._objective.is_told(report.metrics):
                    levels = self._levels[report.trial]
                    while levels and levels[0] <= report.spent:
                        if self._objective.is_single:
                            self._judge(report.trial, levels.pop(0), self._objective.value(report.metrics))
                        else:
                            self._judge_front(report.trial, levels.pop(0), report.metrics)
            case TrialFinished(trial=trial):
                self._budgets.pop(trial, None)
                self._levels.pop(trial, None)
                self._progress.forget(trial)
            case _:
                pass

    def _judge(self, trial: int, level: int, value: float) -> None:
        is_kept, best, seen = self._seen[level].is_among_best(value)
        if not is_kept:
            shown = self._objective.shown(value)
            self._reasons.setdefault(
                trial, f"asha: rung {level}: {shown:.4g} is not among the best {best} of {seen}"
            )

    def _judge_front(self, trial: int, level: int, metrics: Mapping[str, float]) -> None:
        rows = self._rows[level]
        # What is bounded and not reported yet says nothing yet.
        rows.append((*self._objective.values(metrics), self._objective.excess(metrics, missing=0.0)))
        table = np.array(rows)
        better = ahead(table[:, :-1], table[:, -1], len(rows) - 1)
        best = max(1, len(rows) // self._eta)
        if better >= best:
            self._reasons.setdefault(
                trial,
                f"asha: rung {level}: {better} of {len(rows)} trials are in better fronts, "
                f"and the best {best} go on",
            )

    def keep(self, trial: int) -> bool:
        """Whether the trial may go on."""
        return trial not in self._reasons

    def reason(self, trial: int) -> str:
        """Why the trial is to be stopped; "" if it is not."""
        return self._reasons.get(trial, "")
