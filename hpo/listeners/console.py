"""What a search shows on the terminal: a live display, plain lines, or events as JSON.

Events of earlier sessions, told again when a study is taken up, are taken in and not shown.
"""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TextIO, cast

from hpo import codec
from hpo.errors import MissingDependency
from hpo.events import (
    Event,
    Listener,
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialScored,
)
from hpo.history import History, Trial
from hpo.limits import Limits
from hpo.listeners import words
from hpo.listeners.progress import Progress
from hpo.objective import Objective
from trials.spec import Config

Mode = Literal["auto", "rich", "plain", "json", "quiet"]
Lanes = Callable[[], tuple[int, int]]  # -> (busy, all)


class Console(Listener, Protocol):
    """A listener that owns the terminal while a search runs."""

    def note(self, text: str) -> None:
        """Show a line that is no event, such as a warning."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was; safe to call twice."""
        ...


def build(
    mode: Mode,
    objective: Objective,
    limits: Limits | None = None,
    lanes: Lanes | None = None,
    *,
    stream: TextIO | None = None,
    since: float | None = None,
    folder: Path | None = None,
    called: str = "",
) -> Console:
    """The console of this mode; "auto" is "rich" on a terminal and "plain" elsewhere.

    Args:
        mode: "json" writes one event a line, and notes to standard error; "quiet" nothing but those notes.
        objective: of the study.
        limits: of the study; None takes those the study began with.
        lanes: asked for (busy, all) whenever the display is drawn.
        stream: instead of standard output.
        since: events before this time (seconds since the epoch) are not shown; now, unless given.
        folder: of the study, where the rates lie that are found while training.
        called: how a command line names the study; by its name, unless given.

    Raises:
        MissingDependency: mode "rich" without the package.
    """
    out: TextIO = stream or sys.stdout
    since = time.time() if since is None else since
    if mode == "auto":
        mode = "rich" if out.isatty() else "plain"
    if mode == "json":
        return Json(out, since)
    if mode == "plain":
        return Plain(Lines(out), objective, limits, since, called)
    if mode == "quiet":
        return Quiet()
    try:
        from hpo.listeners.live import Live
    except ImportError as error:
        raise MissingDependency("the live display needs rich: install it, or use plain lines") from error
    return Live(out, objective, limits, lanes, since, folder, called)


