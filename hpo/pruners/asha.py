"""Asynchronous successive halving that stops: at each level only the best 1/eta of trials go on.

Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020, arXiv:1810.05934, in the form
that Ray Tune and Syne Tune gave it: a trial that would wait for its promotion is ended, nothing is paused.
Several metrics, and constraints, rank by fronts, as in Schmucker et al., "Multi-objective Asynchronous
Successive Halving", 2021, arXiv:2106.12639, without an order within a front: none of the first is stopped.
"""

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from hpo.dominance import ahead
from hpo.events import Event, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.pruners.progress import Progress


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
        self._values: dict[int, list[float]] = defaultdict(list)  # level -> values seen, sorted
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
            case _:
                pass

    def _judge(self, trial: int, level: int, value: float) -> None:
        values = self._values[level]
        insort(values, value)
        best = max(1, len(values) // self._eta)
        if bisect_left(values, value) >= best:
            self._reasons.setdefault(
                trial,
                f"asha: rung {level}: {self._objective.shown(value):.4g} is not among "
                f"the best {best} of {len(values)}",
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
