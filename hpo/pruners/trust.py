"""Stop a trial whose forecast leaves it next to no chance of ending best, at rungs that have earned trust.

A short run flatters what is fast, and a schedule that has still to anneal hides what is good, so no rung
ranks every program rightly. Here a rung may stop trials only once completed ones have shown that it ranks
them as they end, with an interval; what it learns may take the trust away again. Then the forecast of the
trial's end (`hpo.forecasts`) decides, not its rank: it stops where the chance of ending below the best
completed trial is small.
"""

import math
from collections import defaultdict

import numpy as np

from hpo.events import Event, TrialReported, TrialStarted
from hpo.forecasts import Forecasts, level_of, probability_below
from hpo.objective import Objective
from hpo.pruners.progress import Progress
from trials.seeding import key
from trials.spec import TrialSpec

LEAST_CONCORDANCE = 0.65  # share of pairs, at the low end of its interval, that a trusted rung ranks rightly
_ONE_SIDED_80 = 0.8416  # quantile of the normal
_SETTLED = 0.1  # of the budget that a trial may take beyond its warm-up, or after going on from a row


class Trust:
    """Judges a trial at each level of its budget it comes to; a verdict to stop is kept.

    Nothing is stopped at a level that fewer than `calibration` completed trials passed, nor the best trial
    there, nor while a warm-up lasts. Of those that would be stopped, a share `audits` runs on all the same,
    so that what is wrongly stopped can be known.
    """

    def __init__(
        self, objective: Objective, calibration: int = 5, chance: float = 0.05, audits: float = 0.05
    ) -> None:
        self._objective = objective
        self._calibration, self._chance, self._audits = calibration, chance, audits
        self._forecasts = Forecasts(objective)
        self._specs: dict[int, TrialSpec] = {}
        self._lowest: dict[int, float] = defaultdict(lambda: math.inf)  # spent -> lowest value there
        self._judged: dict[int, int] = {}  # trial -> highest level at which it was judged
        self._audited: dict[int, str] = {}  # trial that runs on -> why it would have been stopped
        self._reasons: dict[int, str] = {}
        self._progress = Progress()

    def tell(self, event: Event) -> None:
        """Take in one event."""
        self._forecasts.tell(event)
        if isinstance(event, TrialStarted):
            self._specs[event.spec.trial] = event.spec
        elif isinstance(event, TrialReported):
            report = event.report
            has_moved = self._progress.has_moved(report)
            if self._objective.metric not in report.metrics:
                return
            value = self._objective.value(report.metrics)
            self._lowest[report.spent] = min(self._lowest[report.spent], value)
            is_best = value <= self._lowest[report.spent]
            if has_moved and not is_best and not self._is_early(report.trial, report.spent):
                self._judge(report.trial, report.spent, value)

    def _is_early(self, trial: int, spent: int) -> bool:
        """Whether it is in a dip that says nothing of the end: a warm-up, or going on from a row."""
        spec = self._specs[trial]
        warmup = spec.config.get("warmup_fraction", 0.0)
        until = 0.0
        if isinstance(warmup, (int, float)) and warmup > 0:
            until = (float(warmup) + _SETTLED) * spec.horizon
        if spec.parent is not None:
            until = max(until, _SETTLED * spec.budget)
        return spent < until

    def _judge(self, trial: int, spent: int, value: float) -> None:
        spec, course = self._specs[trial], self._forecasts.courses[trial]
        level = level_of(course.base + spent)
        if spent >= spec.budget or trial in self._audited or self._judged.get(trial, -1) >= level:
            return
        self._judged[trial] = level
        best = self._forecasts.best()
        trusted = self._ranked(level)
        if trusted is None or trusted[0] < LEAST_CONCORDANCE:
            return
        forecast = self._forecasts.of(trial)
        if not math.isfinite(value):
            told = f"{self._objective.metric} is {self._objective.shown(value)}"
        elif forecast is not None and probability_below(forecast, best) < self._chance:
            shown = self._objective.shown
            told = (
                f"{shown(value):.4g} would end at {shown(forecast.mean):.4g} ± {forecast.spread:.2g}, with a "
                f"chance of {probability_below(forecast, best):.1%} to beat the best, {shown(best):.4g}"
            )
        else:
            return
        _, share, count = trusted
        reason = f"trust: rung {spent}: {told}; it ranks {share:.0%} of the pairs of {count} ends rightly"
        self._stop_or_audit(trial, reason)

    def _stop_or_audit(self, trial: int, reason: str) -> None:
        """Stop a trial, unless it is one of those that run on as an audit."""
        if key(self._specs[trial].seed, "audit") % 10_000 < 10_000 * self._audits:
            self._audited[trial] = reason
        else:
            self._reasons.setdefault(trial, reason)

    def _ranked(self, level: int) -> tuple[float, float, int] | None:
        """(low end of the share of pairs ranked rightly, the share, completed trials); None with too few.

        Levels beside this one count half as much: what holds here mostly holds there.
        """
        shares: list[float] = []
        weights: list[float] = []
        count = 0
        for other, weight in ((level, 1.0), (level - 1, 0.5), (level + 1, 0.5)):
            values, finals, spreads = self._forecasts.beyond(other)
            values, finals = values[spreads == 0.0], finals[spreads == 0.0]
            if other == level:
                count = len(values)
                if count < self._calibration:
                    return None
            if len(values) > 1:
                shares.append(concordance(values, finals))
                weights.append(weight * len(values))
        share = float(np.average(shares, weights=weights)) if shares else 1.0
        return wilson_low(share, count), share, count

    def keep(self, trial: int) -> bool:
        """Whether the trial may go on."""
        return trial not in self._reasons

    def reason(self, trial: int) -> str:
        """Why the trial is to be stopped; "" if it is not."""
        return self._reasons.get(trial, "")


def concordance(values: np.ndarray, finals: np.ndarray) -> float:
    """The share of pairs that have the same order in both.

    >>> concordance(np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.3, 0.2]))
    0.6666666666666666
    """
    first, second = np.triu_indices(len(values), 1)
    same = np.sign(values[first] - values[second]) == np.sign(finals[first] - finals[second])
    return float(same.mean())


def wilson_low(share: float, count: int) -> float:
    """The low end of a share of so many, one-sided at 80 %.

    Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of the American
    Statistical Association 22 (1927). Pairs are not independent, so the trials are counted.

    >>> round(wilson_low(1.0, 5), 3)
    0.876
    """
    z = _ONE_SIDED_80
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count)
