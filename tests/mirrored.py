"""What an MLflow store has of a study, compared with its journal by reading the store's own tables."""

import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

from hpo.events import StudyFinished, TrialFinished, TrialReported
from hpo.store import Journal

# How a trial ended, in the journal -> in the store.
STATUS = {
    "completed": "FINISHED",
    "stopped": "KILLED",
    "diverged": "FAILED",
    "failed": "FAILED",
    "out_of_memory": "FAILED",
}


def rows(store: Path, query: str, *values: Any) -> list[Any]:
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as connection:
        return connection.execute(query, values).fetchall()


def assert_mirrored(store: Path, journal: Journal) -> None:
    """One finished run for the study, one below it for each trial, with its end and each value once."""
    events = list(journal)
    ends = {event.trial: event for event in events if isinstance(event, TrialFinished)}
    (parent,) = rows(
        store,
        "select run_uuid, status from runs where run_uuid not in"
        " (select run_uuid from tags where key = 'mlflow.parentRunId')",
    )
    assert parent[1] == "FINISHED"
    found = rows(
        store,
        "select t.value, r.status, s.value, r.run_uuid from runs r"
        " join tags p on p.run_uuid = r.run_uuid and p.key = 'mlflow.parentRunId' and p.value = ?"
        " join tags t on t.run_uuid = r.run_uuid and t.key = 'hpo.trial'"
        " join tags s on s.run_uuid = r.run_uuid and s.key = 'hpo.state'",
        parent[0],
    )
    assert sorted((int(trial), status, state) for trial, status, state, _ in found) == sorted(
        (trial, STATUS[end.outcome], end.outcome) for trial, end in ends.items()
    )
    wanted = Counter(
        (event.report.trial, name, event.report.spent, value)
        for event in events
        if isinstance(event, TrialReported)
        for name, value in event.report.metrics.items()
    )
    names = {name for _, name, _, _ in wanted}
    trials = {run: int(trial) for trial, _, _, run in found}
    there = Counter(
        (trials[run], name, step, value)
        for run, name, step, value in rows(store, "select run_uuid, key, step, value from metrics")
        if run in trials and name in names
    )
    assert there == wanted
    (finish,) = [event for event in events if isinstance(event, StudyFinished)]
    best = rows(store, "select value from tags where run_uuid = ? and key = 'hpo.best_trial'", parent[0])
    assert best == [(str(finish.best),)]