class Lines:
    """A stream that takes lines, and goes on when nobody reads them any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.encoding = stream.encoding or "utf-8"

    def write(self, line: str) -> None:
        """Write one line at once."""
        with contextlib.suppress(OSError, ValueError):  # the reader is gone, or the stream is closed
            self._stream.write(line + "\n")
            self._stream.flush()

    def show(self, text: str, longest: int = 0) -> None:
        """Write text from elsewhere as one line."""
        self.write(words.printable(text, self.encoding, longest))


class Quiet:
    """Shows notes only."""

    def tell(self, event: Event) -> None:
        """Take in one event."""

    def note(self, text: str) -> None:
        """Show a line that is no event."""
        Lines(sys.stderr).show(text)

    def close(self) -> None:
        """Nothing was taken, so nothing is left."""


class Json(Quiet):
    """One event a line, and nothing else on the stream."""

    def __init__(self, stream: TextIO, since: float) -> None:
        self._lines = Lines(stream)
        self._since = since

    def tell(self, event: Event) -> None:
        """Write the event as the journal has it."""
        if event.time >= self._since:
            self._lines.write(codec.encode(event))


class Plain:
    """A line when a trial ends, none for its reports."""

    def __init__(
        self, lines: Lines, objective: Objective, limits: Limits | None, since: float, called: str
    ) -> None:
        self.history = History(objective)
        self.progress = Progress(limits)
        self._lines = lines
        self._since = since
        self._called = called

    def tell(self, event: Event) -> None:
        """Take in one event; show it if it is worth a line."""
        best = self.history.best
        self.history.tell(event)
        if isinstance(event, StudyStarted):
            self.progress.begin(self.history, event.time)
        if event.time < self._since:
            return
        if isinstance(event, StudyStarted):
            self._lines.show(opening(self.history))
        elif isinstance(event, StudyFinished):
            self._lines.show(f"ended: {event.reason}")
        elif isinstance(event, Noticed):
            self._lines.show(f"note: {event.text}")
        elif isinstance(event, StudyPaused | StudyResumed | StudyScaled):
            self._lines.show(ordered(event, self.history, self._called))
        elif isinstance(event, TrialScored):
            self._lines.show(scored(self.history, event))
        elif isinstance(event, TrialFinished):
            trial = self.history.trials[event.trial]
            is_best = self.history.best is trial and trial is not best
            of = f"/{self.progress.trials}" if self.progress.trials else ""
            self._lines.show(f"[{self.history.ended}{of}] {ending(self.history, trial, is_best)}")

    def note(self, text: str) -> None:
        """Show a line that is no event."""
        self._lines.show(text)

    def close(self) -> None:
        """Lines stay."""


def opening(history: History) -> str:
    """One line on a study that begins or is taken up."""
    assert history.study is not None
    study, objective = history.study.study, history.objective
    search = study.get("search", {})
    parts = [f"study {history.study.name} {objective.words()}"]
    if objective.chosen_by is not None:
        parts.append(f"and {objective.chosen_by.words()} among the leading third,")
    if names := " and ".join(str(search[key]) for key in ("sampler", "pruner") if search.get(key)):
        parts.append(f"with {names}")
    if history.trials:
        parts.append(f"(taken up: {history.ended} trials ended, {words.count(history.spent)} steps spent)")
    return " ".join(parts)


def ordered(event: StudyPaused | StudyResumed | StudyScaled, history: History, called: str) -> str:
    """One line on what the user ordered of a running search; `called` by a command line, or by its name."""
    match event:
        case StudyPaused():
            assert history.study is not None
            return f"paused: `hpo resume {called or history.study.name}` lets it go on"
        case StudyResumed():
            return "goes on"
        case StudyScaled(workers, error="", note=note):
            return f"workers: {workers} from now on" + (f": {note}" if note else "")
        case StudyScaled(workers, error=error):
            return f"workers: not {workers}: {error}"


def ending(history: History, trial: Trial, is_best: bool) -> str:
    """One line on a trial that ended."""
    parts = [f"trial {trial.spec.trial} {trial.state}"]
    objective = history.objective
    if trial.state in ("completed", "stopped") and trial.reports:
        metrics = trial.reports[-1].metrics
        found = [f"{one}={words.number(metrics[one])}" for one in objective.names if one in metrics]
        parts.append(f"{' '.join(found)} after {taken(trial)}")
        if trial.state == "completed" and history.excess(trial) > 0:
            parts.append("(beyond the constraints)")
    if trial.replica_of is not None:
        parts.append(f"(trial {trial.replica_of} with another seed)")
    if trial.error:
        # The last line of a traceback says what went wrong.
        parts.append(f"({trial.error.strip().splitlines()[-1].strip()})")
    elif trial.stop_reason:
        parts.append(f"({trial.stop_reason})")
    parts.append(words.config(searched(history, trial)))
    is_new = objective.others and trial in history.front
    return ("in the front: " if is_new else "new best: " if is_best else "") + " ".join(parts)


def scored(history: History, event: TrialScored) -> str:
    """One line on a trial whose fold models were trained."""
    goal = history.objective.final
    if event.error:
        return f"trial {event.trial} has no {goal.metric}: {event.error}"
    found = history.trials[event.trial].metrics.get(goal.metric, float("nan"))
    models = f"{len(event.folds)} fold model{'s' if len(event.folds) > 1 else ''}"
    taken = f"{models}, {words.count(event.steps)} steps"
    return f"trial {event.trial} {goal.metric}={words.number(found)} by {taken}"


def taken(trial: Trial) -> str:
    """The steps of a trial, by all three counters where they differ."""
    return words.steps(trial.spent, trial.kept, trial.wall)


def searched(history: History, trial: Trial) -> Config:
    """The trial's config without what is fixed for the whole study."""
    space = cast(Mapping[str, Any], history.study.study.get("space", {}) if history.study else {})
    fixed = {name for name, entry in space.items() if not isinstance(entry, Mapping)}
    return {name: value for name, value in trial.spec.config.items() if name not in fixed}
