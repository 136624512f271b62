"""Optuna's samplers and pruners, as tuners that are asked.

python -m tests.bench.peers.tuner_optuna NAME
"""

import warnings
from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from tests.bench.peers.tuner import Answer, Begin, Tuner, Verdict, serve


class Study:
    """A study in memory. A trial that diverged is told as failed, as Optuna does with NaN."""

    def __init__(self, begin: Begin, sampler: BaseSampler, pruner: BasePruner) -> None:
        self._begin = begin
        self._study = optuna.create_study(sampler=sampler, pruner=pruner)
        self._trials: dict[int, optuna.Trial] = {}

    def ask(self) -> Answer:
        trial = self._study.ask()
        self._trials[trial.number] = trial
        config: dict[str, float] = {}
        for one in self._begin.space:
            if one.whole:
                config[one.name] = trial.suggest_int(one.name, int(one.low), int(one.high), log=one.log)
            else:
                config[one.name] = trial.suggest_float(one.name, one.low, one.high, log=one.log)
        return Answer(trial.number, config)

    def report(self, trial: int, step: int, loss: float) -> Verdict:
        found = self._trials[trial]
        found.report(loss, step)
        if step < self._begin.steps and found.should_prune():
            self._study.tell(found, state=TrialState.PRUNED)
            del self._trials[trial]
            return "stop"
        return "go"

    def end(self, trial: int, loss: float | None) -> None:
        found = self._trials.pop(trial, None)
        if found is not None:
            state = TrialState.COMPLETE if loss is not None else TrialState.FAIL
            self._study.tell(found, loss, state=state)


def _tpe(begin: Begin) -> TPESampler:
    """Multivariate: since version 5 that is the default."""
    return TPESampler(seed=begin.seed, constant_liar=begin.lanes > 1)


def _made(
    sampler: Callable[[Begin], BaseSampler], pruner: Callable[[Begin], BasePruner]
) -> Callable[[Begin], Tuner]:
    return lambda begin: Study(begin, sampler(begin), pruner(begin))


def _never(begin: Begin) -> BasePruner:
    return NopPruner()


def _hyperband(begin: Begin) -> BasePruner:
    return HyperbandPruner(1, begin.steps, 3)


TUNERS: dict[str, Callable[[Begin], Tuner]] = {
    "random": _made(lambda begin: RandomSampler(begin.seed), _never),
    "tpe": _made(_tpe, _never),
    "tpe-univariate": _made(
        lambda begin: TPESampler(seed=begin.seed, multivariate=False, constant_liar=begin.lanes > 1), _never
    ),
    "gp": _made(lambda begin: GPSampler(seed=begin.seed, deterministic_objective=True), _never),
    "tpe+median": _made(_tpe, lambda begin: MedianPruner()),
    "tpe+hyperband": _made(_tpe, _hyperband),
    "random+hyperband": _made(lambda begin: RandomSampler(begin.seed), _hyperband),
    "tpe+halving": _made(_tpe, lambda begin: SuccessiveHalvingPruner(1, 3)),
}

if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    serve(TUNERS)
