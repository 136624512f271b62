"""Norms of K lanes' gradients and their product with the last change of the weights, in one pass (Triton).

The meaning is `reference.signals`. Sums are taken in two stages: programs sum chunks of a lane, then one
program sums a lane's chunks. Nothing is added atomically and the chunks depend on P alone, so the same
gradients give the same bits, whatever else the device does and however many lanes there are.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from trials.kernels.launch import EXACT, refuse_misfit

_BLOCK = 1024  # weights, or chunks, read at once
_CHUNK = 16 * _BLOCK  # weights of one program of the first stage


@triton.jit
def _sum_chunks(
    grads,
    previous,
    partial,
    width,
    chunks,
    grads_row,
    previous_row,
    chunk: tl.constexpr,
    block: tl.constexpr,
):
    # 64-bit: K * P may pass 2^31.
    program = tl.program_id(0).to(tl.int64)
    lane = program // chunks
    start = (program % chunks) * chunk
    sizes = tl.zeros((block,), tl.float32)
    squares = tl.zeros((block,), tl.float32)
    products = tl.zeros((block,), tl.float32)
    for shift in range(0, chunk, block):
        at = start + shift + tl.arange(0, block)
        inside = at < width
        now = tl.load(grads + lane * grads_row + at, mask=inside, other=0.0)
        before = tl.load(previous + lane * previous_row + at, mask=inside, other=0.0)
        sizes += tl.abs(now)
        squares += now * now
        products += now * before
    tl.store(partial + program * 3, tl.sum(sizes, 0))
    tl.store(partial + program * 3 + 1, tl.sum(squares, 0))
    tl.store(partial + program * 3 + 2, tl.sum(products, 0))


@triton.jit
def _sum_lanes(partial, out, chunks, out_row, block: tl.constexpr):
    lane = tl.program_id(0).to(tl.int64)
    sizes = tl.zeros((block,), tl.float32)
    squares = tl.zeros((block,), tl.float32)
    products = tl.zeros((block,), tl.float32)
    for start in range(0, chunks, block):
        at = start + tl.arange(0, block)
        inside = at < chunks
        here = partial + (lane * chunks + at) * 3
        sizes += tl.load(here, mask=inside, other=0.0)
        squares += tl.load(here + 1, mask=inside, other=0.0)
        products += tl.load(here + 2, mask=inside, other=0.0)
    tl.store(out + lane * out_row, tl.sum(sizes, 0))
    tl.store(out + lane * out_row + 1, tl.sqrt(tl.sum(squares, 0)))
    tl.store(out + lane * out_row + 2, tl.sum(products, 0))


# An operator of its own, so that whatever traces or compiles a step sees one opaque call.
@torch.library.custom_op("trials::lane_signals", mutates_args=("out",))
def _launch(grads: Tensor, previous: Tensor, out: Tensor) -> None:
    lanes, width = grads.shape
    chunks = triton.cdiv(width, _CHUNK)
    partial = torch.empty(lanes, chunks, 3, device=grads.device)
    first: Any = _sum_chunks  # Triton's types do not know constants
    second: Any = _sum_lanes
    with torch.cuda.device_of(grads):
        if grads.numel():
            first[(lanes * chunks,)](
                *(grads, previous, partial, width, chunks, grads.stride(0), previous.stride(0)),
                chunk=_CHUNK,
                block=_BLOCK,
                **EXACT,
            )
        if lanes:
            second[(lanes,)](partial, out, chunks, out.stride(0), block=_BLOCK, **EXACT)


def signals(
    grads: Tensor,  # (K, P) float32
    previous: Tensor,  # (K, P) float32
    out: Tensor,  # (K, 3) float32, written
) -> None:
    """Write l1 norm, l2 norm and product of each lane; a drop-in for `reference.signals`.

    Raises:
        ValueError: a tensor of another shape, dtype or layout.
    """
    lanes, width = grads.shape
    refuse_misfit("grads", grads, (lanes, width), torch.float32)
    refuse_misfit("previous", previous, (lanes, width), torch.float32)
    refuse_misfit("out", out, (lanes, 3), torch.float32)
    _launch(grads, previous, out)
