"""One study of one contender on one problem, in simulated time, and what came of it."""

import math
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from hpo.bench.contender import Contender
from hpo.events import Event, StudyStarted, Suggestion, TrialFinished, TrialReported, TrialStarted
from hpo.forecasts import level_of
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Plan, Search
from hpo.objective import Objective
from hpo.problems.base import METRIC, Problem, build, regret, trial_of
from hpo.pruners.base import Pauser
from hpo.runners.base import Target
from hpo.runners.replayed import ReplayedRunner
from hpo.samplers.base import Sampler
from hpo.store import Memory
from trials.seeding import key

COSTLY = 0.01  # of regret, that a trial left paused would have been better than what is returned
_SAME = 1e-9  # of regret: recorded configs are often drawn twice


@dataclass(frozen=True, slots=True)
class Run:
    """What one study gave. Spent is in units of one full training."""

    contender: str
    problem: str
    seed: int
    spent: tuple[float, ...]  # whenever the incumbent changed
    regrets: tuple[float, ...]  # of the incumbent from then on, judged at the full budget
    trials: int
    stopped: int  # by the pruner
    stopped_best: bool  # see `is_best_stopped`
    milliseconds: float  # of the processor, the sampler's in the whole study

    def regret_at(self, spent: float) -> float:
        """Of the incumbent after so many trainings; that of nothing known is 2, the worst there is."""
        found = 2.0
        for at, value in zip(self.spent, self.regrets, strict=True):
            if at > spent + 1e-9:
                break
            found = value
        return found


class _Timed:
    """A sampler, and the processor's time that asking takes, and telling of ends, where models learn.

    The clock of the processor takes longer than to tell of a report.
    """

    def __init__(self, inner: Sampler) -> None:
        self._inner = inner
        self.seconds = 0.0

    def ask(self, n: int) -> list[Suggestion]:
        """As the sampler."""
        began = time.process_time()
        found = self._inner.ask(n)
        self.seconds += time.process_time() - began
        return found

    def tell(self, event: Event) -> None:
        """As the sampler."""
        if not isinstance(event, TrialFinished):
            self._inner.tell(event)
            return
        began = time.process_time()
        self._inner.tell(event)
        self.seconds += time.process_time() - began


class _Incumbents:
    """Listens for what the study would return, and what that is worth."""

    def __init__(self, problem: Problem, history: History, most: float) -> None:
        self._problem, self._history, self._most = problem, history, most
        self.spent: list[float] = []
        self.regrets: list[float] = []
        self.finals: dict[int, float] = {}  # trial -> regret at the full budget
        self._number = -1

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, TrialStarted):
            if self._history.spent <= self._most * self._problem.steps:
                self.finals[event.spec.trial] = regret(self._problem, self._problem.final(event.spec.config))
        elif isinstance(event, (TrialReported, TrialFinished)):
            best = self._history.best
            number = None if best is None else best.spec.trial
            spent = self._history.spent / self._problem.steps
            if number is not None and number != self._number and spent <= self._most + 1e-9:
                self._number = number
                self.spent.append(spent)
                self.regrets.append(self.finals[number])


def rungs(steps: int) -> tuple[int, ...]:
    """Where trials report: a third to a half further every time, and at the end.

    >>> rungs(50)
    (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 50)
    """
    return tuple(step for step in range(1, steps + 1) if step == steps or level_of(step) > level_of(step - 1))


def play(one: Contender, problem: Problem, seed: int, most: float, lanes: int = 1) -> Run:
    """A study of `most` full trainings.

    Where nothing pauses a further one may begin, so that what is left over, less than a training, is not
    lost. A pruner that pauses spends its last steps on what is paused.
    """
    objective = Objective(METRIC)
    # Problems of one space would otherwise share the luck of their first configs.
    seed_here = key(seed, problem.name) & 0x7FFFFFFF
    sampler, pruner = one.build(problem.space, objective, seed_here)
    allowed = most if isinstance(pruner, Pauser) else most + 1
    history = History(objective)
    runner = ReplayedRunner(Target(problem.name), lanes, trial_of(problem))
    watching = _Incumbents(problem, history, most)
    timed = _Timed(sampler)
    search = Search(
        Memory(),
        timed,
        pruner,
        runner,
        history,
        Limits(total_steps=math.ceil(allowed * problem.steps)),
        Plan(problem.steps, rungs(problem.steps), problem.steps, seed_here, 0),
        StudyStarted(problem.name, {}, seed_here, {}, "", runner.clock()),
        [watching],
        clock=runner.clock,
    )
    search.run()
    runner.close()
    stopped = {number for number, trial in history.trials.items() if trial.stop_reason}
    cut = {number for number in stopped if not pruner.keep(number)}
    returned = watching.regrets[-1] if watching.regrets else 2.0
    return Run(
        one.text,
        problem.name,
        seed,
        tuple(watching.spent),
        tuple(watching.regrets),
        len(history.trials),
        len(stopped),
        is_best_stopped(watching.finals, cut, stopped - cut, returned),
        1e3 * timed.seconds,
    )


def is_best_stopped(
    finals: Mapping[int, float], cut: Collection[int], left: Collection[int], returned: float
) -> bool:
    """Whether the best of the started configs was stopped for good.

    Args:
        finals: trial -> regret at the full budget.
        cut: those that the pruner stopped.
        left: those that were paused or running when the study ended. One counts only where it would have
            ended better than what is returned by more than `COSTLY`.
        returned: regret of what is returned.
    """
    least = min(finals.values())
    best = {number for number, value in finals.items() if value <= least + _SAME}
    if not best <= {*cut, *left}:
        return False
    return best <= set(cut) or least < returned - COSTLY


@dataclass(frozen=True, slots=True)
class Order:
    """One study to be played, wherever: names only, so that any process can."""

    contender: Contender
    problem: str
    seed: int
    most: float
    lanes: int
    data: Path | None

    def play(self) -> Run:
        """The study."""
        problem = build(self.problem, self.data)
        return play(self.contender, problem, self.seed, self.most, self.lanes)
