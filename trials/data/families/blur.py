"""Blur: means and medians over windows that grow with the image."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, each, side, unit
from trials.data.families.exact import averaged, blurred, directions, squared
from trials.data.families.sampling import affine, moved, neighbours


def _gaussian(images: Tensor, draws: Draws) -> Tensor:
    """Sigma 5..7 at 227 pixels, as in the paper; 0.8 at 8 pixels, 1.4 at 28."""
    return unit(blurred(images, draws.between(0.85, 1.2) * (0.65 + 0.024 * side(images))))


def _average(images: Tensor, draws: Draws) -> Tensor:
    """A window of 9..15 at 227 pixels; 2.4 at 8 pixels, 3.5 at 28."""
    return unit(averaged(images, draws.between(0.8, 1.2) * (2.1 + 0.045 * side(images))))


def _median(images: Tensor, draws: Draws) -> Tensor:
    """A window of 3 for small images, 9 at 224; once for half of them, two more times for the others."""
    reach = min(4, max(1, side(images) // 50))
    once = _medians(images, reach)
    more = _medians(_medians(once, reach), reach) if side(images) >= 16 else once
    return torch.where(each(draws.uniform() < 0.5), more, once)


# Exchanges after which the fifth of nine numbers is their median (A. W. Paeth, Graphics Gems, 1990).
_EXCHANGES = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)


def _medians(images: Tensor, reach: int) -> Tensor:
    views = neighbours(images, reach)
    if reach > 1:
        return torch.stack(views, -1).median(-1).values
    for low, high in _EXCHANGES:
        views[low], views[high] = (
            torch.minimum(views[low], views[high]),
            torch.maximum(views[low], views[high]),
        )
    return views[4]


def _motion(images: Tensor, draws: Draws) -> Tensor:
    """The mean along a line, 15 pixels at 227, as in the paper; 3 at 8 pixels, 7 at 28."""
    size = side(images)
    reach = max(min(7, round(0.5 + 0.09 * size)), round(0.033 * size))
    degrees = draws.between(0.0, 180.0)
    across, down = directions(degrees)
    total = torch.zeros_like(images)
    for step in range(-reach, reach + 1):
        rows, columns = (down * step).round().to(torch.int64), (across * step).round().to(torch.int64)
        total = total + moved(images, rows, columns)
    return unit(total * (1 / (2 * reach + 1)))


def _zoom(images: Tensor, draws: Draws) -> Tensor:
    """The mean of the image enlarged in five steps, by up to a half."""
    total = images
    most = draws.between(0.3, 0.5)
    for step in range(1, 5):
        scale = 1.0 / (1.0 + most * (step / 4))
        total = total + affine(images, torch.diag_embed(torch.stack([scale, scale], 1)))
    return unit(total * 0.2)


def _pixelate(images: Tensor, draws: Draws) -> Tensor:
    """Squares of 2 pixels at 8, 3 to 4 at 28, 10 to 13 at 224, by their mean."""
    size = side(images)
    coarse = draws.choice(2) * (size >= 16) + 2 + size // 20
    return unit(squared(images, coarse))


OPERATIONS = (
    Operation("gaussian", _gaussian),
    Operation("average", _average),
    Operation("median", _median),
    Operation("motion", _motion),
    Operation("zoom", _zoom),
    Operation("pixelate", _pixelate),
)
