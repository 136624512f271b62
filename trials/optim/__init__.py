"""Optimizers as row arithmetic: K lanes of P weights, every rate and constant its own per lane."""

from trials.optim.adamw import adamw
from trials.optim.base import Optimizer
from trials.optim.lion import lion
from trials.optim.sgd import nesterov, sgd

# name in a study file -> optimizer
OPTIMIZERS: dict[str, Optimizer] = {
    "adamw": adamw,
    "sgd": sgd,
    "nesterov": nesterov,
    "lion": lion,
}

__all__ = ["OPTIMIZERS", "Optimizer", "adamw", "lion", "nesterov", "sgd"]
