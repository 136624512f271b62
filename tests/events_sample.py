"""Event streams of made-up studies, with every outcome in them."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hpo.events import (
    Event,
    StudyFinished,
    StudyStarted,
    TrialFinished,
    TrialReported,
    TrialStarted,
    TrialStopped,
)
from hpo.store import Journal
from trials.spec import Report, TrialSpec

SPACE = {
    "lr": {"low": 1e-4, "high": 1e-1, "scale": "log"},
    "weight_decay": {"low": 1e-5, "high": 1e-1, "scale": "log"},
    "optimizer": {"choice": ["adamw", "sgd"]},
    "momentum": {"low": 0.8, "high": 0.99, "when": {"optimizer": "sgd"}},
    "schedule": {"choice": ["cosine", "linear", "rex", "wsd"]},
    "warmup_fraction": {"low": 0.0, "high": 0.2},
    "cooldown_fraction": {"low": 0.1, "high": 0.5, "when": {"schedule": "wsd"}},
    "width": {"choice": [8, 16, 32]},
    "batch_size": 64,
}
STEPS = 500


def study(**changes: object) -> dict:
    """The table of a study, as StudyStarted carries it."""
    return {
        "task": "digits",
        "kind": "task",
        "metric": "val_loss",
        "space": SPACE,
        "trial": {"steps": STEPS},
        "search": {"sampler": "tpe", "pruner": "asha", "seed": 0},
        "limits": {"trials": 32},
        "tracking": {"uri": "sqlite:///mlflow.db"},
        **changes,
    }


def start(time: float = 1_700_000_000.0, name: str = "digits", **changes: object) -> StudyStarted:
    return StudyStarted(name, study(**changes), 0, {"hpo": "0.1.0", "torch": "2.13.0"}, "c6f0692", time)


def config(rng: np.random.Generator) -> dict:
    found = {
        "lr": float(10 ** rng.uniform(-4, -1)),
        "weight_decay": float(10 ** rng.uniform(-5, -1)),
        "optimizer": str(rng.choice(["adamw", "sgd"])),
        "schedule": str(rng.choice(["cosine", "linear", "rex", "wsd"])),
        "warmup_fraction": float(rng.uniform(0, 0.2)),
        "width": int(rng.choice([8, 16, 32])),
        "batch_size": 64,
    }
    if found["optimizer"] == "sgd":
        found["momentum"] = float(rng.uniform(0.8, 0.99))
    if found["schedule"] == "wsd":
        found["cooldown_fraction"] = float(rng.uniform(0.1, 0.5))
    return found


def spec(trial: int, chosen: dict, rungs: int = 10, steps: int = STEPS) -> TrialSpec:
    marks = tuple(round(steps * (rung + 1) / rungs) for rung in range(rungs))
    return TrialSpec(trial, chosen, 1000 + trial, steps, marks, steps, 0)


def events(
    trials: int = 32, rungs: int = 10, lanes: int = 4, seed: int = 0, **changes: object
) -> Iterator[Event]:
    """A finished study: lanes side by side, some trials stopped, the 3rd diverged, the 5th failed."""
    rng = np.random.default_rng(seed)
    now = 1_700_000_000.0
    yield start(now, **changes)
    waiting = [spec(number, config(rng), rungs) for number in range(trials)]
    running: list[tuple[TrialSpec, int]] = []
    values: dict[int, float] = {}
    while waiting or running:
        while waiting and len(running) < lanes:
            running.append((waiting.pop(0), 0))
            now += 0.01
            yield TrialStarted(running[-1][0], now)
        following = []
        for chosen, rung in running:
            now += 0.05
            spent = chosen.rungs[rung]
            if chosen.trial % 40 == 4 and rung == rungs // 2:
                yield TrialFinished(chosen.trial, "failed", now, error=TRACEBACK)
                continue
            diverged = chosen.trial % 40 == 2 and rung == rungs // 3
            loss = math.nan if diverged else _loss(chosen, spent, rng)
            metrics = {"val_loss": loss, "val_accuracy": math.exp(-loss) if loss == loss else 0.0}
            yield TrialReported(Report(chosen.trial, spent, spent, spent * 2e-3, metrics), now)
            values[chosen.trial] = loss
            if diverged:
                yield TrialFinished(chosen.trial, "diverged", now, error="loss is nan at step 151")
            elif rung == rungs - 1:
                yield TrialFinished(chosen.trial, "completed", now, row=f"rows/{chosen.trial}.safetensors")
            elif (
                rung == rungs // 3
                and chosen.trial % 40 > 4
                and loss > 1.15 * float(np.nanmedian(list(values.values())))
            ):
                yield TrialStopped(chosen.trial, spent, f"below the median at step {spent}", now)
                yield TrialFinished(chosen.trial, "stopped", now)
            else:
                following.append((chosen, rung + 1))
        running = following
    best = min((value, number) for number, value in values.items() if value == value)[1] if values else None
    yield StudyFinished("32 trials have ended", now + 1, best, {"test_loss": 0.081, "test_accuracy": 0.9778})


def _loss(chosen: TrialSpec, spent: int, rng: np.random.Generator) -> float:
    distance = abs(math.log10(chosen.config["lr"]) + 2.3) + 8 / chosen.config["width"]
    floor = 0.04 + 0.08 * distance**2
    return floor + 2.2 * math.exp(-spent / (60 + 40 * distance)) + 0.004 * float(rng.standard_normal())


TRACEBACK = """Traceback (most recent call last):
  File "task.py", line 7, in loss
    raise ValueError("<script>alert('trial')</script> & [red]markup[/red]")
ValueError: <script>alert('trial')</script> & [red]markup[/red]
"""


def journal(folder: Path, stream: Iterator[Event] | list[Event]) -> Path:
    """The path of a journal that holds these events."""
    written = Journal(folder / "journal.jsonl")
    written.append(list(stream))
    written.close()
    return written.path
