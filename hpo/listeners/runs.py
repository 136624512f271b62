"""Fold of events into runs: what a tracking store should show of a study, whatever the store.

One `Run` stands for the study and one for each trial. Everything in them is a function of the journal alone,
times included, so a store that was filled halfway, twice or never can be brought to the same state. But for
one thing: rates that were found while training are read from the traces beside the journal, which are there
before a trial's end is in the journal.
"""

import math
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from hpo import codec
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
from hpo.history import WITHOUT_VALUE, History, Trial
from hpo.judgement import judgement
from hpo.listeners.rates import followed, has_default_schedule, rate_curve
from hpo.objective import Objective
from trials.spec import Report, TrialSpec

Status = Literal["RUNNING", "FINISHED", "KILLED", "FAILED"]
Ending = Literal["FINISHED", "KILLED", "FAILED"]

STUDY = -1  # the key of the study's own run; trials have theirs from 0

_STATUS: dict[str, Ending] = {
    "completed": "FINISHED",
    "stopped": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "out_of_memory": "FAILED",
}
_STATE: dict[str, str] = {"FINISHED": "finished", "KILLED": "interrupted", "FAILED": "failed"}
_TAG_LENGTH = 5000  # of a text in a tag; the whole of a traceback is a file


class Measure(NamedTuple):
    """One value of one metric. A run has at most one for each key and step."""

    key: str
    step: int
    value: float  # NaN when it was not finite
    time: int  # milliseconds since the epoch


@dataclass(slots=True)
class Run:
    """What one run should hold."""

    name: str
    start: int  # milliseconds since the epoch
    tags: dict[str, str]
    params: dict[str, str]
    status: Status = "RUNNING"
    end: int | None = None
    metrics: dict[tuple[str, int], Measure] = field(default_factory=dict[tuple[str, int], Measure])
    files: dict[str, str] = field(default_factory=dict[str, str])  # name -> text
    data: tuple[DataSet, ...] = ()  # that its trials are judged on

    def measure(self, key: str, step: int, value: float, time: float) -> None:
        """Add a value, unless the run has one for this key and step."""
        key = valid_name(key)
        value = float(value) if math.isfinite(value) else math.nan
        self.metrics.setdefault((key, step), Measure(key, step, value, _milliseconds(time)))


