"""From recorded curves to the numbers of a law.

The residual is log predicted - log recorded, at every row after warm-up and without smoothing. Rows of a curve
count 1 / sqrt(rows / 150), so that long curves do not rule. The loss of a residual is Huber's, of width 0.003:
equal runs were measured to differ by 0.007 in their first steps, and a width of 0.001 follows the majority there.
Bounded least squares from three exponents; constants of the memory are kept where the law says so, as three
curves were measured not to identify them (fitted freely, the same law predicts worse).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schedules.check import one_of
from schedules.laws.annealing import Annealing, annealing
from schedules.laws.curve import Curve, Floats, common_peak, with_common_warmup
from schedules.laws.identify import missing
from schedules.laws.kernels import LAWS, REFERENCE_AREA, Law
from schedules.laws.law import LEAST_NOISE, Coefficients, FittedLaw

HUBER_WIDTH = 3e-3
ROWS_OF_WEIGHT_1 = 150
MOST_ROWS = 600  # of a curve that are fitted; more are averaged
_EXPONENTS = (0.3, 0.5, 0.8)  # starts
_EXPONENT_BOUNDS = (0.02, 3.0)


@dataclass(frozen=True, eq=False)
class Rows:
    """What one curve says: settled rows, thinned."""

    seen: Annealing
    logs: Floats  # (n,) of losses
    weights: Floats  # (n,)
    noise: float  # relative, of one row


def fit(
    curves: Sequence[Curve],
    law: str = "progress",
    constants: Mapping[str, float] | None = None,
    huber_width: float = HUBER_WIDTH,
) -> FittedLaw:
    """The law that these curves, of equal runs under one to several schedules, obey.

    A long stretch at the peak fixes limit, amplitude and exponent, one cooldown the gain: one run that holds and
    then cools down is enough, or a cosine with a constant.

    Args:
        curves: with losses, at one peak.
        law: its name in the table of laws.
        constants: of the memory, kept as given; None: what the law says.
        huber_width: relative error from which on a row counts linearly.

    Raises:
        ValueError: an unknown law or constant, curves of different peaks, without losses or too short, or that do
            not identify the law: the message says which curve is missing.
    """
    one_of("law", law, LAWS)
    if not curves:
        raise ValueError("no curve: a law is fitted on at least one")
    peak = common_peak(curves)
    curves = with_common_warmup(curves)
    entry = LAWS[law]
    if constants is not None and set(constants) != set(entry.constants):
        raise ValueError(f"constants={dict(constants)!r} must be {', '.join(entry.constants)}")
    rows = [_rows(curve, peak) for curve in curves]
    _check_identified(curves)
    width = max(huber_width, float(np.median([one.noise for one in rows])))
    found, kept = _solve(entry, rows, constants, width)
    refits: list[tuple[Coefficients, dict[str, float]]] = []
    if len(curves) > 1:
        for left in range(len(curves)):
            rest = [row for place, row in enumerate(rows) if place != left]
            if missing([curve for place, curve in enumerate(curves) if place != left]):
                # One refit that knows nothing makes the interval as wide as you like.
                refits = []
                break
            begin = kept if entry.fits == "all" and constants is None else None
            refits.append(_solve(entry, rest, constants, width, begin))
    return FittedLaw(
        law,
        peak,
        found,
        kept,
        max(float(one.seen.area[-1]) for one in rows),
        min(curve.warmup_end for curve in curves),
        max(LEAST_NOISE, float(np.median([one.noise for one in rows]))),
        [one for one, _ in refits],
        [curve.name for curve in curves],
        [one for _, one in refits] if entry.fits != "none" and constants is None else [],
    )


def memory_constants(
    curves: Mapping[str, Sequence[Curve]], law: str = "progress", huber_width: float = HUBER_WIDTH
) -> dict[str, float]:
    """The constants of the memory that serve these kinds of run together, to be kept in a fit of another one.

    Limit, amplitude, exponent and gain are those of each kind. For a law whose delta can be trusted the curves
    must hold a long one that decays, and the schedules of interest: nine curves of a model size were enough.

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
    return _fit_constants(LAWS[law], groups, huber_width, dict(LAWS[law].constants))[1]


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
    steps, logs = _thinned(steps, logs)
    weight = 1.0 / np.sqrt(max(len(steps), 1) / ROWS_OF_WEIGHT_1)
    # Second differences see no trend; of independent noise they have the variance 6.
    wiggles = np.diff(logs, 2)
    noise = float(np.median(np.abs(wiggles)) / (0.6745 * np.sqrt(6.0))) if len(wiggles) else 0.0
    return Rows(annealing(curve, steps, peak), logs, np.full(len(steps), weight), noise)


