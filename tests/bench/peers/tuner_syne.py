"""Syne Tune's schedulers, as tuners that are asked; Syne Tune 0.16 in an environment of its own.

python -m tests.bench.peers.tuner_syne NAME
"""

import datetime
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from syne_tune import config_space
from syne_tune.backend.trial_status import Trial
from syne_tune.optimizer.baselines import ASHA, ASHABORE, ASHACQR, BOHB, BORE, CQR
from syne_tune.optimizer.scheduler import SchedulerDecision

from tests.bench.peers.tuner import Answer, Begin, Dimension, Tuner, Verdict, serve

_LOSS, _STEP = "loss", "step"
_VERDICTS: dict[str, Verdict] = {
    SchedulerDecision.CONTINUE: "go",
    SchedulerDecision.STOP: "stop",
    SchedulerDecision.PAUSE: "pause",
}


class Study:
    """A scheduler told as its own loop tells it: every report, and an end unless it was stopped."""

    def __init__(self, begin: Begin, scheduler: Any, has_rungs: bool) -> None:
        self._begin, self._scheduler, self._has_rungs = begin, scheduler, has_rungs
        self._trials: dict[int, Trial] = {}
        self._last: dict[int, dict[str, float]] = {}
        self._number = 0

    def ask(self) -> Answer:
        config = self._scheduler.suggest().config
        trial = Trial(self._number, config, datetime.datetime.now())
        self._trials[trial.trial_id] = trial
        self._scheduler.on_trial_add(trial)
        self._number += 1
        return Answer(trial.trial_id, {one.name: float(config[one.name]) for one in self._begin.space})

    def report(self, trial: int, step: int, loss: float) -> Verdict:
        result = self._last[trial] = {_LOSS: loss, _STEP: step}
        if step == self._begin.steps:
            return "go"
        verdict = _VERDICTS[self._scheduler.on_trial_result(self._trials[trial], result)]
        if verdict == "stop":
            self._scheduler.on_trial_remove(self._trials.pop(trial))
        return verdict

    def end(self, trial: int, loss: float | None) -> None:
        found = self._trials.pop(trial, None)
        if found is None:
            return
        if loss is None:
            self._scheduler.on_trial_error(found)
            if self._has_rungs:
                self._scheduler.on_trial_remove(found)
        else:
            self._scheduler.on_trial_complete(found, self._last[trial])


def _domain(one: Dimension) -> Any:
    if one.whole:
        make = config_space.lograndint if one.log else config_space.randint
        return make(int(one.low), int(one.high))
    make = config_space.loguniform if one.log else config_space.uniform
    return make(one.low, one.high)


def _made(kind: Any, has_rungs: bool, **options: Any) -> Callable[[Begin], Tuner]:
    def build(begin: Begin) -> Tuner:
        # Schedulers draw brackets, and some searchers everything, from the generators of the process.
        random.seed(begin.seed)
        np.random.seed(begin.seed)
        space = {one.name: _domain(one) for one in begin.space}
        rungs = {"time_attr": _STEP, "max_t": begin.steps, **options} if has_rungs else {}
        return Study(begin, kind(space, metric=_LOSS, random_seed=begin.seed, **rungs), has_rungs)

    return build


TUNERS: dict[str, Callable[[Begin], Tuner]] = {
    "asha": _made(ASHA, True),
    "asha-grace-3": _made(ASHA, True, grace_period=3),
    "bohb": _made(BOHB, True),
    "asha-cqr": _made(ASHACQR, True),
    "asha-bore": _made(ASHABORE, True),
    "bore": _made(BORE, False),
    "cqr": _made(CQR, False),
}

if __name__ == "__main__":
    serve(TUNERS)
