"""Fold of events: what is known now. Incremental; a fresh fold of the same events is equal."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from hpo.dominance import fronts
from hpo.events import (
    DataLoaded,
    DataSet,
    EarlierTaken,
    Event,
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialPaused,
    TrialReported,
    TrialResumed,
    TrialScored,
    TrialStarted,
    TrialStopped,
)
from hpo.objective import Objective
from hpo.posterior import Estimate, estimates
from hpo.shifted import leading, ranked, setting
from trials.spec import Report, TrialSpec
from trials.validation import FOLD_STEPS

State = Literal["running", "paused", "completed", "stopped", "diverged", "failed", "out_of_memory"]
UNDER_WAY: tuple[State, ...] = ("running", "paused")
LEAST_SEEDS = 3  # of a config that is judged by its mean
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
    origin: str = ""  # why it was suggested; "" where the journal does not say
    replica_of: int | None = None  # the trial whose config it has, with another seed

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
    def narrow(self) -> tuple[str, ...]:
        """Families that it trains on alone, and that a model which trains on none was scored on."""
        folds = self.scored.folds if self.scored is not None else ()
        return tuple(name for fold in folds if not fold.trained for name in fold.scored)

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
        # Trials chosen so far -> test seed -> what its config said with it.
        self.retrained: dict[int, Mapping[str, Mapping[str, float]]] = {}
        self.data: tuple[DataSet, ...] = ()  # that trials are judged on, beyond the plain splits
        self.sessions = 0
        self.spent = 0  # steps paid for by all trials
        self.incumbents: list[Incumbent] = []
        self.notices: list[Noticed] = []
        self._elapsed_before = 0.0
        self._session_start = math.nan
        self._last_time = math.nan
        self._rested = 0.0  # seconds of this session in which the study was paused, until it last went on
        self._paused_since = math.nan  # NaN: the study is not paused
        self.ended_since_best = 0  # trials, since a completed one last was a new best, or entered the front
        self._running: dict[int, Trial] = {}
        self._paused: dict[int, Trial] = {}
        self._ranking: list[int] | None = None  # trials, best first; None: not known
        self._fronts: dict[int, int] | None = None  # as `fronts`; None: not known
        self._first_fronts: dict[int, int] | None = None
        self._replicas: dict[int, list[Trial]] = {}  # trial -> those of its config with other seeds
        self._judged: dict[int, tuple[Estimate, ...]] | None = None  # as `judged`; None: not known
        for event in events:
            self.tell(event)

    def tell(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case StudyStarted():
                self._elapsed_before = self.elapsed()
                self.study, self.finish = event, None
                # Which bounds count may have changed.
                self._ranking = self._fronts = self._first_fronts = None
                self.sessions += 1
                self._session_start = event.time
                self._rested, self._paused_since = 0.0, math.nan
            case DataLoaded():
                self.data = event.sets
            case TrialStarted(spec):
                trial = Trial(spec, event.time, origin=event.origin, replica_of=event.replica_of)
                self.trials[spec.trial] = self._running[spec.trial] = trial
                if event.replica_of is not None:
                    self._replicas.setdefault(event.replica_of, []).append(trial)
            case TrialReported(report):
                trial = self.trials[report.trial]
                self.spent += report.spent - trial.spent
                trial.reports.append(report)
            case TrialScored():
                self._ranking = self._fronts = self._first_fronts = None
                self.trials[event.trial].scored = event
            case TrialStopped():
                self.trials[event.trial].stop_reason = event.reason
            case TrialPaused():
                trial = self._paused[event.trial] = self._running.pop(event.trial)
                trial.state = "paused"
            case TrialResumed():
                trial = self._running[event.trial] = self._paused.pop(event.trial)
                trial.state = "running"
            case TrialFinished():
                trial = self.trials[event.trial]
                trial.state, trial.finished = event.outcome, event.time
                trial.error, trial.row = event.error, event.row
                self._running.pop(event.trial, None)
                self._paused.pop(event.trial, None)
                self._ranking = self._fronts = self._first_fronts = None
                if trial.replica_of is None:
                    self.ended_since_best += 1
                    self._consider(trial, event.time)
                if self._replicas and self.objective.others:
                    self._judged = None
                elif trial.replica_of is not None:
                    self._judged = (
                        self._judge()
                    )  # now, not when it is asked for: each other end would change it
            case StudyFinished():
                self.finish = event
                if event.best is not None and event.test:
                    self.tested[event.best] = event.test
                if event.best is not None and event.seeds:
                    self.retrained[event.best] = event.seeds
                self.targeted.update((int(trial), found) for trial, found in event.targets.items())
            case StudyPaused(time):
                if not self.is_paused:
                    self._paused_since = time
            case StudyResumed(time):
                if self.is_paused:
                    self._rested += max(0.0, time - self._paused_since)
                    self._paused_since = math.nan
            case StudyScaled():
                pass
            case EarlierTaken():
                pass
            case Noticed():
                self.notices.append(event)
        self._last_time = event.time

    def _consider(self, trial: Trial, time: float) -> None:
        number, value = trial.spec.trial, self.value(trial)
        is_whole = trial.state == "completed" and all(map(math.isfinite, self.values(trial)))
        if not is_whole or self.excess(trial) > 0:
            return
        if self.objective.others and self.fronts.get(number) == 0:
            self.ended_since_best = 0
        if not self.incumbents or value < self.incumbents[-1].value:
            self.ended_since_best = 0
            self.incumbents.append(Incumbent(self.spent, self.elapsed(time), number, value))

    def value(self, trial: Trial) -> float:
        """The objective at the trial's last report, minimised; infinite without one or when it broke off.

        Of several metrics it is the first.
        """
        if not trial.reports or trial.state in WITHOUT_VALUE:
            return math.inf
        return self.objective.value(trial.reports[-1].metrics)

    def values(self, trial: Trial) -> tuple[float, ...]:
        """(m,) of every metric, as `value`."""
        if not trial.reports or trial.state in WITHOUT_VALUE:
            return (math.inf,) * (1 + len(self.objective.others))
        return self.objective.values(trial.reports[-1].metrics)

    def excess(self, trial: Trial) -> float:
        """How far the trial is beyond the constraints, by its last report; 0 where it keeps them."""
        return self.objective.excess(trial.metrics)

    def seeds(self, trial: Trial) -> list[Trial]:
        """Trials of its config, the first and its replicas, that ended by themselves."""
        first = trial.spec.trial if trial.replica_of is None else trial.replica_of
        every = (self.trials[first], *self._replicas.get(first, ()))
        return [one for one in every if one.state == "completed" or one.state in WITHOUT_VALUE]

    def replicas(self, trial: Trial) -> list[Trial]:
        """Trials of its config with other seeds, however they stand."""
        return self._replicas.get(trial.spec.trial, [])

    @property
    def is_seedless(self) -> bool:
        """Whether seeds play no role: two replicas or more said what their first trial said."""
        said = [
            [report.metrics for report in one.reports]
            == [report.metrics for report in self.trials[first].reports]
            for first, some in self._replicas.items()
            for one in some
            if one.state == "completed"
        ]
        return len(said) > 1 and all(said)

    @property
    def judged(self) -> Mapping[int, tuple[Estimate, ...]]:
        """First trial of a config -> (m,) of each metric what its seeds say; {} while none has several.

        Those of one seed are among them: as of the last replica that ended, where one metric is sought.
        """
        if self._judged is None:
            self._judged = self._judge() if self._replicas else {}
        return self._judged

    def _judge(self) -> dict[int, tuple[Estimate, ...]]:
        first = [
            trial
            for trial in self.trials.values()
            if trial.replica_of is None and trial.state == "completed" and self.excess(trial) == 0
        ]
        groups = {trial.spec.trial: [self.values(one) for one in self.seeds(trial)] for trial in first}
        each = [
            estimates({number: [values[part] for values in group] for number, group in groups.items()})
            for part in range(1 + len(self.objective.others))
        ]
        return {number: tuple(one[number] for one in each) for number in groups} if all(each) else {}

    @property
    def measured(self) -> list[Trial]:
        """First trials of the configs that at least three seeds were trained of, lowest mean first.

        By the first metric, where there are several; [] where seeds play no role.
        """
        if not self._replicas or self.is_seedless:
            return []
        known = self.judged
        some = [
            number for number in self._replicas if number in known and known[number][0].seeds >= LEAST_SEEDS
        ]
        kept = [number for number in some if math.isfinite(known[number][0].mean) and self._keeps(number)]
        return [
            self.trials[number] for number in sorted(kept, key=lambda number: (known[number][0].mean, number))
        ]

    def _keeps(self, number: int) -> bool:
        """Whether the means over its seeds keep the constraints."""
        some = self.seeds(self.trials[number])
        names = {name for one in some for name in one.metrics}
        means = {name: float(np.mean([one.metrics.get(name, math.nan) for one in some])) for name in names}
        return self.objective.excess(means) == 0

    @property
    def fronts(self) -> Mapping[int, int]:
        """Completed trial with every metric -> its front, 0 for those that none beats (`hpo.dominance`)."""
        if self._fronts is None:
            self._fronts = self._among(self.trials.values())
        return self._fronts

    @property
    def first_fronts(self) -> Mapping[int, int]:
        """As `fronts`, among the first trials of configs alone: what other seeds said changes nothing."""
        if self._first_fronts is None:
            first = [trial for trial in self.trials.values() if trial.replica_of is None]
            self._first_fronts = self._among(first)
        return self._first_fronts

    def _among(self, trials: Iterable[Trial]) -> dict[int, int]:
        rows = [(trial, self.values(trial)) for trial in trials if trial.state == "completed"]
        rows = [(trial, values) for trial, values in rows if all(map(math.isfinite, values))]
        excess = np.array([self.excess(trial) for trial, _ in rows], float)
        found = fronts(np.array([values for _, values in rows], float), excess) if rows else ()
        return {trial.spec.trial: int(front) for (trial, _), front in zip(rows, found, strict=True)}

    @property
    def front(self) -> list[Trial]:
        """Trials within the constraints that no other beats, in the order of their metrics; of one, the best.

        One of several trials with equal values stands for all.
        """
        if not self.objective.others:
            return [] if self.best is None else [self.best]
        if self.measured:
            return self._front_of_means()
        members = [self.trials[number] for number, front in self.fronts.items() if front == 0]
        unique = {self.values(trial): trial for trial in reversed(members) if self.excess(trial) == 0}
        return [unique[values] for values in sorted(unique)]

    def compared(self, trial: Trial) -> tuple[float, ...]:
        """(m,) what a trial of the front is compared by: of configs with several seeds, their means."""
        if not self.measured:
            return self.values(trial)
        return tuple(part.mean for part in self.judged[trial.spec.trial])

    def _front_of_means(self) -> list[Trial]:
        """As `front`, of configs, by their means over seeds."""
        rows = {
            number: tuple(part.mean for part in found)
            for number, found in self.judged.items()
            if all(math.isfinite(part.mean) for part in found) and self._keeps(number)
        }
        places = fronts(np.array(list(rows.values())), np.zeros(len(rows)))
        unique = {
            values: number
            for (number, values), place in zip(reversed(rows.items()), reversed(places), strict=True)
            if place == 0
        }
        return [self.trials[unique[values]] for values in sorted(unique)]

    @property
    def best(self) -> Trial | None:
        """The completed trial with the lowest objective; while none is complete, the lowest of the others.

        Only trials that had the whole budget are compared with each other: a value at a rung is not a result.
        None that is beyond a constraint is the best. Of several metrics the first decides among the front.
        Where scores on shifted copies choose, it is the first of `ranking`, once there is one. Where configs
        were trained with several seeds, it is the first trial of the one with the lowest mean among them.
        """
        if self.ranking:
            return self.trials[self.ranking[0]]
        if measured := self.measured:
            front = {trial.spec.trial for trial in self.front} if self.objective.others else set[int]()
            return next((trial for trial in measured if trial.spec.trial in front), measured[0])
        if self.objective.others and (front := self.front):
            return front[0]
        if self.incumbents:
            return self.trials[self.incumbents[-1].trial]
        rest = [
            trial
            for trial in self.trials.values()
            if math.isfinite(self.value(trial)) and not self._is_beyond(trial)
        ]
        return min(rest, key=lambda trial: (self.value(trial), trial.spec.trial), default=None)

    def _is_beyond(self, trial: Trial) -> bool:
        """Whether a constraint is broken by what the trial has said so far; one that ended has said all."""
        missing = 0.0 if trial.state == "running" else math.inf
        return self.objective.excess(trial.metrics, missing) > 0

    @property
    def nearest(self) -> Trial | None:
        """Where no completed trial keeps the constraints, the one that is least far beyond them."""
        if not self.objective.bounds or self.best is not None or not self.fronts:
            return None
        return self.trials[min(self.fronts, key=lambda number: (self.fronts[number], number))]

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
        """Trials that have a lane, in order of their numbers."""
        return [self._running[number] for number in sorted(self._running)]

    @property
    def is_running(self) -> bool:
        """Whether any trial has a lane."""
        return bool(self._running)

    @property
    def is_searching(self) -> bool:
        """Whether any trial has a lane that is no replica."""
        return any(trial.replica_of is None for trial in self._running.values())

    @property
    def paused(self) -> list[Trial]:
        """Trials that others were preferred to for now, in order of their numbers."""
        return [self._paused[number] for number in sorted(self._paused)]

    @property
    def ended(self) -> int:
        """How many trials neither run nor are paused."""
        return len(self.trials) - len(self._running) - len(self._paused)

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

    @property
    def is_paused(self) -> bool:
        """Whether the user paused the study in this session; its trials are running all the same."""
        return not math.isnan(self._paused_since)

    def elapsed(self, now: float | None = None) -> float:
        """Seconds of search over all sessions, up to `now` (default: the last event), without its pauses."""
        if not self.sessions:
            return 0.0
        end = self._last_time if now is None else now
        if self.is_paused:
            end = min(end, self._paused_since)
        return self._elapsed_before + max(0.0, end - self._session_start - self._rested)


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
