"""Art: flat colours, broad strokes, dots and hatching in place of shades."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, blend, chosen, each, side, unit
from trials.data.families.color import luminance
from trials.data.families.sampling import neighbours, places


def smoothed(images: Tensor, contrast: Tensor) -> Tensor:
    """(N, C, H, W), (N,) -> the mean of 3x3 pixels, of which those count little that differ by `contrast`.

    5x5 for images of 48 pixels or more. A bilateral filter (C. Tomasi, R. Manduchi, 1998) with weights
    1 / (1 + d²)² in place of a Gaussian: divisions round alike on every machine.
    """
    total, weights = torch.zeros_like(images), torch.zeros_like(images[:, :1])
    inverse = each(1.0 / contrast)
    for view in neighbours(images, 1 if side(images) < 48 else 2):
        away = luminance((view - images).abs()) * inverse
        weight = 1.0 / (1.0 + away * away)
        weight = weight * weight
        total, weights = total + view * weight, weights + weight
    return unit(total / weights)


def posterised(images: Tensor, levels: Tensor) -> Tensor:
    """(N, C, H, W), (N,) int64 levels, at least 2 -> as many values a channel, 0 and 1 among them."""
    steps = each(levels - 1).to(images.dtype)
    return unit((images * steps).round() / steps)


def _outlines(images: Tensor) -> Tensor:
    """(N, 1, H, W) in [0, 1]: how much a pixel differs from those right of it and below."""
    grey = luminance(images)
    views = neighbours(grey)
    return unit(((views[5] - grey).abs() + (views[7] - grey).abs()) * 1.2)


def _cartoon(images: Tensor, draws: Draws) -> Tensor:
    """Smoothed twice, few colours, dark outlines, colours stronger than they were."""
    contrast = draws.between(0.2, 0.4)
    flat = smoothed(smoothed(images, contrast), contrast)
    poster = posterised(unit((flat - 0.5) * 1.25 + 0.55), 3 + draws.choice(2))
    return unit(poster * (1.0 - _outlines(images) * each(draws.between(0.35, 0.65))))


def _poster(images: Tensor, draws: Draws) -> Tensor:
    """Smoothed across weak edges too, then two or three colours a channel, none black or white."""
    flat = smoothed(images, draws.between(0.4, 0.7))
    if side(images) >= 16:
        flat = smoothed(flat, draws.between(0.3, 0.6))
    poster = posterised(flat, 2 + draws.choice(2))
    return unit(each(draws.between(0.1, 0.3)) + poster * each(draws.between(0.5, 0.7)))


def _oil(images: Tensor, draws: Draws) -> Tensor:
    """Each pixel the mean of that quarter of its surroundings which varies least (M. Kuwahara et al., 1976).

    Quarters of 2x2 pixels for images under 48 pixels, else 3x3; repeated for larger images.
    """
    reach = 1 if side(images) < 48 else 2
    for _ in range(1 + min(3, side(images) // 24)):
        images = _least_varied(images, reach)
    return blend(images, (images * 3.0).round() / 3.0, each(draws.between(0.6, 0.9)))


def _least_varied(images: Tensor, reach: int) -> Tensor:
    width = 2 * reach + 1
    views = neighbours(images, reach)
    best: Tensor | None = None
    found = images
    for top in (0, reach):
        for left in (0, reach):
            members = [
                views[i * width + j]
                for i in range(top, top + reach + 1)
                for j in range(left, left + reach + 1)
            ]
            mean = _mean(members)
            spread = luminance(_mean([(one - mean) * (one - mean) for one in members]))
            if best is None:
                best, found = spread, mean
            else:
                found = chosen(spread < best, mean, found)
                best = torch.minimum(spread, best)
    return unit(found)


def _mean(members: list[Tensor]) -> Tensor:
    total = members[0]
    for one in members[1:]:
        total = total + one
    return total * (1 / len(members))


def _raster(images: Tensor) -> int:
    """Pixels from dot to dot: 2 at 8 pixels, 3 at 28, 6 at 224."""
    return 2 if side(images) < 16 else round(2.4 + side(images) / 60)


def _halftone(images: Tensor, draws: Draws) -> Tensor:
    """Printed in dots: bright where the image exceeds levels that rise from the middle of a cell."""
    period = _raster(images)
    H, W = images.shape[-2:]
    moves = draws.choice(period, 2)
    row = (torch.arange(H, device=images.device) + moves[:, :1]) % period
    column = (torch.arange(W, device=images.device) + moves[:, 1:]) % period
    level = _dots(period, images.device)[row[:, :, None] * period + column[:, None]]
    return _printed(images, level[:, None], draws)


def _dots(period: int, device: torch.device) -> Tensor:
    """(period²,) float32 levels between 0 and 1, row by row: they rise from the middle of a cell outward."""
    middle = (period - 1) / 2
    cell = [(i, j) for i in range(period) for j in range(period)]
    outward = sorted(cell, key=lambda at: ((at[0] - middle) ** 2 + (at[1] - middle) ** 2, at[0] != at[1], at))
    return torch.tensor([(outward.index(at) + 0.5) / len(cell) for at in cell], device=device)


def _hatch(images: Tensor, draws: Draws) -> Tensor:
    """Drawn in parallel lines, slanted one way or the other, wider where it is bright."""
    period = _raster(images) + 1
    H, W = images.shape[-2:]
    slant = each(draws.sign()).to(torch.int64)
    row = torch.arange(H, device=images.device)[:, None]
    column = torch.arange(W, device=images.device)
    place = (row + slant * column + each(draws.choice(period))) % period
    return _printed(images, (place.to(torch.float32) + 0.5) / period, draws)


def _printed(images: Tensor, level: Tensor, draws: Draws) -> Tensor:
    """Two tones by whether a pixel exceeds its level; neither black nor white areas are left plain."""
    tone = images * each(draws.between(0.6, 0.75)) + each(draws.between(0.1, 0.25))
    printed = (tone > level).to(images.dtype)
    return unit(blend(images, printed, each(draws.between(0.75, 1.0))))


def _brush(images: Tensor, draws: Draws) -> Tensor:
    """Strokes: along a direction that turns across the image, each pixel the brightest or darkest near it."""
    row, column = places(images)
    H, W = images.shape[-2:]
    phase = draws.uniform(3)
    wave = (phase[:, :1, None] + row / H * 2 + column / W * (phase[:, 1:2, None] * 4 - 2)).remainder(1.0)
    views = neighbours(images)
    way = (wave * 4).floor()[:, None]
    ends = ((3, 5), (1, 7), (0, 8), (2, 6))
    found = images
    for number, (one, other) in enumerate(ends):
        bright = torch.maximum(torch.maximum(views[one], views[other]), images)
        dark = torch.minimum(torch.minimum(views[one], views[other]), images)
        # Thin bright lines are gone where only the darkest is kept.
        stroke = torch.where(each(phase[:, 2] < 0.6), bright, blend(images, dark, 0.6))
        found = chosen(way == number, stroke, found)
    return unit(posterised(found, 3 + draws.choice(3)))


OPERATIONS = (
    Operation("cartoon", _cartoon),
    Operation("poster", _poster),
    Operation("oil", _oil),
    Operation("halftone", _halftone),
    Operation("hatch", _hatch),
    Operation("brush", _brush),
)
