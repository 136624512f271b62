"""The nouns: a schedule hears nothing, a tuner hears at the end of a segment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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
    # Float hyperparameters set where it begins, and kept from there on: {"weight_decay": 0.1}. They belong
    # to the row: coming back to a mark brings the old ones back.
    hyper: Mapping[str, float] = field(default_factory=dict[str, float])
    is_mark: bool = True  # whether its end, as part of a Probe, may be gone on from; False saves a row

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")
        if self.evals < 0:
            raise ValueError(f"evals={self.evals} must be at least 0")


def _nothing() -> NDArray[np.float32]:
    return np.zeros(0, np.float32)


@dataclass(frozen=True, slots=True)
class Trace:
    """What the losses of a segment were. Shorter than the segment when the budget ended first."""

    segment: Segment
    losses: NDArray[np.floating[Any]]  # (steps,) training loss before each update
    val_losses: NDArray[np.floating[Any]]  # (evals,)
    # (n,) losses of the examples at the last evaluation, the same examples for every trace; empty where none:
    # candidates are compared example by example, which shows far smaller differences than two means do.
    example_losses: NDArray[np.floating[Any]] = field(default_factory=_nothing)


@dataclass(frozen=True, slots=True)
class Keep:
    """Run one segment and stay where it ends."""

    segment: Segment
    # Start from the end of that probed segment instead of from here. Numbers count the segments of all
    # probes since the last Keep, from 0.
    adopt: int | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Run each segment from here, then come back here; all may run at once, in spare lanes.

    With `starts`, each segment begins where that probed segment ended, numbered as for `Keep.adopt`.
    """

    segments: tuple[Segment, ...]
    starts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.segments:
            raise ValueError("a probe needs at least one segment")
        if self.starts and len(self.starts) != len(self.segments):
            raise ValueError(f"{len(self.segments)} segments, {len(self.starts)} starts: give one for each")


class TunerError(ValueError):
    """A tuner cannot go on, for a reason the user has to act on: the message says what to change."""


class Tuner(Protocol):
    """Chooses the factor while training, one segment at a time. Same traces, same asks."""

    def ask(self) -> Keep | Probe | None:
        """What to run next; None when there is nothing more. Changes nothing."""
        ...

    def tell(self, traces: Sequence[Trace]) -> None:
        """Take in one trace per segment asked for, in order.

        Raises:
            TunerError: nothing sensible is left to ask for; the trial fails with these words.
        """
        ...
