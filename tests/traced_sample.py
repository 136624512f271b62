"""Traces of made-up trials, written as trials write them, and a study that has them."""

from pathlib import Path

import numpy as np

from hpo.events import Event, TrialFinished, TrialReported, TrialStarted
from hpo.traces import trace_name
from tests import events_sample as sample
from trials.record import Record, Tried
from trials.spec import Report

KEPT, PROBED = 4000, 30
RACE = {"lr": 0.1, "schedule": "race(k=2)"}


def signals(steps: int, factor: float) -> np.ndarray:
    """(T, S) of a loss that falls."""
    at = np.arange(steps)
    return np.stack(
        [2.0 / (1 + at), np.full(steps, factor), 8.0 + at % 3, 1.0 + at % 3, np.full(steps, 0.01)], axis=1
    ).astype(np.float32)


def record(kept: int = KEPT, first_step: int = 0) -> Record:
    """Two probes, the second of which was adopted, and what came of it."""
    tried = [
        Tried(first_step, 0, -1, signals(PROBED, 1.0), [0.9]),
        Tried(first_step, 1, -1, signals(PROBED, 3.0), [0.8, 0.7], is_adopted=True),
    ]
    return Record(first_step, [signals(kept, 3.0)] if kept else [], tried)


def save(folder: Path, trial: int, kept: int = KEPT, first_step: int = 0) -> Path:
    """The trace of a trial, in a study's folder."""
    path = folder / trace_name(trial)
    record(kept, first_step).save(path, [{"stage": 0, "factor": 3.0, "chosen": True}])
    return path


def events(sharpness: bool = False, config: dict | None = None, kind: str = "task") -> list[Event]:
    """One trial that raced, kept fewer steps than it spent, and fewer than passed."""
    spec = sample.spec(0, RACE if config is None else config, rungs=1)
    metrics = {"val_loss": 0.5, **({"sharpness": 12.0} if sharpness else {})}
    return [
        sample.start(1.0, kind=kind, base="."),
        TrialStarted(spec, 2.0),
        TrialReported(Report(0, 440, 500, 1.0, metrics, 460), 3.0),
        TrialFinished(0, "completed", 4.0),
    ]
