"""One trial alone, or several that go on from one row: the same code as K lanes of a study."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields

import torch

from schedules.tuner_spec import is_tuner
from trials.capacity import lanes_for
from trials.compiling import Compiler
from trials.data.stream import Stream
from trials.drive import TICK, Drive, Ended, MakeTuner, Reduced, scheduled
from trials.lanes import Lanes
from trials.program import Program
from trials.recipe import Recipe, recipe
from trials.rows import Row
from trials.spec import Report, TrialSpec
from trials.task import Batch, Splits, Task, default_device

# Lanes for the probes of one trial. On a CPU more than are measured to be fastest a step would only be run
# in turn instead; a race has six candidates.
_MOST_LANES, _FEWEST_ON_CPU = 16, 6


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
    lanes: int | None = 1,
    compiler: Compiler | None = None,
    metric: str = "val_loss",
    notice: Callable[[str], None] = lambda line: None,
) -> Iterator[Report]:
    """Train one trial and yield its reports; the generator's value is how it ended.

    With several `lanes` the probes of a tuner run side by side; None takes as many as are measured to pay,
    and one where the config asks for a schedule. Divergence, of the training loss or the `metric`, is an
    outcome, not an exception: the last report then has an infinite or missing objective.

    Raises:
        MemoryError: a step does not fit in memory.
    """
    device = device or default_device()
    splits = splits or load_splits(task, spec.split_seed, device)
    program = build(task, splits, recipe(task, spec.config), device, notice)
    if lanes is None:
        lanes = lanes_of(program, spec, compiler is not None) if is_tuner(spec.config) else 1
    drive = Drive(Lanes(program, lanes, compiler), tick, make_tuner, metric)
    drive.admit(spec, start)
    while True:
        for said in drive.tick():
            if isinstance(said, Ended):
                if said.outcome == "out_of_memory":
                    raise MemoryError(said.reason)
                return said
            if isinstance(said, Report):
                yield said


def lanes_of(program: Program, spec: TrialSpec, is_compiled: bool = False) -> int:
    """How many lanes one trial with probes is worth here, by measurement."""
    found = lanes_for(program, spec.config, _MOST_LANES, is_compiled)
    return max(found, _FEWEST_ON_CPU) if program.device.type == "cpu" else found


def fork(
    task: Task,
    start: Row,
    specs: Sequence[TrialSpec],
    make_tuner: MakeTuner,
    *,
    splits: Splits | None = None,
    device: torch.device | None = None,
    tick: int = TICK,
    lanes: int | None = None,
    compiler: Compiler | None = None,
    metric: str = "val_loss",
    notice: Callable[[str], None] = lambda line: None,
) -> Iterator[Report | Ended]:
    """Train each of these trials on from one row, side by side: what they report and how each ended.

    All are of one structure and see the same batches; only what their tuners ask for differs. `lanes` None
    gives each a lane.

    Raises:
        ValueError: trials of several structures, or a row that is of another one.
    """
    device = device or default_device()
    splits = splits or load_splits(task, specs[0].split_seed, device)
    parts = recipe(task, specs[0].config)
    if any(recipe(task, spec.config).key != parts.key for spec in specs):
        raise ValueError("what goes on from one row must be of one structure")
    program = build(task, splits, parts, device, notice)
    drive = Drive(Lanes(program, lanes or len(specs), compiler), tick, make_tuner, metric)
    waiting = list(specs)
    while waiting or len(drive):
        while waiting and drive.room():
            drive.admit(waiting.pop(0), start)
        yield from (said for said in drive.tick() if not isinstance(said, Reduced))
