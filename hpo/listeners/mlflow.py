"""A study's runs in an MLflow store, completed. The only file that imports mlflow.

One parent run stands for the study, one child run for each trial. Runs are found by the tags `hpo.study_id`
and `hpo.trial`, values by metric and step; only what is missing is written.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.version import VERSION

from hpo.listeners import template
from hpo.listeners.mirror import MirrorError
from hpo.listeners.runs import STUDY, Run, Runs

_MOST_MEASURES, _MOST_PARAMS = 800, 100  # MLflow takes 1000 values in one batch, at most 100 of them texts


@dataclass(slots=True)
class _Found:
    """A run as the store has it."""

    run_id: str
    status: str
    tags: dict[str, str]
    params: set[str]
    measured: set[tuple[str, int]]  # (key, step) of the values it has
    files: set[str] = field(default_factory=set[str])
    is_described: bool = False  # whether the store has its data sets
    seen: int = 0  # how many of the wanted values were looked at; more come only at the end


class Store:
    """An MLflow store, compared with wanted runs and completed."""

    def __init__(self, uri: str, experiment: str) -> None:
        template.prepare(uri, VERSION, _build)
        self._client: Any = MlflowClient(uri)  # its methods are untyped in part
        found = self._client.get_experiment_by_name(experiment)
        if found is None:
            try:
                self._experiment: str = self._client.create_experiment(experiment)
            except MlflowException:
                # Another study that starts at the same moment has made it.
                found = self._client.get_experiment_by_name(experiment)
                if found is None:
                    raise
        if found is not None:
            if found.lifecycle_stage != "active":
                raise MirrorError(
                    f"experiment {experiment!r} is deleted: restore it, or set `experiment` under [tracking]"
                )
            self._experiment = found.experiment_id
        self._found: dict[int, _Found] = {}
        self._kept: set[str] = set()

    def take_up(self, runs: Runs) -> None:
        """Find the study's runs, and which of the wanted values they have."""
        self._found.clear()
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment],
                f"tags.`hpo.study_id` = '{runs.identity}'",
                max_results=1000,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            for run in page:
                key = int(run.data.tags.get("hpo.trial", STUDY))
                if key in runs.runs:
                    self._found.setdefault(key, self._read(run, runs.runs[key]))
            token = page.token
            if not token:
                return

    def _read(self, run: Any, wanted: Run) -> _Found:
        found = _Found(
            run.info.run_id,
            run.info.status,
            dict(run.data.tags),
            set(run.data.params),
            set(),
        )
        if "hpo.trial" in run.data.tags and found.status == wanted.status and _has_ended(wanted, found.tags):
            # Values are written before the state, and the state before the status.
            found.measured = set(wanted.metrics)
            found.files = set(wanted.files)
            return found
        for key in run.data.metrics:
            history = self._client.get_metric_history(found.run_id, key)
            found.measured.update((key, measure.step) for measure in history)
        return found

    def write(self, key: int, wanted: Run) -> None:
        """Bring one run up to what is wanted; the study's own run must be first."""
        found = self._found.get(key) or self._create(key, wanted)
        fresh = [
            measure
            for place, measure in list(wanted.metrics.items())[found.seen :]
            if place not in found.measured
        ]
        params = [Param(name, text) for name, text in wanted.params.items() if name not in found.params]
        tags = [RunTag(name, text) for name, text in wanted.tags.items() if found.tags.get(name) != text]
        batches = max(
            math.ceil(len(fresh) / _MOST_MEASURES), math.ceil(len(params) / _MOST_PARAMS), bool(tags)
        )
        for number in range(batches):
            some = fresh[number * _MOST_MEASURES : (number + 1) * _MOST_MEASURES]
            self._client.log_batch(
                found.run_id,
                [Metric(item.key, item.value, item.time, item.step) for item in some],
                params[number * _MOST_PARAMS : (number + 1) * _MOST_PARAMS],
                # Last, because the tag of a final state says that nothing is missing.
                tags if number == batches - 1 else [],
            )
        found.measured.update((item.key, item.step) for item in fresh)
        found.seen = len(wanted.metrics)
        found.params.update(wanted.params)
        found.tags.update(wanted.tags)
        self._describe(found, wanted)
        for name, text in wanted.files.items():
            if name not in found.files:
                self._client.log_text(found.run_id, text, name)
                found.files.add(name)
        if found.status != wanted.status:
            if wanted.status == "RUNNING":
                self._client.update_run(found.run_id, status="RUNNING")
            else:
                self._client.set_terminated(found.run_id, wanted.status, wanted.end)
            found.status = wanted.status

    def _describe(self, found: _Found, wanted: Run) -> None:
        """One dataset for each set that trials are judged on; the store knows them by name and digest."""
        if not wanted.data or found.is_described:
            return
        inputs = [
            DatasetInput(
                Dataset(one.name, one.digest, "hpo", "{}", profile=json.dumps({"examples": one.examples})),
                [InputTag("mlflow.data.context", one.role)],
            )
            for one in wanted.data
        ]
        self._client.log_inputs(found.run_id, inputs)
        found.is_described = True

    def _create(self, key: int, wanted: Run) -> _Found:
        tags = {**wanted.tags, "hpo.state": "running", "mlflow.user": _user()}
        if key != STUDY:
            tags["mlflow.parentRunId"] = self._found[STUDY].run_id
        # One transaction with all tags: a run either can be found again or does not exist.
        run = self._client.create_run(self._experiment, wanted.start, tags, wanted.name)
        found = self._found[key] = _Found(run.info.run_id, "RUNNING", tags, set(), set())
        return found

    def keep(self, folder: Path, names: Sequence[str]) -> None:
        """Copy files of the study's folder to its run."""
        for name in names:
            if name not in self._kept and (folder / name).is_file():
                self._client.log_artifact(self._found[STUDY].run_id, str(folder / name))
                self._kept.add(name)


def _build(uri: str) -> None:
    client: Any = MlflowClient(uri)
    client.search_experiments(max_results=1)


def _has_ended(wanted: Run, tags: dict[str, str]) -> bool:
    return wanted.status != "RUNNING" and tags.get("hpo.state") == wanted.tags["hpo.state"] != "interrupted"


def _user() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or str(os.getuid())
