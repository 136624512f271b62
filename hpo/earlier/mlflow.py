"""The runs of an MLflow experiment as an earlier study, those that our own mirror wrote among them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from hpo.earlier.files import check_table
from hpo.earlier.former import FormerStudy, FormerTrial
from hpo.errors import UsageError
from hpo.listeners.runs import valid_name
from hpo.objective import Objective
from hpo.options import unknown

# Of runs that `hpo` did not write: a run that was killed said nothing of its end.
_OUTCOMES: Mapping[str, Any] = {"FINISHED": "completed", "FAILED": "failed", "KILLED": "stopped"}
_STATES = ("completed", "stopped", "diverged", "failed", "out_of_memory")  # tag hpo.state


def former(uri: str, name: str, objective: Objective, names: Sequence[str], place: str) -> FormerStudy:
    """The runs of the experiment that have parameters, by the metrics that this study seeks.

    Args:
        uri: of the tracking store.
        name: of the experiment.
        objective: of this study.
        names: hyperparameters of this study, which the store may have under names that it takes.
        place: for messages.

    Raises:
        UsageError: the store cannot be read, has no such experiment, or no run of it has the metric.
    """
    check_table(uri, "experiments", "tracking store of MLflow", place)
    if ":" not in uri and uri != "databricks" and not Path(uri).is_dir():
        raise UsageError(
            f"{place}: there is no folder {uri}; a database has a URI, such as sqlite:///mlflow.db"
        )
    try:
        client: Any = MlflowClient(uri)
        found = client.get_experiment_by_name(name)
        if found is None:
            known = [one.name for one in client.search_experiments()]
            raise UsageError(f"{place}: {unknown('experiment', name, known)}")
        runs = [run for run in _runs(client, found.experiment_id) if _is_trial(run)]
        told = {metric for run in runs for metric in run.data.metrics}
        keys = [valid_name(part.metric) for part in objective.parts]
        lacking = [key for key in keys if key not in told]
        if runs and lacking:
            known = ", ".join(sorted(told)[:20]) or "none"
            raise UsageError(f"{place}: no run has the metric {lacking[0]}; their metrics are {known}")
        ended = [(run, outcome) for run in runs if (outcome := _outcome(run))]
        # A history is a question to the store; without trials to forecast the last values are enough.
        follows = any(outcome == "stopped" for _, outcome in ended) and not objective.others
        reports = [_reports(client, run, objective, keys, follows) for run, _ in ended]
    except MlflowException as error:
        raise UsageError(f"{place}: {uri} cannot be read: {str(error).splitlines()[0]}") from error
    budget = max((max(found, default=1) for found in reports), default=1)
    back = {valid_name(one): one for one in names}
    trials: list[FormerTrial] = []
    for (run, outcome), found in zip(ended, reports, strict=True):
        config: dict[str, Any] = {back.get(key, str(key)): text for key, text in run.data.params.items()}
        if outcome == "completed" and found:
            found = {**found, budget: found[max(found)]}
        bounded = {
            bound.metric: {max(found, default=1): run.data.metrics[key]}
            for bound in objective.bounds
            if (key := valid_name(bound.metric)) in run.data.metrics
        }
        trials.append(FormerTrial(config, outcome, budget, found, bounded))
    words = ", ".join(f"{part.metric}, {part.goal}imised" for part in objective.parts)
    return FormerStudy(words, trials, under_way=len(runs) - len(ended))


def _runs(client: Any, number: str) -> list[Any]:
    found: list[Any] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [number], max_results=1000, order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def _is_trial(run: Any) -> bool:
    """Whether it has parameters, and is not the run that stands for a whole study of ours."""
    tags = run.data.tags
    return bool(run.data.params) and ("hpo.study_id" not in tags or "hpo.trial" in tags)


def _outcome(run: Any) -> Any:
    state = run.data.tags.get("hpo.state")
    if state is not None:
        return state if state in _STATES else None
    return _OUTCOMES.get(run.info.status)


def _reports(
    client: Any, run: Any, objective: Objective, keys: Sequence[str], follows: bool
) -> dict[int, tuple[float, ...]]:
    """Step, from 1 -> values to minimise."""
    if not follows:
        named = {part.metric: key for part, key in zip(objective.parts, keys, strict=True)}
        metrics = {name: run.data.metrics[key] for name, key in named.items() if key in run.data.metrics}
        return {1: tuple(part.value(metrics) for part in objective.parts)} if metrics else {}
    name, key = objective.parts[0].metric, keys[0]
    if key not in run.data.metrics:
        return {}
    history = client.get_metric_history(run.info.run_id, key)
    return {max(1, one.step): (objective.parts[0].value({name: one.value}),) for one in history}
