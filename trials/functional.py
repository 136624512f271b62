"""Functions of torch that would fail under `vmap`, or not be the function of each lane, in a form that is.

- Dropout inside a function, and in fused attention, draws from torch's generator, whose stream cannot follow
  a row: here it draws from the lane's own.
- `embedding` with a padding index: `vmap` joins the tables of all lanes into one, in which the index is that
  of the first lane alone, so that the others would train their padding.
- Fused attention on a CPU has no batched form: `vmap` would call it lane by lane.
- Group normalisation refuses images that lie channels last in memory.
- Batch normalisation on a CUDA device asks how images lie in memory, which a mapped tensor cannot say, and
  has no mapped backward form for bfloat16 images with statistics in float32.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

Draw = Callable[..., Tensor]  # shape -> uniform numbers in [0, 1)


def dropped(
    draw: Draw,
    input: Tensor,
    rate: float | Tensor,  # in [0, 1]; a tensor is ()
) -> Tensor:
    """The input with a share of its entries set to 0 and the others enlarged to keep the mean."""
    if isinstance(rate, float | int) and rate >= 1.0:
        return input * 0.0
    kept = draw(*input.shape) >= rate
    return torch.where(kept, input / (1.0 - rate), torch.zeros((), dtype=input.dtype, device=input.device))


# Each returns `NotImplemented` where torch's own function is as good.


def _is_off(rate: float | Tensor) -> bool:
    # The value of a tensor is the lane's affair: it cannot decide what is computed.
    return not isinstance(rate, Tensor) and rate == 0.0


def _dropout(
    draw: Draw, input: Tensor, p: float | Tensor = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    if not training or _is_off(p):
        return NotImplemented
    result = dropped(draw, input, p)
    return input.copy_(result) if inplace else result


def _embedding(
    draw: Draw, input: Tensor, weight: Tensor, padding_idx: int | None = None, *rest: Any, **named: Any
) -> Tensor:
    if padding_idx is None:
        return NotImplemented
    found = F.embedding(input, weight, None, *rest, **named)
    is_padding = input == padding_idx % weight.shape[0]
    return torch.where(is_padding[..., None], found.detach(), found)


def _attention(
    draw: Draw,
    query: Tensor,  # (…, heads, T, d)
    key: Tensor,  # (…, heads, S, d)
    value: Tensor,  # (…, heads, S, v)
    attn_mask: Tensor | None = None,  # (…, T, S), bool: True is attended to; or floats that are added
    dropout_p: float | Tensor = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    if _is_off(dropout_p) and query.device.type != "cpu":
        return NotImplemented
    if enable_gqa:
        key, value = (one.repeat_interleave(query.shape[-3] // one.shape[-3], -3) for one in (key, value))
    scores = query @ key.transpose(-1, -2) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is None:
        shares = scores.softmax(-1)
    elif attn_mask.dtype == torch.bool:
        # Not -inf: where nothing is attended to, the shares are 0, as in torch, and so are their gradients.
        lowest = torch.finfo(scores.dtype).min
        shares = scores.masked_fill(~attn_mask, lowest).softmax(-1) * attn_mask
    else:
        shares = (scores + attn_mask).softmax(-1)
    return (shares if _is_off(dropout_p) else dropped(draw, shares, dropout_p)) @ value


def _group_norm(draw: Draw, input: Tensor, *rest: Any, **named: Any) -> Tensor:
    return F.group_norm(input.contiguous(), *rest, **named)


def _batch_norm(
    draw: Draw,
    input: Tensor,  # (B, C, …)
    running_mean: Tensor | None,  # (C,), changed in place while training, as is the next
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if input.device.type == "cpu" and input.dtype == torch.float32:
        return NotImplemented
    values = input.to(torch.float32)
    if training or running_mean is None or running_var is None:
        over = [0, *range(2, input.dim())]
        variance, mean = torch.var_mean(values, over, correction=0)
        if running_mean is not None and running_var is not None:
            count = values.numel() // values.shape[1]
            unbiased = variance.detach() * (count / max(1, count - 1))
            running_mean.mul_(1 - momentum).add_(momentum * mean.detach())
            running_var.mul_(1 - momentum).add_(momentum * unbiased)
    else:
        mean, variance = running_mean, running_var
    scale = torch.rsqrt(variance + eps)
    shape = (1, -1, *[1] * (input.dim() - 2))
    found = (values - mean.view(shape)) * (scale if weight is None else scale * weight).view(shape)
    return (found if bias is None else found + bias.view(shape)).to(input.dtype)


_REPLACED: dict[Any, Callable[..., Tensor]] = {
    F.dropout: _dropout,
    torch.dropout: _dropout,
    F.embedding: _embedding,
    F.scaled_dot_product_attention: _attention,
    F.group_norm: _group_norm,
    F.batch_norm: _batch_norm,
}


class InLanes(TorchFunctionMode):
    """While active, these functions are the function of each lane; what is random comes from `draw`."""

    def __init__(self, draw: Draw) -> None:
        super().__init__()
        self._draw = draw
        self.has_replaced = False

    def __torch_function__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Replace the few; leave everything else alone."""
        keywords = kwargs or {}
        replacement = _REPLACED.get(func)
        if replacement is not None:
            result = replacement(self._draw, *args, **keywords)
            if result is not NotImplemented:
                self.has_replaced = True
                return result
        return func(*args, **keywords)


class Functions:
    """Whether a program needs functions replaced: found out by its first step, so that others pay nothing.

    Watching every call costs 0.1 to 0.5 ms of an uncompiled step, 5 to 15 % of a small model's; a compiled
    one pays nothing either way.
    """

    def __init__(self) -> None:
        self.are_replaced = True

    @contextmanager
    def in_lanes(self, draw: Draw) -> Iterator[None]:
        """Inside, functions are those of each lane, and libraries that ask hear that they are being compiled.

        They then decide nothing by the value of a tensor, which has no single value here: transformers looks
        into a mask to see whether it hides anything, unless `torch.compiler.is_compiling()`.
        """
        before = torch.compiler._is_compiling_flag
        torch.compiler._is_compiling_flag = True
        try:
            if self.are_replaced:
                with InLanes(draw) as mode:
                    yield
                self.are_replaced = mode.has_replaced
            else:
                yield
        finally:
            torch.compiler._is_compiling_flag = before
