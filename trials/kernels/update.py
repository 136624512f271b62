"""The whole update of K lanes in one pass over memory (Triton); the meaning is `reference.update`.

A program of the grid updates one block of one lane's weights. Each number is read once and written once,
which is all that an update costs on a GPU; the per-lane numbers are computed again in every program, since
a kernel of their own would cost more than they do.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from trials.kernels.launch import EXACT, refuse_misfit
from trials.optim.base import Optimizer

_BLOCK = 1024  # weights of one program

# optimizer -> the hyperparameters its rule reads, in the order of the kernel's arguments
_READS = {
    "sgd": ("weight_decay", "momentum"),
    "nesterov": ("weight_decay", "momentum"),
    "adamw": ("weight_decay", "beta1", "beta2", "eps"),
    "lion": ("weight_decay", "beta1", "beta2"),
}
_MOST = 4


@triton.jit
def _power(base, count):
    # In double precision, rounded once: 1 - beta2^t loses four digits at the first steps, so the power must
    # be as good as a float can hold. A beta of 0 goes through log(0): exp(-inf) is 0.
    return tl.exp(count.to(tl.float64) * tl.log(base.to(tl.float64))).to(tl.float32)


@triton.jit
def _update(
    weights,
    grads,
    state,
    lr,
    step,
    scale,
    decay,
    beta1,  # the momentum of sgd and nesterov
    beta2,
    eps,
    width,
    blocks,
    weights_row,
    grads_row,
    state_row,
    state_slot,
    lr_row,
    step_row,
    scale_row,
    decay_row,
    beta1_row,
    beta2_row,
    eps_row,
    rule: tl.constexpr,
    rate_per_weight: tl.constexpr,
    scaled: tl.constexpr,
    block: tl.constexpr,
):
    # 64-bit: K * P may pass 2^31.
    program = tl.program_id(0).to(tl.int64)
    lane = program // blocks
    at = (program % blocks) * block + tl.arange(0, block)
    inside = at < width

    weight = tl.load(weights + lane * weights_row + at, mask=inside)
    gradient = tl.load(grads + lane * grads_row + at, mask=inside)
    if scaled:
        gradient = gradient * tl.load(scale + lane * scale_row)
    first_at = state + lane * state_row + at
    first = tl.load(first_at, mask=inside)
    rates = lr + lane * lr_row
    rate = tl.load(rates + at, mask=inside) if rate_per_weight else tl.load(rates)
    shrink = tl.load(decay + lane * decay_row)
    keep = tl.load(beta1 + lane * beta1_row)

    if rule == "adamw":
        second_at = first_at + state_slot
        second = tl.load(second_at, mask=inside)
        keep2 = tl.load(beta2 + lane * beta2_row)
        count = tl.load(step + lane * step_row) + 1
        weight = weight * (1.0 - rate * shrink)
        first = first * keep + gradient * (1.0 - keep)
        second = second * keep2 + gradient * gradient * (1.0 - keep2)
        size = rate / (1.0 - _power(keep, count))
        root = tl.sqrt(second) / tl.sqrt(1.0 - _power(keep2, count))
        weight = weight - size * first / (root + tl.load(eps + lane * eps_row))
        tl.store(second_at, second, mask=inside)
    elif rule == "lion":
        keep2 = tl.load(beta2 + lane * beta2_row)
        blend = first * keep + gradient * (1.0 - keep)
        # The last case is zero or NaN, and passes either on.
        direction = tl.where(blend > 0.0, 1.0, tl.where(blend < 0.0, -1.0, blend))
        weight = weight * (1.0 - rate * shrink) - rate * direction
        first = first * keep2 + gradient * (1.0 - keep2)
    else:
        gradient = gradient + weight * shrink
        first = first * keep + gradient
        weight = weight - rate * (gradient + keep * first if rule == "nesterov" else first)
    tl.store(first_at, first, mask=inside)
    tl.store(weights + lane * weights_row + at, weight, mask=inside)


# An operator of its own, so that whatever traces or compiles a step sees one opaque call.
@torch.library.custom_op("trials::lane_update", mutates_args=("weights", "state"))
def _launch(
    rule: str,
    weights: Tensor,
    grads: Tensor,
    state: Tensor,
    lr: Tensor,
    step: Tensor,
    hyper: Sequence[Tensor],
    scale: Tensor | None,
) -> None:
    lanes, width = weights.shape
    if weights.numel() == 0:
        return
    blocks = triton.cdiv(width, _BLOCK)
    # Arguments that the rule does not read still need a pointer.
    columns = [*hyper, *[hyper[0]] * (_MOST - len(hyper))]
    factor = hyper[0] if scale is None else scale
    kernel: Any = _update  # Triton's types know neither constants nor options of the compiler
    with torch.cuda.device_of(weights):
        kernel[(lanes * blocks,)](
            *(weights, grads, state, lr, step, factor, *columns, width, blocks),
            *(weights.stride(0), grads.stride(0), state.stride(0), state.stride(1)),
            *(tensor.stride(0) for tensor in (lr, step, factor, *columns)),
            rule=rule,
            rate_per_weight=lr.shape[1] != 1,
            scaled=scale is not None,
            block=_BLOCK,
            **EXACT,
        )


def update(
    optimizer: Optimizer,
    weights: Tensor,  # (K, P) float32, changed in place
    grads: Tensor,  # (K, P) float32, left as it is
    state: Tensor,  # (K, slots, P) float32, changed in place
    lr: Tensor,  # (K, 1) or (K, P) float32
    step: Tensor,  # (K, 1) int64
    hyper: Mapping[str, Tensor],  # each (K, 1) float32
    scale: Tensor | None = None,  # (K, 1) float32
) -> None:
    """Update every lane in one pass; a drop-in for `reference.update`.

    Raises:
        ValueError: there is no rule for the optimizer, or a tensor of another shape, dtype or layout.
    """
    if optimizer.name not in _READS:
        raise ValueError(
            f"optimizer {optimizer.name!r} has no fused update; those that have: {', '.join(_READS)}"
        )
    lanes, width = weights.shape
    read = {name: hyper[name] for name in _READS[optimizer.name]}
    refuse_misfit("weights", weights, (lanes, width), torch.float32)
    refuse_misfit("grads", grads, (lanes, width), torch.float32)
    refuse_misfit("state", state, (lanes, optimizer.slots, width), torch.float32)
    refuse_misfit("lr", lr, (lanes, 1 if lr.shape[-1] == 1 else width), torch.float32)
    refuse_misfit("step", step, (lanes, 1), torch.int64)
    for name, column in read.items() if scale is None else (*read.items(), ("scale", scale)):
        refuse_misfit(name, column, (lanes, 1), torch.float32)
    _launch(optimizer.name, weights, grads, state, lr, step, list(read.values()), scale)
