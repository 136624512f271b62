"""Filters whose sums are exact, so that no order of summation, thread or vector width changes a digit.

Numbers are put on a grid of multiples of 2**-20. Products of two such numbers, and sums of up to 2**13
products of numbers up to 1, need no more than the 53 bits of a double: adding them up rounds nothing.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

_STEPS = 2.0**20


def on_grid(values: Tensor) -> Tensor:
    """Float64, the nearest multiples of 2**-20."""
    return (values.to(torch.float64) * _STEPS).round_().mul_(1 / _STEPS)


def separable(
    images: Tensor,  # (N, C, H, W)
    rows: Tensor,  # (N or 1, H', H) what each row of the result takes of the rows
    columns: Tensor,  # (N or 1, W', W)
) -> Tensor:  # (N, C, H', W') float32
    """Images with a linear map applied along columns and rows."""
    down = on_grid(rows)[:, None] @ on_grid(images)
    return (on_grid(down) @ on_grid(columns)[:, None].mT).to(torch.float32)


def _normalised(weights: Tensor) -> Tensor:
    """(…, size, size) on the grid, each row's sum exactly 1: a plain image stays plain."""
    found = on_grid(weights / weights.sum(-1, keepdim=True))
    found.diagonal(dim1=-2, dim2=-1).add_(1.0 - found.sum(-1))
    return found


def _by_distance(weights: Tensor) -> Tensor:
    """(N, size) weights of distances 0, 1, … -> (N, size, size)."""
    place = torch.arange(weights.shape[1], device=weights.device)
    return weights[:, (place - place[:, None]).abs()]


def gaussian(sigma: Tensor, size: int) -> Tensor:
    """(N,) sigma in pixels -> (N, size, size): a Gaussian mean, of what lies within the image alone."""
    away = torch.arange(size, device=sigma.device) / sigma.to(torch.float64)[:, None]
    return _normalised(_by_distance(torch.exp(-0.5 * away.square())))


def box(width: Tensor, size: int) -> Tensor:
    """(N,) width in pixels, at least 1 -> (N, size, size): the mean of a window; its ends count in part."""
    reach = 0.5 * width.to(torch.float64)[:, None] + 0.5
    return _normalised(_by_distance((reach - torch.arange(size, device=width.device)).clamp(0.0, 1.0)))


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """(N, C, H, W), (N,) sigma in pixels -> (N, C, H, W) float32 under a Gaussian."""
    H, W = images.shape[-2:]
    return separable(images, gaussian(sigma, H), gaussian(sigma, W))


def averaged(images: Tensor, width: Tensor) -> Tensor:
    """(N, C, H, W), (N,) width in pixels -> (N, C, H, W) float32, the mean of a square window."""
    H, W = images.shape[-2:]
    return separable(images, box(width, H), box(width, W))


def squared(images: Tensor, width: Tensor) -> Tensor:
    """(N, C, H, W), (N,) int64 width -> (N, C, H, W) float32, squares of that width by their mean."""

    def blocks(size: int) -> Tensor:
        block = torch.arange(size, device=images.device) // width[:, None]
        return _normalised((block[:, :, None] == block[:, None]).to(torch.float64))

    H, W = images.shape[-2:]
    return separable(images, blocks(H), blocks(W))


def spread(knots: int, size: int, device: torch.device) -> Tensor:
    """(1, size, knots): values at evenly spaced knots, the first and last at the ends, drawn out linearly."""
    places = torch.arange(size, device=device, dtype=torch.float64) * ((knots - 1) / max(1, size - 1))
    at = torch.arange(knots, device=device, dtype=torch.float64)
    return (1 - (places[:, None] - at).abs()).clamp(min=0.0)[None]


def smooth_spread(knots: int, size: int, device: torch.device) -> Tensor:
    """(1, size, knots): as `spread`, eased at the knots so that the slope does not jump."""
    linear = spread(knots, size, device)
    return linear * linear * (3 - 2 * linear)


def clouds(numbers: Tensor, height: int, width: int) -> Tensor:
    """(N, knots, knots) numbers at knots -> (N, height, width) float32, a smooth surface through them."""
    knots, device = numbers.shape[-1], numbers.device
    return separable(
        numbers[:, None], smooth_spread(knots, height, device), smooth_spread(knots, width, device)
    )[:, 0]


def layered(
    draw_octave: Callable[..., Tensor], height: int, width: int, first: int = 2, octaves: int = 3
) -> Tensor:
    """(N, height, width) float32 in [0, 1]: smooth noise in octaves, each twice as fine and half as strong.

    `draw_octave(knots, knots)` draws (N, knots, knots) numbers in [0, 1).
    """
    total: Tensor | float = 0.0
    for octave in range(octaves):
        knots = min(first * 2**octave + 1, height, width)
        total = total + clouds(draw_octave(knots, knots), height, width) * 0.5**octave
    assert isinstance(total, Tensor)
    return total / (2 - 0.5 ** (octaves - 1))


def directions(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """(N,) -> cosine and sine, (N,) float32: rounded from double, which all libraries agree on."""
    angle = degrees.to(torch.float64) * (math.pi / 180)
    return angle.cos().to(torch.float32), angle.sin().to(torch.float32)
