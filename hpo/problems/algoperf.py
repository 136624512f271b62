"""Recorded: training curves of optimizers submitted to AlgoPerf, for rules that stop and forecast.

Kasimbeg et al., "Accelerating neural network training: An analysis of the AlgoPerf competition", ICLR 2025
(curves Apache-2.0). A config names a submission, a hyperparameter point and a repetition.
"""

import csv
import gzip
import math
from collections import defaultdict
from functools import cache
from pathlib import Path

import numpy as np

from hpo.errors import UsageError
from hpo.problems.base import sampled_median
from hpo.space import Choice, Int, Space
from trials.spec import Config

_STEPS = 50
_Key = tuple[str, int, int]  # submission, study, trial


@cache
def _curves(path: Path) -> dict[str, dict[_Key, list[tuple[float, float]]]]:
    """Workload -> curve -> (step, validation loss) in order."""
    found: dict[str, dict[_Key, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                # Speech workloads recorded their word error rate instead of a loss.
                loss = row["val_loss"] or (row["val_metric"] if row["metric"] == "wer" else "")
                if loss and row["step"]:
                    workload = row["workload"].removesuffix("_jax").removesuffix("_pytorch")
                    name = f"{row['submission']} ({row['round']}, {row['ruleset']})"
                    one = (name, int(row["study"]), int(row["trial"]))
                    found[workload][one].append((float(row["step"]), float(loss)))
    except (OSError, KeyError, ValueError) as error:
        raise UsageError(f"{path}: {error}") from error
    return found


class AlgoPerf:
    """One workload; a step is a fiftieth of the longest run of it."""

    steps = _STEPS

    def __init__(self, instance: str, folder: Path) -> None:
        self.name = f"algoperf:{instance}"
        path = folder / "curves.csv.gz"
        curves = _curves(path).get(instance, {})
        if not curves:
            raise UsageError(f"{path}: there is no curve of {instance!r}")
        longest = max(step for points in curves.values() for step, _ in points)
        grid = longest * np.arange(1, _STEPS + 1) / _STEPS
        # A run that ended early had reached its goal or its time: its last loss stands.
        self._curves: dict[_Key, np.ndarray] = {
            one: np.interp(grid, *np.array(sorted(points)).T) for one, points in sorted(curves.items())
        }
        submissions = tuple(dict.fromkeys(name for name, _, _ in self._curves))
        self.space = Space({"submission": Choice(submissions), "study": Int(0, 4), "point": Int(1, 5)})
        ends = [float(curve[-1]) for curve in self._curves.values()]
        self.best_known = min(end for end in ends if math.isfinite(end))
        self.median = sampled_median(self.space, self.final)

    def _found(self, config: Config) -> np.ndarray:
        """The curve of this repetition and point, or of the nearest that was recorded."""
        name, study, point = str(config["submission"]), int(config["study"]), int(config["point"])
        of_name = [one for one in self._curves if one[0] == name]
        return self._curves[min(of_name, key=lambda one: (abs(one[2] - point), abs(one[1] - study)))]

    def curve(self, config: Config, seed: int) -> np.ndarray:
        """(50,) validation losses; the seed makes no difference."""
        return self._found(config)

    def final(self, config: Config) -> float:
        """The last of them, infinite where it is not finite."""
        loss = float(self._found(config)[-1])
        return loss if math.isfinite(loss) else math.inf

    def seconds_per_step(self, config: Config) -> float:
        """Not known."""
        return 1.0
