"""Augmentations of a batch whose strengths ride in the row.

To be called inside `Task.loss`: what they draw comes from the lane's own stream, and a strength is a ()
tensor, so that trials of other strengths share a program. At strength 0 each returns what it was given.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trials.noise import uniform


def shifted(images: Tensor, share: Tensor) -> Tensor:
    """(B, C, H, W) -> the same, a `share` () of them moved by up to one pixel each way, zeros moved in."""
    B, _, H, W = images.shape
    draw = uniform(3, B)
    moves = torch.where(draw[2] < share, (draw[:2] * 3).to(torch.int64), 1)  # (2, B), 1 is no move
    padded = F.pad(images, (1, 1, 1, 1))
    # A sum of masked views, not a gather with an index per image: it compiles to plain vector code.
    return torch.stack(
        [
            ((moves[0] == i) & (moves[1] == j))[:, None, None, None] * padded[:, :, i : i + H, j : j + W]
            for i in range(3)
            for j in range(3)
        ]
    ).sum(0, dtype=images.dtype)


def cropped(images: Tensor, strength: Tensor, pixels: int = 4) -> Tensor:
    """(B, C, H, W) -> the same, each image moved by up to `strength` () times `pixels` each way.

    Zeros are moved in. Strength 1 is the usual crop of images padded by `pixels` on all sides; in between,
    moves reach less far.
    """
    B, C, H, W = images.shape
    reach = strength * pixels
    # floor(-reach + u (2 reach + 1)) is every whole move up to the reach equally often, and never moves at 0.
    moves = (uniform(2, B) * (2 * reach + 1) - reach).floor().clamp(-pixels, pixels).to(torch.int64) + pixels
    padded = F.pad(images, (pixels, pixels, pixels, pixels))
    rows = moves[0, :, None] + torch.arange(H, device=images.device)  # (B, H)
    columns = moves[1, :, None] + torch.arange(W, device=images.device)  # (B, W)
    strip = padded.gather(2, rows[:, None, :, None].expand(B, C, H, W + 2 * pixels))
    return strip.gather(3, columns[:, None, None, :].expand(B, C, H, W))


def flipped(images: Tensor, share: Tensor) -> Tensor:
    """(B, C, H, W) -> the same, a `share` () of them mirrored left to right."""
    mirrored = uniform(len(images)) < share
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def smaller_share(alpha: Tensor, size: int) -> Tensor:
    """(size,) float32, the smaller of X and 1 - X with X drawn from Beta(alpha, alpha), alpha () above 0.

    Exact, and without rejection: a variable of Student's t distribution with 2 alpha degrees of freedom, made
    from two uniform ones by R. W. Bailey, "Polar generation of random variates with the t-distribution",
    Mathematics of Computation 62 (1994), mapped to the unit interval as in L. Devroye, "Random variate
    generation in one line of code", Winter Simulation Conference 1996. Alpha 0 gives its limit, 0.
    """
    draw = uniform(2, size)
    # Kept off 0, whose logarithm divided by an alpha of 0 would be no number.
    log_power = torch.log1p(-draw[0].clamp(min=2.0**-25)) / alpha
    # With W = U^(1/alpha): T² / (2 alpha) = (1 - W) cos² / W; X = (1 ± s) / 2 with s² = T² / (2 alpha + T²).
    power, rest = log_power.exp(), -torch.expm1(log_power)
    squared = rest * torch.cos(0.5 * math.pi * draw[1]).square()
    root = (squared / (power + squared)).sqrt()
    # (1 - s) / 2 by way of 1 - s², which keeps its digits where s is near 1.
    return 0.5 * power / ((power + squared) * (1 + root))


def mixup(
    inputs: Tensor,  # (B, …)
    targets: Tensor,  # (B, …) floats: probabilities of the classes, or values
    strength: Tensor,  # () at least 0
) -> tuple[Tensor, Tensor]:  # of the same shapes, floats
    """Every example mixed with its neighbour in the batch, with shares of Beta(strength, strength).

    H. Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018. Every example has a share of its
    own and keeps the larger one: neighbours are random, so this changes nothing in distribution, and strength
    0, no mixing, is the limit of small strengths.

    Raises:
        ValueError: the targets are class indices.
    """
    if not targets.is_floating_point():
        raise ValueError(
            f"targets are {targets.dtype}, which cannot be mixed: give probabilities, "
            "trials.losses.one_hot(labels, classes)"
        )
    share = smaller_share(strength, len(inputs))

    def mixed(whole: Tensor) -> Tensor:
        whole = whole if whole.is_floating_point() else whole.to(torch.float32)
        given = share.to(whole.dtype).reshape(-1, *[1] * (whole.dim() - 1))
        return whole + given * (whole.roll(1, 0) - whole)

    return mixed(inputs), mixed(targets)
