"""One trial alone, or several that go on from one row: the same code as K lanes of a study."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from schedules.tuner_spec import is_tuner
from trials.capacity import lanes_for
from trials.compiling import Compiler
from trials.data.divided import divided, refuse_too_few
from trials.data.stream import Stream
from trials.drive import TICK, Drive, Ended, MakeTuner, Reduced, scheduled
from trials.folds import FoldedDrive
from trials.lanes import Lanes
from trials.program import Program
from trials.recipe import Recipe, recipe
from trials.rows import Row
from trials.spec import Report, TrialSpec
from trials.task import SPLITS, Batch, Mixed, Splits, Task, default_device
from trials.validation import PLAIN, Validation

# Lanes for the probes of one trial. On a CPU more than are measured to be fastest a step would only be run
# in turn instead; a race has six candidates.
_MOST_LANES, _FEWEST_ON_CPU = 16, 6


def load_splits(task: Task, split_seed: int, device: torch.device, validation: Validation = PLAIN) -> Splits:
    """The task's data on the device, divided and copied as the validation wants it.

    Raises:
        TypeError: `Task.data` returned something else than Splits.
        ValueError: the data does not allow the validation.
    """
    splits = task.data(split_seed)
    if not isinstance(splits, Splits):
        raise TypeError(f"Task.data returned {type(splits).__name__}, trials.task.Splits is wanted")
    splits = divided(splits, validation)
    refuse_too_few(splits, validation.interval)
    if validation.is_shifted or validation.trained:
        # Only here: families of augmentations are many, and most studies want none.
        from trials.data.shifts import with_copies

        splits = with_copies(task, splits, validation)
    return to_device(splits, device)


def to_device(splits: Splits, device: torch.device) -> Splits:
    """The splits on a device; tensors that are there already are shared, and a stream stays where it is."""
    moved: dict[int, Tensor] = {}  # by identity: copies share what is not shifted
    batches: dict[int, Batch] = {}  # `tune` may be `val` itself

    def at(part: Tensor) -> Tensor:
        if id(part) not in moved:
            moved[id(part)] = part.to(device)
        return moved[id(part)]

    def there(split: Batch) -> Batch:
        if id(split) not in batches:
            batches[id(split)] = {name: at(part) for name, part in split.items()}
        return batches[id(split)]

    given = {name: getattr(splits, name) for name in SPLITS}
    mixed = splits.mixed
    return Splits(
        **{name: split if isinstance(split, Stream) else there(split) for name, split in given.items()},
        shifted={family: there(batch) for family, batch in splits.shifted.items()},
        mixed=None if mixed is None else Mixed(there(mixed.batch), mixed.family),
        views=splits.views,
    )


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
    folds: int = 2,
) -> Iterator[Report]:
    """Train one trial and yield its reports; the generator's value is how it ended.

    With several `lanes` the probes of a tuner run side by side; None takes as many as are measured to pay,
    and one where the config asks for a schedule. Fold models, where the spec asks for them, share these
    lanes: `folds` is how many parts the families are divided in. Divergence, of the training loss or the
    `metric`, is an outcome, not an exception: the last report then has an infinite or missing objective.

    Raises:
        MemoryError: a step does not fit in memory.
    """
    device = device or default_device()
    splits = splits or load_splits(task, spec.split_seed, device)
    program = build(task, splits, recipe(task, spec.config, splits.views), device, notice)
    if lanes is None:
        lanes = lanes_of(program, spec, compiler is not None) if is_tuner(spec.config) else 1
    drive = FoldedDrive(Drive(Lanes(program, lanes, compiler), tick, make_tuner, metric), folds)
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
    parts = recipe(task, specs[0].config, splits.views)
    if any(recipe(task, spec.config, splits.views).key != parts.key for spec in specs):
        raise ValueError("what goes on from one row must be of one structure")
    program = build(task, splits, parts, device, notice)
    drive = Drive(Lanes(program, lanes or len(specs), compiler), tick, make_tuner, metric)
    waiting = list(specs)
    while waiting or len(drive):
        while waiting and drive.room():
            drive.admit(waiting.pop(0), start)
        yield from (said for said in drive.tick() if not isinstance(said, Reduced))
