"""Contrast: curves that keep the order of grey values, for the whole image or for parts of it."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, each, side, unit
from trials.data.families.equalisation import equalised, equalised_in_tiles
from trials.data.families.exact import averaged


def power(images: Tensor, exponent: Tensor) -> Tensor:
    """(N, C, H, W), (N,) -> float32, rounded from double precision: libraries differ in the last digits."""
    return images.to(torch.float64).pow(each(exponent).to(torch.float64)).to(torch.float32)


def _gamma(images: Tensor, draws: Draws) -> Tensor:
    return unit(power(images, draws.tails((0.15, 0.35), (2.5, 4.0))))


def _log(images: Tensor, draws: Draws) -> Tensor:
    """The logarithm of 1 + gain times the value, from 0 to 1; or its inverse, which darkens."""
    gain = each(draws.between(15.0, 60.0)).to(torch.float64)
    raised = torch.log1p(images.to(torch.float64) * gain) / torch.log1p(gain)
    lowered = torch.expm1(images.to(torch.float64) * torch.log1p(gain)) / gain
    return unit(torch.where(each(draws.uniform() < 0.5), raised, lowered).to(torch.float32))


def _linear(images: Tensor, draws: Draws) -> Tensor:
    """Distances from mid-grey by a factor of 0.15 to 0.35 or 2 to 3."""
    return unit((images - 0.5) * each(draws.tails((0.15, 0.35), (2.0, 3.0))) + 0.5)


def _sigmoid(images: Tensor, draws: Draws) -> Tensor:
    """Gain 10..25, cutoff 0.4..0.6, as in the paper."""
    away = each(draws.between(10.0, 25.0)) * (images - each(draws.between(0.4, 0.6)))
    return unit(torch.sigmoid(away.to(torch.float64)).to(torch.float32))


def _equalise(images: Tensor, draws: Draws) -> Tensor:
    return equalised(images)


def _equalise_in_tiles(images: Tensor, draws: Draws) -> Tensor:
    tiles = 2 if side(images) < 16 else 4 if side(images) < 64 else 8
    return equalised_in_tiles(images, tiles, each(draws.between(2.0, 6.0)))


def _normalise(images: Tensor, draws: Draws) -> Tensor:
    """Every pixel against the mean of those around it, a third of the image wide, and their deviation."""
    width = draws.between(0.25, 0.45) * side(images)
    mean = averaged(images, width)
    away = images - mean
    deviation = averaged(away * away, width).clamp(min=0.0).sqrt()
    return unit(away / (deviation * 4.0 + 0.1) + 0.5)


OPERATIONS = (
    Operation("gamma", _gamma),
    Operation("log", _log),
    Operation("linear", _linear),
    Operation("sigmoid", _sigmoid),
    Operation("equalise", _equalise),
    Operation("equalise_in_tiles", _equalise_in_tiles),
    Operation("normalise", _normalise),
)
