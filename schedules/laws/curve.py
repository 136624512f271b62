"""A recorded run: the rate it followed and, where it was run, the losses that came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

AT_PEAK = 1 - 1e-6  # of the largest rate: from the first row that reaches it on, warm-up is over
MOST_STEPS = 10_000_000  # a rate is kept for every step
UNSETTLED = 0.01  # of the whole area: what comes before it is no power of the area yet


@dataclass(frozen=True, eq=False)
class Curve:
    """Rows of a run, in order of their steps. Between two rows the rate is a line, or one drop.

    Raises:
        ValueError: rows of different lengths, fewer than two, steps that are not whole numbers from 0 on or
            do not increase, rates that are below 0, not finite or all 0, losses that are not above 0.

    >>> curve = Curve([0, 50, 100, 150], [0.0, 0.1, 0.1, 0.05])
    >>> curve.peak, curve.warmup_end, len(curve.rates())
    (0.1, 50, 151)
    """

    steps: NDArray[np.int64]  # (n,) 0-based step of the update that the loss was seen at
    lrs: Floats  # (n,) learning rate of that update
    losses: Floats | None  # (n,) above 0; None for a run that is only planned
    name: str
    # Steps of warm-up, along a line from 0, as far as they lie before the first row. None: all steps there,
    # or what the runs it is fitted with had.
    warmup_steps: int | None
    peak: float = field(init=False)
    warmup_end: int = field(init=False)  # step of the first row at the peak

    def __init__(
        self,
        steps: ArrayLike,
        lrs: ArrayLike,
        losses: ArrayLike | None = None,
        name: str = "curve",
        warmup_steps: int | None = None,
    ) -> None:
        rates = _numbers(name, "lr", lrs)
        places = _numbers(name, "step", steps)
        if len(places) != len(rates):
            raise ValueError(f"{name}: {len(places)} steps need as many rates, not {len(rates)}")
        if len(rates) < 2:
            raise ValueError(f"{name}: {len(rates)} row(s): a curve needs at least 2")
        _check_steps(name, places)
        _check_rates(name, rates)
        seen = None if losses is None else _numbers(name, "loss", losses)
        if seen is not None:
            if len(seen) != len(rates):
                raise ValueError(f"{name}: {len(rates)} rows need as many losses, not {len(seen)}")
            if (seen <= 0).any():
                row = int(np.argmax(seen <= 0))
                raise ValueError(f"{name}: loss={seen[row]:g} at step {places[row]:.0f} must be above 0")
        if warmup_steps is not None and not 0 <= warmup_steps <= MOST_STEPS:
            raise ValueError(f"{name}: warmup_steps={warmup_steps} must be at least 0")
        peak = float(rates.max())
        for attribute, value in {
            "steps": places.astype(np.int64),
            "lrs": rates,
            "losses": seen,
            "name": name,
            "warmup_steps": warmup_steps,
            "peak": peak,
            "warmup_end": int(places[np.argmax(rates >= AT_PEAK * peak)]),
        }.items():
            object.__setattr__(self, attribute, value)

    def rates(self) -> Floats:
        """The rate of every step from the first row to the last one.

        A row that lies lower than the one before by more than a tenth of the peak, and by ten times as much
        as its neighbours do, is a drop at that row: a line would begin it early.
        """
        changes = np.diff(self.lrs)
        sizes = np.abs(changes)
        before = np.concatenate([[0.0], sizes[:-1]])
        after = np.concatenate([sizes[1:], [0.0]])
        is_drop = (
            (sizes > 0.1 * self.peak) & (sizes > 10 * np.maximum(before, after)) & (np.diff(self.steps) > 1)
        )
        places: Floats = self.steps.astype(np.float64)
        rates: Floats = self.lrs
        if is_drop.any():
            rows = np.flatnonzero(is_drop) + 1
            places = np.insert(places, rows, places[rows] - 1).astype(np.float64)
            rates = np.insert(rates, rows, rates[rows - 1]).astype(np.float64)
        every: Floats = np.arange(int(self.steps[0]), int(self.steps[-1]) + 1).astype(np.float64)
        return np.interp(every, places, rates)

    def area_before(self) -> float:
        """Area under the rate before the first row: a line up from 0, then flat."""
        first = int(self.steps[0])
        warmup = first if self.warmup_steps is None else min(self.warmup_steps, first)
        return (0.5 * warmup + (first - warmup)) * float(self.lrs[0])

    def settled(self) -> NDArray[np.bool_]:
        """Which rows a law speaks of: after warm-up, and after the first hundredth of the area. (n,)."""
        area = self.area_before() + np.cumsum(self.rates())[self.steps - self.steps[0]]
        return (self.steps >= self.warmup_end) & (area >= UNSETTLED * area[-1])

    def observed(self) -> Floats:
        """The losses.

        Raises:
            ValueError: there are none.
        """
        if self.losses is None:
            raise ValueError(f"{self.name} has no losses: a law is fitted on runs that were run")
        return self.losses


def shortest_warmup(curves: Sequence[Curve]) -> int:
    """The least steps of warm-up of any of these, as far as the rows tell."""
    return min(curve.warmup_end if curve.warmup_steps is None else curve.warmup_steps for curve in curves)


def with_common_warmup(curves: Sequence[Curve]) -> list[Curve]:
    """The curves, those whose warm-up is not known with the shortest of all: equal runs warm up equally."""
    shortest = shortest_warmup(curves)
    return [with_warmup(curve, shortest) for curve in curves]


def with_warmup(curve: Curve, steps: int) -> Curve:
    """The curve, with these steps of warm-up unless it has its own."""
    return curve if curve.warmup_steps is not None else replace(curve, warmup_steps=steps)


def _numbers(name: str, column: str, values: ArrayLike) -> Floats:
    found = np.array(values, dtype=np.float64)
    if found.ndim != 1:
        raise ValueError(f"{name}: {column} must be one number for each row, not of shape {found.shape}")
    if not np.isfinite(found).all():
        row = int(np.argmin(np.isfinite(found)))
        raise ValueError(f"{name}: {column}={found[row]} in row {row + 1} must be a finite number")
    return found


def _check_steps(name: str, steps: Floats) -> None:
    if (steps != np.round(steps)).any() or steps[0] < 0:
        wrong = steps[np.argmax((steps != np.round(steps)) | (steps < 0))]
        raise ValueError(f"{name}: step={wrong:g} must be a whole number, at least 0")
    gaps = np.diff(steps)
    if (gaps <= 0).any():
        row = int(np.argmax(gaps <= 0))
        raise ValueError(
            f"{name}: steps must increase: {steps[row + 1]:.0f} comes after {steps[row]:.0f} in row {row + 2}"
        )
    if steps[-1] > MOST_STEPS:
        raise ValueError(f"{name}: step={steps[-1]:.0f} must be at most {MOST_STEPS}")


def _check_rates(name: str, lrs: Floats) -> None:
    if (lrs < 0).any():
        raise ValueError(f"{name}: lr={lrs.min():g} must be at least 0")
    if not lrs.any():
        raise ValueError(f"{name}: the rate is 0 everywhere: nothing was trained")


def common_peak(curves: Sequence[Curve]) -> float:
    """The peak of all curves.

    Raises:
        ValueError: they differ: a law holds for one peak.
    """
    highest = max(curves, key=lambda curve: curve.peak)
    lowest = min(curves, key=lambda curve: curve.peak)
    if lowest.peak < 0.98 * highest.peak:
        raise ValueError(
            f"{lowest.name} has the peak {lowest.peak:g}, {highest.name} {highest.peak:g}: "
            f"a law holds for one peak, fit curves of equal peaks"
        )
    return highest.peak
