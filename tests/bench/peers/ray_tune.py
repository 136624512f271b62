"""Ray Tune with OptunaSearch, a class Trainable, reused actors, two workers.

python -m tests.bench.peers.ray_tune TRIALS SEED
"""

import os
import sys
import tempfile

os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

import ray
from ray import tune
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 3))


class Convnet(tune.Trainable):
    def setup(self, config):
        sys.path.insert(0, ROOT)
        import torch

        from tests.bench.peers import loop

        torch.set_num_threads(1)
        self.loop, self.data = loop, loop.load()

    def reset_config(self, new_config):
        return True

    def step(self):
        loss = self.loop.train(
            self.config["lr"], self.config["weight_decay"], hash(self.trial_id) % 2**31, self.data
        )
        return {"val_loss": loss, "done": True}

    def save_checkpoint(self, checkpoint_dir):
        return None


def main() -> None:
    trials, seed = int(sys.argv[1]), int(sys.argv[2])
    sys.path.insert(0, ROOT)
    from tests.bench.peers.loop import LR, WEIGHT_DECAY

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as folder:
        tuner = tune.Tuner(
            Convnet,
            param_space={"lr": tune.loguniform(*LR), "weight_decay": tune.loguniform(*WEIGHT_DECAY)},
            tune_config=tune.TuneConfig(
                metric="val_loss",
                mode="min",
                num_samples=trials,
                search_alg=ConcurrencyLimiter(OptunaSearch(seed=seed), max_concurrent=2),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        )
        results = tuner.fit()
        print(len(results), results.get_best_result().metrics["val_loss"])
    ray.shutdown()


if __name__ == "__main__":
    main()
