"""The mirror's process: follows a journal and completes an MLflow store. The only file that imports mlflow.

One parent run stands for the study, one child run for each trial. Runs are found by the tags `hpo.study_id`
and `hpo.trial`, values by metric and step; only what is missing is written. `hpo.listeners.mirror` runs
this as a module.
"""

import fcntl
import json
import math
import os
import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.version import VERSION

from hpo import codec
from hpo.errors import JournalError
from hpo.events import Event
from hpo.listeners import template
from hpo.listeners.mirror import MirrorError
from hpo.listeners.runs import STUDY, Ending, Run, Runs

_FLUSH_SECONDS = 2.0  # between two looks at the journal
_LIVE_SECONDS = 10.0  # between two looks at a trial that runs; a short one is written once, at its end
_FLUSH_SHARE = 0.05  # of one core that may go into writing while the study runs
_ATTEMPTS = 3  # in a row
_NICENESS = 5
_LOCK = ".mirror.lock"  # beside the journal: one mirror of a study at a time
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
    seen: int = 0  # how many of the wanted values were looked at; more come only at the end


class _Store:
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


class _Follower:
    """Whole lines of a file that grows at its end."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._number = 0

    def read(self) -> list[Event]:
        """The events appended since the last call."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except OSError as error:
            raise JournalError(f"{self._path}: {error.strerror}") from error
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        events: list[Event] = []
        for line in whole.split(b"\n")[:-1]:
            self._number += 1
            try:
                events.append(codec.decode(line))
            except JournalError as error:
                raise JournalError(f"{self._path}, line {self._number}: {error}") from error
        return events


class _Input:
    """What the search says: how the study's run ends, or nothing when the search was killed."""

    def __init__(self) -> None:
        self.is_open = True
        self.ending: Ending | None = None

    def wait(self, seconds: float) -> None:
        """Return after this time, or as soon as the search is done."""
        if self.is_open and select.select([sys.stdin], [], [], seconds)[0]:
            self.ending = cast(Ending, sys.stdin.readline().strip()) or None
            self.is_open = False


def _serve(journal: Path, uri: str, experiment: str, search: _Input) -> None:
    """Follow the journal until the search is done, then write the rest."""
    follower, runs = _Follower(journal), Runs(str(journal))
    store: _Store | None = None
    wrote: dict[int, float] = {}  # run -> when it was last written, or first seen
    wait = 0.0
    while True:
        search.wait(wait)
        is_last = not search.is_open
        for event in follower.read():
            runs.tell(event)
        if runs.identity:
            if is_last:
                runs.close(search.ending)
            started, worked = time.monotonic(), time.process_time()
            if store is None:
                store = _Store(uri, experiment)
                store.take_up(runs)
            for key in sorted(runs.changed):
                run = runs.runs[key]
                is_live = key != STUDY and run.status == "RUNNING"
                if not is_live or started - wrote.setdefault(key, started) > _LIVE_SECONDS:
                    store.write(key, run)
                    wrote[key] = started
                    runs.changed.discard(key)
            wait = max(_FLUSH_SECONDS, (time.process_time() - worked) / _FLUSH_SHARE)
            if is_last:
                store.keep(journal.parent, runs.artifacts())
        else:
            wait = _FLUSH_SECONDS
        if is_last:
            return


def _main(journal: Path, uri: str, experiment: str) -> dict[str, Any]:
    """Serve; what to answer the search."""
    search = _Input()
    failures = 0
    while True:
        started = time.monotonic()
        try:
            # A mirror whose search was killed may still be finishing what this one continues.
            with (journal.parent / _LOCK).open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _serve(journal, uri, experiment, search)
            return {"done": True}
        except (JournalError, MirrorError) as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - the boundary of the process
            # What reached the store is unknown now, so the next attempt looks again.
            failures = failures + 1 if time.monotonic() - started < 60 else 1
            if failures == _ATTEMPTS:
                return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
            time.sleep(failures)


if __name__ == "__main__":
    os.nice(_NICENESS)
    # Libraries that print must not be taken for the answer.
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)
        answer.write(json.dumps(_main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])) + "\n")
