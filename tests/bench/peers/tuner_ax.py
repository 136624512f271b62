"""Ax with its default strategy (Sobol' points, then BoTorch's Gaussian process), as a tuner that is asked.

python -m tests.bench.peers.tuner_ax NAME
"""

import logging
import warnings
from typing import Literal

from ax.api.client import Client
from ax.api.configs import RangeParameterConfig

from tests.bench.peers.tuner import Answer, Begin, Dimension, Verdict, serve

_LOSS = "loss"


class Study:
    """A client in memory; full trainings only. A trial that diverged is told as failed."""

    def __init__(self, begin: Begin) -> None:
        self._client = Client(random_seed=begin.seed)
        self._client.configure_experiment(parameters=[_parameter(one) for one in begin.space])
        self._client.configure_optimization(objective=f"-{_LOSS}")

    def ask(self) -> Answer:
        ((trial, config),) = self._client.get_next_trials(max_trials=1).items()
        return Answer(trial, {name: float(value) for name, value in config.items()})

    def report(self, trial: int, step: int, loss: float) -> Verdict:
        return "go"

    def end(self, trial: int, loss: float | None) -> None:
        if loss is None:
            self._client.mark_trial_failed(trial_index=trial)
        else:
            self._client.complete_trial(trial_index=trial, raw_data={_LOSS: loss})


def _parameter(one: Dimension) -> RangeParameterConfig:
    kind: Literal["int", "float"] = "int" if one.whole else "float"
    scaling: Literal["log", "linear"] = "log" if one.log else "linear"
    return RangeParameterConfig(one.name, (one.low, one.high), kind, scaling=scaling)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.CRITICAL)
    serve({"default": Study})
