"""Convolutions by small kernels of fixed form: sharpening, relief, differences."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, blend, each, unit
from trials.data.families.exact import directions
from trials.data.families.sampling import neighbours

# Where the eight neighbours lie (row, column), in the order of `neighbours`.
_AROUND = tuple((i, j) for i in (-1, 0, 1) for j in (-1, 0, 1))


def weighed(images: Tensor, weights: Tensor) -> Tensor:
    """(N, C, H, W), (N or 1, 9) row by row -> each pixel the weighted sum of those around it.

    Added up in one order, one after another: equal on every machine.
    """
    total = torch.zeros_like(images)
    for number, shifted in enumerate(neighbours(images)):
        total = total + shifted * each(weights[:, number])
    return total


def _kernel(images: Tensor, *weights: float) -> Tensor:
    return torch.tensor(weights, device=images.device)[None]


def _sharpen(images: Tensor, draws: Draws) -> Tensor:
    """Alpha 0.8..1, lightness 0.75..1.5, as in the paper."""
    lightness = draws.between(0.75, 1.5)
    weights = _kernel(images, *(-1.0,) * 4, 0.0, *(-1.0,) * 4).repeat(len(images), 1)
    weights[:, 4] = 8.0 + lightness
    return unit(blend(images, weighed(images, weights), each(draws.between(0.8, 1.0))))


def _emboss(images: Tensor, draws: Draws) -> Tensor:
    """Relief, strength 0.5 to 1.5, lit from one of four corners, on grey."""
    strength = draws.between(0.5, 1.5)
    still, one = torch.zeros_like(strength), torch.ones_like(strength)
    weights = torch.stack(
        [-one - strength, -strength, still, -strength, still, strength, still, strength, one + strength], 1
    )
    turned = torch.where((draws.uniform() < 0.5)[:, None], weights, weights.flip(1)).reshape(-1, 3, 3)
    turned = torch.where((draws.uniform() < 0.5)[:, None, None], turned, turned.flip(2)).flatten(1)
    relief = weighed(images, turned) * 0.35 + 0.5
    return unit(blend(images, relief, each(draws.between(0.8, 1.0))))


def _laplacian(images: Tensor, draws: Draws) -> Tensor:
    """The size of the second difference to all eight neighbours."""
    found = weighed(images, _kernel(images, *(1.0,) * 4, -8.0, *(1.0,) * 4)).abs() * 0.35
    return unit(blend(images, unit(found), each(draws.between(0.8, 1.0))))


def _edge_detect(images: Tensor, draws: Draws) -> Tensor:
    """The second difference to four neighbours, around mid-grey, of either sign."""
    found = weighed(images, _kernel(images, 0.0, 1.0, 0.0, 1.0, -4.0, 1.0, 0.0, 1.0, 0.0))
    return unit(blend(images, unit(0.5 + each(draws.sign() * 0.8) * found), each(draws.between(0.8, 1.0))))


def _directed_edges(images: Tensor, draws: Draws) -> Tensor:
    """The difference to the neighbours in one direction, any of the full circle."""
    across, down = directions(draws.between(0.0, 360.0))
    toward = [(down * i + across * j) * ((i * i + j * j) or 1) ** -0.5 for i, j in _AROUND]
    near = torch.stack(toward, 1).clamp(min=0.0).square().square()
    weights = near / _in_order(near)[:, None]
    weights[:, 4] = -1.0
    found = weighed(images, weights).abs() * 1.5
    return unit(blend(images, unit(found), each(draws.between(0.8, 1.0))))


def _in_order(weights: Tensor) -> Tensor:
    total = weights[:, 0]
    for number in range(1, weights.shape[1]):
        total = total + weights[:, number]
    return total


OPERATIONS = (
    Operation("sharpen", _sharpen),
    Operation("emboss", _emboss),
    Operation("laplacian", _laplacian),
    Operation("edge_detect", _edge_detect),
    Operation("directed_edges", _directed_edges),
)
