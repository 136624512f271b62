"""What a user writes: data, model, loss, metrics. A task gets lanes, per-lane hyperparameters and online
rates.

class Moons(Task):
    def data(self, split_seed): return Splits(train={"x": ..., "y": ...}, val=..., test=...)
    def model(self, config): return nn.Sequential(nn.Linear(2, config["width"]), nn.ReLU(), ...)
    def loss(self, model, batch, hyper): return F.cross_entropy(model(batch["x"]), batch["y"])
    def metrics(self, model, batch): return {"loss": F.cross_entropy(..., reduction="none")}
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from trials.data.stream import Form, Stream, forms
from trials.names import TASKS, hint, load_object
from trials.spec import Config, Value

Batch = Mapping[str, Tensor]  # named tensors, the first axis counts examples
Hyper = Mapping[str, Tensor]  # the float hyperparameters of a trial, each a () tensor


@dataclass(frozen=True)
class Mixed:
    """A split whose every example is under one family: a cheap look at all families."""

    batch: Batch
    family: Tensor  # (N,) int64 on the host, numbers of the families in the order of `Splits.shifted`


@dataclass(frozen=True)
class Splits:
    """Named tensors of each split, or a `Stream` where they are too many for the device.

    `test` is read once, by the report, and by nothing else. `tune` is what a tuner compares learning rates
    on while a trial is trained; it is `val` unless given. Give it where `val_loss` is to say nothing that
    the rate was chosen by.

    The other three are made by `trials.data.shifts`. `shifted` is family -> a copy of `val` under it, `mixed`
    the same by one family for each example. `views` are families whose copies of `train` are stacked behind
    the originals: a part that can be shifted is then ((1 + F) N, …), N originals and N of each family.
    """

    train: Batch | Stream
    val: Batch | Stream
    test: Batch | Stream = field(default_factory=dict[str, Tensor])
    tune: Batch | Stream = field(default_factory=dict[str, Tensor])
    shifted: Mapping[str, Batch] = field(default_factory=dict[str, Batch])
    mixed: Mixed | None = None
    views: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.tune == {}:
            object.__setattr__(self, "tune", self.val)
        for name in SPLITS:
            split = getattr(self, name)
            if isinstance(split, Stream):
                self._refuse_difference(name, split.forms)
                continue
            if not isinstance(split, Mapping) or not all(isinstance(part, Tensor) for part in split.values()):
                raise TypeError(f"split {name!r} must be a mapping of names to tensors")
            if name == "train":
                split = self._originals(split)
            sizes = {part_name: len(part) for part_name, part in split.items()}
            if len(set(sizes.values())) > 1:
                raise ValueError(f"split {name!r} has tensors of different lengths: {sizes}")
            if name != "test" and not sizes:
                raise ValueError(f"split {name!r} is empty: give it at least one tensor")
            if sizes and 0 in sizes.values():
                raise ValueError(f"split {name!r} has no examples: {sizes}")
            if sizes:
                self._refuse_difference(name, forms(split))

    @property
    def train_size(self) -> int:
        """Examples to train on, whatever views there are of them."""
        longest = len(self.train) if isinstance(self.train, Stream) else max(map(len, self.train.values()))
        return longest // (1 + len(self.views))

    @property
    def viewed(self) -> tuple[str, ...]:
        """Parts of the training split that have views."""
        if isinstance(self.train, Stream) or not self.views:
            return ()
        size = self.train_size
        return tuple(name for name, part in self.train.items() if len(part) > size)

    def originals(self) -> Batch | Stream:
        """The training split without its views."""
        return self.train if isinstance(self.train, Stream) else self._originals(self.train)

    def _originals(self, train: Batch) -> Batch:
        return {name: part[: self.train_size] for name, part in train.items()} if self.views else train

    def _refuse_difference(self, name: str, found: Mapping[str, Form]) -> None:
        # Found out now, not when the chosen trial is about to be reported.
        wanted = forms(self.train)
        if found != wanted:
            raise ValueError(
                f"split {name!r} differs from 'train' in names, shapes or dtypes: {found}, {wanted}"
            )


SPLITS = ("train", "val", "test", "tune")  # what a task gives


@runtime_checkable
class Task(Protocol):
    """Data, model, loss and metrics of one learning problem.

    Optional attributes: `defaults`, values of hyperparameters a study leaves out; `structure`, names of
    float hyperparameters that `model` needs (each value is then a program of its own); `groups`, weight
    group name -> prefixes of weight names, so that the float hyperparameter `lr_ratio_NAME` scales the
    group's rate; `shifts`, parts that augmentation families can change -> how to read them, a
    `trials.data.families.kinds.Kind`; `targets`, name -> function that gives a batch from elsewhere, which
    only the report reads.
    """

    def data(self, split_seed: int) -> Splits:
        """The splits; called once per process, shared by all lanes. Equal seeds give equal splits."""
        ...

    def model(self, config: Config) -> nn.Module:
        """A fresh model. `config` holds the structure only: floats ride in the row and reach `loss`."""
        ...

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """() mean over the batch."""
        ...

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Each (B,); averaged over a split and reported as `val_NAME`. The model is in evaluation mode."""
        ...


def attribute(task: Task, name: str) -> Any:
    """An optional attribute of a task, or its empty default."""
    nothing: dict[str, Any] = {"defaults": {}, "structure": (), "groups": {}, "shifts": {}, "targets": {}}
    return getattr(task, name, nothing[name])


def load_task(reference: str, options: Mapping[str, Value] | None = None, base: Path | None = None) -> Task:
    """The task that a built-in name or `module:Class` or `path/to/file.py:Class` means.

    Raises:
        ValueError: nothing of that name exists, or it is not a task.
    """
    keywords: dict[str, Value] = {}
    target = reference
    if ":" not in reference:
        if reference not in TASKS:
            raise ValueError(f"unknown task {reference!r}{hint(reference, TASKS)}")
        target, keywords = TASKS[reference]
    made = load_object(target, base)
    if isinstance(made, type):
        try:
            made = made(**{**keywords, **(options or {})})
        except TypeError as error:
            raise ValueError(f"task {reference!r} cannot be built: {error}") from error
    elif options:
        raise ValueError(f"task {reference!r} is not a class: it takes no options {sorted(options)}")
    missing = [
        verb for verb in ("data", "model", "loss", "metrics") if not callable(getattr(made, verb, None))
    ]
    if missing:
        raise ValueError(f"{reference!r} is not a task: it has no method {', '.join(map(repr, missing))}")
    return cast(Task, made)


def default_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
