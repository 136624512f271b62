"""The live display: the best trial so far and its rate curve, what is done, what is left."""

import atexit
import threading
import time
from pathlib import Path
from typing import TextIO

import rich.console
import rich.live
from rich import box
from rich.padding import Padding
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.events import (
    Event,
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialScored,
)
from hpo.history import History, State, Trial
from hpo.limits import Limits
from hpo.listeners import words
from hpo.listeners.console import Lanes, ending, opening, ordered, scored, searched
from hpo.listeners.progress import Progress
from hpo.listeners.rates import evenly, followed, has_default_schedule, rate_curve
from hpo.objective import Objective

_STYLES: dict[State, str] = {
    "completed": "green",
    "running": "cyan",
    "paused": "blue",
    "stopped": "yellow",
    "diverged": "magenta",
    "failed": "red",
    "out_of_memory": "red",
}
_CURVE_WIDTH, _CURVE_HEIGHT = 36, 3  # letters
_REFRESHES = 2  # a second


class Live:
    """Draws itself a few times a second from a thread of its own, and costs the search nothing between."""

    def __init__(
        self,
        stream: TextIO,
        objective: Objective,
        limits: Limits | None,
        lanes: Lanes | None,
        since: float,
        folder: Path | None = None,
        called: str = "",
    ) -> None:
        self._console = rich.console.Console(file=stream, highlight=False, emoji=False, markup=False)
        self._history = History(objective)
        self._progress = Progress(limits)
        self._lanes = lanes
        self._since = since
        self._called = called
        self._folder = folder  # of the study: where rates lie that are found while training
        self._followed: tuple[tuple[int, int], list[tuple[int, float]]] = ((-1, -1), [])
        # Reentrant: a note may come from a signal handler, in the middle of taking in an event.
        self._lock = threading.RLock()
        self._live = rich.live.Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=_REFRESHES,
            transient=True,
            # What the user's task prints goes above the display.
            redirect_stdout=stream.isatty(),
            redirect_stderr=stream.isatty(),
        )
        self._is_open = False

    def tell(self, event: Event) -> None:
        """Take in one event; new bests and failures also get a line above the display."""
        with self._lock:
            best = self._history.best
            self._history.tell(event)
            if isinstance(event, StudyStarted):
                self._progress.begin(self._history, event.time)
        if event.time < self._since:
            return
        if isinstance(event, StudyStarted):
            self.note(opening(self._history))
            self._open()
        elif isinstance(event, StudyFinished):
            self.note(f"ended: {event.reason}")
        elif isinstance(event, Noticed):
            self.note(f"note: {event.text}")
        elif isinstance(event, StudyPaused | StudyResumed | StudyScaled):
            self.note(ordered(event, self._history, self._called))
        elif isinstance(event, TrialScored):
            self.note(scored(self._history, event))
        elif isinstance(event, TrialFinished):
            trial = self._history.trials[event.trial]
            is_best = self._history.best is trial and trial is not best
            if is_best or event.outcome in ("failed", "out_of_memory"):
                line = ending(self._history, trial, is_best)
                self._print(line, "bold green" if is_best else "red")

    def note(self, text: str) -> None:
        """Show a line that is no event, above the display."""
        self._print(text, "")

    def close(self) -> None:
        """Remove the display and show the cursor again; safe to call twice."""
        if self._is_open:
            self._is_open = False
            self._live.stop()
            atexit.unregister(self.close)

    def _open(self) -> None:
        if not self._is_open:
            self._is_open = True
            # A search that dies must not leave a terminal without a cursor.
            atexit.register(self.close)
            self._live.start()

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(self._shown(text), style=style), soft_wrap=True)

    def _shown(self, text: str, longest: int = 0) -> str:
        return words.printable(text, self._console.encoding, longest)

    def _draw(self) -> rich.console.RenderableType:
        with self._lock:
            return self._panel(time.time())

    def _panel(self, now: float) -> rich.console.RenderableType:
        history = self._history
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(ratio=1)
        if history.best is None:
            grid.add_row(Text("no result yet", style="dim"))
        else:
            grid.add_row(self._best(history.best))
        grid.add_row("")
        part = self._progress.part(history, now)
        if part is not None:
            grid.add_row(ProgressBar(total=1.0, completed=part))
        grid.add_row(self._states())
        grid.add_row(Text(self._totals(now, part), style="dim"))
        name = history.study.name if history.study else ""
        goal = history.objective
        aim = goal.words()
        if goal.chosen_by is not None:
            aim += f", choose by {goal.chosen_by.metric}"
        return Panel(
            Padding(grid, (0, 1)),
            box=box.ROUNDED,
            title=Text(self._shown(name, 40), style="bold"),
            title_align="left",
            subtitle=Text(self._shown(aim, 60), style="dim"),
            subtitle_align="right",
            border_style="dim",
            width=min(100, self._console.width),
        )

    def _best(self, trial: Trial) -> rich.console.RenderableType:
        history = self._history
        metric = history.objective.metric
        row = Table.grid(padding=(0, 3), expand=True)
        row.add_column(ratio=1)
        row.add_column(justify="right", no_wrap=True)
        text = Text()
        found = trial.reports[-1].metrics.get(metric, float("nan")) if trial.reports else float("nan")
        text.append(self._shown(metric), style="dim")
        text.append("  " + words.number(found), style="bold green")
        rest = f"  trial {trial.spec.trial}" + ("" if trial.state == "completed" else f", {trial.state}")
        text.append(rest + "\n", style="dim")
        for place, (name, value) in enumerate(searched(history, trial).items()):
            text.append("  " if place else "")
            text.append(self._shown(f"{name}=", 40), style="dim")
            text.append(self._shown(words.value(value), 40))
        row.add_row(text, self._curve(trial))
        return row

    def _curve(self, trial: Trial) -> Text:
        width = min(_CURVE_WIDTH, self._console.width // 3)
        is_default = has_default_schedule(self._history.study)
        points = rate_curve(trial.spec.config, trial.spec.horizon, is_default, 4 * width)
        steps = trial.spec.horizon
        if not points and is_default:
            points = self._points(trial, 4 * width)
            steps = points[-1][0] + 1 if points else 0
        if not points or self._console.width < 60:
            return Text("")
        rates = evenly(points, 4 * width)
        encoding = self._console.encoding
        if words.shows("⣿", encoding):
            lines = words.braille(rates, width, _CURVE_HEIGHT)
        else:
            lines = [words.sparkline(rates, width, encoding)]
        caption = f"rate over {words.count(steps)} steps"
        return Text("\n".join([*lines, caption.rjust(width)]), style="cyan")

    def _points(self, trial: Trial, count: int) -> list[tuple[int, float]]:
        """The rates that a trial has followed, read again when it has reported again."""
        if self._folder is None:
            return []
        place = trial.spec.trial, len(trial.reports) + (trial.state != "running")
        if self._followed[0] != place:
            self._followed = place, followed(self._folder, trial.spec.trial, trial.spec.config, count)
        return self._followed[1]

    def _states(self) -> Text:
        text = Text()
        if self._history.is_paused:
            text.append("study paused  ", style="bold blue")
        for state, style in _STYLES.items():
            if trials := self._history.count(state):
                text.append(f"{trials} {state}  ", style=style)
        return text

    def _totals(self, now: float, part: float | None) -> str:
        history = self._history
        parts: list[str] = []
        if self._progress.trials:
            ended = len(history.trials) - len(history.running)
            parts.append(f"{ended} of {self._progress.trials} trials")
        parts.append(words.steps(history.spent, history.kept, history.wall))
        if self._lanes is not None:
            busy, lanes = self._lanes()
            parts.append(f"{busy} of {lanes} lanes busy")
        parts.append(words.duration(history.elapsed(now)))
        if history.is_paused:
            return ", ".join(parts)
        left = self._progress.seconds_left(history, now)
        if left:
            parts.append(f"about {words.duration(left)} left")
        elif part is not None and part < 1:
            parts.append("estimating the time left")
        return ", ".join(parts)
