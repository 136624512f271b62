"""Batches of K lanes out of images that stay on the device, in one pass (Triton).

The meaning is `reference.augment`. A program of the grid writes one block of one image; the padded image is
never made: pixels outside are zeros that nobody reads.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from trials.kernels.launch import EXACT, refuse_misfit

_BLOCK = 1024  # pixels of one program


@triton.jit
def _augment(
    images,
    index,
    offset,
    flip,
    mean,
    std,
    out,
    count,
    channels,
    blocks,
    height: tl.constexpr,
    width: tl.constexpr,
    padding: tl.constexpr,
    block: tl.constexpr,
):
    # 64-bit: the images together may pass 2^31 pixels.
    program = tl.program_id(0).to(tl.int64)
    example = program // blocks
    # Within an image 32 bits do, and divide faster.
    at = ((program % blocks) * block).to(tl.int32) + tl.arange(0, block)
    size = channels * height * width
    inside = at < size
    channel = at // (height * width)
    row = (at // width) % height
    column = at % width

    source = tl.load(index + example)
    flipped = tl.load(flip + example).to(tl.int1)
    column = tl.where(flipped, width - 1 - column, column) + tl.load(offset + 2 * example + 1) - padding
    known = (source >= 0) & (source < count)
    # An image that does not exist has no rows: nothing is read for it, and NaN written.
    row = tl.where(known, row + tl.load(offset + 2 * example) - padding, -1)
    seen = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
    pixel = tl.load(images + source * size + (channel * height + row) * width + column, mask=seen, other=0)
    centre = tl.load(mean + channel, mask=inside, other=0.0)
    spread = tl.load(std + channel, mask=inside, other=1.0)
    value = (pixel.to(tl.float32) / 255.0 - centre) / spread
    value = tl.where(known, value, float("nan"))
    tl.store(out + example * size + at, value.to(out.dtype.element_ty), mask=inside)


# An operator of its own, so that whatever traces or compiles a step sees one opaque call.
@torch.library.custom_op("trials::lane_augment", mutates_args=("out",))
def _launch(
    images: Tensor,
    index: Tensor,
    offset: Tensor,
    flip: Tensor,
    mean: Tensor,
    std: Tensor,
    padding: int,
    out: Tensor,
) -> None:
    if out.numel() == 0:
        return
    count, channels, height, width = images.shape
    blocks = triton.cdiv(channels * height * width, _BLOCK)
    kernel: Any = _augment  # Triton's types do not know constants
    with torch.cuda.device_of(images):
        kernel[(index.numel() * blocks,)](
            *(images, index, offset, flip, mean, std, out, count, channels, blocks),
            height=height,
            width=width,
            padding=padding,
            block=_BLOCK,
            **EXACT,
        )


def augment(
    images: Tensor,  # (N, C, H, W) uint8
    index: Tensor,  # (K, B) int64
    offset: Tensor,  # (K, B, 2) int64
    flip: Tensor,  # (K, B) bool
    mean: Tensor,  # (C,) float32
    std: Tensor,  # (C,) float32
    padding: int,
    out: Tensor,  # (K, B, C, H, W) float32 or bfloat16, written
) -> None:
    """Write the batches of K lanes into `out`; a drop-in for `reference.augment`.

    The device is not asked whether indices are right, which would make it wait: an image that does not
    exist comes out as NaN, where the reference raises.

    Raises:
        ValueError: a tensor of another shape, dtype or layout.
    """
    lanes, batch = index.shape
    count, channels, height, width = images.shape
    refuse_misfit("images", images, (count, channels, height, width), torch.uint8, whole=True)
    refuse_misfit("index", index, (lanes, batch), torch.int64, whole=True)
    refuse_misfit("offset", offset, (lanes, batch, 2), torch.int64, whole=True)
    refuse_misfit("flip", flip, (lanes, batch), torch.bool, whole=True)
    refuse_misfit("mean", mean, (channels,), torch.float32, whole=True)
    refuse_misfit("std", std, (channels,), torch.float32, whole=True)
    shape = (lanes, batch, channels, height, width)
    refuse_misfit("out", out, shape, torch.float32, torch.bfloat16, whole=True)
    _launch(images, index, offset, flip, mean, std, padding, out)
