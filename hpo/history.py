"""Fold of events: what is known now. Incremental; a fresh fold of the same events is equal."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from hpo.events import (
    DataLoaded,
    DataSet,
    Event,
    Noticed,
    StudyFinished,
    StudyStarted,
    TrialFinished,
    TrialReported,
    TrialScored,
    TrialStarted,
    TrialStopped,
)
from hpo.objective import Objective
from hpo.shifted import leading, ranked, setting
from trials.spec import Report, TrialSpec
from trials.validation import FOLD_STEPS

State = Literal["running", "completed", "stopped", "diverged", "failed", "out_of_memory"]
WITHOUT_VALUE: tuple[State, ...] = ("diverged", "failed", "out_of_memory")  # however good the last report was


@dataclass(slots=True)
class Trial:
    """One trial as far as the journal knows it."""

    spec: TrialSpec
    started: float
    state: State = "running"
    reports: list[Report] = field(default_factory=list[Report])
    finished: float | None = None
    stop_reason: str = ""
    error: str = ""
    row: str = ""
    scored: TrialScored | None = None  # once its fold models were trained

    @property
    def metrics(self) -> Mapping[str, float]:
        """As of the last report, and what fold models scored since."""
        found = dict(self.reports[-1].metrics) if self.reports else dict[str, float]()
        return {**found, **(self.scored.metrics if self.scored is not None else {})}

    @property
    def spent(self) -> int:
        """Steps paid for, as of the last report."""
        return self.reports[-1].spent if self.reports else 0

    @property
    def fold_steps(self) -> int:
        """Steps of its fold models, as far as they were told of."""
        beside = self.reports[-1].metrics.get(FOLD_STEPS, 0.0) if self.reports else 0.0
        return max(int(beside), self.scored.steps if self.scored is not None else 0)

    @property
    def kept(self) -> int:
        """Position on the kept trajectory, as of the last report: less than spent where some were probed."""
        return self.reports[-1].step if self.reports else 0

    @property
    def wall(self) -> int:
        """Steps that passed one after another, as of the last report; probes side by side pass at once."""
        return self.reports[-1].wall if self.reports else 0


@dataclass(frozen=True, slots=True)
class Incumbent:
    """From this many spent steps on (over all trials), this trial was the best known."""

    spent: int
    seconds: float  # of search, over all sessions
    trial: int
    value: float  # minimised


class History:
    """What is known of a study: trials, totals, incumbent."""

    def __init__(self, objective: Objective | None = None, events: Iterable[Event] = ()) -> None:
        self.objective = objective or Objective()
        self.trials: dict[int, Trial] = {}
        self.study: StudyStarted | None = None  # of the latest session
        self.finish: StudyFinished | None = None  # None again once a finished study is taken up
        self.tested: dict[int, Mapping[str, float]] = {}  # trials chosen so far -> their test metrics
        self.targeted: dict[
            int, Mapping[str, Mapping[str, float]]
        ] = {}  # trial -> target -> its metrics there
        self.data: tuple[DataSet, ...] = ()  # that trials are judged on, beyond the plain splits
        self.sessions = 0
        self.spent = 0  # steps paid for by all trials
        self.incumbents: list[Incumbent] = []
        self.notices: list[Noticed] = []
        self._elapsed_before = 0.0
        self._session_start = math.nan
        self._last_time = math.nan
        self.ended = 0  # trials that are over
        self.ended_since_best = 0  # of these, since the incumbent became it
        self._running: dict[int, Trial] = {}
        self._ranking: list[int] | None = None  # trials, best first; None: not known
        for event in events:
            self.tell(event)

    def tell(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case StudyStarted():
                if self.sessions:
                    self._elapsed_before += self._last_time - self._session_start
                self.study, self.finish = event, None
                self.sessions += 1
                self._session_start = event.time
            case DataLoaded():
                self.data = event.sets
            case TrialStarted(spec):
                self.trials[spec.trial] = self._running[spec.trial] = Trial(spec, event.time)
            case TrialReported(report):
                trial = self.trials[report.trial]
                self.spent += report.spent - trial.spent
                trial.reports.append(report)
            case TrialScored():
                self._ranking = None
                self.trials[event.trial].scored = event
            case TrialStopped():
                self.trials[event.trial].stop_reason = event.reason
            case TrialFinished():
                trial = self.trials[event.trial]
                trial.state, trial.finished = event.outcome, event.time
                trial.error, trial.row = event.error, event.row
                self._running.pop(event.trial, None)
                self.ended += 1
                self.ended_since_best += 1
                self._ranking = None
                self._consider(trial, event.time)
            case StudyFinished():
                self.finish = event
                if event.best is not None and event.test:
                    self.tested[event.best] = event.test
                self.targeted.update((int(trial), found) for trial, found in event.targets.items())
            case Noticed():
                self.notices.append(event)
        self._last_time = event.time

    def _consider(self, trial: Trial, time: float) -> None:
        value = self.value(trial)
        if trial.state != "completed" or not math.isfinite(value):
            return
        if not self.incumbents or value < self.incumbents[-1].value:
            seconds = self.elapsed(time)
            self.incumbents.append(Incumbent(self.spent, seconds, trial.spec.trial, value))
            self.ended_since_best = 0

    def value(self, trial: Trial) -> float:
        """The objective at the trial's last report, minimised; infinite without one or when it broke off."""
        if not trial.reports or trial.state in WITHOUT_VALUE:
            return math.inf
        return self.objective.value(trial.reports[-1].metrics)

    @property
    def best(self) -> Trial | None:
        """The completed trial with the lowest objective; while none is complete, the lowest of the others.

        Only trials that had the whole budget are compared with each other: a value at a rung is not a result.
        Where scores on shifted copies choose, it is the first of `ranking`, once there is one.
        """
        if self.ranking:
            return self.trials[self.ranking[0]]
        if self.incumbents:
            return self.trials[self.incumbents[-1].trial]
        rest = [trial for trial in self.trials.values() if math.isfinite(self.value(trial))]
        return min(rest, key=lambda trial: (self.value(trial), trial.spec.trial), default=None)

    @property
    def ranking(self) -> list[int]:
        """Trials that are scored on every family, best first; [] where they are not chosen by that.

        While fold models of leading trials are still to be trained, nothing is ranked: it would be a choice
        among the trials that need none.
        """
        if not self.objective.is_ranked:
            return []
        if self._ranking is None:
            goal = self.objective.final
            done = [trial for trial in self.trials.values() if trial.state == "completed"]
            known = [setting(trial.spec.trial, trial.metrics, goal) for trial in done]
            is_ready = not self.unscored
            self._ranking = [one.trial for one in ranked(filter(None, known))] if is_ready else []
        return self._ranking

    @property
    def unscored(self) -> list[Trial]:
        """Leading trials whose fold models are to be trained when the search is over, best first."""
        if self.objective.chosen_by is None:
            return []
        losses = {
            trial.spec.trial: self.value(trial)
            for trial in self.trials.values()
            if trial.state == "completed"
        }
        final = self.objective.final.metric
        front = [self.trials[number] for number in leading(losses)]
        return [trial for trial in front if trial.scored is None and final not in trial.metrics]

    @property
    def running(self) -> list[Trial]:
        """Trials started and not ended, in the order in which they were started."""
        return list(self._running.values())

    @property
    def is_running(self) -> bool:
        """Whether any trial has started and not ended."""
        return bool(self._running)

    @property
    def kept(self) -> int:
        """Steps that all trials kept."""
        return sum(trial.kept for trial in self.trials.values())

    @property
    def fold_steps(self) -> int:
        """Steps of all fold models, which no other count holds."""
        return sum(trial.fold_steps for trial in self.trials.values())

    @property
    def wall(self) -> int:
        """Steps of wall time of all trials, each counted for itself."""
        return sum(trial.wall for trial in self.trials.values())

    def count(self, state: State) -> int:
        """How many trials are in this state."""
        return sum(trial.state == state for trial in self.trials.values())

    def elapsed(self, now: float | None = None) -> float:
        """Seconds of search over all sessions, up to `now` (default: the last event)."""
        if not self.sessions:
            return 0.0
        end = self._last_time if now is None else now
        return self._elapsed_before + max(0.0, end - self._session_start)


def readings(history: History) -> str:
    """How often the test split was read: once, unless a study that was taken up chose another trial.

    >>> readings(History())
    'read once, for this trial only'
    """
    times = len(history.tested)
    return (
        "read once, for this trial only"
        if times < 2
        else f"read for {times} trials, chosen one after another"
    )
