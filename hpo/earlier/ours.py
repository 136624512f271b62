"""A study of ours as an earlier one: its journal is read, nothing of what it trained is loaded."""

from collections.abc import Mapping, Sequence

from hpo.earlier.former import FormerStudy, FormerTrial
from hpo.errors import UsageError
from hpo.history import History, Trial
from hpo.loop import SECONDS
from hpo.objective import Objective


def former(history: History, objective: Objective, place: str) -> FormerStudy:
    """Its trials by the metrics that this study seeks; by its own where it does not know the one sought.

    Raises:
        UsageError: several metrics are sought, and it does not know all of them.
    """
    bounds = objective.bounds
    told = {name for trial in history.trials.values() for one in trial.reports for name in one.metrics}
    lacking = [part.metric for part in objective.parts if part.metric not in told]
    if lacking and told:
        if objective.others:
            raise UsageError(
                f"{place}: its trials do not report {lacking[0]}, which metric names; they report "
                f"{', '.join(sorted(told))}"
            )
        objective = history.objective
    parts = objective.parts if objective.others else (objective.parts[0],)
    names = [bound.metric for bound in bounds]
    trials = [_trial(trial, parts, names) for trial in history.trials.values() if trial.state != "running"]
    return FormerStudy(
        ", ".join(f"{part.metric}, {part.goal}imised" for part in parts),
        trials,
        under_way=len(history.trials) - len(trials),
    )


def _trial(trial: Trial, parts: tuple[Objective, ...], bounded: Sequence[str]) -> FormerTrial:
    reports: Mapping[int, tuple[float, ...]] = {
        one.spent: tuple(part.value(one.metrics) for part in parts)
        for one in trial.reports
        if all(part.metric in one.metrics for part in parts)
    }
    # Seconds are a metric of every trial, also where a study did not name them.
    told = {one.spent: {SECONDS: one.seconds, **one.metrics} for one in trial.reports}
    values = {
        name: {spent: metrics[name] for spent, metrics in told.items() if name in metrics} for name in bounded
    }
    outcome = trial.state if trial.state not in ("running", "paused") else "stopped"
    return FormerTrial(trial.spec.config, outcome, trial.spec.budget, reports, values)
