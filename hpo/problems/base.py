"""The Problem protocol and the table of problems.

A problem knows the whole curve of every config, so that a study of it takes no training. Its names are
`family` or `family:instance`; a family alone means all of its instances.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from hpo.errors import UsageError
from hpo.options import unknown
from hpo.space import Space
from trials.spec import Config, Report, TrialSpec

DATA = "HPO_SHARED_DATA"  # environment variable: folder that holds what was recorded
METRIC = "val_loss"


class Problem(Protocol):
    """Curves of a loss to minimise.

    *Laws.* Equal configs and seeds have equal curves. No config ends below `best_known`.
    """

    @property
    def name(self) -> str:
        """As in the table: family:instance."""
        ...

    @property
    def space(self) -> Space:
        """Configs it has a curve for."""
        ...

    @property
    def steps(self) -> int:
        """Of one full training."""
        ...

    @property
    def best_known(self) -> float:
        """The lowest final loss there is, or that was ever found."""
        ...

    @property
    def median(self) -> float:
        """Of the final losses of random configs; those that break off count as infinite."""
        ...

    def curve(self, config: Config, seed: int) -> np.ndarray:
        """(steps,) losses after each step; NaN from where it diverged.

        Raises:
            MemoryError: it does not fit the (imagined) device.
        """
        ...

    def final(self, config: Config) -> float:
        """The loss after a full training, without the noise of a single one; infinite where it breaks off."""
        ...

    def seconds_per_step(self, config: Config) -> float:
        """What a step of training it takes; 1 where costs do not differ or are not known."""
        ...


def trial_of(problem: Problem, is_timed: bool = False) -> Callable[[TrialSpec], Iterator[Report]]:
    """The problem as a function that runners take: one report a rung.

    A step takes a second; with `is_timed`, the seconds that the problem says.
    """

    def reports(spec: TrialSpec) -> Iterator[Report]:
        losses = problem.curve(spec.config, spec.seed)
        seconds = problem.seconds_per_step(spec.config) if is_timed else 1.0
        for rung in spec.rungs:
            yield Report(spec.trial, rung, rung, rung * seconds, {METRIC: float(losses[rung - 1])})

    return reports


def regret(problem: Problem, final: float) -> float:
    """How far a final loss is above the best known: 1 for that of the median random config, at most 2."""
    scale = problem.median - problem.best_known
    return min(2.0, max(0.0, (final - problem.best_known) / scale))


def sampled_median(space: Space, final: Callable[[Config], float], draws: int = 501) -> float:
    """The median of the final losses of so many random configs, always the same ones."""
    rng = np.random.default_rng(0)
    return float(np.median([final(space.sample(rng)) for _ in range(draws)]))


@dataclass(frozen=True, slots=True)
class Family:
    """A line of the table: how to build an instance, and which there are."""

    build: Callable[[str, Path | None], Problem]  # from its instance and the folder of recorded data
    instances: tuple[str, ...]
    recorded: bool = False  # needs the folder


def _synthetic(name: str) -> Family:
    def build(instance: str, folder: Path | None) -> Problem:
        from hpo.problems.synthetic import synthetic

        return synthetic(name, int(instance))

    return Family(build, ("0", "1", "2", "3", "4"))


def _scheduled(instance: str, folder: Path | None) -> Problem:
    from hpo.problems.scheduled import scheduled

    return scheduled(int(instance))


def _programs(instance: str, folder: Path | None) -> Problem:
    from hpo.problems.programs import programs

    return programs(int(instance))


def _perceptron(instance: str, folder: Path | None) -> Problem:
    from hpo.problems.perceptron import Perceptron

    return Perceptron(int(instance))


def _taskset(instance: str, folder: Path | None) -> Problem:
    from hpo.problems.taskset import TaskSet

    return TaskSet(instance, needed(folder, "taskset-rnn"))


def _lcbench(instance: str, folder: Path | None) -> Problem:
    from hpo.problems.lcbench import LCBench

    return LCBench(instance, needed(folder, "yahpo-surrogates") / "lcbench")


def _algoperf(instance: str, folder: Path | None) -> Problem:
    from hpo.problems.algoperf import AlgoPerf

    return AlgoPerf(instance, needed(folder, "algoperf-curves"))


_TASKSET = (
    "patch128_LSTM128_avg_bs64",
    "patch128_LSTM128_embed128_bs64",
    "patch32_GRU128_bs128",
    "patch32_IRNN64_relu_avg_bs128",
    "patch32_LSTM128_bs128",
    "patch32_VRNN64_relu_avg_bs128",
)
_LCBENCH = (
    *("3945", "7593", "34539", "126025", "126026", "126029", "146212", "167104", "167149", "167152"),
    *("167161", "167168", "167181", "167184", "167185", "167190", "167200", "167201", "168329", "168330"),
    *("168331", "168335", "168868", "168908", "168910", "189354", "189862", "189865", "189866", "189873"),
    *("189905", "189906", "189908", "189909"),
)
_ALGOPERF = (
    *("criteo1tb", "fastmri", "imagenet_resnet", "imagenet_vit", "librispeech_conformer"),
    *("librispeech_deepspeech", "ogbg", "wmt"),
)

PROBLEMS: dict[str, Family] = {
    "annealed": _synthetic("annealed"),
    "crossing": _synthetic("crossing"),
    "branches": _synthetic("branches"),
    "memory": _synthetic("memory"),
    "honest": _synthetic("honest"),
    "costly": _synthetic("costly"),
    "schedules": Family(_scheduled, ("0", "1", "2", "3", "4")),
    "programs": Family(_programs, ("0", "1", "2", "3", "4")),
    "perceptron": Family(_perceptron, ("0", "1", "2", "3", "4", "5")),
    "taskset": Family(_taskset, _TASKSET, recorded=True),
    "lcbench": Family(_lcbench, _LCBENCH, recorded=True),
    "algoperf": Family(_algoperf, _ALGOPERF, recorded=True),
}


def expand(names: Sequence[str]) -> tuple[str, ...]:
    """Every instance that the names mean, each once, in order.

    >>> expand(["honest:1", "memory"])
    ('honest:1', 'memory:0', 'memory:1', 'memory:2', 'memory:3', 'memory:4')

    Raises:
        UsageError: there is no such family or instance.
    """
    found: dict[str, None] = {}
    for name in names:
        family, separator, instance = name.partition(":")
        if family not in PROBLEMS:
            raise UsageError(unknown("problem", family, PROBLEMS))
        known = PROBLEMS[family].instances
        if separator and instance not in known:
            raise UsageError(f"problem {name!r}: {unknown('instance', instance, known)}")
        found.update(dict.fromkeys([name] if separator else [f"{family}:{one}" for one in known]))
    return tuple(found)


def build(name: str, folder: Path | None = None) -> Problem:
    """The problem of this full name; recorded data are read from the folder, or from where `DATA` says.

    Raises:
        UsageError: there is no such problem, or its data are not there.
    """
    (name,) = expand([name])
    family, _, instance = name.partition(":")
    if folder is None and os.environ.get(DATA):
        folder = Path(os.environ[DATA])
    return PROBLEMS[family].build(instance, folder)


def needed(folder: Path | None, inner: str) -> Path:
    """The folder of one collection of recorded data.

    Raises:
        UsageError: it is not there.
    """
    if folder is None:
        raise UsageError(
            f"recorded curves are not part of this package: name the folder that holds {inner!r}, "
            f"with --data or in the environment variable {DATA}"
        )
    if not (folder / inner).is_dir():
        raise UsageError(f"there is no folder {folder / inner}; --data or {DATA} must name the one above it")
    return folder / inner
