"""Pause trials and let those go on whose forecasts promise most; nothing is stopped before the study ends.

A stop on a short run is a bet that a row can take back: a paused trial goes on where it is as soon as its
forecast (`hpo.forecasts`) says so. New trials run to their first stage: the one from which the best of those
that can be seen for the same steps is expected to end lowest, by how it has ranked trials so far. A free lane
is for the trial that leads the forecasts; else, once first stages have had their share of the steps, for the
trial with the largest expected improvement a step, where that is more than a new one promises; else for a new
one. Once two have come to their ends, one that is drawn follows: where short runs mislead, those that lead
look alike, and nothing else would show what they hide. A last round, for which a share of the steps is kept,
takes those to their ends that may yet become the best before any new one begins: a study that goes on
beginning trials to the last leaves its best one paused for good.

In the spirit of freeze and thaw: Swersky, Snoek and Adams, "Freeze-Thaw Bayesian Optimization", 2014,
arXiv:1406.3896.
"""

import math
from collections.abc import Sequence

import numpy as np

from hpo.events import Event, TrialFinished, TrialPaused, TrialReported, TrialResumed, TrialStarted
from hpo.forecasts import Forecast, Forecasts, level_of, probability_below
from hpo.objective import Objective
from hpo.pruners.base import Resumption
from hpo.pruners.concordance import concordance, correlation
from hpo.pruners.progress import Progress
from trials.seeding import key
from trials.spec import TrialSpec

_APART = 2.5  # a stage is at least so many times as far as the one before it
_SHORT, _LONG = 0.05, 0.1  # of the budget, that the first stages of the pilot have at least, in turn
_RANKED = 4  # trials that a stage needs before it can be known to rank
# The best of n draws is about as far from their middle as n to this power, for n of 10 to 300.
_OF_MORE = 0.15
_NEWEST = 10  # trials, by which it is judged what a new one promises
_LAST_TRIALS, _LAST_CHANCE = 3, 0.05  # of the last round: trials, and their chance to become the best
_ENDS_CHOSEN = 2  # by their forecasts, before one goes to its end that is not
_LEADS, _PROMISES, _LAST = "it leads the forecasts", "it promises most for its steps", "the last round"
_SILENT = "it has reported nothing yet that trials are compared by"
_DRAWN = "drawn, so that stages are not judged by those alone that they chose"