class Runs:
    """The runs of one study, and which of them changed since somebody looked."""

    def __init__(self, journal: str = "") -> None:
        self.history = History()
        self.identity = ""  # of the study: the same in every session, different between studies
        self.runs: dict[int, Run] = {}
        self.changed: set[int] = set()
        self._journal = journal
        self._ended = 0  # trials; the step of the study's own metrics
        self._best: int | None = None
        self._front: set[int] = set()  # trials
        self._is_default = False  # schedule of a config that names none
        self._time = 0.0

    @property
    def study(self) -> Run:
        """The study's own run."""
        return self.runs[STUDY]

    def tell(self, event: Event) -> None:
        """Take in one event."""
        self._time = event.time
        match event:
            case StudyStarted():
                self._start_study(event)
            case DataLoaded():
                self.study.data = event.sets
                self.changed.add(STUDY)
            case TrialStarted(spec):
                self._start_trial(spec, event.time)
                if event.replica_of is not None:
                    self.runs[spec.trial].tags["hpo.replica_of"] = str(event.replica_of)
            case TrialReported(report):
                run = self.runs[report.trial]
                # The step of a rung is what was paid for: it never repeats, where a position may.
                for name, value in report.metrics.items():
                    run.measure(name, report.spent, value, event.time)
                run.measure("seconds", report.spent, report.seconds, event.time)
                run.measure("wall", report.spent, report.wall, event.time)
                self._measure_rates(report, event.time)
                self.changed.add(report.trial)
            case TrialScored():
                run, spent = self.runs[event.trial], self.history.trials[event.trial].spent
                for name, value in {**event.metrics, "fold_steps": event.steps}.items():
                    run.measure(name, spent, value, event.time)
                self.changed.add(event.trial)
            case TrialStopped():
                self.runs[event.trial].tags["hpo.stop_reason"] = event.reason or "stopped"
            case Noticed():
                before = self.study.tags.get("hpo.notices", "")
                self.study.tags["hpo.notices"] = f"{before}\n{event.text}".strip()[:_TAG_LENGTH]
                self.changed.add(STUDY)
            case StudyPaused() | StudyResumed():
                self.study.tags["hpo.state"] = "paused" if isinstance(event, StudyPaused) else "running"
                self.changed.add(STUDY)
            case (
                TrialFinished()
                | StudyFinished()
                | StudyScaled()
                | TrialPaused()
                | TrialResumed()
                | EarlierTaken()
            ):
                pass
        self.history.tell(event)
        if isinstance(event, TrialFinished):
            self._finish_trial(event)
        elif isinstance(event, StudyFinished):
            for name, value in event.test.items():
                key = name if name.startswith("test") else f"test_{name}"
                self.study.measure(key, self._ended, value, event.time)
            self._measure_targets(event)
            for seed, found in event.seeds.items():
                for name, value in found.items():
                    self.study.measure(f"seed_{seed}_{name}", self._ended, value, event.time)
            self.changed.add(STUDY)

    def _start_study(self, event: StudyStarted) -> None:
        if not self.identity:
            self._is_default = has_default_schedule(event)
            self.identity = codec.identity(event)
            objective = Objective.of_study(event.study)
            tags = {
                "hpo.study": event.name,
                "hpo.study_id": self.identity,
                "hpo.metric": objective.metric,
                "hpo.goal": objective.goal,
                **_several(objective),
                "hpo.journal": self._journal,
                "hpo.source": event.source,
                "hpo.state": "running",
                "mlflow.source.name": "hpo",
                "mlflow.source.type": "LOCAL",
            }
            self.runs[STUDY] = Run(
                event.name,
                _milliseconds(event.time),
                {name: text for name, text in tags.items() if text},
                _study_params(event),
            )
        # `resume --force` lets bounds go that nobody reports.
        self.history.objective = Objective.of_study(event.study)
        self.study.tags["hpo.state"] = "running"  # also where it was paused when its process was killed
        self.changed.add(STUDY)

    def _start_trial(self, spec: TrialSpec, time: float) -> None:
        if spec.trial in self.runs:
            return
        tags = {
            "hpo.study": self.study.name,
            "hpo.study_id": self.identity,
            "hpo.trial": str(spec.trial),
            "hpo.seed": str(spec.seed),
            "hpo.budget": str(spec.budget),
            "hpo.state": "running",
            "hpo.is_best": "false",
            "mlflow.source.name": "hpo",
            "mlflow.source.type": "LOCAL",
        }
        params = {valid_name(name): str(value) for name, value in spec.config.items()}
        run = Run(f"trial {spec.trial}", _milliseconds(time), tags, params)
        self.runs[spec.trial] = run
        self.changed.add(spec.trial)

    def _measure_rates(self, report: Report, time: float) -> None:
        """The rates of the steps since the last report: of what was trained, not of what was planned."""
        trial, run = self.history.trials[report.trial], self.runs[report.trial]
        before = trial.spent if trial.reports else -1
        curve = rate_curve(trial.spec.config, trial.spec.horizon, self._is_default)
        for step, rate in curve:
            if before < step <= report.spent:
                run.measure("lr", step, rate, time)

    def _measure_targets(self, event: StudyFinished) -> None:
        """What targets say of each trial, in its own run; of the chosen one in the study's too."""
        for number, targets in event.targets.items():
            trial = int(number)
            for target, metrics in targets.items():
                for name, value in metrics.items():
                    key = f"target_{target}_{name}"
                    self.runs[trial].measure(key, self.history.trials[trial].spent, value, event.time)
                    if trial == event.best:
                        self.study.measure(key, self._ended, value, event.time)
            self.changed.add(trial)

    def _finish_trial(self, event: TrialFinished) -> None:
        run = self.runs[event.trial]
        run.status, run.end = _STATUS[event.outcome], _milliseconds(event.time)
        run.tags["hpo.state"] = event.outcome
        if event.row:
            run.tags["hpo.row"] = event.row
        if event.error:
            # The end of a traceback says what went wrong.
            run.tags["hpo.error"] = event.error[-_TAG_LENGTH:]
            run.files["error.txt"] = event.error
        config = self.history.trials[event.trial].spec.config
        if self._journal and self._is_default:
            # At the steps that were kept, which is what the rates are of.
            for step, rate in followed(Path(self._journal).parent, event.trial, config):
                run.measure("lr", step, rate, event.time)
        self._ended += 1
        study, ended = self.study, self._ended
        study.measure("spent", ended, self.history.spent, event.time)
        study.measure(event.outcome, ended, self.history.count(event.outcome), event.time)
        best = self.history.best
        if best is not None and best.state != "running" and best.spec.trial != self._best:
            if self._best is not None:
                self.runs[self._best].tags["hpo.is_best"] = "false"
                self.changed.add(self._best)
            self._best = best.spec.trial
            self.runs[self._best].tags["hpo.is_best"] = "true"
            self.changed.add(self._best)
            study.tags["hpo.best_trial"] = str(self._best)
            shown = self.history.objective.shown(self.history.value(best))
            study.measure(f"best_{self.history.objective.metric}", ended, shown, event.time)
        self._tag_seeds(best, event.time)
        self._tag_front(event)
        self.changed.update((event.trial, STUDY))

    def _tag_seeds(self, best: Trial | None, time: float) -> None:
        """By how many seeds the best config was judged, and what they say."""
        found = None if best is None else judgement(self.history, best)
        self.study.tags["hpo.best_seeds"] = str(1 if found is None else found.seeds)
        if found is not None:
            for name, value in (("mean", found.mean), ("low", found.low), ("high", found.high)):
                self.study.tags[f"hpo.best_{name}"] = repr(value)
                self.study.measure(f"best_{self.history.objective.metric}_{name}", self._ended, value, time)

    def _tag_front(self, event: TrialFinished) -> None:
        """Which trials no other beats, and how many; which are beyond a constraint."""
        objective = self.history.objective
        if objective.bounds and event.outcome == "completed":
            beyond = self.history.excess(self.history.trials[event.trial]) > 0
            self.runs[event.trial].tags["hpo.within_constraints"] = "false" if beyond else "true"
        if not objective.others:
            return
        front = {trial.spec.trial for trial in self.history.front}
        for number in self._front ^ front:
            self.runs[number].tags["hpo.in_front"] = "true" if number in front else "false"
            self.changed.add(number)
        self._front = front
        self.study.tags["hpo.front"] = ", ".join(map(str, sorted(front)))[:_TAG_LENGTH]
        self.study.measure("front_size", self._ended, len(front), event.time)

    def close(self, ending: Ending | None = None) -> None:
        """The search process is gone. Without an `ending`, the journal tells whether it had finished."""
        if ending is None:
            ending = "KILLED" if self.history.finish is None else "FINISHED"
            if self.history.finish is not None and self.history.finish.error:
                ending = "FAILED"
            states = {trial.state for trial in self.history.trials.values()}
            if ending == "FINISHED" and states and states <= {*WITHOUT_VALUE}:
                ending = "FAILED"
        end = _milliseconds(self._time)
        self.study.status, self.study.end = ending, end
        self.study.tags["hpo.state"] = _STATE[ending]
        self.changed.add(STUDY)
        for trial in (*self.history.running, *self.history.paused):
            run = self.runs[trial.spec.trial]
            run.status, run.end, run.tags["hpo.state"] = "KILLED", end, "interrupted"
            self.changed.add(trial.spec.trial)

    def artifacts(self) -> list[str]:
        """Files of the study's folder worth keeping with its run, by name; not all need exist."""
        best = self.history.best
        row = [best.row] if best is not None and best.row else []
        return ["study.toml", "report.html", *row]


