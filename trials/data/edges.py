"""Edge maps of a batch: binary contours, each image with its own blur, threshold rule and thresholds.

Grey, Gaussian blur, Sobel's slope, an automatic threshold h on it, ridges of the slope (J. Canny, "A
computational approach to edge detection", 1986), and hysteresis between a low and a high multiple of h. All
of it is arithmetic on whole batches without branches on values, so that it runs inside a compiled step, one
batch for each lane. The constants are those of N. Efthymiadis, G. Tolias, O. Chum, "Crafting Distribution
Shifts for Validation and Training in Single Source Domain Generalization", WACV 2025: every image draws its
own blur, and thresholds are jittered by a normal deviate of 0.2 of the automatic one.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trials.data.thresholds import RULES, thresholds
from trials.noise import uniform

_GREY = (0.2989, 0.5870, 0.1140)  # of red, green and blue
_SIGMAS = (0.0, 1.0, 2.0)  # pixels of a large image
_LOW, _HIGH, _JITTER = 0.5, 1.5, 0.2  # thresholds, in multiples of the automatic one
_GRID = 2.0**14  # steps of slopes; a grey value of 255 is many of them
_LARGE = 227  # pixels of a side from which on blurs are as published
_TANGENT = math.tan(math.pi / 8)  # directions are told apart in steps of 45 degrees


def evaluation_edges(images: Tensor) -> Tensor:
    """(B, C, H, W) floats in [0, 1] -> (B, 1, H, W) 0 on an edge, 1 elsewhere; nothing is drawn."""
    count, device = len(images), images.device
    one = torch.ones(count, device=device)
    rule = torch.full((count,), RULES.index("otsu"), device=device)
    return 1.0 - edge_maps(images, one * _SIGMAS[1] * _scale(images), rule, one * _LOW, one * _HIGH)


def training_edges(images: Tensor) -> Tensor:
    """As `evaluation_edges`, with blur, rule and thresholds drawn for every image from the lane's stream.

    An image whose map would be constant has it with the thresholds that are not jittered.
    """
    count, scale = len(images), _scale(images)
    draw = uniform(4, count)
    sigma = (draw[0] * len(_SIGMAS)).floor() * (_SIGMAS[1] * scale)  # evenly spaced from 0
    rule = (draw[1] * len(RULES)).to(torch.int64).clamp(max=len(RULES) - 1)
    # A normal deviate from two uniform ones (G. Box, M. Muller, 1958).
    normal = (-2.0 * torch.log1p(-draw[2])).sqrt() * torch.cos(2 * math.pi * draw[3])
    jitter = _JITTER * normal
    first, second = (_LOW - jitter).clamp(min=0.1), (_HIGH + jitter).clamp(max=2.0)
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    return 1.0 - edge_maps(images, sigma, rule, low, high)


def edge_maps(
    images: Tensor,  # (B, C, H, W) floats in [0, 1]; three channels are red, green and blue
    sigma: Tensor,  # (B,) of the blur in pixels, 0 for none
    rule: Tensor,  # (B,) int64, places in RULES
    low: Tensor,  # (B,) thresholds, in multiples of the automatic one
    high: Tensor,  # (B,)
) -> Tensor:  # (B, 1, H, W) float32, 1 on an edge, else 0
    """Edges one or two pixels wide; with the usual thresholds where these give a constant map."""
    # On a grid, so that rounding makes no slope where there is none and no difference between equal ones.
    down, along = ((slope * _GRID).round() / _GRID for slope in slopes(blurred(grey(images), sigma)))
    size = (down.square() + along.square()).sqrt()
    automatic = thresholds(size.flatten(1), rule)
    ridge = ridges(size, down, along)
    found = _between(size, ridge, automatic * low, automatic * high)
    usual = _between(size, ridge, automatic * _LOW, automatic * _HIGH)
    mean = found.mean((1, 2, 3), keepdim=True)
    return torch.where((mean == 0) | (mean == 1), usual, found)


def _between(size: Tensor, ridge: Tensor, low: Tensor, high: Tensor) -> Tensor:
    weak = ridge * (size > low[:, None, None, None])
    strong = ridge * (size > high[:, None, None, None])
    return hysteresis(weak, strong, rounds=max(size.shape[-2:]))


def _scale(images: Tensor) -> float:
    """What blurs are multiplied by: details of small images are few pixels wide."""
    return min(1.0, 0.2 + 0.8 * max(images.shape[-2:]) / _LARGE)


def grey(images: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W): luminance of three channels, the mean of any other number."""
    if images.shape[1] != len(_GREY):
        return images.mean(1, keepdim=True)
    weights = torch.tensor(_GREY, dtype=images.dtype, device=images.device)
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """(B, 1, H, W), (B,) sigma -> under a Gaussian of what lies within the image; 0 changes nothing."""
    return _gaussian(sigma, images.shape[-2]) @ images @ _gaussian(sigma, images.shape[-1]).mT


