"""Bounded least squares: four numbers for each kind of run, constants for all of them together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from schedules.laws.annealing import Annealing
from schedules.laws.curve import Floats
from schedules.laws.kernels import REFERENCE_AREA, Law
from schedules.laws.law import Coefficients

_EXPONENTS = (0.3, 0.5, 0.8)  # starts
_EXPONENT_BOUNDS = (0.02, 3.0)


@dataclass(frozen=True, eq=False)
class Rows:
    """What one curve says: settled rows, thinned."""

    seen: Annealing
    logs: Floats  # (n,) of losses
    weights: Floats  # (n,)
    noise: float  # relative, of a recorded row
    thinned_noise: float  # of one of these


def solve(
    law: Law,
    rows: Sequence[Rows],
    constants: Mapping[str, float] | None,
    width: float,
    begin: Mapping[str, float] | None = None,
) -> tuple[Coefficients, dict[str, float]]:
    """Coefficients and constants that fit best. `begin`: constants to begin with."""
    if constants is not None or law.fits == "none":
        kept = dict(constants or law.constants)
        return fit_coefficients(law, rows, kept, width)[1], kept
    if law.fits == "choices":
        (name,) = law.constants
        tried = [(fit_coefficients(law, rows, {name: one}, width), {name: one}) for one in law.choices]
        (_, found), kept = min(tried, key=lambda one: one[0][0])
        return found, kept
    coefficients, kept = fit_constants(law, [list(rows)], width, dict(begin or law.constants))
    return coefficients[0], kept


def fit_coefficients(
    law: Law, rows: Sequence[Rows], constants: Mapping[str, float], width: float
) -> tuple[float, Coefficients]:
    """(cost, what fits best under these constants)."""
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

    low, high = _bounds(float(np.exp(logs.min())))
    starts = _starts(scaled, effect, np.exp(logs), weights)
    cost, best = min(
        (_least_squares(residuals, start, low, high, width, slopes) for start in starts),
        key=lambda one: one[0],
    )
    return cost, _coefficients(best)


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


def fit_constants(
    law: Law, groups: Sequence[Sequence[Rows]], width: float, constants: Mapping[str, float]
) -> tuple[list[Coefficients], dict[str, float]]:
    """Coefficients of each group and the constants all share, that fit best together."""
    names = list(law.constants)
    x = [law.bounds[name] for name in names]
    low, high = np.array([pair[0] for pair in x]), np.array([pair[1] for pair in x])
    begin = [np.array([constants[name] for name in names])]
    for rows in groups:
        _, first = fit_coefficients(law, rows, constants, width)
        lowest = float(np.exp(min(one.logs.min() for one in rows)))
        least, most = _bounds(lowest)
        low, high = np.concatenate([low, least]), np.concatenate([high, most])
        begin.append(np.array([first.limit, np.log(first.amplitude), first.exponent, np.log(first.gain)]))
    count = len(names)
    # Working out the effects is nearly all of the time; most differences leave the constants alone.
    known: dict[bytes, list[Floats]] = {}

    def effects(shared: Floats) -> list[Floats]:
        key = shared.tobytes()
        if key not in known:
            if len(known) > 2 * count:
                known.pop(next(iter(known)))
            named = dict(zip(names, shared.tolist(), strict=True))
            known[key] = [np.concatenate([law.effect(one.seen, named) for one in rows]) for rows in groups]
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

    _, found = _least_squares(residuals, np.concatenate(begin), low, high, width)
    each = [_coefficients(found[count + 4 * place :][:4]) for place in range(len(groups))]
    return each, dict(zip(names, found[:count].tolist(), strict=True))


def _least_squares(
    residuals: Callable[[Floats], Floats],
    start: Floats,
    low: Floats,
    high: Floats,
    width: float,
    slopes: Callable[[Floats], Floats] | None = None,
) -> tuple[float, Floats]:
    """(cost, x) of the least sum of Huber's losses of residuals between bounds."""
    from scipy import optimize  # pyright: ignore

    inside = 1e-9 * (high - low)
    found = cast(Any, optimize).least_squares(
        residuals,
        np.clip(start, low + inside, high - inside),
        jac=slopes or "2-point",
        bounds=(low, high),
        loss="huber",
        f_scale=width,
        x_scale="jac",
        max_nfev=200 if slopes else 60,
    )
    return float(found.cost), np.asarray(found.x, dtype=np.float64)
