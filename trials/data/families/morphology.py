"""Morphology: strokes made wider or thinner, gaps closed, ends cut off; by the grey value, not the ink."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, blend, each, side, unit
from trials.data.families.sampling import neighbours

_ALL = tuple(range(9))
_CROSS = (1, 3, 4, 5, 7)
# Three places in a line, of nine row by row: lying, standing, and the two diagonals.
_LINES = ((3, 4, 5), (1, 4, 7), (2, 4, 6), (0, 4, 8))


def _widest(images: Tensor, among: tuple[int, ...]) -> Tensor:
    """The largest value among these of the nine around each pixel."""
    views = neighbours(images)
    found = views[among[0]]
    for place in among[1:]:
        found = torch.maximum(found, views[place])
    return found


def dilated(images: Tensor, radius: Tensor) -> Tensor:
    """(N, C, H, W), (N,) radius in pixels -> bright parts grown by it.

    Grown by a pixel at a time, crosses and squares in turn, which gives an octagon; what is left of the
    radius is a mean of the last two.
    """
    found, current = images, images
    for step in range(int(radius.max().ceil())):
        grown = _widest(current, _CROSS if step % 2 == 0 else _ALL)
        found = torch.where(
            each(radius >= step), blend(current, grown, each((radius - step).clamp(0.0, 1.0))), found
        )
        current = grown
    return unit(found)


def eroded(images: Tensor, radius: Tensor) -> Tensor:
    """The same for dark parts."""
    return 1.0 - dilated(1.0 - images, radius)


def _radius(images: Tensor, draws: Draws, low: float, high: float) -> Tensor:
    """In pixels: between these at 28 pixels, less at 8, more for large images."""
    return draws.between(low, high) * (0.35 + side(images) / 43)


def _dilate(images: Tensor, draws: Draws) -> Tensor:
    return dilated(images, _radius(images, draws, 0.7, 1.4))


def _erode(images: Tensor, draws: Draws) -> Tensor:
    return eroded(images, _radius(images, draws, 0.5, 0.85))


def _open(images: Tensor, draws: Draws) -> Tensor:
    """Thin bright parts removed, the others as wide as before."""
    radius = _radius(images, draws, 0.7, 1.0)
    return dilated(eroded(images, radius), radius * 1.3)


def _close(images: Tensor, draws: Draws) -> Tensor:
    """Thin dark parts filled, the others as wide as before."""
    radius = _radius(images, draws, 1.0, 1.8)
    return eroded(dilated(images, radius), radius * 0.7)


def _pen(images: Tensor, draws: Draws) -> Tensor:
    """Written with a broad pen: grown along one direction, as often as a stroke is wide."""
    given, direction = images, draws.choice(4)
    steps = max(1, round(0.6 + side(images) / 40))
    for _ in range(steps):
        ways = [_widest(images, line) for line in _LINES]
        images = torch.where(
            each(direction < 2),
            torch.where(each(direction == 0), ways[0], ways[1]),
            torch.where(each(direction == 2), ways[2], ways[3]),
        )
    # At 8 pixels a stroke twice as wide fills every hole.
    return unit(blend(given, images, 1.0 if side(images) >= 16 else 0.6))


def _stroke(images: Tensor, draws: Draws) -> Tensor:
    """Wider along one axis and thinner along the other."""
    wide = torch.where(
        each(draws.uniform() < 0.5),
        1.0 - _widest(1.0 - _widest(images, _LINES[0]), _LINES[1]),
        1.0 - _widest(1.0 - _widest(images, _LINES[1]), _LINES[0]),
    )
    return unit(blend(images, wide, each(draws.between(0.7, 1.0)) * (1.0 if side(images) >= 16 else 0.75)))


OPERATIONS = (
    Operation("dilate", _dilate),
    Operation("erode", _erode),
    Operation("open", _open),
    Operation("close", _close),
    Operation("pen", _pen),
    Operation("stroke", _stroke),
)