def _gaussian(sigma: Tensor, size: int) -> Tensor:
    """(B, 1, size, size) weights of every place for every other; the identity at 0."""
    places = torch.arange(size, device=sigma.device, dtype=torch.float32)
    apart = (places - places[:, None]).square()
    # At the smallest width that is drawn from, neighbours weigh nothing in float32.
    weights = torch.exp(-0.5 * apart / sigma.clamp(min=0.05).square()[:, None, None, None])
    return weights / weights.sum(-1, keepdim=True)


def slopes(images: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, H, W) -> Sobel's differences down the rows and along them, of the same shape; edges repeated."""
    H, W = images.shape[-2:]
    padded = F.pad(images, (1, 1, 1, 1), mode="replicate")
    smooth_along = padded[..., :, :W] + 2 * padded[..., :, 1 : W + 1] + padded[..., :, 2:]
    smooth_down = padded[..., :H, :] + 2 * padded[..., 1 : H + 1, :] + padded[..., 2:, :]
    down = smooth_along[..., 2:, :] - smooth_along[..., :H, :]
    along = smooth_down[..., :, 2:] - smooth_down[..., :, :W]
    return down / 4, along / 4


def ridges(size: Tensor, down: Tensor, along: Tensor) -> Tensor:
    """(B, 1, H, W) 1 where the slope is no smaller than at the two neighbours it points to and from."""
    H, W = size.shape[-2:]
    padded = F.pad(size, (1, 1, 1, 1))

    def view(i: int, j: int) -> Tensor:
        return padded[..., 1 + i : 1 + i + H, 1 + j : 1 + j + W]

    steep, flat = down.abs(), along.abs()
    is_level, is_upright = steep <= flat * _TANGENT, flat <= steep * _TANGENT
    is_falling = (down > 0) == (along > 0)

    def chosen(level: Tensor, upright: Tensor, falling: Tensor, rising: Tensor) -> Tensor:
        slanted = torch.where(is_falling, falling, rising)
        return torch.where(is_level, level, torch.where(is_upright, upright, slanted))

    before = chosen(view(0, -1), view(-1, 0), view(-1, -1), view(-1, 1))
    after = chosen(view(0, 1), view(1, 0), view(1, 1), view(1, -1))
    # One of two equal neighbours is enough, or a straight edge would be two pixels wide.
    return ((size >= before) & (size > after) & (size > 0)).to(torch.float32)


def hysteresis(weak: Tensor, strong: Tensor, rounds: int) -> Tensor:
    """(B, 1, H, W) of 0 and 1: strong pixels, and weak ones that touch them in at most so many steps.

    As many rounds as a side has pixels reach along every contour that does not wind much.
    """
    found = strong
    for _ in range(rounds):
        found = torch.maximum(strong, weak * F.max_pool2d(found, 3, stride=1, padding=1))
    return found
