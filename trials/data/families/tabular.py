"""Families of shifts of tables, whose columns are standardised: noise, missing, drift, quantisation, tilt.

What comes from the instrument is the same for every row of a copy (`Draws.common`), the rest is each row's.
"""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, blend
from trials.data.families.exact import on_grid

_FLOOR = -3.0  # what a lost value is entered as, in deviations: a code below everything


def _column(values: Tensor) -> Tensor:
    return values[:, None]


# -- noise ---------------------------------------------------------------------------------------------------


def _gaussian_noise(rows: Tensor, draws: Draws) -> Tensor:
    return rows + draws.normal(rows.shape[1]) * _column(draws.between(0.4, 1.0))


def _uniform_noise(rows: Tensor, draws: Draws) -> Tensor:
    return rows + draws.between(-1.0, 1.0, rows.shape[1]) * _column(draws.between(0.8, 1.6))


def _factor_noise(rows: Tensor, draws: Draws) -> Tensor:
    """Every value by a factor of its own, in error by 0.4 to 0.8 of it."""
    return rows * (1.0 + draws.normal(rows.shape[1]) * _column(draws.between(0.4, 0.8)))


def _spikes(rows: Tensor, draws: Draws) -> Tensor:
    """A tenth to a quarter of the values far outside, one at least."""
    F = rows.shape[1]
    return torch.where(_some(rows, draws, 0.1, 0.25), draws.sign(F) * draws.between(3.0, 5.0, F), rows)


def _some(rows: Tensor, draws: Draws, low: float, high: float) -> Tensor:
    """(N, F) bool: a share of each row's values, one at least."""
    F = rows.shape[1]
    one = torch.arange(F, device=rows.device) == _column(draws.choice(F))
    return one | (draws.uniform(F) < _column(draws.between(low, high)))


# -- missing -------------------------------------------------------------------------------------------------


def _missing_as_mean(rows: Tensor, draws: Draws) -> Tensor:
    """0.3 to 0.6 of a row's values lost, and the mean put in."""
    return rows.masked_fill(_some(rows, draws, 0.3, 0.6), 0.0)


def _missing_as_code(rows: Tensor, draws: Draws) -> Tensor:
    """0.15 to 0.35 of a row's values lost, and a code far below all put in."""
    return rows.masked_fill(_some(rows, draws, 0.15, 0.35), _FLOOR)


def _missing_block(rows: Tensor, draws: Draws) -> Tensor:
    """A third to two thirds of the columns, side by side, lost in this row: the mean put in."""
    F = rows.shape[1]
    length = (draws.between(1 / 3, 2 / 3) * F).ceil()
    place = torch.arange(F, device=rows.device)
    lost = (place - _column(draws.choice(F))).remainder(F) < _column(length)
    return rows.masked_fill(lost, 0.0)


def _missing_columns(rows: Tensor, draws: Draws) -> Tensor:
    """The same quarter or so of the columns lost in every row: the mean put in."""
    F = rows.shape[1]
    order = draws.common(F)
    lost = (order < 0.25) | (order == order.amin())
    return rows.masked_fill(lost, 0.0)


# -- drift ---------------------------------------------------------------------------------------------------


def _common_tails(draws: Draws, low: tuple[float, float], high: tuple[float, float], count: int) -> Tensor:
    """(count,) in one of two ranges, the same for every row."""
    place = draws.common(count)
    return torch.where(
        draws.common(count) < 0.5, place * (low[1] - low[0]) + low[0], place * (high[1] - high[0]) + high[0]
    )


def _gain(rows: Tensor, draws: Draws) -> Tensor:
    """Every column by a factor of 0.3 to 0.6 or 1.6 to 2.5, the same for every row."""
    return rows * _common_tails(draws, (0.3, 0.6), (1.6, 2.5), rows.shape[1])


def _offset(rows: Tensor, draws: Draws) -> Tensor:
    """Every column moved by 0.5 to 1 deviations up or down, the same for every row."""
    return rows + _common_tails(draws, (-1.0, -0.5), (0.5, 1.0), rows.shape[1])


def _row_gain(rows: Tensor, draws: Draws) -> Tensor:
    """A whole row by a factor of 0.3 to 0.5 or 1.8 to 3."""
    return rows * _column(draws.tails((0.3, 0.5), (1.8, 3.0)))


def _units(rows: Tensor, draws: Draws) -> Tensor:
    """The same third or so of the columns in other units: three times as large, and moved."""
    order = draws.common(rows.shape[1])
    changed = (order < 1 / 3) | (order == order.amin())
    return torch.where(changed, rows * 3.0 + 1.0, rows)


