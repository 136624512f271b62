"""Geometry: the same pixels at other places."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, side
from trials.data.families.exact import directions, separable, smooth_spread, spread
from trials.data.families.sampling import affine, places, sampled


def _square(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """(N,) four times -> (N, 2, 2)."""
    return torch.stack([torch.stack([a, b], 1), torch.stack([c, d], 1)], 1)


def _scale(images: Tensor, draws: Draws) -> Tensor:
    """Each axis by a factor of its own, 0.5..0.75 or 1.25..1.75."""
    factors = draws.tails((0.5, 0.75), (1.25, 1.75), 2)
    return affine(images, torch.diag_embed(1.0 / factors))


def _translate(images: Tensor, draws: Draws) -> Tensor:
    """By 0.12 to 0.25 of each side: further, the object is outside."""
    H, W = images.shape[-2:]
    move = draws.sign(2) * draws.between(0.12, 0.25, 2)
    still = torch.eye(2, device=images.device).expand(len(images), 2, 2)
    return affine(images, still, move[:, 0] * H, move[:, 1] * W)


def _rotate(images: Tensor, draws: Draws) -> Tensor:
    cosine, sine = directions(draws.sign() * draws.between(15.0, 45.0))
    return affine(images, _square(cosine, -sine, sine, cosine))


def _shear(images: Tensor, draws: Draws) -> Tensor:
    """By 15 to 30 degrees along one axis."""
    cosine, sine = directions(draws.sign() * draws.between(15.0, 30.0))
    slope, is_row = sine / cosine, draws.uniform() < 0.5
    one, none = torch.ones_like(slope), torch.zeros_like(slope)
    return affine(
        images, _square(one, torch.where(is_row, slope, none), torch.where(is_row, none, slope), one)
    )


def _perspective(images: Tensor, draws: Draws) -> Tensor:
    """The image tilted: its far side 0.25 to 0.55 as long as the near one."""
    H, W = images.shape[-2:]
    row, column = places(images)
    tilt = draws.sign(2) * draws.between(0.3, 0.6, 2)
    tilt = torch.where((draws.uniform() < 0.5)[:, None], tilt, tilt.flip(1) * 0.3)
    depth = 1.0 + tilt[:, :1, None] * (row * (2 / H)) + tilt[:, 1:, None] * (column * (2 / W))
    depth = depth.clamp(min=0.3)
    return sampled(images, row / depth, column / depth)


def _bent(images: Tensor, draws: Draws, knots: int, strength: Tensor, ease: bool) -> Tensor:
    """Places moved by a surface through random numbers at knots, `strength` (N,) of a knot's distance."""
    H, W = images.shape[-2:]
    draw = smooth_spread if ease else spread
    numbers = draws.between(-1.0, 1.0, 2, knots, knots)
    moves = separable(numbers, draw(knots, H, images.device), draw(knots, W, images.device))
    moves = moves * (strength * (side(images) / (knots - 1)))[:, None, None, None]
    row, column = places(images)
    return sampled(images, row + moves[:, 0], column + moves[:, 1])


def _piecewise_affine(images: Tensor, draws: Draws) -> Tensor:
    return _bent(images, draws, 4, draws.between(0.4, 0.6), ease=False)


def _elastic(images: Tensor, draws: Draws) -> Tensor:
    """P. Y. Simard et al., "Best practices for convolutional neural networks", ICDAR 2003."""
    return _bent(images, draws, 6, draws.between(0.4, 0.6), ease=True)


def _swirl(images: Tensor, draws: Draws) -> Tensor:
    """Polar: turned by 40 to 80 degrees at the centre, not at all at the border."""
    row, column = places(images)
    radius = (row.square() + column.square()).sqrt() * (2 / side(images))
    degrees = (draws.sign() * draws.between(40.0, 80.0))[:, None, None] * (1.0 - radius).clamp(min=0.0)
    cosine, sine = directions(degrees)
    return sampled(images, cosine * row - sine * column, sine * row + cosine * column)


def _bulge(images: Tensor, draws: Draws) -> Tensor:
    """Polar: radii stretched near the centre and pressed near the border, or the other way round."""
    row, column = places(images)
    radius = ((row.square() + column.square()).sqrt() * (2 / side(images))).clamp(max=1.0)
    strength = draws.tails((-0.7, -0.45), (0.55, 0.8))[:, None, None]
    factor = 1.0 - strength * (1.0 - radius)
    return sampled(images, row * factor, column * factor)


def _jigsaw(images: Tensor, draws: Draws) -> Tensor:
    """Cut into cells, half of which change places within blocks of 2x2: 4x4 cells, 10x10 at 224 pixels."""
    H, W = images.shape[-2:]
    cells = min(10, max(4, 2 * (side(images) // 40)))
    height, width = H // cells, W // cells
    down = torch.arange(H, device=images.device) // height
    across = torch.arange(W, device=images.device) // width
    blocks = cells // 2
    # Bit 0: the block's upper and lower cells change places; bit 1: left and right. One block at least.
    count = blocks * blocks
    first = torch.arange(count, device=images.device) == draws.choice(count)[:, None]
    swapped = first | (draws.uniform(count) < 0.4)
    swaps = (swapped * (1 + draws.choice(3, count))).reshape(-1, blocks, blocks)
    swaps = swaps[:, (down // 2).clamp(max=blocks - 1)][..., (across // 2).clamp(max=blocks - 1)]
    inside = (down < cells)[:, None] & (across < cells)
    row, column = places(images)
    rows = torch.where(down % 2 == 0, height, -height)[:, None] * ((swaps & 1) * inside)
    columns = torch.where(across % 2 == 0, width, -width) * ((swaps >> 1) * inside)
    return sampled(images, row + rows, column + columns)


OPERATIONS = (
    Operation("scale", _scale),
    Operation("translate", _translate),
    Operation("rotate", _rotate),
    Operation("shear", _shear),
    Operation("perspective", _perspective),
    Operation("piecewise_affine", _piecewise_affine),
    Operation("elastic", _elastic),
    Operation("swirl", _swirl),
    Operation("bulge", _bulge),
    Operation("jigsaw", _jigsaw),
)
