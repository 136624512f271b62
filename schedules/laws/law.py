"""A law with its numbers: predicts the loss of any schedule, with an interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schedules.laws.annealing import Annealing, annealing, areas, nodes
from schedules.laws.curve import Curve, Floats, with_warmup
from schedules.laws.kernels import LAWS, REFERENCE_AREA

# Half-widths in standard errors of the jackknife, by the share of points to be covered: the larger of what
# two model sizes of the published curves need.
MULTIPLIERS: Mapping[float, float] = {0.8: 1.33, 0.9: 1.89, 0.95: 2.4}
# Where no jackknife can be had: 90 % quantiles of held-out relative errors of those curves, twice over, as
# they were measured on other runs than the user's. In the first 2,000 steps after warm-up; while the area
# is within that of the curves fitted; beyond.
FIXED_HALF_WIDTHS = (2 * 0.0023, 2 * 0.0016, 2 * 0.0034)
FIRST_STEPS = 2_000
LEAST_NOISE = 0.0005  # relative; between two equal runs of the published curves


@dataclass(frozen=True, slots=True)
class Coefficients:
    """The four numbers of one kind of run: its model, data, batch size, optimizer and peak."""

    limit: float  # loss after infinitely many steps at the peak
    amplitude: float  # loss above it at the reference area, without annealing
    exponent: float  # at which that falls with the area
    gain: float  # loss that annealing from the peak to 0 takes away in the end


@dataclass(frozen=True)
class Prediction:
    """Losses of a schedule, at the rows of its curve; NaN before the end of warm-up."""

    losses: Floats  # (n,)
    # (n,) The interval that a recorded loss lies in with the probability `level`: the noise of single losses
    # is part of it, so that a noisy run has a wide one however well its trend is known.
    low: Floats
    high: Floats
    level: float


@dataclass(frozen=True)
class FittedLaw:
    """A law and what was fitted. Save it with `table`, load it with `from_table`."""

    law: str  # its name in the table of laws
    peak: float  # learning rate that shares are taken of; the law holds for runs at this peak
    coefficients: Coefficients
    constants: Mapping[str, float]
    trained_area: (
        float  # peak steps of the longest curve fitted: beyond it a prediction is a guess at the trunk
    )
    warmup_steps: int  # of the curves fitted
    noise: float  # relative, of single losses
    refits: Sequence[
        Coefficients
    ] = ()  # without each of the curves in turn; empty where they identify nothing
    curves: Sequence[str] = ()  # names of those fitted
    refit_constants: Sequence[Mapping[str, float]] = ()  # of the refits, where constants were fitted

    @property
    def interval(self) -> Literal["jackknife", "fixed"]:
        """Where the width of the interval comes from."""
        return "jackknife" if len(self.refits) > 1 else "fixed"

    def check_peak(self, peak: float) -> None:
        """Nothing, for a peak near enough for a guess; laws were measured at one peak only.

        Raises:
            ValueError: it is not within a factor of 2 of the law's.
        """
        if not 0.5 <= peak / self.peak <= 2.0:
            raise ValueError(
                f"peak={peak:g} is too far from {self.peak:g}, where the law was fitted: "
                f"fit one on runs at {peak:g}"
            )

    def predict(self, curve: Curve, level: float = 0.9) -> Prediction:
        """The losses at the rows of a curve, its rates in the units of those fitted.

        Raises:
            ValueError: a level that no width was measured for, or a peak that is far from the law's.
        """
        self.check_peak(curve.peak)
        if level not in MULTIPLIERS:
            raise ValueError(f"level={level} must be one of {', '.join(map(str, MULTIPLIERS))}")
        curve = with_warmup(curve, self.warmup_steps)
        is_after = curve.steps >= curve.warmup_end
        steps = curve.steps[is_after]
        area = areas(curve, self.peak)[steps - curve.steps[0] + 1]
        places = nodes(curve)
        places = places[places >= curve.warmup_end]
        seen = annealing(curve, places, self.peak)

        def losses(coefficients: Coefficients, constants: Mapping[str, float]) -> Floats:
            effect = _effect(self.law, seen, tuple(sorted(constants.items())), known)
            return combined(coefficients, area, np.interp(steps, places, effect))

        known: dict[tuple[tuple[str, float], ...], Floats] = {}
        best = losses(self.coefficients, self.constants)
        if self.interval == "jackknife":
            n = len(self.refits)
            constants = self.refit_constants or [self.constants] * n
            logs = [np.log(losses(*one) / best) for one in zip(self.refits, constants, strict=True)]
            variance = (n - 1) / n * np.sum(np.square(logs), axis=0)
            width = MULTIPLIERS[level] * np.sqrt(variance + self.noise**2)
        else:
            width = self._fixed(area, steps < curve.warmup_end + FIRST_STEPS, level)
        found = np.full((3, len(curve.steps)), np.nan)
        found[:, is_after] = best, best * np.exp(-width), best * np.exp(width)
        return Prediction(found[0], found[1], found[2], level)

    def _fixed(self, area: Floats, is_first: NDArray[np.bool_], level: float) -> Floats:
        """Relative half-width where no jackknife can be had."""
        first, within, beyond = FIXED_HALF_WIDTHS
        widths = np.where(area <= self.trained_area, within, beyond)
        widths = np.where(is_first, np.maximum(widths, first), widths)
        scale = MULTIPLIERS[level] / MULTIPLIERS[0.9]
        return np.hypot(widths * scale, MULTIPLIERS[level] * self.noise)


def _effect(
    law: str,
    seen: Annealing,
    constants: tuple[tuple[str, float], ...],
    known: dict[tuple[tuple[str, float], ...], Floats],
) -> Floats:
    """The effect under these constants, worked out once: it is nearly all of the time of a prediction."""
    if constants not in known:
        known[constants] = LAWS[law].effect(seen, dict(constants))
    return known[constants]


def combined(coefficients: Coefficients, area: Floats, effect: Floats) -> Floats:
    """The losses at these areas (peak steps) with this effect of annealing. (n,)."""
    trunk = coefficients.amplitude * (area / REFERENCE_AREA) ** -coefficients.exponent
    # A law that is far from where it was fitted may fall below 0; losses do not.
    return np.maximum(coefficients.limit + trunk - coefficients.gain * effect, 1e-12)
