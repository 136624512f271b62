"""Optuna's TPE around the plain loop, one process.

python -m tests.bench.peers.optuna_one TRIALS SEED THREADS
"""

import sys

import optuna
import torch

from tests.bench.peers.loop import LR, WEIGHT_DECAY, load, train


def main() -> None:
    trials, seed, threads = map(int, sys.argv[1:4])
    torch.set_num_threads(threads)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = load()

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *LR, log=True)
        weight_decay = trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True)
        return train(lr, weight_decay, trial.number, data)

    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(objective, n_trials=trials)
    print(len(study.trials), study.best_value)


if __name__ == "__main__":
    main()
