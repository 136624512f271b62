"""How often a pruner is wrong, by the trials that it would have stopped and let run on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hpo.errors import UsageError
from hpo.events import Event
from hpo.objective import Objective
from hpo.pruners import base as pruners
from hpo.pruners.base import Audit
from hpo.pruners.concordance import wilson


class FalseStops(NamedTuple):
    """Of audited trials that ended: how many beat the best of when they would have been stopped."""

    wrong: int
    ended: int
    low: float  # end of the interval of their share, at 95 %
    high: float


def audits(table: Mapping[str, Any], objective: Objective, events: Iterable[Event]) -> list[Audit]:
    """What the pruner of a study, given as a table, knows of its audits once it is told all events."""
    try:
        pruner = pruners.build(table.get("search", {}).get("pruner", ""), objective, table.get("pruner", {}))
    except UsageError:
        return []  # of another version
    if not isinstance(pruner, pruners.Auditing):
        return []
    for event in events:
        pruner.tell(event)
    return pruner.audits()


def false_stops(audited: Sequence[Audit]) -> FalseStops | None:
    """Their count and the interval of their share; None where none has ended.

    >>> false_stops([Audit(3, 10, 0.5, 0.6), Audit(4, 10, 0.5, None)])
    FalseStops(wrong=0, ended=1, low=0.0, high=0.7934506754308368)
    """
    finals = [(audit.final, audit.best) for audit in audited if audit.final is not None]
    if not finals:
        return None
    wrong = sum(final < best for final, best in finals)
    return FalseStops(wrong, len(finals), *wilson(wrong / len(finals), len(finals)))
