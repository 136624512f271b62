"""SMAC's random forest and its black-box Gaussian process, as tuners that are asked.

python -m tests.bench.peers.tuner_smac NAME
"""

import logging
import tempfile
from collections.abc import Callable
from typing import Any

from ConfigSpace import ConfigurationSpace, Float, Integer
from smac import BlackBoxFacade, HyperparameterOptimizationFacade, Scenario
from smac.runhistory.dataclasses import TrialInfo, TrialValue
from smac.runhistory.enumerations import StatusType

from tests.bench.peers.tuner import Answer, Begin, Tuner, Verdict, serve

_MOST = 1000  # trials that the initial design and the intensifier reckon with
_BROKEN = 1e6  # what a trial that diverged is told to cost


class Study:
    """A facade that is asked; full trainings only."""

    def __init__(self, begin: Begin, facade: Any) -> None:
        self._begin = begin
        space = ConfigurationSpace(seed=begin.seed)
        for one in begin.space:
            if one.whole:
                space.add(Integer(one.name, (int(one.low), int(one.high)), log=one.log))
            else:
                space.add(Float(one.name, (one.low, one.high), log=one.log))
        self._folder = tempfile.TemporaryDirectory()
        scenario = Scenario(
            space, deterministic=True, n_trials=_MOST, seed=begin.seed, output_directory=self._folder.name
        )
        design = facade.get_initial_design(scenario, n_configs=10)
        self._smac = facade(
            scenario, lambda config, seed=0: 0.0, initial_design=design, overwrite=True, logging_level=False
        )
        self._trials: dict[int, TrialInfo] = {}
        self._number = 0

    def ask(self) -> Answer:
        info = self._trials[self._number] = self._smac.ask()
        self._number += 1
        return Answer(self._number - 1, {one.name: float(info.config[one.name]) for one in self._begin.space})

    def report(self, trial: int, step: int, loss: float) -> Verdict:
        return "go"

    def end(self, trial: int, loss: float | None) -> None:
        status = StatusType.SUCCESS if loss is not None else StatusType.CRASHED
        value = TrialValue(cost=_BROKEN if loss is None else loss, status=status)
        self._smac.tell(self._trials.pop(trial), value, save=False)


def _made(facade: Any) -> Callable[[Begin], Tuner]:
    return lambda begin: Study(begin, facade)


TUNERS: dict[str, Callable[[Begin], Tuner]] = {
    "forest": _made(HyperparameterOptimizationFacade),
    "gp": _made(BlackBoxFacade),
}

if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    serve(TUNERS)
