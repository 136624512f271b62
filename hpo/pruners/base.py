"""What ends trials early: the `Pruner` protocol and the table of pruners."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

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


Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table: how to build a pruner, and its options."""

    build: Callable[[Objective, Options], Pruner]
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    several: bool = False  # whether it judges by several metrics, and by constraints


def _trust(objective: Objective, options: Options) -> Pruner:
    from hpo.pruners.trust import Trust
    from hpo.pruners.trust_front import TrustFront

    return Trust(objective, **options) if objective.is_single else TrustFront(objective, **options)


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
            "audits": Option(0.05, low=0, high=1),
        },
        several=True,
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
