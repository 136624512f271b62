"""What each kernel means, in plain torch.

K lanes, P weights per lane; B examples per batch out of N images of C channels, H rows and W columns.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from trials.optim.base import Optimizer


class LaneUpdate(Protocol):
    """The update of one optimizer: `Optimizer.update`, and a scale of each lane's gradient."""

    def __call__(
        self,
        weights: Tensor,  # (K, P) float32, changed in place
        grads: Tensor,  # (K, P) float32, may be changed in place
        state: Tensor,  # (K, slots, P) float32, changed in place
        lr: Tensor,  # (K, 1) or (K, P) float32
        step: Tensor,  # (K, 1) int64
        hyper: Mapping[str, Tensor],  # each (K, 1) float32
        scale: Tensor | None = None,  # (K, 1) float32, multiplies the gradient: what clipping leaves of it
    ) -> None:
        """Update every lane."""
        ...


def update(
    optimizer: Optimizer,
    weights: Tensor,
    grads: Tensor,
    state: Tensor,
    lr: Tensor,
    step: Tensor,
    hyper: Mapping[str, Tensor],
    scale: Tensor | None = None,
) -> None:
    """The optimizer's own arithmetic on scaled gradients; shapes as in `LaneUpdate`."""
    optimizer.update(weights, grads if scale is None else grads * scale, state, lr, step, hyper)


def signals(
    grads: Tensor,  # (K, P) float32
    previous: Tensor,  # (K, P) float32, the last change of the weights
    out: Tensor,  # (K, 3) float32, written
) -> None:
    """Write each lane's l1 norm, l2 norm and product with the last change into `out`."""
    columns = [grads.abs().sum(1), grads.square().sum(1).sqrt(), (grads * previous).sum(1)]
    out.copy_(torch.stack(columns, 1))


def augment(
    images: Tensor,  # (N, C, H, W) uint8
    index: Tensor,  # (K, B) int64, from 0 to N - 1
    offset: Tensor,  # (K, B, 2) int64, from 0 to 2 * padding: first row and column of the crop
    flip: Tensor,  # (K, B) bool, whether the crop is mirrored left to right
    mean: Tensor,  # (C,) float32, of pixels between 0 and 1
    std: Tensor,  # (C,) float32
    padding: int,  # pixels of zero added at each side before the crop
    out: Tensor,  # (K, B, C, H, W) float32 or bfloat16, written
) -> None:
    """Write the batches of K lanes, cropped, mirrored and normalised, into `out`."""
    height, width = images.shape[2:]
    padded = F.pad(images[index], (padding,) * 4)
    rows = offset[..., 0, None] + torch.arange(height, device=images.device)  # (K, B, H)
    columns = offset[..., 1, None] + torch.arange(width, device=images.device)  # (K, B, W)
    columns = torch.where(flip[..., None], columns.flip(-1), columns)
    crop = padded.take_along_dim(rows[:, :, None, :, None], 3)
    crop = crop.take_along_dim(columns[:, :, None, None, :], 4)
    pixels = crop.to(torch.float32) / 255.0
    out.copy_((pixels - mean[:, None, None]) / std[:, None, None])