def valid_name(text: str) -> str:
    """The nearest name a tracking store takes for a metric or a hyperparameter.

    >>> valid_name("val_loss"), valid_name("head/lr"), valid_name("a?b"), valid_name("../x")
    ('val_loss', 'head/lr', 'a_b', '___x')
    """
    name = re.sub(r"[^\w\-. :/]", "_", text)[:250] or "_"
    if posixpath.normpath(name) != name or name == "." or name.startswith(("..", "/")):
        name = re.sub(r"[./]", "_", name)
    return name


def _several(objective: Objective) -> dict[str, str]:
    """Tags of a study that seeks several metrics or has constraints."""
    tags: dict[str, str] = {}
    if objective.others:
        tags["hpo.metrics"] = ", ".join(f"{part.goal} {part.metric}" for part in objective.parts)
    if objective.bounds:
        tags["hpo.constraints"] = ", ".join(bound.words() for bound in objective.bounds)
    return tags


def _study_params(event: StudyStarted) -> dict[str, str]:
    study = event.study
    search = cast(Mapping[str, Any], study.get("search", {}))
    trial = cast(Mapping[str, Any], study.get("trial", {}))
    objective = Objective.read(study["metric"])  # what the winner is chosen by
    task = study.get("task", "")
    options = cast(Mapping[str, Any], task) if isinstance(task, Mapping) else {"name": task}
    params = {
        "task": options.get("name", ""),
        **{f"task.{name}": option for name, option in options.items() if name != "name"},
        "metric": ", ".join(part.metric for part in objective.parts),
        "goal": ", ".join(part.goal for part in objective.parts),
        "sampler": search.get("sampler", ""),
        "pruner": search.get("pruner", ""),
        "seed": event.seed,
        "steps": trial.get("steps", ""),
    }
    return {valid_name(name): str(value) for name, value in params.items() if value != ""}


def _milliseconds(time: float) -> int:
    return round(time * 1000)
