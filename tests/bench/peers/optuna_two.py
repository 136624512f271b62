"""Optuna's TPE in two processes over one journal file.

python -m tests.bench.peers.optuna_two TRIALS SEED
"""

import subprocess
import sys
import tempfile

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend


def work(path: str, trials: int, seed: int) -> None:
    import torch

    from tests.bench.peers.loop import LR, WEIGHT_DECAY, load, train

    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = load()

    def objective(trial: optuna.Trial) -> float:
        lr = trial.suggest_float("lr", *LR, log=True)
        weight_decay = trial.suggest_float("weight_decay", *WEIGHT_DECAY, log=True)
        return train(lr, weight_decay, trial.number, data)

    study = optuna.load_study(
        study_name="bench",
        storage=JournalStorage(JournalFileBackend(path)),
        sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
    )
    study.optimize(objective, n_trials=trials)


def main() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if sys.argv[1] == "work":
        work(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    trials, seed = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/journal.log"
        storage = JournalStorage(JournalFileBackend(path))
        study = optuna.create_study(study_name="bench", storage=storage)
        command = [sys.executable, "-m", "tests.bench.peers.optuna_two", "work", path]
        shares = [trials // 2, trials - trials // 2]
        workers = [subprocess.Popen([*command, str(n), str(seed + i)]) for i, n in enumerate(shares)]
        if any(worker.wait() for worker in workers):
            sys.exit(1)
        print(len(study.trials), study.best_value)


if __name__ == "__main__":
    main()
