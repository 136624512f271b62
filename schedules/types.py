"""The nouns: a schedule hears nothing, a tuner hears at the end of a segment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

# step, 0-based, of the update about to be applied -> factor on the learning rate. Pure and elementwise;
# finite and >= 0 for every step >= 0; the result is float64 and has the shape of the step.
Schedule = Callable[[ArrayLike], NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of steps to run with one schedule."""

    lr: Schedule  # local step -> factor
    steps: int  # optimizer steps to run
    evals: int = 0  # evenly spaced evaluations on the tuning split, the last at the end

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if self.evals < 0:
            raise ValueError(f"evals={self.evals} must be at least 0")


@dataclass(frozen=True, slots=True)
class Trace:
    """What the losses of a segment were. Shorter than the segment when the budget ended first."""

    segment: Segment
    losses: NDArray[np.floating[Any]]  # (steps,) training loss before each update
    val_losses: NDArray[np.floating[Any]]  # (evals,)


@dataclass(frozen=True, slots=True)
class Keep:
    """Run one segment and stay where it ends."""

    segment: Segment
    adopt: int | None = None  # start from the end of that probe of the last Probe instead of from here


@dataclass(frozen=True, slots=True)
class Probe:
    """Run each segment from here, then come back here; all may run at once, in spare lanes."""

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        if not self.segments:
            raise ValueError("a probe needs at least one segment")


class Tuner(Protocol):
    """Chooses the factor while training, one segment at a time. Same traces, same asks."""

    def ask(self) -> Keep | Probe | None:
        """What to run next; None when there is nothing more. Changes nothing."""
        ...

    def tell(self, traces: Sequence[Trace]) -> None:
        """Take in one trace per segment asked for, in order."""
        ...
