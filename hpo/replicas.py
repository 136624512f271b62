"""Leading configs trained again with other seeds, so that the winner is not the luckiest of many single runs.

The last trials that the limits allow are kept free for them, and the time that they will take. When nothing
else can begin or runs, the leading configs are trained until each has as many seeds as are wanted. Which they
are, and with which seeds, follows from the journal alone.

That a config is to be judged by several seeds, other ones than it is reported by: Eimer, Lindauer and
Raileanu, "Hyperparameters in Reinforcement Learning and How To Tune Them", ICML 2023, arXiv:2306.01324.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from hpo.history import LEAST_SEEDS, History, Trial
from hpo.plan import Plan
from trials.spec import TrialSpec

SHARE = 0.2  # of a study's trials that replicas are unless the user says more
LEADING = 3  # configs
_LEAST_LEADING = 2
_RECENT = 64  # trials that say how long one takes
_MARGIN = 1.1  # replicas may take a little longer than their first trials


@dataclass(frozen=True, slots=True)
class Replicas:
    """How many seeds the leading configs are to have."""

    seeds: int = 1  # of each, its first one among them; 1: nothing is trained again
    leading: int = LEADING  # configs

    @property
    def most(self) -> int:
        """Trials that they take at most."""
        return self.leading * (self.seeds - 1)

    def leaders(self, history: History, among: Iterable[Trial] | None = None) -> list[Trial]:
        """First trials of the leading configs, best first; of all trials unless others are given.

        They lead by their first seed, so that one that is not among them when it ends never is. Those of a
        front are spread evenly along its first metric.
        """
        some = history.trials.values() if among is None else among
        first = [trial for trial in some if trial.replica_of is None and trial.state == "completed"]
        if history.objective.others:
            front = history.first_fronts
            first = [trial for trial in first if front.get(trial.spec.trial) == 0]
        known = [
            trial for trial in first if math.isfinite(history.value(trial)) and history.excess(trial) == 0
        ]
        known.sort(key=lambda trial: (history.value(trial), trial.spec.trial))
        if not history.objective.others or len(known) <= self.leading:
            return known[: self.leading]
        apart = (len(known) - 1) / max(1, self.leading - 1)
        return [known[round(place * apart)] for place in range(self.leading)]

    def missing(self, history: History) -> list[Trial]:
        """First trials of the leading configs, each as often as replicas of it are still to be started."""
        if self.seeds < 2 or history.is_seedless:
            return []
        return [
            trial
            for trial in self.leaders(history)
            for _ in range(self.seeds - 1 - len(history.replicas(trial)))
        ]

    def next(self, history: History, first: Trial, plan: Plan) -> tuple[TrialSpec, str]:
        """The next replica of a config, and why it is trained."""
        known = [first, *history.replicas(first)]
        spec = plan.replica(first.spec, len(history.trials), [trial.spec.seed for trial in known])
        return spec, f"replica: of trial {first.spec.trial}, seed {len(known) + 1} of {self.seeds}"

    def kept_free(self, history: History) -> int:
        """Trials that are needed for the leading configs, and for those that may lead when they end."""
        if self.seeds < 2 or history.is_seedless:
            return 0
        places = self.leading - len(self.leaders(history))
        may_lead = sum(trial.replica_of is None for trial in (*history.running, *history.paused))
        return len(self.missing(history)) + min(places, may_lead) * (self.seeds - 1)

    def room(self, history: History, free: int) -> int:
        """How many new configs may begin where there is room for so many trials."""
        if self.seeds < 2:
            return free
        if free > 2 * self.most:
            return free - self.most  # who leads need not be known yet
        if history.is_seedless:
            return free
        left = free - self.kept_free(history)
        may_lead = sum(trial.replica_of is None for trial in (*history.running, *history.paused))
        places = max(0, self.leading - len(self.leaders(history)) - may_lead)
        # Each that begins may lead, while there are places.
        return max(0, left // self.seeds if left < places * self.seeds else left - places * (self.seeds - 1))

    def are_due(self, history: History, left: float, lanes: int) -> bool:
        """Whether so many seconds are what a further trial, and then the replicas in so many lanes, need.

        As long as the longest of the leading configs and of the newest trials took; never before one is
        complete, or where seeds play no role.
        """
        newest = islice(reversed(history.trials.values()), _RECENT)
        took = [one.reports[-1].seconds for one in newest if one.state == "completed" and one.reports]
        if self.seeds < 2 or (took and left > 2 * _MARGIN * (1 + self.most) * max(took)):
            return False  # who leads takes a look at every trial
        leaders = self.leaders(history)
        took += [one.reports[-1].seconds for one in leaders]
        if not took or history.is_seedless:
            return False
        wanted = self.most
        if any(history.replicas(one) for one in leaders):
            may_lead = 1 + sum(one.replica_of is None for one in (*history.running, *history.paused))
            wanted = min(wanted, len(self.missing(history)) + may_lead * (self.seeds - 1))
        return left < _MARGIN * max(took) * (1 - (-wanted // max(1, lanes)))


def usual(most: int | None) -> Replicas:
    """What a study of at most so many trials has where the user says nothing: a fifth of them, or none.

    >>> usual(32), usual(20).leading, usual(19).seeds
    (Replicas(seeds=3, leading=3), 2, 1)
    """
    leading = min(LEADING, math.floor(SHARE * (most or 0) + 1e-9) // (LEAST_SEEDS - 1))
    return Replicas(LEAST_SEEDS, leading) if leading >= _LEAST_LEADING else Replicas()
