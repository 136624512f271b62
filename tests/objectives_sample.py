"""Objectives for tests: deterministic, fast, real; loaded by path, as a user's file is."""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from trials.seeding import stream
from trials.spec import TrialSpec
from trials.task import Splits

SPACE = {
    "x": {"low": -2.0, "high": 2.0},
    "rate": {"low": 1e-3, "high": 1.0, "scale": "log"},
    "kind": {"choice": ["near", "far"]},
    "shift": {"low": 0.0, "high": 1.0, "when": {"kind": "far"}},
    "depth": {"low": 1, "high": 3},
}


NOISE = 0.3  # standard deviation of what seeds change


def value(config: Mapping[str, float], spent: int) -> float:
    """A valley, approached faster at a middling rate."""
    floor = (config["x"] - 0.5) ** 2 + 0.1 * config["depth"] + config.get("shift", 0.0)
    return floor + math.exp(-spent * config["rate"] / 4) + abs(math.log10(config["rate"]) + 1.5)


def curve(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """One report a rung."""
    for rung in spec.rungs:
        yield {"step": rung, "val_loss": value(spec.config, rung), "val_accuracy": 1 / (1 + rung)}


def slow_curve(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """As `curve`, with a moment between two reports."""
    for report in curve(spec):
        time.sleep(0.012)
        yield report


def waiting(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """A trial that takes seconds, rung by rung."""
    for report in curve(spec):
        time.sleep(0.05)
        yield report


def stuck(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """One report, then a minute of nothing, of which a file in the working folder tells."""
    yield {"val_loss": 1.0}
    Path("asleep").touch()
    time.sleep(60)
    yield {"val_loss": 1.0}


def plain(spec: TrialSpec) -> float:
    """A function that is no generator."""
    return value(spec.config, spec.budget)


def raising(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """Fails after its first report."""
    yield {"val_loss": 1.0}
    raise RuntimeError(f"no luck with trial {spec.trial}")


def sometimes(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """Trials 1, 4, 7 … fail, trials 2, 5, 8 … diverge."""
    for report in curve(spec):
        if spec.trial % 3 == 1:
            raise RuntimeError("every third")
        yield {**report, "val_loss": math.inf if spec.trial % 3 == 2 else report["val_loss"]}


def flat(spec: TrialSpec) -> float:
    """Nothing makes a difference."""
    return 1.0


def other_metric(spec: TrialSpec) -> dict[str, float]:
    """Reports something else than val_loss."""
    return {"loss": value(spec.config, spec.budget)}


def noisy(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """As `curve`, and seeds make a difference; the second metric is a price of what the first is good at."""
    luck = stream(spec.seed, "luck").normal(0.0, NOISE)
    for report in curve(spec):
        price = abs(spec.config["x"] - 1.0) + luck
        yield {**report, "val_loss": report["val_loss"] + luck, "price": price}


for _function in (curve, slow_curve, waiting, stuck, plain, raising, sometimes, flat, other_metric, noisy):
    _function.space = SPACE  # type: ignore[attr-defined]


class Line:
    """A straight line through a few points: the smallest task there is."""

    defaults = {"noise": 0.0}  # noqa: RUF012 - as users write it
    space = {  # noqa: RUF012
        "lr": {"low": 1e-3, "high": 0.3, "scale": "log"},
        "schedule": {"choice": ["cosine", "linear"]},
        "warmup_fraction": {"low": 0.0, "high": 0.2},
        "optimizer": "sgd",
        "batch_size": 8,
    }

    def data(self, split_seed: int) -> Splits:
        x = torch.linspace(-1, 1, 48)[torch.randperm(48, generator=torch.Generator().manual_seed(split_seed))]
        parts = ({"x": part[:, None], "y": 2 * part[:, None] - 1} for part in x.split(16))
        return Splits(*parts)

    def model(self, config):
        return nn.Linear(1, 1)

    def loss(self, model, batch, hyper):
        return F.mse_loss(model(batch["x"]), batch["y"])

    def metrics(self, model, batch):
        return {"loss": (model(batch["x"]) - batch["y"]).square().mean(-1)}


class SlowLine(Line):
    """A step takes a moment, on any machine."""

    def loss(self, model, batch, hyper):
        time.sleep(0.004)
        return super().loss(model, batch, hyper)


class VectorLoss(Line):
    """Its loss is not a scalar."""

    def loss(self, model, batch, hyper):
        return (model(batch["x"]) - batch["y"]).square()


class NoWeights(Line):
    """Its model has nothing to train."""

    def model(self, config):
        return nn.ReLU()


class NoLoss:
    """Not a task: half of the methods are missing."""

    def data(self, split_seed):
        return None

    def model(self, config):
        return None


def weighed(spec: TrialSpec) -> Iterator[dict[str, float]]:
    """The deeper, the lower the loss and the larger the model; how far off is also how slow it is."""
    for rung in spec.rungs:
        loss = value(spec.config, rung) - 0.5 * spec.config["depth"]
        yield {
            "step": rung,
            "val_loss": loss,
            "size": 100.0 * spec.config["depth"],
            "delay": spec.config["x"] + 2,
        }


weighed.space = SPACE  # type: ignore[attr-defined]
