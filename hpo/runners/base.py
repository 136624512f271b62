"""The Runner protocol and the table of runners.

Laws: every started trial finishes exactly once, with outcome completed, stopped, diverged, failed or
out_of_memory. Reports of a trial arrive in order. A worker that dies is a failed trial with a reason, not a
hang. Same specs on any runner give the same reports, within the tolerance table.
"""

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

from hpo.errors import MissingDependency, UsageError
from hpo.events import DataSet, Figures, Noticed, TrialFinished, TrialReported, TrialScored
from trials.names import hint
from trials.spec import Config, TrialSpec, Value

NOWHERE: Mapping[int, int] = {}  # no trial makes room before it ends

Heard = TrialReported | TrialScored | TrialFinished | Noticed  # what a runner has to say


class Runner(Protocol):
    """Where trials execute."""

    def check(self, configs: Sequence[Config]) -> tuple[str, ...]:
        """Names of the metrics that trials of these configs report; () when only running can tell.

        Where the number of lanes is to be measured, this measures it.

        Raises:
            UsageError: the objective cannot be loaded, or does not fit the configs.
        """
        ...

    def free(self) -> int:
        """How many more trials it would take now."""
        ...

    def start(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        """Begin these trials, or go on with those that made room; at most `free()` of them.

        A trial that is named in `until` makes room by itself after its first report of so many spent steps or
        more: its lane is free with that report, and it waits to be started again, with the same spec. What
        it is then is kept where any worker finds it, as far as that can be, also by a search that takes the
        study up. Where it cannot (a function is where it runs) its worker keeps it; should that be gone, the
        trial begins again and tells its reports again. `stop` forgets it without a word.

        *Law.* Reports of a trial that made room, however often, are those of the trial that did not.
        """
        ...

    def stop(self, trials: Collection[int]) -> None:
        """End these trials early; unknown or ended ones are ignored, so it may be called twice."""
        ...

    def rest(self) -> None:
        """Train nothing until `wake`: trials keep their places, and what was reported is still to be polled.

        A function that is in the middle of something ends that first. Rows of trials under way are saved, so
        that a search which is killed while it rests loses as little as can be. Twice is once, as of `wake`.
        """
        ...

    def wake(self) -> None:
        """Go on where `rest` left off."""
        ...

    def poll(self, timeout: float) -> list[Heard]:
        """What happened since the last call, waiting up to `timeout` seconds for something to happen."""
        ...

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        """Metrics of a saved row on the test split, named `test_…`; empty where there is no such split.

        Called once, when selection is over.
        """
        ...

    def explore(self, spec: TrialSpec) -> Sequence[Mapping[str, Any]]:
        """Train a trial that is none of the study's, and what its tuner found: rows of `Planned.facts`.

        Called before the first trial; leaves nothing behind.

        Raises:
            UsageError: what runs here has no tuner, or the trial fails, with the reason.
        """
        ...

    def data(self) -> tuple[DataSet, ...]:
        """What trials are judged on beyond the plain splits: shifted copies and targets; after `check`."""
        ...

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        """Metrics of saved rows on every target; empty where there are none.

        Called once, when selection is over: targets can be read once.

        Raises:
            UsageError: they were read before.
        """
        ...

    def busy(self) -> tuple[int, int]:
        """(lanes that are training, lanes there are)."""
        ...

    def busy_seconds(self) -> tuple[float, float]:
        """(lane-seconds in which a trial was training, lane-seconds there were) so far.

        Counted while lanes are run, and while a worker has no trial although another has.
        """
        ...

    def close(self) -> None:
        """Stop everything; safe to call twice."""
        ...


@runtime_checkable
class Scaling(Runner, Protocol):
    """A runner whose workers may be more or fewer while it runs.

    *Law.* Whatever is asked for and whenever, every started trial ends once.
    """

    def scale(self, workers: int) -> str:
        """Have so many workers: further ones begin, of too many those with the fewest trials leave.

        Returns why there are fewer for now; "" where there is room for all.

        A worker leaves when its trials have ended; until then it takes no more.

        Raises:
            UsageError: there cannot be so many; there are as many as before.
        """
        ...


@dataclass(frozen=True)
class Target:
    """What trials run, by name, so that any process can load it."""

    reference: str  # built-in task, "module:Class", "path/to/file.py:Class" or "module:function"
    options: Mapping[str, Value] = field(default_factory=dict[str, Value])
    base: str = "."  # folder that relative names are looked up in
    folder: str = "."  # the study's folder: rows are saved in its `rows`
    metric: str = "val_loss"  # of the study; a trial whose metric is not finite has diverged
    split_seed: int = 0
    targets: Mapping[str, str] = field(default_factory=dict[str, str])  # that only the report reads, by name
    tick: int = 10
    compile: Literal["auto", "never", "always"] = "auto"
    expected_steps: int = 0  # trial-steps the study may take, over all workers
    save: bool = True  # rows of completed trials, and traces
    sharpness: bool = False  # whether reports say it
    sizes: tuple[str, ...] = ()  # of `trials.spec.SIZES`, that reports of a task say
    device: str = ""  # "": the first CUDA device, else the CPU
    threads: int = 0  # of each process; 0: leave as it is
    kind: Literal["lanes", "inline"] = "lanes"  # what a process of its own runs
    most_lanes: int = 0  # a measured number is cut to this: the study has no use for more; 0: it has
    validation: Mapping[str, Any] = field(default_factory=dict[str, Any])  # fields of a `Validation`
    save_every: int = 0  # ticks between two rows of a trial under way; 0: none is saved
    save_to: str = ""  # URL of a folder for these rows; "": they are saved in the study's folder
    most_trials: int = 0  # at once in a worker, further lanes being for their probes; 0: one in every lane


@dataclass(frozen=True)
class Cluster:
    """Where runner `ray` finds its workers and what each has; other runners have no use for it."""

    address: str = "auto"  # "auto", "local" (one of its own), HOST:PORT or ray://HOST:PORT
    cpus_per_worker: float = 1.0
    gpus_per_worker: float | None = None  # None: one where a task trains and some node has one, else none
    stall_seconds: float | None = None  # a worker that shows no sign of life is replaced; None: never
    memory_per_worker: float | None = None  # GiB; one that has more is replaced; None: its part of a node


class Word(NamedTuple):
    """What a worker says: events, an answer to what it was asked, or why it cannot go on."""

    kind: Literal["events", "answer", "error"]
    value: Any
    lanes: int | None = None  # that it has now; None: not measured yet
    busy_seconds: tuple[float, float] = (0.0, 0.0)  # of its lanes so far
    returned: tuple[int, ...] = ()  # trials that found no lane, to be started elsewhere or later
    saved: tuple[int, ...] = ()  # trials under way whose rows were saved
    held: tuple[int, ...] = ()  # trials that made room; whoever is to goes on with them
    bound: tuple[int, ...] = ()  # trials that made room, and that only this worker can go on with
    # What belongs to the events where no disk is shared: (path in the study's folder, contents).
    files: tuple[tuple[str, bytes], ...] = ()


def _inline(target: Target, lanes: int | None, workers: int | None, cluster: Cluster) -> Runner:
    from hpo.runners.inline import InlineRunner

    return InlineRunner(target, lanes)


def _lanes(target: Target, lanes: int | None, workers: int | None, cluster: Cluster) -> Runner:
    from hpo.runners.lanes import LanesRunner

    return LanesRunner(target, lanes)


def _processes(target: Target, lanes: int | None, workers: int | None, cluster: Cluster) -> Runner:
    from hpo.runners.processes import ProcessesRunner

    return ProcessesRunner(target, lanes, workers or 1)


def _replayed(target: Target, lanes: int | None, workers: int | None, cluster: Cluster) -> Runner:
    from hpo.runners.replayed import ReplayedRunner

    return ReplayedRunner(target, (lanes or 1) * (workers or 1), began=time.time())


def _ray(target: Target, lanes: int | None, workers: int | None, cluster: Cluster) -> Runner:
    from hpo.runners.cluster import environment

    # Ray reads some of it when it is imported.
    for name, value in environment(cluster.address).items():
        os.environ.setdefault(name, value)
    try:
        from hpo.runners.ray import RayRunner
    except ImportError as error:
        raise MissingDependency(
            f"runner 'ray' needs ray, which cannot be imported ({error}): install this project with the "
            "extra 'ray'"
        ) from error
    return RayRunner(target, lanes, workers, cluster)


Make = Callable[[Target, int | None, int | None, Cluster], Runner]

# name in a study file -> runner of a target with so many lanes (None: measured) in each of so many workers
# (None: as many as a cluster has room for, one elsewhere)
RUNNERS: dict[str, Make] = {
    "inline": _inline,
    "lanes": _lanes,
    "processes": _processes,
    "replayed": _replayed,
    "ray": _ray,
}


def build(
    name: str, target: Target, lanes: int | None, workers: int | None, cluster: Cluster | None = None
) -> Runner:
    """The runner of this name. With `lanes` None, `check` measures how many are best.

    Raises:
        UsageError: there is none, a count below 1, or a cluster that cannot be used.
    """
    if name not in RUNNERS:
        raise UsageError(f"unknown runner {name!r}{hint(name, RUNNERS)}")
    for what, count in (("lanes", lanes), ("workers", workers)):
        if count is not None and count < 1:
            raise UsageError(f"{what}={count} must be at least 1")
    return RUNNERS[name](target, lanes, workers, cluster or Cluster())
