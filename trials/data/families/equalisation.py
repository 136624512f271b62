"""Histograms, and images mapped by theirs. Pixels are counted in whole numbers."""

import torch
from torch import Tensor


def histogram(bins: Tensor, count: int) -> Tensor:
    """(M, …) int64 bins below `count` -> (M, count) int64."""
    flat = bins.flatten(1)
    found = torch.zeros(len(flat), count, dtype=torch.int64, device=bins.device)
    return found.scatter_add_(1, flat, torch.ones_like(flat))


def first_largest(scores: Tensor) -> Tensor:
    """(M, count) -> (M,) the first place of the largest score; `argmax` may return any of equal ones."""
    places = torch.arange(scores.shape[-1], device=scores.device)
    return torch.where(scores == scores.amax(-1, keepdim=True), places, scores.shape[-1]).amin(-1)


def otsu(values: Tensor, count: int = 64) -> Tensor:
    """(M, …) in [0, 1] -> (M,) float32 threshold that parts them into the two most different classes.

    N. Otsu, "A threshold selection method from gray-level histograms", 1979. The upper end of the last bin
    of the lower class; 1 where all values are equal.
    """
    found = histogram((values * count).to(torch.int64).clamp(max=count - 1), count)
    places = torch.arange(count, device=values.device)
    below, weighted = found.cumsum(1).to(torch.float64), (found * places).cumsum(1).to(torch.float64)
    total, moment = below[:, -1:], weighted[:, -1:]
    above = total - below
    apart = (moment * below - weighted * total).square() / (below * above).clamp(min=1.0)
    apart = torch.where((below > 0) & (above > 0), apart, -1.0)
    threshold = (first_largest(apart) + 1).to(torch.float32) / count
    return torch.where(apart.amax(1) > 0, threshold, 1.0)


def equalised(images: Tensor, count: int = 256) -> Tensor:
    """(N, C, H, W) -> each value the share of its channel's pixels that are not brighter.

    A channel of one value stays as it is.
    """
    N, C, H, W = images.shape
    flat = images.reshape(N * C, -1)
    bins = (flat * (count - 1)).round().to(torch.int64)
    ranks = histogram(bins, count).cumsum(1).gather(1, bins)
    mapped = ranks.to(torch.float32) / (H * W)
    is_plain = bins.amin(1, keepdim=True) == bins.amax(1, keepdim=True)
    return torch.where(is_plain, flat, mapped).reshape(images.shape)


def equalised_in_tiles(
    images: Tensor,  # (N, C, H, W)
    tiles: int,  # in each direction
    limit: Tensor,  # (N, 1, 1, 1) most that a bin may hold, in units of the mean
    count: int = 64,
) -> Tensor:
    """Contrast-limited adaptive equalisation: each pixel by the ranks within the four nearest tiles.

    K. Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """
    N, C, H, W = images.shape
    device = images.device
    bins = (images.reshape(N * C, H, W) * (count - 1)).round().to(torch.int64)
    row, column = torch.arange(H, device=device) * tiles // H, torch.arange(W, device=device) * tiles // W
    tile = row[:, None] * tiles + column
    found = histogram(tile * count + bins, tiles * tiles * count).reshape(N * C, tiles * tiles, count)
    area = found.sum(-1, keepdim=True)
    most = (
        (limit.reshape(N, 1).expand(N, C).reshape(-1, 1, 1) * area / count)
        .floor()
        .to(torch.int64)
        .clamp(min=1)
    )
    excess = (found - most).clamp(min=0).sum(-1, keepdim=True)
    shared = excess * torch.arange(1, count + 1, device=device)  # in units of 1 / count
    ranks = (torch.minimum(found, most).cumsum(-1) * count + shared).to(torch.float64)
    curves = (ranks / (area * count)).to(torch.float32).flatten(1)  # (N C, tiles tiles count)

    def nearest(size: int) -> tuple[Tensor, Tensor, Tensor]:
        place = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (tiles / size) - 0.5
        lower = place.floor()
        upper = (lower + 1).clamp(max=tiles - 1)
        return lower.clamp(min=0).to(torch.int64), upper.to(torch.int64), place - lower

    top, bottom, down = nearest(H)
    left, right, across = nearest(W)

    def looked_up(rows: Tensor, columns: Tensor) -> Tensor:
        place = ((rows[:, None] * tiles + columns) * count + bins).flatten(1)
        return curves.gather(1, place).reshape(N * C, H, W)

    upper = looked_up(top, left) * (1 - across) + looked_up(top, right) * across
    lower = looked_up(bottom, left) * (1 - across) + looked_up(bottom, right) * across
    return (upper * (1 - down[:, None]) + lower * down[:, None]).clamp(0.0, 1.0).reshape(images.shape)
