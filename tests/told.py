"""What a journal says of trials, without the times: two studies that went alike are equal."""

from collections.abc import Iterable
from typing import Any

from hpo.events import Event, TrialFinished, TrialPaused, TrialReported, TrialResumed, TrialStarted


def told(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """Who began, reported what, paused, went on and ended, in order."""
    said: list[tuple[Any, ...]] = []
    for event in events:
        kind = type(event).__name__
        match event:
            case TrialStarted(spec):
                said.append((kind, spec))
            case TrialReported(report):
                metrics = {name: round(value, 5) for name, value in report.metrics.items()}
                said.append((kind, report.trial, report.step, report.spent, report.wall, metrics))
            case TrialPaused(trial, spent, reason):
                said.append((kind, trial, spent, reason))
            case TrialResumed(trial, until, reason):
                said.append((kind, trial, until, reason))
            case TrialFinished(trial, outcome):
                said.append((kind, trial, outcome))
            case _:
                pass
    return said
