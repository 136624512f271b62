"""A journal as what figures need: its history, its space, and arrays of numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hpo.audits import Audit, audits
from hpo.errors import UsageError
from hpo.events import Event, StudyStarted, TrialFinished
from hpo.history import History, Trial
from hpo.objective import Objective
from hpo.space import Space
from hpo.space import read as read_space
from hpo.store import Journal
from hpo.traces import TrialTrace, find_trace, is_found_online, sampled
from schedules.spec import from_config
from trials.spec import Value

JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class End:
    """Where the study was when a trial ended."""

    trial: int
    spent: int  # steps of all trials so far
    value: float  # the metric as the user knows it; infinite or NaN when there is none


@dataclass(frozen=True, slots=True)
class Study:
    """A study as its journal tells it, up to now."""

    name: str
    folder: Path
    table: Mapping[str, Any]  # the study's configuration; empty before the study began
    history: History
    space: Space
    ends: tuple[End, ...]  # in the order the trials ended
    started: float | None  # seconds since the epoch
    changed: float | None  # time of the last event
    audits: tuple[Audit, ...] = ()  # trials that its pruner would have stopped and that ran on

    @property
    def objective(self) -> Objective:
        """What the study is about."""
        return self.history.objective

    @property
    def best(self) -> Trial | None:
        """The trial the study chose, or the best one so far."""
        finish = self.history.finish
        if finish is not None and finish.best is not None:
            return self.history.trials.get(finish.best)
        return self.history.best

    def ranked(self) -> list[Trial]:
        """Trials with a finite value, best first; those that had the whole budget before the others."""
        rest = [trial for trial in self.history.trials.values() if np.isfinite(self.history.value(trial))]
        return sorted(
            rest,
            key=lambda trial: (
                trial.state != "completed",
                0 if self.objective.is_single else self.history.fronts.get(trial.spec.trial, len(rest)),
                self.history.value(trial),
                trial.spec.trial,
            ),
        )

    def leading(self, most: int) -> list[Trial]:
        """The best trial and those that rank next, so many; each config once, by its first seed."""
        first = self.best
        rest = [trial for trial in self.ranked() if trial.replica_of is None and trial is not first]
        return [*([first] if first else []), *rest][:most]

    def value(self, trial: Trial) -> float:
        """The metric at the trial's last report, as the user knows it; NaN without one."""
        return trial.reports[-1].metrics.get(self.objective.metric, np.nan) if trial.reports else np.nan

    def curve(self, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
        """(n,) spent steps and (n,) metric at the reports; NaN where it was not finite."""
        spent = np.array([report.spent for report in trial.reports], dtype=float)
        values = [report.metrics.get(self.objective.metric, np.nan) for report in trial.reports]
        metric = np.array(values, dtype=float)
        return spent, np.where(np.isfinite(metric), metric, np.nan)

    def rates(self, trial: Trial, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
        """(n,) steps and (n,) learning rates of the trial's schedule; empty when it has none.

        Those that were followed where they are found while training; of a trial under way as far as it
        has reported.
        """
        nothing = np.empty(0), np.empty(0)
        config = trial.spec.config
        peak = config.get("lr")
        # A black box that names no schedule has an `lr` of its own meaning.
        if isinstance(peak, (bool, str)) or peak is None:
            return nothing
        is_task = self.table.get("kind") == "task"
        if not is_task and "schedule" not in config:
            return nothing
        if is_task and is_found_online(config):
            trace = self.trace(trial)
            if trace is None:
                return nothing
            at = sampled(trace.factor, points)
            return trace.steps[at].astype(float), peak * trace.factor[at]
        try:
            schedule = from_config(config, trial.spec.horizon)
        except ValueError:
            return nothing
        steps = np.unique(np.linspace(0, trial.spec.horizon - 1, points).round())
        return steps, peak * schedule(steps)

    def trace(self, trial: Trial) -> TrialTrace | None:
        """What every step of the trial was; None where nothing was kept of it, or not yet."""
        return find_trace(self.folder, trial.spec.trial)

    def searched(self) -> list[str]:
        """Names of the hyperparameters that are searched: those of the space, then those only trials have."""
        names = dict.fromkeys(self.space.names)
        for trial in self.history.trials.values():
            names.update(dict.fromkeys(trial.spec.config))
        return [name for name in names if name not in self.space.fixed]

    def values(self, name: str) -> list[Value]:
        """What trials had for a hyperparameter, those without it left out."""
        trials = self.history.trials.values()
        return [trial.spec.config[name] for trial in trials if name in trial.spec.config]


def load(path: Path | str) -> Study:
    """The study in a folder, or of a journal.

    Raises:
        JournalError: the journal is missing or cannot be read as written.
    """
    path = Path(path)
    journal = path / JOURNAL if path.is_dir() or path.suffix != ".jsonl" else path
    return fold(Journal(journal).read()[0], journal.parent)


def fold(events: list[Event], folder: Path) -> Study:
    """The study these events tell of."""
    sessions = [event for event in events if isinstance(event, StudyStarted)]
    history = History(Objective.of_study(sessions[-1].study) if sessions else None)
    ends: list[End] = []
    for event in events:
        history.tell(event)
        if isinstance(event, TrialFinished):
            trial = history.trials[event.trial]
            value = history.objective.shown(history.value(trial))
            ends.append(End(event.trial, history.spent, value))
    latest = history.study
    return Study(
        name=latest.name if latest else folder.absolute().name,
        folder=folder,
        table=latest.study if latest else {},
        history=history,
        space=_space(latest.study if latest else {}),
        ends=tuple(ends),
        started=sessions[0].time if sessions else None,
        changed=events[-1].time if events else None,
        audits=tuple(audits(latest.study if latest else {}, history.objective, events)),
    )


def _space(table: Mapping[str, Any]) -> Space:
    try:
        return read_space(table.get("space", {}), "[space]")
    except UsageError:
        # A study of another version: its trials can be shown, the bounds of its domains cannot.
        return Space({})
