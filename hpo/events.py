"""Facts about a study, appended once, never changed; and the one verb that takes them in.

A journal is a sequence of these. Everything that watches a study is a `Listener` and hears the same events in
the same order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from trials.spec import Config, Report, TrialSpec
from trials.validation import FoldModel

Outcome = Literal["completed", "stopped", "diverged", "failed", "out_of_memory"]
Figures = Mapping[str, Mapping[str, Mapping[str, float]]]  # trial as a text -> target -> metric -> value


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a sampler proposes: a config, not yet a trial."""

    config: Config
    budget: int | None = None  # steps; None: the study's budget
    parent: str | None = None  # checkpoint to start from, relative to the study's folder
    origin: str = ""  # why it is proposed: "random", "prior", "start", "model" and others, then words


@dataclass(frozen=True, slots=True)
class StudyStarted:
    """A search process begins or takes up the study. A journal holds one for every such session."""

    name: str
    study: Mapping[str, Any]  # the whole study as a table, defaults filled in
    seed: int
    versions: Mapping[str, str]  # package name -> version
    source: str  # revision of the working folder's source, "" when unknown
    time: float  # seconds since the epoch, as in every event


@dataclass(frozen=True, slots=True)
class DataSet:
    """Data that trials are judged on, by what it holds."""

    name: str
    digest: str  # 16 hexadecimal digits
    examples: int
    role: str  # "validation", "target"


@dataclass(frozen=True, slots=True)
class DataLoaded:
    """What a study judges its trials on, beyond the plain splits. Told before the first trial."""

    sets: tuple[DataSet, ...]
    time: float


@dataclass(frozen=True, slots=True)
class EarlierResult:
    """What one trial of an earlier study came to, as far as this study's space has words for its config."""

    config: Config  # of hyperparameters that both studies have, and that are active here
    values: tuple[float, ...]  # of every metric, minimised; infinite where it broke off
    spread: float  # standard deviation where the value is a forecast; 0 for what was seen
    excess: float = 0.0  # how far beyond this study's constraints, by what it reported of them


@dataclass(frozen=True, slots=True)
class EarlierTaken:
    """What was found by an earlier study, told once a source before the first trial.

    The journal holds all of it that samplers use: the earlier study may be gone when this one is taken up.
    """

    source: str  # as `--from` names it
    metric: str  # that its trials were judged by, in words
    results: tuple[EarlierResult, ...]
    mapped: tuple[str, ...]  # hyperparameters that both studies have
    lacking: tuple[str, ...]  # those that are searched here alone
    others: tuple[str, ...]  # those that there are there alone
    left_out: Mapping[str, int]  # why -> trials that were
    time: float


@dataclass(frozen=True, slots=True)
class TrialStarted:
    """A suggestion became a trial. Told before anything runs."""

    spec: TrialSpec
    time: float
    origin: str = ""  # of the suggestion; "" in journals of formats below 5
    replica_of: int | None = None  # the trial whose config it has, with another seed; none below format 6


@dataclass(frozen=True, slots=True)
class TrialReported:
    """A trial reached a rung."""

    report: Report
    time: float


@dataclass(frozen=True, slots=True)
class TrialScored:
    """The fold models of a trial were trained: with it, or once the search was over."""

    trial: int
    metrics: Mapping[str, float]  # `shifted_NAME_FAMILY` of the families they are scored on
    steps: int  # of all of them; the trial's own are not among them
    folds: tuple[FoldModel, ...]  # which families trained and scored each
    time: float
    error: str = ""  # why there are no scores: a fold model diverged or failed


@dataclass(frozen=True, slots=True)
class TrialStopped:
    """The search decided to end a trial early; its TrialFinished follows."""

    trial: int
    spent: int  # spent steps of the report that led to it
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class TrialPaused:
    """The search gave a trial's lane to others; the trial may go on later. Told at one of its reports."""

    trial: int
    spent: int  # spent steps of the report that led to it
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class TrialResumed:
    """A paused trial has a lane again. Told before it goes on."""

    trial: int
    until: int  # spent steps at which it is looked at again
    reason: str
    time: float


@dataclass(frozen=True, slots=True)
class TrialFinished:
    """A trial ended; exactly one for each TrialStarted."""

    trial: int
    outcome: Outcome
    time: float
    error: str = ""  # traceback of a failed trial, or why it diverged or had no memory
    row: str = ""  # saved row, relative to the study's folder; "" when none was kept


@dataclass(frozen=True, slots=True)
class StudyPaused:
    """The user paused the running search: nothing trains until a StudyResumed, or another session."""

    time: float
    order: str = ""  # by which whoever gave it finds the answer, as in the next two


@dataclass(frozen=True, slots=True)
class StudyResumed:
    """The user let a paused search go on."""

    time: float
    order: str = ""


@dataclass(frozen=True, slots=True)
class StudyScaled:
    """The user changed how many workers the running search has."""

    workers: int  # to have at most; those that are too many leave when their trials have ended
    time: float
    order: str = ""
    error: str = ""  # why nothing was changed
    note: str = ""  # why there are fewer for now


@dataclass(frozen=True, slots=True)
class StudyFinished:
    """A limit was reached. Selection is over: the test split and the targets may have been read."""

    reason: str
    time: float
    best: int | None = None  # the chosen trial
    test: Mapping[str, float] = field(default_factory=dict[str, float])  # its metrics on the test split
    targets: Figures = field(default_factory=dict[str, Mapping[str, Mapping[str, float]]])
    error: str = ""  # why the study cannot go on as it is
    gain: Mapping[str, float] = field(
        default_factory=dict[str, float]
    )  # mean, low, high, bound, if it ended it
    # Test seed as a text -> metrics of the chosen config on the validation split; {} where it broke off.
    seeds: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something the user should know of how the study runs. No result depends on it."""

    topic: str  # what it is about: "capacity", "compile", "data", "out_of_memory", "range_test" and others
    text: str  # one line
    time: float


Event = (
    StudyStarted
    | DataLoaded
    | EarlierTaken
    | TrialStarted
    | TrialReported
    | TrialScored
    | TrialStopped
    | TrialPaused
    | TrialResumed
    | TrialFinished
    | StudyPaused
    | StudyResumed
    | StudyScaled
    | StudyFinished
    | Noticed
)


class Listener(Protocol):
    """Anything that is told events: sampler, pruner, history, console, mirror."""

    def tell(self, event: Event) -> None:
        """Take in one event. Events come once each, in journal order."""
        ...
