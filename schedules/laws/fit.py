"""From recorded curves to the numbers of a law.

The residual is log predicted - log recorded, at every row after warm-up and without smoothing. Rows of a
curve count 1 / sqrt(rows / 150), so that long curves do not rule. The loss of a residual is Huber's, of
width 0.003: equal runs were measured to differ by 0.007 in their first steps, and a width of 0.001 follows
the majority there. Bounded least squares from three exponents; constants of the memory are kept where the
law says so, as three curves were measured not to identify them (fitted freely, the same law predicts
worse).
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from schedules.check import one_of
from schedules.laws.annealing import annealing
from schedules.laws.curve import Curve, Floats, common_peak, shortest_warmup, with_common_warmup
from schedules.laws.identify import missing
from schedules.laws.kernels import LAWS
from schedules.laws.law import LEAST_NOISE, Coefficients, FittedLaw
from schedules.laws.solve import Rows, fit_constants, solve

HUBER_WIDTH = 3e-3
LEAST_CURVES = 3  # for a jackknife, and to fit constants of the memory on
ROWS_OF_WEIGHT_1 = 150
MOST_ROWS = 600  # of a curve that are fitted; more are averaged


def fit(
    curves: Sequence[Curve],
    law: str = "progress",
    constants: Mapping[str, float] | None = None,
    huber_width: float = HUBER_WIDTH,
) -> FittedLaw:
    """The law that these curves, of equal runs under one to several schedules, obey.

    A long stretch at the peak fixes limit, amplitude and exponent, one cooldown the gain: one run that
    holds and then cools down is enough, or a cosine with a constant.

    Args:
        curves: with losses, at one peak.
        law: its name in the table of laws.
        constants: of the memory, kept as given; None: what the law says.
        huber_width: relative error from which on a row counts linearly.

    Raises:
        ValueError: an unknown law or constant, curves of different peaks, without losses or too short, one
            curve twice, or curves that do not identify the law: the message says which is missing.
    """
    one_of("law", law, LAWS)
    if not curves:
        raise ValueError("no curve: a law is fitted on at least one")
    _check_distinct(curves)
    peak = common_peak(curves)
    curves = with_common_warmup(curves)
    entry = LAWS[law]
    if constants is not None and set(constants) != set(entry.constants):
        raise ValueError(f"constants={dict(constants)!r} must be {', '.join(entry.constants)}")
    if entry.fits == "all" and constants is None and len(curves) < LEAST_CURVES:
        constants = entry.constants
    rows = [_rows(curve, peak) for curve in curves]
    _check_identified(curves)
    width = max(huber_width, float(np.median([one.thinned_noise for one in rows])))
    found, kept = solve(entry, rows, constants, width)
    refits: list[tuple[Coefficients, dict[str, float]]] = []
    if len(curves) >= LEAST_CURVES:
        for left in range(len(curves)):
            rest = [row for place, row in enumerate(rows) if place != left]
            if missing([curve for place, curve in enumerate(curves) if place != left]):
                # One refit that knows nothing makes the interval as wide as you like.
                refits = []
                break
            begin = kept if entry.fits == "all" and constants is None else None
            refits.append(solve(entry, rest, constants, width, begin))
    return FittedLaw(
        law,
        peak,
        found,
        kept,
        max(float(one.seen.area[-1]) for one in rows),
        shortest_warmup(curves),
        max(LEAST_NOISE, float(np.median([one.noise for one in rows]))),
        [one for one, _ in refits],
        [curve.name for curve in curves],
        [one for _, one in refits] if entry.fits != "none" and constants is None else [],
    )


def memory_constants(
    curves: Mapping[str, Sequence[Curve]], law: str = "progress", huber_width: float = HUBER_WIDTH
) -> dict[str, float]:
    """The constants of the memory that serve these kinds of run together, to be kept in a fit of another one.

    Limit, amplitude, exponent and gain are those of each kind. For a law whose delta can be trusted the
    curves must hold a long one that decays, and the schedules of interest: nine curves of a model size were
    enough.

    Args:
        curves: name of a kind of run, such as a model size -> its curves.
        law: its name in the table of laws.
        huber_width: as in `fit`.

    Raises:
        ValueError: as `fit`.
    """
    one_of("law", law, LAWS)
    groups: list[list[Rows]] = []
    for several in curves.values():
        peak = common_peak(several)
        several = with_common_warmup(several)
        groups.append([_rows(curve, peak) for curve in several])
        _check_identified(several)
    if not groups:
        raise ValueError("no curves: constants are fitted on at least one kind of run")
    return fit_constants(LAWS[law], groups, huber_width, dict(LAWS[law].constants))[1]


def _check_distinct(curves: Sequence[Curve]) -> None:
    """Refuse one run given twice: without one of the two a law is the same, which is no sign of certainty."""
    for place, curve in enumerate(curves):
        for other in curves[:place]:
            pairs = (curve.steps, other.steps), (curve.lrs, other.lrs), (curve.observed(), other.observed())
            if all(np.array_equal(one, two) for one, two in pairs):
                again = "is given twice" if curve.name == other.name else f"is the same run as {other.name}"
                raise ValueError(f"{curve.name} {again}: a law needs each run once")


def _check_identified(curves: Sequence[Curve]) -> None:
    lacking = missing(curves)
    if lacking:
        raise ValueError(f"{', '.join(curve.name for curve in curves)}: {lacking}")


def _rows(curve: Curve, peak: float) -> Rows:
    losses = curve.observed()
    settled = curve.settled()
    if settled.sum() < 5:
        raise ValueError(
            f"{curve.name}: {int(settled.sum())} rows after warm-up (which ends at step {curve.warmup_end}): "
            f"at least 5 are needed"
        )
    steps, logs = curve.steps[settled], np.log(losses[settled])
    noise = _noise(logs)
    steps, logs = _thinned(steps, logs)
    weight = 1.0 / np.sqrt(len(steps) / ROWS_OF_WEIGHT_1)
    return Rows(annealing(curve, steps, peak), logs, np.full(len(steps), weight), noise, _noise(logs))


def _noise(logs: Floats) -> float:
    """Standard deviation of the noise. Second differences see no trend, and have 6 times its variance."""
    return float(np.median(np.abs(np.diff(logs, 2))) / (0.6745 * np.sqrt(6.0)))


def _thinned(steps: NDArray[np.int64], logs: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Means of neighbouring rows, at the step in their middle, if there are too many."""
    size = -(-len(steps) // MOST_ROWS)
    if size == 1:
        return steps, logs
    groups = len(steps) // size
    starts = np.arange(groups) * size
    counts = np.diff(np.append(starts, len(steps)))
    return steps[starts + counts // 2], np.add.reduceat(logs, starts) / counts
