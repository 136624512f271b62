"""A law with its numbers: predicts the loss of any schedule, with an interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schedules.laws.annealing import Annealing, annealing, nodes
from schedules.laws.curve import Curve, Floats, with_warmup
from schedules.laws.kernels import LAWS, REFERENCE_AREA

# Half-widths in standard errors of the jackknife, by the share of points to be covered: the larger of what two
# model sizes of the published curves need.
MULTIPLIERS: Mapping[float, float] = {0.8: 1.33, 0.9: 1.89, 0.95: 2.4}
# Where no jackknife can be had: 90 % quantiles of held-out relative errors of those curves, twice over, as they
# were measured on other runs than the user's. In the first 2,000 steps after warm-up; while the area is within
# that of the curves fitted; beyond.
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
    low: Floats  # (n,) the interval, which the loss lies in with the probability `level`
    high: Floats  # (n,)
    level: float


@dataclass(frozen=True)
class FittedLaw:
    """A law and what was fitted. Save it with `table`, load it with `from_table`."""

    law: str  # its name in the table of laws
    peak: float  # learning rate that shares are taken of; the law holds for runs at this peak
    coefficients: Coefficients
    constants: Mapping[str, float]
    trained_area: float  # peak steps of the longest curve fitted: beyond it a prediction is a guess at the trunk
    warmup_steps: int  # of the curves fitted
    noise: float  # relative, of single losses
    refits: Sequence[Coefficients] = ()  # without each of the curves in turn; empty where they identify nothing
    curves: Sequence[str] = ()  # names of those fitted
    refit_constants: Sequence[Mapping[str, float]] = ()  # of the refits, where constants were fitted

    @property
    def interval(self) -> Literal["jackknife", "fixed"]:
        """Where the width of the interval comes from."""
        return "jackknife" if len(self.refits) > 1 else "fixed"

    def predict(self, curve: Curve, level: float = 0.9) -> Prediction:
        """The losses at the rows of a curve, its rates in the units of those fitted.

        Raises:
            ValueError: a level that no width was measured for.
        """
        if level not in MULTIPLIERS:
            raise ValueError(f"level={level} must be one of {', '.join(map(str, MULTIPLIERS))}")
        curve = with_warmup(curve, self.warmup_steps)
        places = nodes(curve)
        places = places[places >= curve.warmup_end]
        seen = annealing(curve, places, self.peak)
        losses = evaluate(self.law, seen, self.coefficients, self.constants)
        spread = self._spread(curve, places, seen, losses, level)
        is_after = curve.steps >= curve.warmup_end

        def at_rows(values: Floats) -> Floats:
            found = np.full(len(curve.steps), np.nan)
            found[is_after] = np.interp(curve.steps[is_after], places, values)
            return found

        # The trunk bends where interpolation draws a line: the logarithm of the area makes it straighter.
        rows, widths = at_rows(losses), at_rows(spread)
        return Prediction(rows, rows * np.exp(-widths), rows * np.exp(widths), level)

    def _spread(
        self, curve: Curve, places: NDArray[np.int64], seen: Annealing, losses: Floats, level: float
    ) -> Floats:
        """Relative half-width at these steps."""
        if self.interval == "jackknife":
            n = len(self.refits)
            constants = self.refit_constants or [self.constants] * n
            effects = _effects(self.law, seen, constants)
            logs = [
                np.log(_combined(seen, one, effect) / losses)
                for one, effect in zip(self.refits, effects, strict=True)
            ]
            variance = (n - 1) / n * np.sum(np.square(logs), axis=0)
            return MULTIPLIERS[level] * np.sqrt(variance + self.noise**2)
        first, within, beyond = FIXED_HALF_WIDTHS
        widths = np.where(seen.area <= self.trained_area, within, beyond)
        widths = np.where(places < curve.warmup_end + FIRST_STEPS, np.maximum(widths, first), widths)
        scale = MULTIPLIERS[level] / MULTIPLIERS[0.9]
        return np.hypot(widths * scale, MULTIPLIERS[level] * self.noise)


def _effects(law: str, seen: Annealing, constants: Sequence[Mapping[str, float]]) -> list[Floats]:
    """The effect under each of these constants; equal ones are worked out once."""
    known: dict[tuple[tuple[str, float], ...], Floats] = {}
    found: list[Floats] = []
    for one in constants:
        key = tuple(sorted(one.items()))
        if key not in known:
            known[key] = LAWS[law].effect(seen, one)
        found.append(known[key])
    return found


def _combined(seen: Annealing, coefficients: Coefficients, effect: Floats) -> Floats:
    trunk = coefficients.amplitude * (seen.area / REFERENCE_AREA) ** -coefficients.exponent
    # A law that is far from where it was fitted may fall below 0; losses do not.
    return np.maximum(coefficients.limit + trunk - coefficients.gain * effect, 1e-12)


def evaluate(
    law: str, seen: Annealing, coefficients: Coefficients, constants: Mapping[str, float]
) -> Floats:
    """The losses of a law at the points of an annealing. (n,)."""
    return _combined(seen, coefficients, LAWS[law].effect(seen, constants))
