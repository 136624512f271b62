"""Arithmetic on pixels: added, multiplied, replaced, inverted, compressed; no pixel looks at its neighbours.

Magnitudes of the paper named in the package, in units of the full range.
"""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, chosen, each, unit
from trials.data.families.compression import compressed


def _add(images: Tensor, draws: Draws) -> Tensor:
    return unit(images + each(draws.tails((-0.55, -0.2), (0.2, 0.55))))


def _add_pixels(images: Tensor, draws: Draws) -> Tensor:
    shape = images.shape[1:]
    return unit(images + draws.sign(*shape) * each(draws.between(0.2, 0.6)))


def _multiply(images: Tensor, draws: Draws) -> Tensor:
    return unit(images * each(draws.tails((0.2, 0.45), (2.0, 4.0))))


def _multiply_pixels(images: Tensor, draws: Draws) -> Tensor:
    return unit(images * (draws.uniform(*images.shape[1:]) * each(draws.between(1.5, 3.0))))


def _gaussian_noise(images: Tensor, draws: Draws) -> Tensor:
    return unit(images + draws.normal(*images.shape[1:]) * each(draws.between(0.2, 0.5)))


def _laplace_noise(images: Tensor, draws: Draws) -> Tensor:
    shape = images.shape[1:]
    # The distribution function inverted, in double precision: its last digits differ between libraries.
    size = -(1.0 - draws.uniform(*shape)).to(torch.float64).log()
    scale = draws.sign(*shape) * each(draws.between(0.15, 0.4))
    return unit(images + scale * size.to(torch.float32))


def _shot_noise(images: Tensor, draws: Draws) -> Tensor:
    """Each pixel a count of few quanta, also where it is dark (Poisson, its distribution inverted)."""
    quanta = each(draws.between(2.0, 5.0))
    rate = images * quanta + 0.4
    level = draws.uniform(*images.shape[1:])
    term = torch.exp(-rate.to(torch.float64)).to(torch.float32)
    reached, count, above = term.clone(), torch.zeros_like(images), torch.empty_like(images)
    # Beyond 16 quanta every pixel is white: the rate is at most 5.4.
    for quantum in range(1, 17):
        count += torch.ge(level, reached, out=above)
        term *= rate
        term *= 1 / quantum
        reached += term
    return unit(count / quanta)


def _hits(images: Tensor, draws: Draws, low: float, high: float) -> Tensor:
    """(N, 1, H, W) bool: a share of the pixels between `low` and `high`, each image its own."""
    return draws.uniform(1, *images.shape[-2:]) < each(draws.between(low, high))


def _coarse_hits(images: Tensor, draws: Draws, low: float, high: float) -> Tensor:
    """The same for squares of pixels, at least two wide."""
    H, W = images.shape[-2:]
    cells = min(16, max(3, min(H, W) // 3))
    hit = draws.uniform(1, cells, cells) < each(draws.between(low, high))
    rows = torch.arange(H, device=images.device) * cells // H
    columns = torch.arange(W, device=images.device) * cells // W
    return hit[:, :, rows][..., columns]


def _dropout(images: Tensor, draws: Draws) -> Tensor:
    return images * ~_hits(images, draws, 0.2, 0.5)


def _coarse_dropout(images: Tensor, draws: Draws) -> Tensor:
    return images * ~_coarse_hits(images, draws, 0.2, 0.4)


def _impulse(images: Tensor, draws: Draws) -> Tensor:
    return chosen(_hits(images, draws, 0.2, 0.5), draws.uniform(*images.shape[1:]), images)


def _salt(images: Tensor, draws: Draws) -> Tensor:
    return torch.maximum(images, _hits(images, draws, 0.15, 0.4).to(images.dtype))


def _pepper(images: Tensor, draws: Draws) -> Tensor:
    return images * ~_hits(images, draws, 0.3, 0.5)


def _salt_and_pepper(images: Tensor, draws: Draws) -> Tensor:
    grains = (draws.uniform(1, *images.shape[-2:]) < 0.5).to(images.dtype)
    return chosen(_hits(images, draws, 0.2, 0.45), grains, images)


def _coarse_salt(images: Tensor, draws: Draws) -> Tensor:
    return torch.maximum(images, _coarse_hits(images, draws, 0.12, 0.3).to(images.dtype))


def _coarse_salt_and_pepper(images: Tensor, draws: Draws) -> Tensor:
    hits = _coarse_hits(images, draws, 0.15, 0.35)
    return chosen(hits, _coarse_hits(images, draws, 0.5, 0.5).to(images.dtype), images)


def _cutout(images: Tensor, draws: Draws) -> Tensor:
    """Three to six squares, a fifth of the shorter side wide, of a grey or colour of their own."""
    C, H, W = images.shape[1:]
    width = max(2, round(0.2 * min(H, W)))
    tops, lefts = draws.choice(H - width + 1, 6), draws.choice(W - width + 1, 6)
    colours, count = draws.uniform(6, C), 3 + draws.choice(4)
    row = torch.arange(H, device=images.device)[:, None]
    column = torch.arange(W, device=images.device)
    for number in range(6):
        top, left = tops[:, number, None, None], lefts[:, number, None, None]
        inside = (row >= top) & (row < top + width) & (column >= left) & (column < left + width)
        inside &= (number < count)[:, None, None]
        images = chosen(inside[:, None], colours[:, number, :, None, None], images)
    return images


def _invert(images: Tensor, draws: Draws) -> Tensor:
    return 1.0 - images


def _solarize(images: Tensor, draws: Draws) -> Tensor:
    return chosen(images >= each(draws.between(0.125, 0.5)), 1.0 - images, images)


def _compress(images: Tensor, draws: Draws) -> Tensor:
    return compressed(images, 1 + draws.choice(6))


OPERATIONS = (
    Operation("add", _add),
    Operation("add_pixels", _add_pixels),
    Operation("multiply", _multiply),
    Operation("multiply_pixels", _multiply_pixels),
    Operation("gaussian_noise", _gaussian_noise),
    Operation("laplace_noise", _laplace_noise),
    Operation("shot_noise", _shot_noise),
    Operation("dropout", _dropout),
    Operation("coarse_dropout", _coarse_dropout),
    Operation("impulse", _impulse),
    Operation("salt", _salt),
    Operation("pepper", _pepper),
    Operation("salt_and_pepper", _salt_and_pepper),
    Operation("coarse_salt", _coarse_salt),
    Operation("coarse_salt_and_pepper", _coarse_salt_and_pepper),
    Operation("cutout", _cutout),
    Operation("invert", _invert),
    Operation("solarize", _solarize),
    Operation("compress", _compress),
)