def _thinned(steps: NDArray[np.int64], logs: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Means of neighbouring rows, at the step in their middle, if there are too many."""
    size = -(-len(steps) // MOST_ROWS)
    if size == 1:
        return steps, logs
    groups = len(steps) // size
    starts = np.arange(groups) * size
    counts = np.diff(np.append(starts, len(steps)))
    return steps[starts + counts // 2], np.add.reduceat(logs, starts) / counts


def _solve(
    law: Law,
    rows: Sequence[Rows],
    constants: Mapping[str, float] | None,
    width: float,
    begin: Mapping[str, float] | None = None,
) -> tuple[Coefficients, dict[str, float]]:
    """Coefficients and constants that fit best. `begin`: constants to begin with."""
    if constants is not None or law.fits == "none":
        kept = dict(constants or law.constants)
        return _fit_coefficients(law, rows, kept, width)[1], kept
    if law.fits == "choices":
        (name,) = law.constants
        tried = [(_fit_coefficients(law, rows, {name: one}, width), {name: one}) for one in law.choices]
        (_, found), kept = min(tried, key=lambda one: one[0][0])
        return found, kept
    coefficients, kept = _fit_constants(law, [list(rows)], width, dict(begin or law.constants))
    return coefficients[0], kept


def _fit_coefficients(
    law: Law, rows: Sequence[Rows], constants: Mapping[str, float], width: float
) -> tuple[float, Coefficients]:
    """(cost, what fits best under these constants)."""
    from scipy.optimize import least_squares

    scaled = np.concatenate([one.seen.area for one in rows]) / REFERENCE_AREA
    effect = np.concatenate([law.effect(one.seen, constants) for one in rows])
    logs = np.concatenate([one.logs for one in rows])
    weights = np.concatenate([one.weights for one in rows])
    log_area = np.log(scaled)

    def residuals(x: Floats) -> Floats:
        return weights * (np.log(_losses(x, log_area, effect)) - logs)

    def slopes(x: Floats) -> Floats:
        trunk = np.exp(x[1] - x[2] * log_area)
        columns = np.stack([np.ones_like(trunk), trunk, -trunk * log_area, -np.exp(x[3]) * effect], axis=1)
        return columns * (weights / _losses(x, log_area, effect))[:, None]

    best: Any = None
    for start in _starts(scaled, effect, np.exp(logs), weights):
        low, high = _bounds(float(np.exp(logs.min())))
        found = least_squares(
            residuals,
            np.clip(start, low + 1e-9, high - 1e-9),
            jac=slopes,  # pyright: ignore[reportArgumentType] - a callable is right, says its documentation
            bounds=(low, high),
            loss="huber",
            f_scale=width,
            x_scale="jac",
            max_nfev=200,
        )
        if best is None or found.cost < best.cost:
            best = found
    return float(best.cost), _coefficients(best.x)


def _losses(x: Floats, log_area: Floats, effect: Floats) -> Floats:
    return np.maximum(x[0] + np.exp(x[1] - x[2] * log_area) - np.exp(x[3]) * effect, 1e-12)


def _coefficients(x: Floats) -> Coefficients:
    return Coefficients(float(x[0]), float(np.exp(x[1])), float(x[2]), float(np.exp(x[3])))


def _bounds(lowest: float) -> tuple[Floats, Floats]:
    """Of (limit, log amplitude, exponent, log gain); losses of any size."""
    size = np.log(lowest)
    # With annealing the loss may end below the limit, so that the limit may be above the lowest one.
    return (
        np.array([0.0, size - 20.0, _EXPONENT_BOUNDS[0], size - 14.0]),
        np.array([2.0 * lowest, size + 20.0, _EXPONENT_BOUNDS[1], size + 5.0]),
    )


def _starts(scaled: Floats, effect: Floats, losses: Floats, weights: Floats) -> list[Floats]:
    """For each exponent the linear rest of the law, by least squares."""
    lowest = float(losses.min())
    found: list[Floats] = []
    for exponent in _EXPONENTS:
        columns = np.stack([np.ones_like(scaled), scaled**-exponent, -effect], axis=1)
        linear, *_ = np.linalg.lstsq(columns * weights[:, None], losses * weights, rcond=None)
        limit = float(np.clip(linear[0], 0.0, 1.5 * lowest))
        amplitude, gain = (max(float(one), 1e-4 * lowest) for one in linear[1:])
        found.append(np.array([limit, np.log(amplitude), exponent, np.log(gain)]))
    return found


def _fit_constants(
    law: Law, groups: Sequence[Sequence[Rows]], width: float, constants: Mapping[str, float]
) -> tuple[list[Coefficients], dict[str, float]]:
    """Coefficients of each group and the constants all share, that fit best together."""
    from scipy.optimize import least_squares

    names = list(law.constants)
    x = [law.bounds[name] for name in names]
    low, high = np.array([pair[0] for pair in x]), np.array([pair[1] for pair in x])
    begin = [np.array([constants[name] for name in names])]
    for rows in groups:
        _, first = _fit_coefficients(law, rows, constants, width)
        lowest = float(np.exp(min(one.logs.min() for one in rows)))
        least, most = _bounds(lowest)
        low, high = np.concatenate([low, least]), np.concatenate([high, most])
        begin.append(
            np.array([first.limit, np.log(first.amplitude), first.exponent, np.log(first.gain)])
        )
    count = len(names)
    # Working out the effects is nearly all of the time; most differences leave the constants alone.
    known: dict[bytes, list[Floats]] = {}

    def effects(shared: Floats) -> list[Floats]:
        key = shared.tobytes()
        if key not in known:
            if len(known) > 2 * count:
                known.pop(next(iter(known)))
            named = dict(zip(names, shared.tolist(), strict=True))
            known[key] = [
                np.concatenate([law.effect(one.seen, named) for one in rows]) for rows in groups
            ]
        return known[key]

    log_areas = [np.log(np.concatenate([one.seen.area for one in rows]) / REFERENCE_AREA) for rows in groups]
    logs = [np.concatenate([one.logs for one in rows]) for rows in groups]
    weights = [np.concatenate([one.weights for one in rows]) for rows in groups]

    def residuals(x: Floats) -> Floats:
        parts = [
            weights[place]
            * (np.log(_losses(x[count + 4 * place :][:4], log_areas[place], effect)) - logs[place])
            for place, effect in enumerate(effects(x[:count]))
        ]
        return np.concatenate(parts)

    found = least_squares(
        residuals,
        np.clip(np.concatenate(begin), low + 1e-9, high - 1e-9),
        bounds=(low, high),
        loss="huber",
        f_scale=width,
        x_scale="jac",
        max_nfev=60,
    )
    each = [_coefficients(found.x[count + 4 * place :][:4]) for place in range(len(groups))]
    return each, dict(zip(names, found.x[:count].tolist(), strict=True))
