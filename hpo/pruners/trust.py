"""Stop a trial whose forecast leaves it next to no chance of ending best, at rungs that have earned trust.

A short run flatters what is fast, and a schedule that has still to anneal hides what is good, so no rung
ranks every program rightly. Here a rung may stop trials only once completed ones have shown that it ranks
them as they end, with an interval, first of all those of the trial's own program (`hpo.pruners.ranking`);
what it learns may take the trust away again. Then the forecast of the
trial's end (`hpo.forecasts`) decides, not its rank: it stops where the chance of ending below the best
completed trial, or of entering the `top`, is small.
"""

import math
from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from hpo.annealing import schedule_of
from hpo.events import Event, TrialFinished, TrialReported, TrialStarted
from hpo.forecasts import Forecasts, level_of, probability_below
from hpo.objective import Objective
from hpo.programs import Program, program_of
from hpo.pruners.base import Audit
from hpo.pruners.progress import Progress
from hpo.pruners.ranking import Least, Ranking, ranking
from trials.seeding import key
from trials.spec import TrialSpec

LEAST_CONCORDANCE = 0.65  # share of pairs, at the low end of its interval, that a trusted rung ranks rightly
# Of so many first branches (other words and switches) so many trials complete before any is stopped: one
# whose best begin slowest would otherwise be known by its worst alone.
_BRANCHES, _OF_BRANCH = 5, 3
_SETTLED = 0.1  # of the horizon that a trial may take once its schedule has risen, or after going on
_LOOKS = 101  # places of the horizon at which its schedule is looked at


class Trust:
    """Judges a trial at each level of its budget it comes to; a verdict to stop is kept.

    Nothing is stopped at a level that fewer than `calibration` completed trials passed, nor the best trial
    there, nor while a warm-up lasts or its schedule has just risen again. Of those that would be stopped, a
    share `audits` runs on all the same, so that what is wrongly stopped can be known.
    """

    def __init__(
        self,
        objective: Objective,
        calibration: int = 5,
        chance: float = 0.05,
        top: int = 1,
        audits: float = 0.05,
    ) -> None:
        self._objective = objective
        self._calibration, self._chance, self._top, self._audits = calibration, chance, top, audits
        self._forecasts = Forecasts(objective)
        self._specs: dict[int, TrialSpec] = {}
        self._programs: dict[int, Program] = {}
        self._branches: set[Hashable] = set()  # the first ones
        self._lowest: dict[int, float] = defaultdict(lambda: math.inf)  # spent -> lowest value there
        self._judged: dict[int, int] = {}  # trial -> highest level at which it was judged
        self._audited: dict[int, Audit] = {}
        self._rises: dict[int, np.ndarray] = {}  # trial -> steps at which its schedule rises
        self._reasons: dict[int, str] = {}
        self._progress = Progress()

    def tell(self, event: Event) -> None:
        """Take in one event."""
        self._forecasts.tell(event)
        if isinstance(event, TrialStarted):
            self._specs[event.spec.trial] = event.spec
            program = self._programs[event.spec.trial] = program_of(event.spec.config)
            if len(self._branches) < _BRANCHES:
                self._branches.add(program.branch)
            self._rises[event.spec.trial] = rises(event.spec)
        elif isinstance(event, TrialFinished):
            if event.trial in self._audited:
                course = self._forecasts.courses[event.trial]
                final = course.last if event.outcome == "completed" else math.inf
                self._audited[event.trial] = self._audited[event.trial]._replace(final=final)
        elif isinstance(event, TrialReported):
            report = event.report
            has_moved = self._progress.has_moved(report)
            if self._objective.metric not in report.metrics:
                return
            value = self._objective.value(report.metrics)
            self._lowest[report.spent] = min(self._lowest[report.spent], value)
            is_best = value <= self._lowest[report.spent]
            if has_moved and not is_best and not self._is_early(report.trial, report.step):
                self._judge(report.trial, report.spent, value)

    def _is_early(self, trial: int, step: int) -> bool:
        """Whether it is in a dip that says nothing of the end: after a rise of its rate, or from a row on."""
        spec = self._specs[trial]
        course = self._forecasts.courses[trial]
        if spec.parent is not None and step - course.base < _SETTLED * spec.budget:
            return True
        before = self._rises[trial]
        before = before[before <= step]
        return bool(len(before)) and step - before[-1] < _SETTLED * spec.horizon

    def _judge(self, trial: int, spent: int, value: float) -> None:
        spec, course = self._specs[trial], self._forecasts.courses[trial]
        level = level_of(course.base + spent)
        if spent >= spec.budget or trial in self._audited or self._judged.get(trial, -1) >= level:
            return
        self._judged[trial] = level
        best, wanted = self._forecasts.best(), self._forecasts.best(self._top)
        trusted = self._ranked(level, trial)
        if trusted is None or trusted.low < LEAST_CONCORDANCE:
            return
        forecast = self._forecasts.of(trial)
        if not math.isfinite(value):
            told = f"{self._objective.metric} is {self._objective.shown(value)}"
        elif forecast is not None and probability_below(forecast, wanted) < self._chance:
            shown = self._objective.shown
            aim = "to beat the best" if self._top == 1 else f"to enter the best {self._top}"
            told = (
                f"{shown(value):.4g} would end at {shown(forecast.mean):.4g} ± {forecast.spread:.2g}, with a "
                f"chance of {probability_below(forecast, wanted):.1%} {aim}, {shown(wanted):.4g}"
            )
        else:
            return
        self._stop_or_audit(trial, spent, f"trust: rung {spent}: {told}; {trusted.words()}", best)

    def _stop_or_audit(self, trial: int, spent: int, reason: str, best: float = math.nan) -> None:
        """Stop a trial, unless it is one of those that run on as an audit and may beat `best`."""
        if key(self._specs[trial].seed, "audit", trial) % 10_000 < 10_000 * self._audits:
            self._audited[trial] = Audit(trial, spent, best, None)
        else:
            self._reasons.setdefault(trial, reason)

    def _ranked(self, level: int, trial: int) -> Ranking | None:
        """How far a level ranks trials of this one's program; None with too few completed ones."""
        is_first = self._programs[trial].branch in self._branches
        least = Least(self._calibration, _OF_BRANCH if is_first else 0)
        return ranking(self._forecasts.ends, level, self._programs, trial, least)

    def audits(self) -> list[Audit]:
        """Trials that would have been stopped and run on, where one value says what was lost."""
        return [one for _, one in sorted(self._audited.items()) if not math.isnan(one.best)]

    def keep(self, trial: int) -> bool:
        """Whether the trial may go on."""
        return trial not in self._reasons

    def reason(self, trial: int) -> str:
        """Why the trial is to be stopped; "" if it is not."""
        return self._reasons.get(trial, "")


def rises(spec: TrialSpec) -> np.ndarray:
    """(n,) steps at which the trial's schedule has risen since a little before: warm-ups and re-warms.

    None where nothing says what it follows: in a function without a schedule, or where it finds its rates
    while training.

    >>> spec = TrialSpec(0, {"warmup_fraction": 0.1, "schedule": "linear"}, 0, 100, (100,), 100, 0)
    >>> float(rises(spec)[-1])
    9.0
    """
    schedule = schedule_of(spec)
    if schedule is None:
        return np.empty(0)
    steps = np.unique(np.linspace(0, spec.horizon, _LOOKS).round())
    return steps[1:][np.diff(schedule(steps)) > 1e-3]
