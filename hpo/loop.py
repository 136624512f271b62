"""The loop: publish, ask, start, poll, keep, stop, resume. One process, the only writer of the journal.

Append, then act. An interrupted search has at worst started trials without an end; taking it up starts them
again with the same spec and drops the reports that the journal has already.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hpo.collecting import uncollected
from hpo.compared import compared
from hpo.errors import HpoError, UsageError
from hpo.events import (
    DataLoaded,
    DataSet,
    EarlierTaken,
    Event,
    Figures,
    Listener,
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
from hpo.gain import Gains
from hpo.history import History, Trial
from hpo.keeping import Keep, Keeping
from hpo.leading import fold_specs, whole, without_score
from hpo.limits import Limits
from hpo.objective import is_known
from hpo.orders import Order, Orders
from hpo.plan import Plan
from hpo.pruners.base import Pauser, Pruner
from hpo.replicas import Replicas
from hpo.reported import Reported
from hpo.runners.base import Heard, Runner, Scaling
from hpo.samplers.base import Sampler
from hpo.store import Store
from trials.spec import TrialSpec

SECONDS = "seconds"  # a metric that every trial has, where the study names it: those of its training

_POLL_SECONDS = 0.25
_NO_MORE = "the space is exhausted"

_Told = TrialReported | TrialScored | TrialFinished  # of a trial, by a runner


class Interrupted(Exception):  # noqa: N818 - not an error: the user asked for it
    """The search was asked to stop and can be taken up."""


@dataclass
class Timers:
    """Seconds this process spent, by what it did."""

    ask: float = 0.0
    tell: float = 0.0
    journal: float = 0.0
    listeners: float = 0.0
    runner: float = 0.0  # starting, stopping and waiting for workers


@dataclass
class Search:
    """One study being searched."""

    store: Store
    sampler: Sampler
    pruner: Pruner
    runner: Runner
    history: History
    limits: Limits
    plan: Plan
    begin: StudyStarted
    listeners: Sequence[Listener] = ()
    folder: Path | None = None  # where rows lie; None: none are kept
    keep_rows: Keep = "best"
    data: tuple[DataSet, ...] = ()  # that trials are judged on, beyond the plain splits
    compared: int = 0  # trials that targets are read for; 0: there are none
    replicas: Replicas = field(default_factory=Replicas)
    gains: Gains | None = None  # asked whether to go on, where the study has a bound
    clock: Callable[[], float] = time.time
    timers: Timers = field(default_factory=Timers)
    notices: Sequence[Noticed | EarlierTaken] = ()  # of what was found before the study began
    orders: Orders | None = None  # that are given to it; None: all that there are in its folder
    problems: list[str] = field(default_factory=list[str])  # what the user should be told at the end
    _again: deque[TrialSpec] = field(default_factory=deque[TrialSpec])
    _known: dict[int, int] = field(default_factory=dict[int, int])  # restarted trial -> spent the journal has
    _places: dict[int, int] = field(default_factory=dict[int, int])  # trial -> spent at which it makes room
    _stopping: set[int] = field(default_factory=set[int])
    _noticed: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])  # topics and texts
    _interrupted: bool = False
    _gain: tuple[str, Mapping[str, float]] = (
        "",
        {},
    )  # why the search ended, if for want of it, and what it was
    _reported: Reported = field(default_factory=Reported)

    def __post_init__(self) -> None:
        self._orders = self.orders or Orders(self.folder)
        self._keeping = Keeping(self.folder, self.history, self.keep_rows, self.compared, self.replicas)

    def interrupt(self) -> None:
        """End after the events at hand; callable from a signal handler."""
        self._interrupted = True

    def run(self, recorded: Iterable[Event] = ()) -> History:
        """Replay what the journal has, then search until a limit is reached.

        Raises:
            Interrupted: `interrupt` was called; the journal can be taken up.
            RunnerError: trials cannot execute at all.
            UsageError: a trial of the journal has one of the test seeds; nothing was written.
        """
        with uncollected():  # a million trials are a fifth faster told
            for event in recorded:
                self._tell(event)
        self.plan.check_seeds(trial.spec for trial in self.history.trials.values())
        is_taken_up = self.history.study is not None
        self._publish([self.begin, *self.notices])
        if self.data and self.data != self.history.data:
            self._publish([DataLoaded(self.data, self.clock())])
        if is_taken_up:
            self._take_up()
        reason = self._loop()
        self._score_leading()
        self._finish(reason)
        self._keeping.close()
        return self.history

    # -- telling ------------------------------------------------------------------------------------------

    def _publish(self, events: Sequence[Event]) -> None:
        if not events:
            return
        began = time.perf_counter()
        self.store.append(events)
        self.timers.journal += time.perf_counter() - began
        for event in events:
            self._tell(event)

    def _tell(self, event: Event) -> None:
        began = time.perf_counter()
        if isinstance(event, Noticed):
            self._noticed.add((event.topic, event.text))
        self.history.tell(event)
        self.sampler.tell(event)
        self.pruner.tell(event)
        if self.gains is not None:
            self.gains.tell(event)
        told = time.perf_counter()
        for listener in self.listeners:
            listener.tell(event)
        self.timers.tell += told - began
        self.timers.listeners += time.perf_counter() - told

    # -- taking up ----------------------------------------------------------------------------------------

    def _take_up(self) -> None:
        """Start again what was running; end what the journal says was over."""
        self._keeping.sweep()
        now = self.clock()
        for trial in self.history.running:
            number = trial.spec.trial
            last: Mapping[str, float] = trial.reports[-1].metrics if trial.reports else {}
            telling = ("train_loss", self.history.objective.metric)
            infinite = [name for name in telling if not is_known(last.get(name, 0.0))]
            if infinite:
                error = f"{infinite[0]} is {last[infinite[0]]} after {trial.spent} steps"
                self._publish([TrialFinished(number, "diverged", now, error)])
            elif trial.stop_reason:
                self._publish([TrialFinished(number, "stopped", now)])
            elif 0 < trial.spent < trial.spec.budget and not self._is_kept(trial):
                self._publish([self._stopped(trial, now), TrialFinished(number, "stopped", now)])
            elif reason := self._pause_reason(trial):
                self._publish([TrialPaused(number, trial.spent, reason, now)])
            else:
                self._again.append(trial.spec)

    # -- orders -------------------------------------------------------------------------------------------

    def _attend(self, hear: Callable[[Sequence[Heard]], None]) -> None:
        """Obey what was ordered; while the study is paused, only listen, until it goes on.

        Raises:
            Interrupted: `interrupt` was called.
        """
        self._obey()
        while self.history.is_paused:
            if self._interrupted:
                raise Interrupted
            # What was under way when it was paused may yet have something to say.
            hear(self.runner.poll(_POLL_SECONDS))
            self._obey()

    def _obey(self) -> None:
        for order in self._orders.take(lambda line: self._notice([Noticed("order", line, self.clock())])):
            now = self.clock()
            match order.verb:
                case "pause":
                    self._publish([StudyPaused(now, order.name)])
                    self.runner.rest()
                case "resume":
                    self._publish([StudyResumed(now, order.name)])
                    self.runner.wake()
                case "scale":
                    self._scale(order, now)

    def _scale(self, order: Order, now: float) -> None:
        if isinstance(self.runner, Scaling):
            # Done before it is told, as only then it is known whether it can be.
            note = error = ""
            try:
                note = self.runner.scale(order.workers)
            except UsageError as found:
                error = str(found)
            self._publish([StudyScaled(order.workers, now, order.name, error, note)])
            return
        error = (
            "its trials train in the process of the search, which is its one worker: end it and take it up "
            f"with `hpo resume {self.begin.name} --runner processes --workers {order.workers}`, or with "
            "--lanes N for more trials side by side"
        )
        self._publish([StudyScaled(order.workers, now, order.name, error)])

    # -- the loop -----------------------------------------------------------------------------------------

    def _loop(self) -> str:
        exhausted = ""
        while True:
            self._attend(self._hear)
            if self._interrupted:
                raise Interrupted
            reason = self.limits.reached(self.history, self.clock())
            if not reason and self._reported.lacks(self.history):
                reason = "a metric is not reported"
            if reason:
                self._stop_all(reason)
                return reason
            # Trials that wait to be started again have no limit: they were started once.
            if self._again or not exhausted or self.history.paused:
                exhausted = self._refill(bool(exhausted)) or exhausted
            if exhausted and not self.history.is_searching:
                self._end_paused(exhausted)
                self._replicate()
                if not self.history.is_running:
                    if exhausted in (_NO_MORE, self._gain[0]) or self._room() == 0:
                        return self._with_rest(exhausted)
                    exhausted = ""  # what was kept free for replicas is not needed
            began = time.perf_counter()
            events = self.runner.poll(_POLL_SECONDS)
            self.timers.runner += time.perf_counter() - began
            self._hear(events)

    def _refill(self, is_exhausted: bool) -> str:
        """Start or resume as many trials as there is room for; why no more will begin, or ""."""
        free = self.runner.free()
        if free and self._again:
            self._start([self._again.popleft() for _ in range(min(free, len(self._again)))])
            free = self.runner.free()
        if free and self.history.paused:
            self._resume(free, is_exhausted)
            free = self.runner.free()
        if is_exhausted:
            return ""
        room = self._room()
        wanted = free if room is None else min(free, room)
        if room == 0:
            # Those that run may yet end early and leave steps for another, or need no replicas.
            may_change = self.limits.total_steps is not None or self.replicas.seeds > 1
            return "" if may_change and self.history.is_searching else self._exhausted()
        if wanted <= 0:
            return ""
        began = time.perf_counter()
        if self.gains is not None and (small := self.gains.small()) is not None:
            self._gain = self.gains.reason(small), self.gains.table(small)
            return self._gain[0]
        suggestions = self.sampler.ask(wanted)
        self.timers.ask += time.perf_counter() - began
        if not suggestions:
            return "" if self.history.is_searching else _NO_MORE
        first = len(self.history.trials)
        specs = [self.plan.spec(first + n, suggestion) for n, suggestion in enumerate(suggestions)]
        now = self.clock()
        pairs = zip(specs, suggestions, strict=True)
        self._publish([TrialStarted(spec, now, suggestion.origin) for spec, suggestion in pairs])
        self._start(specs)
        return ""

    def _room(self) -> int | None:
        """How many more configs may begin, so that there is room for the replicas; None when nothing says."""
        if self._is_late():
            return 0
        room = self.limits.room(self.history, self.plan.budget, self._until)
        return room if room is None else self.replicas.room(self.history, room)

    def _is_late(self) -> bool:
        """Whether the time that is left is for the replicas."""
        if self.limits.seconds is None:
            return False
        left = self.limits.seconds - self.history.elapsed(self.clock())
        return self.replicas.are_due(self.history, left, self.runner.busy()[1])

    def _exhausted(self) -> str:
        if self._is_late():
            return f"{self.limits.seconds:g} seconds, the last for replicas"
        kept_free = self.limits.spare(self.history, self.plan.budget) or 0
        return self.limits.exhausted(self.history, self.plan.budget, kept_free)

    def _with_rest(self, reason: str) -> str:
        """The reason; where a number of trials is one, with those that were kept for replicas in vain.

        So it is where fewer configs lead than were thought: one that began now could have no second seed.
        """
        most = self.limits.trials
        rest = 0 if most is None else most - len(self.history.trials)
        if rest < 1 or not reason.startswith(f"{most} trial"):
            return reason
        return f"{reason}, {rest} of them kept for replicas and not begun"

    def _replicate(self) -> None:
        """Start as many replicas of the leading configs as there is room for."""
        missing = self.replicas.missing(self.history)
        spare = self.limits.spare(self.history, self.plan.budget, self._until)
        most = min(self.runner.free(), len(missing), len(missing) if spare is None else spare)
        now, specs = self.clock(), list[TrialSpec]()
        for first in missing[:most]:
            spec, origin = self.replicas.next(self.history, first, self.plan)
            self._publish([TrialStarted(spec, now, origin, first.spec.trial)])
            specs.append(spec)
        if specs:
            self._start(specs)

    def _is_kept(self, trial: Trial) -> bool:
        """Whether the pruner lets a trial go on; a replica measures a config that has passed already."""
        return trial.replica_of is not None or self.pruner.keep(trial.spec.trial)

    def _until(self, trial: Trial) -> int:
        """Spent steps to which a running trial is sure to go on."""
        if trial.replica_of is not None or not isinstance(self.pruner, Pauser):
            return trial.spec.budget
        return self.pruner.until(trial.spec.trial)

    def _pause_reason(self, trial: Trial) -> str:
        is_under_way = trial.state == "running" and 0 < trial.spent < trial.spec.budget
        if trial.replica_of is not None:
            return ""
        return self.pruner.pause(trial.spec.trial) if is_under_way and isinstance(self.pruner, Pauser) else ""

    def _resume(self, free: int, is_exhausted: bool) -> None:
        """Let paused trials go on that the pruner prefers to new ones."""
        if not isinstance(self.pruner, Pauser):
            return  # the study was taken up with another pruner: what is paused ends with it
        if self._is_late():
            return  # nobody knows whether it would end in time
        may_begin = not is_exhausted and self._room() != 0
        left = self.limits.left(self.history, self._until)
        if left is not None:
            left -= self.replicas.kept_free(self.history) * self.plan.budget
        began = time.perf_counter()
        chosen = self.pruner.resume(free, left, may_begin)
        self.timers.ask += time.perf_counter() - began
        now = self.clock()
        self._publish([TrialResumed(*one, now) for one in chosen])
        self._start([self.history.trials[one.trial].spec for one in chosen])

    def _start(self, specs: Sequence[TrialSpec]) -> None:
        """Have trials begin or go on, each to where the pruner looks at it next."""
        places: dict[int, int] = {}
        for trial in filter(None, (self.history.trials.get(spec.trial) for spec in specs)):
            if trial.state == "running":
                # What it says again is dropped, and is no place to be looked at.
                self._known[trial.spec.trial] = trial.spent
                until = max(self._until(trial), trial.spent + 1)
                if until < trial.spec.budget:
                    places[trial.spec.trial] = until
        self._places |= places
        began = time.perf_counter()
        if places:
            self.runner.start(specs, places)
        else:
            self.runner.start(specs)
        self.timers.runner += time.perf_counter() - began

    def _notice(self, events: Sequence[Heard]) -> None:
        # Every worker notices the same: one line is enough for a study. It counts from now: what was noticed
        # before the study began would be taken for an earlier session's.
        now = self.clock()
        notices = {
            (event.topic, event.text): Noticed(event.topic, event.text, now)
            for event in events
            if isinstance(event, Noticed) and (event.topic, event.text) not in self._noticed
        }
        self._publish(list(notices.values()))

    def _hear(self, events: Sequence[Heard]) -> None:
        self._notice(events)
        told = [event for event in events if not isinstance(event, Noticed)]
        fresh = [self._as_measured(self._as_judged(event)) for event in told if self._is_fresh(event)]
        if not fresh:
            return
        self._publish(fresh)
        for event in fresh:
            if isinstance(event, TrialFinished):
                self._stopping.discard(event.trial)
                self._known.pop(event.trial, None)
                self._places.pop(event.trial, None)
                self._keeping.end(self.history.trials[event.trial])
        reported = {event.report.trial for event in fresh if isinstance(event, TrialReported)}
        self._judge([self.history.trials[number] for number in sorted(reported - self._stopping)])

    def _judge(self, reported: Iterable[Trial]) -> None:
        """Stop or pause those of the trials that have just reported for which the pruner says so."""
        now = self.clock()
        stops: list[TrialStopped] = []
        others: list[Event] = []
        for trial in reported:
            number, spent = trial.spec.trial, trial.spent
            if trial.state != "running" or spent >= trial.spec.budget:
                continue
            has_made_room = spent >= self._places.get(number, trial.spec.budget)
            if has_made_room:
                del self._places[number]
            if not self._is_kept(trial):
                stops.append(self._stopped(trial, now))
                if has_made_room:
                    others.append(TrialFinished(number, "stopped", now))
                else:
                    self._stopping.add(number)
            elif has_made_room and (reason := self._pause_reason(trial)):
                others.append(TrialPaused(number, spent, reason, now))
            elif has_made_room:
                self._again.append(trial.spec)  # it is to go on
        self._publish([*stops, *others])
        if stops:
            self._stop([event.trial for event in stops])

    def _as_judged(self, event: _Told) -> _Told:
        """A verdict is final: a trial that outran the order to stop was stopped all the same."""
        if not isinstance(event, TrialFinished) or event.trial not in self._stopping:
            return event
        if event.outcome in ("failed", "out_of_memory"):
            return event
        self._keeping.discard(event.row)
        return TrialFinished(event.trial, "stopped", event.time)

    def _as_measured(self, event: _Told) -> _Told:
        """The event, with its seconds among the metrics where the study seeks or bounds them."""
        if not isinstance(event, TrialReported) or SECONDS not in self.history.objective.names:
            return event
        report = event.report
        metrics = {SECONDS: report.seconds, **report.metrics}
        return TrialReported(replace(report, metrics=metrics), event.time)

    def _is_fresh(self, event: _Told) -> bool:
        number = event.report.trial if isinstance(event, TrialReported) else event.trial
        trial = self.history.trials.get(number)
        if trial is None or trial.state != "running":
            return False
        if isinstance(event, TrialFinished):
            return True
        if isinstance(event, TrialScored):
            return number not in self._stopping
        return number not in self._stopping and event.report.spent > self._known.get(number, 0)

    def _stopped(self, trial: Trial, now: float) -> TrialStopped:
        return TrialStopped(trial.spec.trial, trial.spent, self.pruner.reason(trial.spec.trial), now)

    def _stop(self, trials: Sequence[int]) -> None:
        began = time.perf_counter()
        self.runner.stop(trials)
        self.timers.runner += time.perf_counter() - began

    def _end_paused(self, reason: str) -> None:
        """End the paused trials, because the study ends."""
        now = self.clock()
        paused = self.history.paused
        told = f"paused until the end ({reason})"
        self._publish(
            [
                event
                for trial in paused
                for event in (
                    TrialStopped(trial.spec.trial, trial.spent, told, now),
                    TrialFinished(trial.spec.trial, "stopped", now),
                )
            ]
        )
        self._stop([trial.spec.trial for trial in paused])
        self._keeping.rest(paused)

    def _stop_all(self, reason: str) -> None:
        """End the running and the paused trials, because a limit says so."""
        self._end_paused(reason)
        now = self.clock()
        running = [trial for trial in self.history.running if trial.spec.trial not in self._stopping]
        # A report that is on its way must not lead to a second verdict.
        self._stopping |= {trial.spec.trial for trial in running}
        self._publish([TrialStopped(trial.spec.trial, trial.spent, reason, now) for trial in running])
        # Those still waiting to be started again have no lane to give back.
        waiting = {spec.trial for spec in self._again}
        self._again.clear()
        self._publish([TrialFinished(number, "stopped", now) for number in sorted(waiting)])
        self._stop([trial.spec.trial for trial in running])
        while self.history.is_running:
            if self._interrupted:
                raise Interrupted
            self._hear(self.runner.poll(_POLL_SECONDS))

    # -- fold models --------------------------------------------------------------------------------------

    def _score_leading(self) -> None:
        """Train the fold models of the leading trials, where the winner is chosen by their scores."""
        waiting = fold_specs(self.history)
        if not waiting:
            return
        trials = "trial is" if len(waiting) == 1 else f"{len(waiting)} trials are"
        line = f"the search is over: the fold models of the leading {trials} trained"
        self._notice([Noticed("folds", line, self.clock())])
        for number, events in self._train_aside(waiting):
            found = next((one for one in events if isinstance(one, TrialScored)), None)
            ended = next(one for one in events if isinstance(one, TrialFinished))
            found = found or without_score(number, ended)
            self._publish([whole(self.history.trials[number], found)])

    def _train_aside(self, specs: Sequence[TrialSpec]) -> Iterator[tuple[int, list[Heard]]]:
        """Train these when the search is over; each with what was heard of it, as it ends."""
        waiting = deque(specs)
        running: dict[int, list[Heard]] = {}
        while waiting or running:
            events: list[Heard] = []
            self._attend(events.extend)
            if self._interrupted:
                raise Interrupted
            if free := min(self.runner.free(), len(waiting)):
                some = [waiting.popleft() for _ in range(free)]
                running |= {spec.trial: [] for spec in some}
                self._start(some)
            events.extend(self.runner.poll(_POLL_SECONDS))
            self._notice(events)
            for event in events:
                if isinstance(event, Noticed):
                    continue
                number = event.report.trial if isinstance(event, TrialReported) else event.trial
                if number in running:
                    running[number].append(event)
                    if isinstance(event, TrialFinished):
                        yield number, running.pop(number)

    # -- test seeds ---------------------------------------------------------------------------------------

    def _retrain(self) -> Mapping[str, Mapping[str, float]]:
        """Seed -> metrics of the winner, trained with seeds that chose nothing."""
        best = self.history.best
        if best is None or not self.plan.test:
            return {}
        known = dict(self.history.retrained.get(best.spec.trial, {}))
        specs = self.plan.retrained(best.spec, len(self.history.trials), known)
        if specs:
            seeds = "a seed that chose" if len(specs) == 1 else f"{len(specs)} seeds that chose"
            line = f"the search is over: trial {best.spec.trial} is trained again with {seeds} nothing"
            self._notice([Noticed("test seeds", line, self.clock())])
        seed_of = {spec.trial: str(spec.seed) for spec in specs}
        for number, events in self._train_aside(specs):
            self._keeping.forget(number)
            is_whole = any(isinstance(one, TrialFinished) and one.outcome == "completed" for one in events)
            said = [one.report.metrics for one in events if isinstance(one, TrialReported)]
            known[seed_of[number]] = dict(said[-1]) if said and is_whole else {}
        return {str(seed): known[str(seed)] for seed in self.plan.test}

    # -- the end ------------------------------------------------------------------------------------------

    def _finish(self, reason: str) -> None:
        """Selection is over: read the test split for the chosen trial and the targets for those that lead.

        Where it could not be made, as a metric is missing, nothing is read.
        """
        error = self._reported.lacks(self.history)
        if error:
            self._publish([StudyFinished(reason, self.clock(), error=error)])
            return
        seeds = self._retrain()
        best = self.history.best
        test: Mapping[str, float] = {}
        number: int | None = None
        if best is not None:
            number = best.spec.trial
            if number in self.history.tested:
                test = self.history.tested[number]  # chosen before: what was read then is the figure
            elif best.row and self.folder is not None and (self.folder / best.row).is_file():
                try:
                    test = self.runner.test(best.spec, best.row)
                except HpoError as error:
                    self.problems.append(f"the test split could not be read: {error}")
        targets = self._read_targets()
        said, found = self._gain
        small = found if reason == said else dict[str, float]()
        self._publish(
            [StudyFinished(reason, self.clock(), number, dict(test), targets, gain=small, seeds=seeds)]
        )

    def _read_targets(self) -> Figures:
        """What targets say of the trials that lead and were not read before."""
        if not self.compared or self.folder is None:
            return {}
        fresh = [
            (trial.spec, trial.row)
            for trial in compared(self.history, self.compared)
            if trial.spec.trial not in self.history.targeted
            and trial.row
            and (self.folder / trial.row).is_file()
        ]
        try:
            if not fresh:
                return {}
            found = self.runner.targets(fresh)
            # What was wrong with a target is told before the study ends.
            self._notice(self.runner.poll(_POLL_SECONDS))
            return found
        except HpoError as error:
            self.problems.append(f"the targets could not be read: {error}")
            return {}


def versions() -> dict[str, str]:
    """Versions of what results may depend on, read without importing any of it."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"python": platform.python_version()}
    for name in ("hpo", "torch", "numpy", "optuna", "mlflow"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