class Pause:
    """Asks for a pause at each stage of a trial; `keep` is always true.

    The first `pilot` trials begin before any goes on, every second one with a longer first stage, so that the
    shorter one is judged by trials that were not chosen by it. `first_share` of all steps is for first
    stages. Once no more than `reserve` of the steps are left, paused trials that may become the best come
    before new ones.
    """

    def __init__(
        self,
        objective: Objective,
        pilot: int = 24,
        first_share: float = 0.35,
        reserve: float = 0.7,
        audits: float = 0.05,
    ) -> None:
        self._objective, self._reserve = objective, reserve
        self._pilot, self._first_share, self._audits = pilot, first_share, audits
        self._forecasts = Forecasts(objective)
        self._specs: dict[int, TrialSpec] = {}
        self._until: dict[int, int] = {}  # trial -> where it is looked at, or was last
        self._first: dict[int, int] = {}  # trial -> end of its first stage
        self._spent: dict[int, int] = {}
        self._progress = Progress()
        self._has_moved: dict[int, bool] = {}  # at the last report: one that only probes is what it was
        self._state: dict[int, str] = {}  # "running", "paused", "ended"
        self._last: set[int] = set()  # trials of the last round
        self._drawn: int | None = None

    def tell(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case TrialStarted(spec):
                self._specs[spec.trial], self._spent[spec.trial] = spec, 0
                self._state[spec.trial] = "running"
                self._first[spec.trial] = self._until[spec.trial] = self._first_stage(spec)
            case TrialReported(report):
                self._spent[report.trial] = report.spent
                self._has_moved[report.trial] = self._progress.has_moved(report)
            case TrialPaused(trial):
                self._state[trial] = "paused"
            case TrialResumed(trial, until, reason):
                self._state[trial], self._until[trial] = "running", until
                if reason == _LAST:
                    self._last.add(trial)
                elif reason == _DRAWN:
                    self._drawn = trial
            case TrialFinished(trial):
                self._state[trial] = "ended"
            case _:
                pass
        self._forecasts.tell(event)

    def _first_stage(self, spec: TrialSpec) -> int:
        """How far a new trial goes before it is looked at."""
        places = stages(spec.rungs)
        long = next(place for place in places if place >= _LONG * spec.budget)
        if key(spec.seed, "audit", spec.trial) % 10_000 < 10_000 * self._audits:
            return long  # so that trust can be lost
        begun = len(self._specs)
        if begun <= self._pilot:
            return long if begun % 2 else next(place for place in places if place >= _SHORT * spec.budget)
        worths = {place: self._worth_of_stage(place, spec.budget) for place in places[:-1]}
        best = max(worths, key=lambda place: (worths[place], -place), default=long)
        return best if worths.get(best, 0.0) > 0 else long

    def _worth_of_stage(self, place: int, budget: int) -> float:
        """How far the best by this stage is expected to end from the middle, of those seen for given steps.

        In units that all stages share; the fewer steps, the more are seen.
        """
        _, values, finals, spreads = self._forecasts.ends(level_of(place))
        if len(values) < _RANKED:
            return 0.0
        agreed = concordance(values, finals, spreads)
        # A search draws nearer to what is good, and bad ones, which any stage tells apart, say little of it.
        better = values <= np.median(values)
        if better.sum() >= _RANKED:
            agreed = 0.5 * (agreed + concordance(values[better], finals[better], spreads[better]))
        return correlation(agreed) * (budget / place) ** _OF_MORE

    # -- verdicts -----------------------------------------------------------------------------------------

    def keep(self, trial: int) -> bool:
        """True."""
        return True

    def reason(self, trial: int) -> str:
        """Nothing to say."""
        return ""

    def pause(self, trial: int) -> str:
        """Why the running trial should make room; "" if it should not."""
        if self._state.get(trial) != "running" or not 0 < self._spent[trial] < self._specs[trial].budget:
            return ""
        if self._spent[trial] < self._until[trial] or not self._has_moved[trial]:
            return ""
        return "pause: as far as it was to go before it is compared"

    def until(self, trial: int) -> int:
        """Spent steps up to which the running trial is sure to go on."""
        return self._until[trial]

    def resume(self, n: int, left: int | None, may_begin: bool) -> list[Resumption]:
        """Paused trials for up to n free lanes, the most wanted first."""
        found: list[Resumption] = []
        waiting = {
            trial: forecast
            for trial, state in self._state.items()
            if state == "paused" and (forecast := self._forecasts.of(trial)) is not None
        }
        if may_begin and len(self._specs) < self._pilot and self._leaves_an_end(left):
            return found
        for trial in self._silent()[:n]:
            rest = self._specs[trial].budget - self._spent[trial]
            if left is None or rest <= left:
                found.append(Resumption(trial, self._specs[trial].budget, _SILENT))
                left = None if left is None else left - rest
        kept = self._kept(left)
        while waiting and len(found) < n:
            is_last = not may_begin or (left is not None and left <= kept)
            trial, reason = self._next(waiting, found, may_begin, is_last, left is None)
            if trial is None:
                break
            del waiting[trial]
            spec = self._specs[trial]
            until = next(place for place in stages(spec.rungs) if place > self._spent[trial])
            if left is not None:
                # What could not come to its end would be of no use.
                if spec.budget - self._spent[trial] > left:
                    continue
                left -= until - self._spent[trial]
            found.append(Resumption(trial, until, reason))
        return found

    def _silent(self) -> list[int]:
        """Paused trials of which nothing can be forecast: functions may report the metric at the end only."""
        courses = self._forecasts.courses
        return [
            trial for trial, state in self._state.items() if state == "paused" and not courses[trial].levels
        ]

    def _leaves_an_end(self, left: int | None) -> bool:
        """Whether one more first stage leaves the steps that the best of the pilot needs to its end."""
        longest = max((spec.budget for spec in self._specs.values()), default=0)
        return left is None or left >= (1 + _LONG) * longest

    def _kept(self, left: int | None) -> float:
        """Steps of the study that are kept for the last round."""
        if left is None:
            return 0.0
        running = [trial for trial, state in self._state.items() if state == "running"]
        promised = sum(self._until[trial] - self._spent[trial] for trial in running)
        return self._reserve * (left + promised + sum(self._spent.values()))

    def _next(
        self,
        waiting: dict[int, Forecast],
        found: Sequence[Resumption],
        may_begin: bool,
        is_last: bool,
        is_unlimited: bool,
    ) -> tuple[int | None, str]:
        """The most wanted of those that wait, and why; None where a new trial is wanted more, or nothing.

        Where no steps limit the last round, a number of trials does.
        """
        if may_begin and (trial := self._to_draw(waiting, found)) is not None:
            return trial, _DRAWN
        everyone = {
            trial: forecast for trial in self._specs if (forecast := self._forecasts.of(trial)) is not None
        }
        leader = min(everyone, key=lambda trial: (everyone[trial].mean, trial))
        if leader in waiting and may_begin:
            return leader, _LEADS
        best = everyone[leader].mean
        if is_last and (trial := self._for_last_round(waiting, found, is_unlimited)) is not None:
            return trial, _LAST
        if may_begin:
            if self._share_of_first(found) <= self._first_share:
                return None, ""
            worths = {trial: self._worth(trial, forecast, best) for trial, forecast in waiting.items()}
            chosen = max(worths, key=lambda trial: (worths[trial], -trial))
            return (chosen, _PROMISES) if worths[chosen] >= self._worth_of_new(everyone, best) else (None, "")
        return None, ""

    def _to_draw(self, waiting: dict[int, Forecast], found: Sequence[Resumption]) -> int | None:
        """One that goes to its end whatever is forecast of it; None before its time, and after it."""
        if self._drawn is not None:
            return self._drawn if self._drawn in waiting else None
        ends = sum(self._spent[trial] >= spec.budget for trial, spec in self._specs.items())
        if ends < _ENDS_CHOSEN or any(one.reason == _DRAWN for one in found):
            return None
        return sorted(waiting)[key(self._specs[min(self._specs)].seed, "drawn") % len(waiting)]

    def _for_last_round(
        self, waiting: dict[int, Forecast], found: Sequence[Resumption], is_unlimited: bool
    ) -> int | None:
        """Of those that may become the best."""
        best = self._forecasts.best()
        some = [
            trial for trial, forecast in waiting.items() if probability_below(forecast, best) >= _LAST_CHANCE
        ]
        under_way = self._last | {one.trial for one in found}
        if is_unlimited and len(under_way) >= _LAST_TRIALS:
            some = [trial for trial in some if trial in under_way]
        return min(some, key=lambda trial: (waiting[trial].mean, trial), default=None)

    def _share_of_first(self, found: Sequence[Resumption]) -> float:
        """Of all steps, spent or promised, those of first stages."""
        reached = {
            trial: max(spent, self._until[trial]) if self._state[trial] == "running" else spent
            for trial, spent in self._spent.items()
        }
        reached.update((one.trial, one.until) for one in found)
        first = sum(min(steps, self._first[trial]) for trial, steps in reached.items())
        return first / max(1, sum(reached.values()))

    def _worth(self, trial: int, forecast: Forecast, best: float) -> float:
        """Expected improvement below the best forecast for each step to the next stage."""
        spec, spent = self._specs[trial], self._spent[trial]
        until = next(place for place in stages(spec.rungs) if place > spent)
        return expected_improvement(forecast, best) / (until - spent)

    def _worth_of_new(self, everyone: dict[int, Forecast], best: float) -> float:
        """What the newest promise for each step of their first stages."""
        newest = sorted(everyone)[-_NEWEST:]
        improvement = sum(expected_improvement(everyone[trial], best) for trial in newest)
        return improvement / sum(self._first[trial] for trial in newest)


def stages(rungs: Sequence[int]) -> list[int]:
    """The rungs at which a trial is looked at: the first, those far enough apart, and the last.

    >>> stages((1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 50))
    [1, 3, 8, 24, 50]
    """
    found = [rungs[0]]
    for rung in rungs[1:-1]:
        if rung >= _APART * found[-1] and rungs[-1] >= 1.5 * rung:
            found.append(rung)
    return [*found, rungs[-1]] if rungs[-1] > found[-1] else found


def expected_improvement(forecast: Forecast, best: float) -> float:
    """How far below `best` the trial is expected to end, counting 0 where it ends above.

    >>> round(expected_improvement(Forecast(1.0, 1.0), 1.0), 3)
    0.399
    """
    if forecast.spread <= 0:
        return max(0.0, best - forecast.mean)
    z = (best - forecast.mean) / forecast.spread
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return forecast.spread * (z * 0.5 * math.erfc(-z / math.sqrt(2)) + density)
