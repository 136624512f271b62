"""Weather: fog, clouds, snow and rain between the camera and what it sees."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, blend, each, side, unit
from trials.data.families.exact import blurred, directions, layered
from trials.data.families.sampling import moved, places


def _noise(images: Tensor, draws: Draws, first: int) -> Tensor:
    """(N, 1, H, W) smooth noise in [0, 1], `first` cells wide at its coarsest."""
    H, W = images.shape[-2:]
    return layered(draws.uniform, H, W, first)[:, None]


def _fog(images: Tensor, draws: Draws) -> Tensor:
    """A light grey over everything, 0.4 to 0.8 thick."""
    thickness = each(draws.between(0.5, 0.65)) + (_noise(images, draws, 2) - 0.5) * 0.5
    return unit(blend(images, each(draws.between(0.65, 0.95)), thickness.clamp(0.2, 0.85)))


def _clouds(images: Tensor, draws: Draws) -> Tensor:
    """White patches that hide some parts and leave others."""
    cover = (_noise(images, draws, 3) - each(draws.between(0.42, 0.52))) * 6.0
    return unit(blend(images, 1.0 - 0.25 * _noise(images, draws, 2), cover.clamp(0.0, 0.85)))


def _snow_cover(images: Tensor, draws: Draws) -> Tensor:
    """Snow on the ground, a fifth to a third of the height, and a bright haze."""
    row, _ = places(images)
    H = images.shape[-2]
    depth = each(draws.between(0.2, 0.35)) + (_noise(images, draws, 3) - 0.5) * 0.4
    ground = ((row / H + 0.5 - 1.0 + depth) * (0.25 * H + 2.0)).clamp(0.0, 1.0)
    hazed = images * 0.75 + each(draws.between(0.15, 0.25))
    return unit(blend(hazed, 1.0 - 0.1 * _noise(images, draws, 4), ground * 0.9))


def _snowflakes(images: Tensor, draws: Draws) -> Tensor:
    """White flakes, each about a pixel wide at 28 pixels, blurred and of any brightness."""
    shape = (1, *images.shape[-2:])
    size = side(images)
    share = each(draws.between(0.05, 0.1)) * min(1.0, 28 / size)
    flakes = (draws.uniform(*shape) < share) * draws.between(0.6, 1.0, *shape)
    for _ in range(size // 60):
        flakes = torch.maximum(flakes, moved(flakes, *draws.choice(3, 2).sub(1).unbind(1)))
    soft = blurred(flakes, draws.between(0.4, 0.6) * (0.9 + size / 200))
    return unit(1.0 - (1.0 - images * 0.85) * (1.0 - unit(soft * 2.0)))


def _rain(images: Tensor, draws: Draws) -> Tensor:
    """Bright slanted streaks over a darker image."""
    shape, size = (1, *images.shape[-2:]), side(images)
    length = max(2, round(1.5 + size / 14))
    share = each(draws.between(0.25, 0.45)) / length
    share = share * min(1.0, 48 / size)
    drops = (draws.uniform(*shape) < share) * draws.between(0.5, 1.0, *shape)
    across, down = directions(90.0 + draws.sign() * draws.between(5.0, 35.0))
    streaks = drops
    for step in range(1, length):
        rows, columns = (down * step).round().to(torch.int64), (across * step).round().to(torch.int64)
        streaks = torch.maximum(streaks, moved(drops, -rows, -columns))
    return unit(blend(images * each(draws.between(0.6, 0.85)), torch.full_like(images, 0.85), streaks))


OPERATIONS = (
    Operation("fog", _fog),
    Operation("clouds", _clouds),
    Operation("snow_cover", _snow_cover),
    Operation("snowflakes", _snowflakes),
    Operation("rain", _rain),
)
