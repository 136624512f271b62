"""The boundary between searching and training: plain data, free of torch.

`TrialSpec` is all a trial is told, `Report` is all it says. A black box is any function of the shape
`TrialFn`; `trials.train.train` is one, and knows nothing of the search.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

Value = bool | int | float | str
Config = Mapping[str, Value]

SIZES = ("parameters", "bytes")  # of a row: trained weights, and what the whole takes as a file of float32


@dataclass(frozen=True, slots=True)
class TrialSpec:
    """One trial: a config, a seed and a budget. Equal specs give equal reports."""

    trial: int  # number in the study, from 0
    config: Config
    seed: int
    budget: int  # optimizer steps that may be spent
    rungs: tuple[int, ...]  # spent steps at which to report; increasing; the last is the budget
    horizon: int  # steps the schedule is stretched over; the same for every trial of a study
    split_seed: int  # seed of the split; the same for every trial of a study
    parent: str | None = None  # checkpoint to start from, relative to the study's folder
    folds: Literal["none", "beside", "alone"] = (
        "none"  # its fold models: none, with it, or without its own row
    )

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise ValueError(f"budget={self.budget} must be at least 1 step")
        if self.horizon < 1:
            raise ValueError(f"horizon={self.horizon} must be at least 1 step")
        increasing = all(a < b for a, b in zip(self.rungs, self.rungs[1:], strict=False))
        if not self.rungs or self.rungs[0] < 1 or not increasing or self.rungs[-1] != self.budget:
            raise ValueError(f"rungs={self.rungs} must increase from at least 1 to the budget {self.budget}")


@dataclass(frozen=True, slots=True)
class Report:
    """What a trial says at a rung. Metrics are never measured on the test split."""

    trial: int
    step: int  # position on the kept trajectory
    spent: int  # steps paid for, >= step
    seconds: float  # training time, device-synchronised, compilation excluded
    metrics: Mapping[str, float]  # "val_loss" and friends
    # Steps that passed one after another: fewer than spent where probes ran side by side, as many otherwise.
    wall: int = -1

    def __post_init__(self) -> None:
        if self.wall < 0:
            object.__setattr__(self, "wall", self.spent)


TrialFn = Callable[[TrialSpec], Iterator[Report]]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this says that memory is short, of a device or of this machine.

    By names and words, as this loads no torch: its allocator for the CPU raises a plain RuntimeError.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes do not match"))
    (True, False)
    """
    is_host = isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or is_host
