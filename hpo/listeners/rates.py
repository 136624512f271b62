"""The learning-rate schedule of a trial, as points to show."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpo.events import StudyStarted
from hpo.traces import find_trace, is_found_online, sampled
from schedules.spec import from_config
from trials.spec import Config

POINTS = 50  # a curve on a screen needs no more


def has_default_schedule(study: StudyStarted | None) -> bool:
    """Whether trials follow a schedule even if their configs name none, as those of a task do."""
    return study is not None and study.study.get("kind") == "task"


def rate_curve(
    config: Config, horizon: int, is_default: bool = True, points: int = POINTS
) -> list[tuple[int, float]]:
    """(step, rate) at some steps of the horizon; empty when the config describes no schedule.

    So where rates are found while training: `followed` has those. Without
    `is_default`, a config must name its schedule: an `lr` of a black box is its own affair.
    """
    peak = config.get("lr")
    if isinstance(peak, (bool, str)) or peak is None or not (is_default or "schedule" in config):
        return []
    if is_default and is_found_online(config):
        return []
    try:
        schedule = from_config(config, horizon)
    except ValueError:
        # A black box is free to call a hyperparameter of its own by a name that schedules use.
        return []
    steps = np.unique(np.linspace(0, horizon - 1, points).round().astype(int))
    return list(zip(steps.tolist(), (peak * schedule(steps)).tolist(), strict=True))


def followed(folder: Path, trial: int, config: Config, points: int = POINTS) -> list[tuple[int, float]]:
    """(step, rate) at some of the kept steps of a task's trial whose rates are found while it is trained.

    Of a trial under way as of its last report. Empty for a plain schedule, and without a trace.
    """
    peak = config.get("lr")
    if isinstance(peak, (bool, str)) or peak is None or not is_found_online(config):
        return []
    trace = find_trace(folder, trial)
    if trace is None:
        return []
    at = sampled(trace.factor, points)
    return list(zip(trace.steps[at].tolist(), (peak * trace.factor[at]).tolist(), strict=True))


def evenly(points: Sequence[tuple[int, float]], count: int) -> list[float]:
    """The rates at so many evenly spaced steps: points where little happened may be far apart.

    >>> evenly([(0, 1.0), (10, 0.0)], 3)
    [1.0, 0.5, 0.0]
    """
    steps, rates = [step for step, _ in points], [rate for _, rate in points]
    found: list[float] = np.interp(np.linspace(steps[0], steps[-1], count), steps, rates).tolist()
    return found
