"""What a cluster costs: trials that sleep for a second on a machine that declares many CPUs.

python -m tests.bench.cluster [--trials 200] [--cpus 16] [--only hpo|tune]

Nothing computes, so the ideal is trials / cpus seconds; all beyond it is telling, hearing, asking and writing
the journal. Counted once all workers are there. Ray Tune runs the same with reused actors; it has no moment
at which all workers are there, so it is counted from the start of its first trial.
"""

import argparse
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from hpo.runners.cluster import environment

os.environ.update(environment("local"))
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

import ray

from hpo import config as configs
from hpo.events import StudyStarted
from hpo.history import History
from hpo.loop import Search
from hpo.runners.base import build
from hpo.store import Journal

ROOT = Path(__file__).parents[2]


def ours(trials: int, cpus: int) -> float:
    """Seconds of a search with sampler random, its journal on the disk."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        table: dict[str, Any] = {
            "task": f"{ROOT}/tests/sleeping_sample.py:second",
            "limits": {"trials": trials},
            "search": {"sampler": "random", "pruner": "never"},
            "runner": {"name": "ray", "workers": cpus},
        }
        config = configs.build(table, "bench", ROOT)
        runner = build("ray", config.target(folder), 1, cpus, config.cluster())
        try:
            while runner.busy()[1] < cpus:
                runner.poll(0.1)
            begin = StudyStarted("bench", dict(config.table), 0, {}, "", time.time())
            search = Search(
                Journal(folder / "journal.jsonl"),
                config.sampler(),
                config.pruner(),
                runner,
                History(config.objective),
                config.limits,
                config.plan(),
                begin,
            )
            began = time.perf_counter()
            history = search.run()
            seconds = time.perf_counter() - began
        finally:
            runner.close()
        assert history.count("completed") == trials
        return seconds


def tune(trials: int, cpus: int) -> float:
    """Seconds of Tune's own random search."""
    from ray import tune

    class Second(tune.Trainable):
        def step(self) -> dict[str, Any]:
            began = time.time()
            time.sleep(1.0)
            return {"val_loss": (self.config["x"] - 0.5) ** 2, "began": began, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            return None

    with tempfile.TemporaryDirectory() as folder:
        results = tune.Tuner(
            Second,
            param_space={"x": tune.uniform(-2, 2)},
            tune_config=tune.TuneConfig(metric="val_loss", mode="min", num_samples=trials, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        assert not results.errors
        return time.time() - min(one.metrics["began"] for one in results if one.metrics)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--cpus", type=int, default=16)
    options.add_argument("--only", nargs="*", choices=["hpo", "tune"], default=["hpo", "tune"])
    wanted = options.parse_args()
    ideal = -(-wanted.trials // wanted.cpus)
    print(f"{wanted.trials} trials of a second on {wanted.cpus} declared CPUs: at best {ideal} s")
    print(f"ray {ray.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, contender in {"hpo": ours, "tune": tune}.items():
        if name in wanted.only:
            ray.init(
                address="local",
                num_cpus=wanted.cpus,
                include_dashboard=False,
                object_store_memory=200 * 2**20,
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
            seconds = contender(wanted.trials, wanted.cpus)
            ray.shutdown()
            print(f"{name:5} {seconds:6.2f} s, {seconds / ideal - 1:+.1%}", flush=True)


if __name__ == "__main__":
    main()