def _ramp(rows: Tensor, draws: Draws) -> Tensor:
    """What drifts along the columns: nothing at one end, 1.5 to 2.5 deviations at the other."""
    F = rows.shape[1]
    place = (torch.arange(F, device=rows.device, dtype=rows.dtype) + 1.0) / F
    place = torch.where(_column(draws.uniform() < 0.5), place, place.flip(0))
    return rows + place * _column(draws.sign() * draws.between(1.5, 2.5))


# -- quantisation --------------------------------------------------------------------------------------------


def _rounded(rows: Tensor, draws: Draws) -> Tensor:
    """To multiples of 1.2 to 2 deviations."""
    step = _column(draws.between(1.2, 2.0))
    return (rows / step).round() * step


def _binary(rows: Tensor, draws: Draws) -> Tensor:
    """Only whether a value is above a threshold near the mean."""
    threshold = draws.between(-0.4, 0.4, rows.shape[1])
    return torch.where(rows > threshold, 1.0, -1.0)


def _saturated(rows: Tensor, draws: Draws) -> Tensor:
    """An instrument that ends at 0.3 to 0.7 deviations to both sides."""
    end = _column(draws.between(0.3, 0.7))
    return torch.minimum(torch.maximum(rows, -end), end)


def _cut_down(rows: Tensor, draws: Draws) -> Tensor:
    """To the next lower multiple of 0.8 to 1.5 deviations: digits left out, never rounded up."""
    step = _column(draws.between(0.8, 1.5))
    return (rows / step).floor() * step


# -- tilt ----------------------------------------------------------------------------------------------------


def _direction(rows: Tensor, draws: Draws) -> Tensor:
    """(F,) float64 on the grid, of length 1: one random direction for every row."""
    away = on_grid(draws.common(rows.shape[1]) * 2.0 - 1.0)
    return on_grid(away / away.square().sum().sqrt().clamp(min=2.0**-8))


def _along(rows: Tensor, direction: Tensor) -> Tensor:
    """(N, 1) float64: how far each row lies in a direction. Sums on the grid are exact."""
    return on_grid((on_grid(rows.clamp(-64.0, 64.0)) * direction).sum(1, keepdim=True))


def _moved(rows: Tensor, draws: Draws) -> Tensor:
    """The population moved along a random direction, by as much as columns vary, 0.8 to 1.6 each."""
    scale = rows.shape[1] ** 0.5
    return rows + (_direction(rows, draws) * scale).to(rows.dtype) * _column(draws.between(0.8, 1.6))


def _stretched(rows: Tensor, draws: Draws) -> Tensor:
    """Twice to four times as wide along a random direction."""
    direction = _direction(rows, draws)
    more = _along(rows, direction) * _column(draws.between(1.0, 3.0))
    return rows + (more * direction).to(rows.dtype)


def _cornered(rows: Tensor, draws: Draws) -> Tensor:
    """Everything 0.3 to 0.6 of the way toward one corner of the population."""
    corner = torch.where(draws.common(rows.shape[1]) < 0.5, -1.5, 1.5)
    return blend(rows, corner, _column(draws.between(0.3, 0.6)))


def _mixed(rows: Tensor, draws: Draws) -> Tensor:
    """Columns that leak into one another: each turned 30 to 50 degrees toward another.

    A table of one column leaks into itself, and is turned down.
    """
    order = draws.common(rows.shape[1]).argsort(stable=True)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    sine = _column(draws.between(0.5, 0.77))
    return rows * (1.0 - sine * sine).sqrt() + rows[:, other] * sine * (1.0 if rows.shape[1] > 1 else -0.5)


NOISE = (
    Operation("gaussian_noise", _gaussian_noise),
    Operation("uniform_noise", _uniform_noise),
    Operation("factor_noise", _factor_noise),
    Operation("spikes", _spikes),
)
MISSING = (
    Operation("missing_as_mean", _missing_as_mean),
    Operation("missing_as_code", _missing_as_code),
    Operation("missing_block", _missing_block),
    Operation("missing_columns", _missing_columns),
)
DRIFT = (
    Operation("gain", _gain),
    Operation("offset", _offset),
    Operation("row_gain", _row_gain),
    Operation("units", _units),
    Operation("ramp", _ramp),
)
QUANTISATION = (
    Operation("rounded", _rounded),
    Operation("binary", _binary),
    Operation("saturated", _saturated),
    Operation("cut_down", _cut_down),
)
TILT = (
    Operation("moved", _moved),
    Operation("stretched", _stretched),
    Operation("cornered", _cornered),
    Operation("mixed", _mixed),
)
