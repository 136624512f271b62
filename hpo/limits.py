"""When a study ends. A limit that is None does not limit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hpo.history import History, Trial


def _budget(trial: Trial) -> int:
    return trial.spec.budget


@dataclass(frozen=True, slots=True)
class Limits:
    """Trials, steps, seconds, a target, patience; whichever comes first."""

    trials: int | None = None  # trials that may be started
    total_steps: int | None = None  # optimizer steps of all trials together
    seconds: float | None = None  # of search, over all sessions
    target: float | None = None  # value of the metric, as the user knows it
    no_improvement: int | None = None  # trials in a row that ended without a new best
    # Of the metric, or of each of several, that going on must still promise (`hpo.gain`).
    min_improvement: float | Mapping[str, float] | None = None

    def left(self, history: History, until: Callable[[Trial], int] = _budget) -> int | None:
        """Steps that no running trial is sure to spend; None when nothing says.

        `until` says to which spent step a running trial is sure to go on.
        """
        if self.total_steps is None:
            return None
        promised = sum(max(0, until(trial) - trial.spent) for trial in history.running)
        return self.total_steps - history.spent - promised

    def spare(self, history: History, budget: int, until: Callable[[Trial], int] = _budget) -> int | None:
        """For how many more trials of this budget there are trials and steps; None when nothing says."""
        rooms: list[int] = []
        if self.trials is not None:
            rooms.append(self.trials - len(history.trials))
        left = self.left(history, until)
        if left is not None:
            rooms.append(left // budget)
        return max(0, min(rooms)) if rooms else None

    def room(self, history: History, budget: int, until: Callable[[Trial], int] = _budget) -> int | None:
        """How many more trials of this budget may be started; None when nothing says."""
        return 0 if self._is_stale(history) else self.spare(history, budget, until)

    def _is_stale(self, history: History) -> bool:
        if self.no_improvement is None:
            return False
        return history.ended_since_best >= self.no_improvement

    def reached(self, history: History, now: float) -> str:
        """Why the study must end at once, running trials included; "" when it need not."""
        if self.seconds is not None and history.elapsed(now) >= self.seconds:
            return f"time is up ({self.seconds:g} s)"
        if self.target is not None and history.incumbents:
            goal = history.objective
            value = history.incumbents[-1].value
            if value <= (self.target if goal.goal == "min" else -self.target):
                return f"target reached ({goal.metric} {goal.shown(value):.6g})"
        return ""

    def exhausted(self, history: History, budget: int, kept_free: int = 0) -> str:
        """Why no trial may be started any more, for the record; "" when one may.

        So many trials as are `kept_free` are for others.
        """
        room = self.room(history, budget)
        if room is None or room > kept_free:
            return ""
        begun = len(history.trials)
        if self._is_stale(history) and (self.trials is None or begun < self.trials):
            return f"no improvement in {self.no_improvement} trials"
        if self.trials is not None and begun + kept_free >= self.trials:
            return f"{self.trials} trial{'s' if self.trials > 1 else ''}"
        return f"{self.total_steps} steps"
