"""Stop a trial whose best value so far is worse than what half of the completed trials had at the same rung.

Golovin et al., "Google Vizier: A Service for Black-Box Optimization", KDD 2017, section 3.5.1; as in Optuna,
the others' values at the rung stand in place of their running averages. Several metrics, and constraints,
rank by fronts: a trial is stopped if most of the completed ones were in a better front at the same rung.
"""

import statistics
from collections import defaultdict

import numpy as np

from hpo.dominance import ahead
from hpo.events import Event, TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.pruners.progress import Progress
from trials.spec import Report


class Median:
    """Judges a trial at each of its reports; a verdict to stop is kept.

    Nothing is stopped before `startup_trials` trials are complete, nor before a trial has spent
    `grace_fraction` of its budget.
    """

    def __init__(self, objective: Objective, startup_trials: int = 5, grace_fraction: float = 0.0) -> None:
        self._objective = objective
        self._startup_trials, self._grace_fraction = startup_trials, grace_fraction
        self._budgets: dict[int, int] = {}
        self._values: dict[int, dict[int, float]] = {}  # trial -> spent -> value
        self._complete: dict[int, list[float]] = defaultdict(list)  # spent -> values of completed trials
        self._rows: dict[int, dict[int, tuple[float, ...]]] = {}  # the same, several: (m,) and excess
        self._complete_rows: dict[int, list[tuple[float, ...]]] = defaultdict(list)
        self._completed = 0
        self._reasons: dict[int, str] = {}
        self._progress = Progress()

    def tell(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case TrialStarted(spec):
                self._budgets[spec.trial] = spec.budget
                self._values[spec.trial], self._rows[spec.trial] = {}, {}
            case TrialReported(report) if self._objective.is_told(report.metrics):
                self._take(report)
                if self._progress.has_moved(report):
                    if self._objective.is_single:
                        self._judge(report.trial, report.spent)
                    else:
                        self._judge_front(report.trial, report.spent)
            case TrialFinished(trial, "completed"):
                self._completed += 1
                for spent, row in self._rows[trial].items():
                    self._complete_rows[spent].append(row)
                for spent, value in self._values[trial].items():
                    self._complete[spent].append(value)
            case _:
                pass

    def _take(self, report: Report) -> None:
        metrics = report.metrics
        self._values[report.trial][report.spent] = self._objective.value(metrics)
        if not self._objective.is_single:
            # What is bounded and not reported yet says nothing yet.
            row = (*self._objective.values(metrics), self._objective.excess(metrics, missing=0.0))
            self._rows[report.trial][report.spent] = row

    def _is_open(self, trial: int, spent: int) -> bool:
        """Whether a trial may be judged here."""
        budget = self._budgets[trial]
        return self._completed >= self._startup_trials and self._grace_fraction * budget <= spent < budget

    def _judge_front(self, trial: int, spent: int) -> None:
        others = self._complete_rows.get(spent, [])
        if not others or not self._is_open(trial, spent):
            return
        table = np.array([*others, self._rows[trial][spent]])
        better = ahead(table[:, :-1], table[:, -1], len(others))
        if 2 * better > len(others):
            self._reasons.setdefault(
                trial,
                f"median: rung {spent}: {better} of {len(others)} completed trials were in better fronts",
            )

    def _judge(self, trial: int, spent: int) -> None:
        others = self._complete.get(spent, [])
        if not others or not self._is_open(trial, spent):
            return
        best = min(self._values[trial].values())
        median = statistics.median(others)
        if best > median:
            shown = self._objective.shown
            self._reasons.setdefault(
                trial,
                f"median: rung {spent}: {shown(best):.4g} is worse than {shown(median):.4g}, "
                f"the median of {len(others)} completed trials",
            )

    def keep(self, trial: int) -> bool:
        """Whether the trial may go on."""
        return trial not in self._reasons

    def reason(self, trial: int) -> str:
        """Why the trial is to be stopped; "" if it is not."""
        return self._reasons.get(trial, "")
