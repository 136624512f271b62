"""How trials would end: forecasts of the final value from what was reported on the way, with an error.

A trial is known by the values it had at levels: places along the budget, each a third to a half further
than the last. What a value at a level means for the end is learnt from the ended trials that went beyond it,
by a local linear regression, from the highest level down, so that a forecast can rest on forecasts.

A trial with a parent goes on on the parent's curve. Told the same events, a fresh one forecasts the same.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from hpo.annealing import NOTHING, Annealing, Worth, annealing_of, peak_of, worth_of
from hpo.events import Event, TrialFinished, TrialPaused, TrialReported, TrialResumed, TrialStarted
from hpo.objective import Objective
from trials.spec import Report

_REACH = 0.25  # width of the regression's weights, in quantiles of the value at the level
_FLOOR = 0.02  # weight of what is far away
_RIDGE = 0.3  # draws the slope towards 1: those that went on are alike, and say little of it
_STEEPEST = 1.5
_MOST_PAIRS = 120  # that a regression looks at, the newest
_UNTAUGHT = 0.7  # spread, in standard deviations of the values at the level, where no trial went beyond


def level_of(step: int) -> int:
    """The number of the highest level at or below a step: levels are at 1, 2, 3, 4, 6, 8, 12, 16, 24 …

    >>> [level_of(step) for step in (0, 1, 2, 3, 5, 6, 50)]
    [-1, 0, 1, 2, 3, 4, 10]
    """
    if step < 1:
        return -1
    power = step.bit_length() - 1
    return max(0, 2 * power - 1 + (step >= 3 * 2 ** max(0, power - 1) and power > 0))


@dataclass(frozen=True, slots=True)
class Forecast:
    """Of the final value, minimised."""

    mean: float
    spread: float  # standard deviation; 0 for what was seen


@dataclass(slots=True)
class Course:
    """What is known of one trial."""

    whole: int  # steps it will have had at the end of its budget, its parents' among them
    base: int  # of which its parents'
    levels: dict[int, float] = field(default_factory=dict[int, float])  # level -> first value there
    last: float = math.inf
    state: str = "running"
    goes_on: bool = False  # another trial took up its row
    has_rested: bool = False  # paused once: what it was forecast at its last pause is still taught from
    annealing: Annealing | None = None  # how its rate falls, where its config says
    peak: float = math.nan  # learning rate of its config
    rates: dict[int, float] = field(default_factory=dict[int, float])  # level -> share of the peak there
    last_rate: float = 0.0  # at the end of the longest budget

    def still(self, level: int) -> tuple[float, float]:
        """How much of its annealing was still to come at a level, and its rate; NaN: not known."""
        return self.rates.get(level, math.nan) - self.last_rate, self.peak

    def look_ahead(self, whole: int) -> None:
        """From now on its annealing is what comes within so many steps."""
        self.last_rate = 0.0 if self.annealing is None else self.annealing.rate(whole)


class Ends(NamedTuple):
    """Pairs of a level, the newest first."""

    trials: Sequence[int]
    values: np.ndarray  # (n,) at the level
    finals: np.ndarray  # (n,)
    spreads: np.ndarray  # (n,) of the finals; 0 for what was seen


class Forecasts:
    """A listener that knows of every trial how it will probably end."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.courses: dict[int, Course] = {}
        self._rows: dict[str, int] = {}
        self._whole = 0  # steps of the longest trials: what is forecast is the value there
        self._known: dict[int, Forecast] = {}  # of ended trials
        self._asked: dict[int, Forecast] = {}  # of running ones, since the last event
        self._ended = self._renewed = 0
        self._pairs: dict[int, tuple[Ends, Worth]] = {}  # level -> what was worked out since they changed
        self._has_schedules = False  # whether anything is known of any trial's rate

    def tell(self, event: Event) -> None:
        """Take in one event."""
        self._asked.clear()
        # What a trial reports that never ended nor rested is in no pair.
        is_of_pairs = not isinstance(event, TrialReported) or event.report.trial in self._known
        if is_of_pairs:
            self._pairs.clear()
        self._take(event)
        if is_of_pairs:
            self._pairs.clear()

    def _take(self, event: Event) -> None:
        match event:
            case TrialStarted(spec):
                course = Course(spec.budget, 0, annealing=annealing_of(spec), peak=peak_of(spec))
                parent = self._rows.get(spec.parent or "")
                if parent is not None:
                    before = self.courses[parent]
                    before.goes_on = True
                    base = before.base + (before.whole - before.base if before.state == "completed" else 0)
                    course.whole, course.base = base + spec.budget, base
                    course.levels, course.rates = dict(before.levels), dict(before.rates)
                    course.last = before.last
                self.courses[spec.trial] = course
                self._has_schedules |= course.annealing is not None
                course.look_ahead(self._whole)
                if course.whole > self._whole:
                    self._whole = course.whole
                    for one in self.courses.values():
                        one.look_ahead(self._whole)
                    self._renew()  # what was the end is one no more
            case TrialReported(report):
                if self._objective.metric in report.metrics:
                    self._report(report, self._objective.value(report.metrics))
            case TrialFinished():
                course = self.courses[event.trial]
                course.state = event.outcome
                if event.row:
                    self._rows[event.row] = event.trial
                self._ended += 1
                if self._is_final(course):
                    self._known[event.trial] = Forecast(course.last, 0.0)
                elif event.outcome in ("completed", "stopped"):
                    self._known.pop(event.trial, None)
                self._take_in(event.trial)
            case TrialPaused():
                course = self.courses[event.trial]
                course.state, course.has_rested = "paused", True
                self._ended += 1
                self._known.pop(event.trial, None)
                self._take_in(event.trial)
            case TrialResumed():
                self.courses[event.trial].state = "running"
            case _:
                pass

    def _take_in(self, trial: int) -> None:
        """Something new is known of an end: all forecasts at every one at first, then at a twentieth more."""
        course = self.courses[trial]
        if self._ended >= self._renewed + max(1, self._ended // 20):
            self._renewed = self._ended
            self._renew()
        elif course.levels and trial not in self._known and not _is_broken(course):
            self._known[trial] = self._now(trial)

    def _report(self, report: Report, value: float) -> None:
        course = self.courses[report.trial]
        course.last = value
        level = level_of(course.base + report.spent)
        if level not in course.levels and math.isfinite(value):
            course.levels[level] = value
            if course.annealing is not None:
                course.rates[level] = course.annealing.rate(report.step)

    def _is_final(self, course: Course) -> bool:
        return course.state == "completed" and course.whole >= self._whole and math.isfinite(course.last)

    def of(self, trial: int) -> Forecast | None:
        """How the trial ends, or will; None where nothing is known, or it broke off."""
        course = self.courses[trial]
        if course.state != "running" or not course.levels:
            return self._known.get(trial)
        if trial not in self._asked:
            self._asked[trial] = self._now(trial)
        return self._asked[trial]

    def best(self, place: int = 1) -> float:
        """The lowest final value that was seen, or the one at this place from it; infinite with fewer."""
        found = sorted(forecast.mean for forecast in self._known.values() if forecast.spread == 0.0)
        return found[place - 1] if len(found) >= place else math.inf

    def ends(self, level: int) -> Ends:
        """What ended trials that went on beyond the level had there, and how they ended.

        Values are as if all had as much of their annealing still to come.
        """
        return self._seen(level)[0]

    def _seen(self, level: int) -> tuple[Ends, Worth]:
        """The pairs of a level, and what annealing is worth there by them."""
        if level not in self._pairs:
            self._pairs[level] = self._look(level)
        return self._pairs[level]

    def _look(self, level: int) -> tuple[Ends, Worth]:
        trials: list[int] = []
        found: list[tuple[float, float, float]] = []
        for trial in reversed(self.courses):
            course = self.courses[trial]
            ended = self._known.get(trial)
            if course.goes_on or ended is None or level not in course.levels:
                continue
            if ended.spread == 0.0 or max(course.levels) > level:
                trials.append(trial)
                found.append((course.levels[level], ended.mean, ended.spread))
                if len(found) == _MOST_PAIRS:
                    break
        values, finals, spreads = np.array(found, float).reshape(-1, 3).T
        if not self._has_schedules or not trials:
            return Ends(trials, values, finals, spreads), NOTHING
        lefts, peaks = np.array([self.courses[trial].still(level) for trial in trials], float).T
        worth = worth_of(
            np.minimum(values, _cut(values)), lefts, peaks, np.minimum(finals, _cut(finals)), spreads
        )
        return Ends(trials, worth.evened(values, lefts, peaks), finals, spreads), worth

    def reports(self, trials: Sequence[int]) -> np.ndarray:
        """(n, L) what these reported at each level; nan where nothing finite, and for what broke off."""
        found = np.full((len(trials), 1 + level_of(self._whole)), np.nan)
        for row, trial in enumerate(trials):
            if not _is_broken(self.courses[trial]):
                for level, value in self.courses[trial].levels.items():
                    if 0 <= level < found.shape[1]:  # a function may report before its first step
                        found[row, level] = value
        return found

    def _forecast(self, level: int, trials: Sequence[int]) -> list[Forecast]:
        """How those end whose highest level this is, by those that went on."""
        ends, worth = self._seen(level)
        asked = [self.courses[trial] for trial in trials]
        reached = [c for c in self.courses.values() if level in c.levels and not c.goes_on]
        values, everyone = (np.array([c.levels[level] for c in some]) for some in (asked, reached))
        if worth is NOTHING:
            return regress(values, *ends[1:], everyone)
        left, others_left = (np.array([c.still(level) for c in some]).T for some in (asked, reached))
        found = regress(worth.evened(values, *left), *ends[1:], worth.evened(everyone, *others_left))
        return [
            Forecast(one.mean, math.hypot(one.spread, doubt))
            for one, doubt in zip(found, worth.doubts(*left).tolist(), strict=True)
        ]

    def _now(self, trial: int) -> Forecast:
        """A forecast for this trial alone, by those there are."""
        return self._forecast(max(self.courses[trial].levels), [trial])[0]

    def _renew(self) -> None:
        """Every forecast anew, from the highest level down."""
        self._pairs.clear()
        open_at: dict[int, list[int]] = {}
        for trial, course in self.courses.items():
            self._known.pop(trial, None)
            is_new = course.state == "running" and not course.has_rested
            if is_new or course.goes_on or _is_broken(course):
                continue
            if self._is_final(course):
                self._known[trial] = Forecast(course.last, 0.0)
            elif course.levels:
                open_at.setdefault(max(course.levels), []).append(trial)
        for level in sorted(open_at, reverse=True):
            trials = open_at[level]
            found = self._forecast(level, trials)
            self._known.update(zip(trials, found, strict=True))
            self._pairs.clear()


def _is_broken(course: Course) -> bool:
    return course.state in ("diverged", "failed", "out_of_memory")


def regress(
    values: np.ndarray,  # (m,) at the level, of those to forecast
    at_level: np.ndarray,  # (n,) at the level, of those that went beyond
    finals: np.ndarray,  # (n,) of the same
    spreads: np.ndarray,  # (n,) of these finals
    all_at_level: np.ndarray,
) -> list[Forecast]:
    """Forecasts from pairs: the nearer in rank at the level, the more a pair counts."""
    usual = _usual(all_at_level)
    if len(finals) < 2:
        drop = float(np.mean(at_level - finals)) if len(finals) else 0.0
        spread = _UNTAUGHT * usual if usual > 0 else 1.0
        return [Forecast(float(value) - drop, spread) for value in values]
    # Losses that exploded would be all that a regression sees.
    highest = _cut(all_at_level)
    x, queries = np.minimum(at_level, highest), np.minimum(values, highest)
    y = np.minimum(finals, _cut(finals))
    order = np.sort(all_at_level)

    def rank(found: np.ndarray) -> np.ndarray:
        return np.searchsorted(order, found) / max(1, len(order))

    apart = (rank(queries)[:, None] - rank(x)) / _REACH
    weights = np.exp(-0.5 * np.square(apart)) + _FLOOR  # (m, n)
    weights /= weights.sum(1, keepdims=True)
    center_x, center_y = weights @ x, weights @ y
    dx, dy = x - center_x[:, None], y - center_y[:, None]
    scale = _RIDGE * max(float(np.var(np.minimum(all_at_level, highest))), 1e-12)
    slope = ((weights * dx * dy).sum(1) + scale) / ((weights * dx * dx).sum(1) + scale)
    slope = np.clip(slope, 0.0, _STEEPEST)
    means = center_y + slope * (queries - center_x)
    residual = dy - slope[:, None] * dx
    variance = (weights * (np.square(residual) + np.square(spreads))).sum(1)
    count = 1 / np.square(weights).sum(1)  # effective
    widths = np.sqrt(variance) * (count + 1) / np.maximum(count - 0.5, 0.5)
    widths = np.maximum(widths, 1e-9 + 1e-3 * usual)
    return [Forecast(float(mean), float(width)) for mean, width in zip(means, widths, strict=True)]


def _cut(values: np.ndarray) -> float:
    """Three times as far above the median as the best is below it."""
    median = float(np.median(values))
    below = median - float(values.min())
    return median + 3 * below if below > 0 else math.inf


def _usual(values: np.ndarray) -> float:
    """A standard deviation that a few huge values do not change."""
    return float(np.std(np.minimum(values, _cut(values)))) if len(values) > 1 else 0.0


def probability_below(forecast: Forecast, value: float) -> float:
    """That the trial ends below this value.

    >>> probability_below(Forecast(1.0, 0.5), 1.0)
    0.5
    """
    if forecast.spread <= 0:
        return float(forecast.mean < value)
    return 0.5 * math.erfc((forecast.mean - value) / (forecast.spread * math.sqrt(2)))
