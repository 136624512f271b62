"""What a command line names as a schedule: a text of a schedule or tuner, or a file that was exported."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hpo.errors import UsageError
from schedules import Knots, build, load_knots, replay
from schedules.combine import scale, shift
from schedules.export import SUFFIXES
from schedules.tuner_spec import build_tuner, is_tuner
from schedules.tuners import open_loop
from schedules.types import Schedule, Tuner
from trials.spec import TrialSpec

MakeTuner = Callable[[TrialSpec, int], Tuner]  # the trial, and the step that its first row is at


@dataclass(frozen=True)
class Chosen:
    """A schedule, a tuner or a file, by what was typed."""

    text: str
    knots: Knots | None = None  # of a file

    @property
    def listens(self) -> bool:
        """Whether it is a tuner, which pays for probes."""
        return self.knots is None and is_tuner({"schedule": self.text})

    def steps(self, given: int | None) -> int | None:
        """The steps to keep: those of a file, or those given.

        Raises:
            UsageError: both, and they differ.
        """
        if self.knots is None:
            return given
        found = self.knots.horizon
        if given is not None and given != found:
            raise UsageError(
                f"--schedule {self.text} has {found} steps and --steps is {given}: leave out --steps, or give "
                f"a schedule as text, which is stretched to any number of steps"
            )
        return found

    def tuner(self, steps: int, budget: int, peak: float = 1.0) -> Tuner:
        """It over so many kept steps, its factors times `peak`.

        Raises:
            UsageError: it cannot be.
        """
        try:
            if self.listens:
                return build_tuner(self.text, steps, budget)
            schedule = build(self.text, steps) if self.knots is None else replay(self.knots)
            return open_loop(scale(schedule, peak), steps)
        except ValueError as error:
            raise UsageError(f"--schedule: {error}") from error


def chosen(text: str) -> Chosen:
    """What was typed after `--schedule`; of a text only the form is looked at.

    Raises:
        UsageError: a file that cannot be read.
    """
    if not text.endswith(SUFFIXES):
        return Chosen(text)
    try:
        return Chosen(text, load_knots(Path(text)))
    except ValueError as error:
        raise UsageError(f"--schedule: {error}") from error


def replayed(knots: Knots) -> MakeTuner:
    """The tuner of a trial that follows these knots to the end of its budget."""
    schedule = replay(knots)

    def make(spec: TrialSpec, step: int) -> Tuner:
        return open_loop(_from(schedule, step), spec.budget)

    return make


def _from(schedule: Schedule, step: int) -> Schedule:
    return shift(schedule, step) if step else schedule


def budget_of(steps: int, listens: bool) -> int:
    """Steps that may be spent to keep so many: what any search of ours needs, and more.

    A tuner keeps all its steps where the budget allows, and ends once it has; the rest is not spent. Probes
    of at least 20 steps are what a short run pays most for.

    >>> budget_of(500, listens=False), budget_of(500, listens=True)
    (500, 8000)
    """
    return 8 * steps + 4000 if listens else steps


def rungs_of(budget: int, steps: int, reports: int) -> tuple[int, ...]:
    """Spent steps at which to report: so often in as many as are kept.

    >>> rungs_of(40, 20, 2)
    (10, 20, 30, 40)
    """
    every = max(1, -(-steps // reports))
    return (*range(every, budget, every), budget)
