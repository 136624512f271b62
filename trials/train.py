"""One trial alone: the same code as K lanes, with K = 1."""

from collections.abc import Callable, Iterator
from dataclasses import fields

import torch

from trials.data.stream import Stream
from trials.drive import TICK, Drive, Ended, MakeTuner, scheduled
from trials.lanes import Lanes
from trials.program import Program
from trials.recipe import Recipe, recipe
from trials.rows import Row
from trials.spec import Report, TrialSpec
from trials.task import Batch, Splits, Task, default_device


def load_splits(task: Task, split_seed: int, device: torch.device) -> Splits:
    """The task's data on the device.

    Raises:
        TypeError: `Task.data` returned something else than Splits.
    """
    splits = task.data(split_seed)
    if not isinstance(splits, Splits):
        raise TypeError(f"Task.data returned {type(splits).__name__}, trials.task.Splits is wanted")
    return to_device(splits, device)


def to_device(splits: Splits, device: torch.device) -> Splits:
    """The splits on a device; tensors that are there already are shared, and a stream stays where it is."""
    moved: dict[int, Batch | Stream] = {}  # by identity: `tune` may be `val` itself

    def there(split: Batch | Stream) -> Batch | Stream:
        if isinstance(split, Stream):
            return split
        if id(split) not in moved:
            moved[id(split)] = {name: part.to(device) for name, part in split.items()}
        return moved[id(split)]

    return Splits(*(there(getattr(splits, place.name)) for place in fields(splits)))


def build(
    task: Task,
    splits: Splits,
    parts: Recipe,
    device: torch.device,
    notice: Callable[[str], None] = lambda line: None,
) -> Program:
    """The program of a recipe; `notice` gets a line when its lanes cannot run side by side."""
    return Program(task, splits, parts.structure, tuple(name for name, _ in parts.floats), device, notice)


def train(
    task: Task,
    spec: TrialSpec,
    *,
    splits: Splits | None = None,
    device: torch.device | None = None,
    start: Row | None = None,
    tick: int = TICK,
    make_tuner: MakeTuner = scheduled,
) -> Iterator[Report]:
    """Train one trial and yield its reports; the generator's value is how it ended.

    Divergence is an outcome, not an exception: the last report then has an infinite or missing objective.

    Raises:
        MemoryError: a step does not fit in memory.
    """
    device = device or default_device()
    splits = splits or load_splits(task, spec.split_seed, device)
    drive = Drive(Lanes(build(task, splits, recipe(task, spec.config), device), 1), tick, make_tuner)
    drive.admit(spec, start)
    while True:
        for said in drive.tick():
            if isinstance(said, Ended):
                if said.outcome == "out_of_memory":
                    raise MemoryError(said.reason)
                return said
            if isinstance(said, Report):
                yield said
