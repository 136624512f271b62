"""What ends trials early: the `Pruner` protocol and the table of pruners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

from hpo.errors import UsageError
from hpo.events import Listener
from hpo.objective import Objective
from hpo.options import Option, read_options, unknown
from hpo.pruners.asha import Asha
from hpo.pruners.median import Median
from hpo.pruners.never import Never


class Pruner(Listener, Protocol):
    """Judges trials by what they report; it learns their budgets as they start.

    *Laws.* `keep` changes nothing. The best trial at every rung it reached is never stopped, nor is one that
    has spent its budget. A fresh pruner told the same events gives the same verdicts. A verdict is given at a
    report of the trial, and one to stop is never taken back.
    """

    def keep(self, trial: int) -> bool:
        """Whether the trial may go on."""
        ...

    def reason(self, trial: int) -> str:
        """Why the trial is to be stopped; "" if it is not."""
        ...


class Audit(NamedTuple):
    """A trial that would have been stopped and runs on, so that it can be known what was lost."""

    trial: int
    spent: int  # spent steps at which it would have been stopped
    best: float  # lowest final value that was known then, minimised
    final: float | None  # its own, minimised, infinite where it broke off; None while it runs


@runtime_checkable
class Auditing(Pruner, Protocol):
    """A pruner that lets a share of what it would stop run on."""

    def audits(self) -> list[Audit]:
        """Those trials, in order of their numbers."""
        ...


class Resumption(NamedTuple):
    """A paused trial that is to go on."""

    trial: int
    until: int  # spent steps at which it is looked at again; its budget at most
    reason: str


@runtime_checkable
class Pauser(Pruner, Protocol):
    """A pruner that also takes lanes away for a while, and says which of the paused trials go on.

    *Laws.* Asking changes nothing. A pause is asked for at a report of a running trial, at `until` or later
    and before its budget is spent. Only paused trials are resumed, each once, and further than they are. A
    fresh one told the same events asks for the same.
    """

    def pause(self, trial: int) -> str:
        """Why the running trial should make room for others after its last report; "" if it should not."""
        ...

    def until(self, trial: int) -> int:
        """Spent steps up to which the running trial is sure to go on."""
        ...

    def resume(self, n: int, left: int | None, may_begin: bool) -> list[Resumption]:
        """Paused trials for up to n free lanes, the most wanted first; other lanes are for new trials.

        Args:
            n: free lanes.
            left: steps that no running trial is sure to spend; None: as many as are wanted.
            may_begin: whether new trials can begin. Where none can, the study is about to end.
        """
        ...


Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table: how to build a pruner, and its options."""

    build: Callable[[Objective, Options], Pruner]
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    several: bool = False  # whether it judges by several metrics, and by constraints
    pauses: bool = False  # builds a `Pauser`


def _trust(objective: Objective, options: Options) -> Pruner:
    from hpo.pruners.trust import Trust
    from hpo.pruners.trust_front import TrustFront

    return Trust(objective, **options) if objective.is_single else TrustFront(objective, **options)


def _pause(objective: Objective, options: Options) -> Pruner:
    from hpo.pruners.pause import Pause

    return Pause(objective, **options)


PRUNERS: dict[str, Entry] = {
    "never": Entry(lambda objective, options: Never(), several=True),
    "median": Entry(
        lambda objective, options: Median(objective, **options),
        {"startup_trials": Option(5, low=1), "grace_fraction": Option(0.0, low=0, high=1)},
        several=True,
    ),
    "asha": Entry(
        lambda objective, options: Asha(objective, **options),
        # One level, at a third of the budget: on a digits perceptron the ranks after a ninth of it said the
        # opposite of the end (correlation -0.41), because short runs flatter large rates that have not
        # annealed.
        {"eta": Option(3, low=2), "rungs": Option(1, low=1)},
        several=True,
    ),
    "trust": Entry(
        _trust,
        {
            "calibration": Option(5, low=2),
            "chance": Option(0.05, low=0, high=0.5),
            "top": Option(1, low=1),
            "audits": Option(0.05, low=0, high=1),
        },
        several=True,
    ),
    "pause": Entry(
        _pause,
        {
            "pilot": Option(24, low=1),
            "first_share": Option(0.35, low=0, high=1),
            "reserve": Option(0.7, low=0, high=1),
            "audits": Option(0.05, low=0, high=1),
        },
        pauses=True,
    ),
}


def build(name: str, objective: Objective, options: Options | None = None) -> Pruner:
    """The named pruner.

    Raises:
        UsageError: an unknown pruner, an unknown option, or a value that does not fit; one that judges by one
            metric, where there are several or constraints.
    """
    if name not in PRUNERS:
        raise UsageError(unknown("pruner", name, PRUNERS))
    entry = PRUNERS[name]
    if not objective.is_single and not entry.several:
        able = ", ".join(sorted(one for one, entry in PRUNERS.items() if entry.several))
        raise UsageError(
            f"pruner {name!r} judges by one metric without constraints, and the study {objective.words()}; "
            f"by several do: {able}"
        )
    return entry.build(objective, read_options(options or {}, entry.options, f"pruner {name!r}"))
