"""Random numbers inside a compiled step: a function of (lane key, step, call, position), never of a
generator.

Dropout and augmentation of a trial must not depend on its lane, its neighbours, or the moment it was
admitted, and must rewind with the row. A counter-based hash gives that with integer arithmetic that
compiles.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from trials.functional import Functions, dropped

_MASK = 0xFFFFFFFF


def mix(value: Tensor) -> Tensor:
    """32-bit avalanche of non-negative int64 values below 2**32 ("lowbias32", C. Wellons, 2018)."""
    value = value ^ (value >> 16)
    value = (value * 0x7FEB352D) & _MASK
    value = value ^ (value >> 15)
    # The product exceeds 2**63 and wraps; its low 32 bits, all that is kept, are right all the same.
    value = (value * 0x846CA68B) & _MASK
    return value ^ (value >> 16)


def step_key(key: Tensor, step: Tensor) -> Tensor:
    """(…) int64 lane keys and steps -> (…) int64 key of this step."""
    return mix(mix(key & _MASK) ^ mix((step + 0x9E3779B9) & _MASK))


def drawn(key: Tensor, count: int) -> Tensor:
    """(K,) keys of a step -> (K, count) float32, uniform in [0, 1), for what precedes the forward pass.

    A stream beside those of `uniform`, which counts its calls from 1: this is call 0.
    """
    position = torch.arange(count, device=key.device, dtype=torch.int64)
    bits = mix((mix(position)[None, :] ^ mix(key)[:, None]) & _MASK)
    return (bits >> 8).to(torch.float32).mul(2.0**-24)


class ForeignNoiseError(RuntimeError):
    """Something in a step draws from torch's generator, whose stream cannot follow a row."""


class _Noise:
    def __init__(self, key: Tensor | None, hyper: Mapping[str, Tensor]) -> None:
        self.key, self.hyper, self.calls = key, hyper, 0


_current: ContextVar[_Noise | None] = ContextVar("noise", default=None)


@contextmanager
def noise(
    key: Tensor | None, hyper: Mapping[str, Tensor], functions: Functions | None = None
) -> Iterator[None]:
    """Inside, `uniform` draws from this key and so does all dropout, whose rates are found in `hyper`.

    `key` None: evaluation. `functions` remembers from step to step what had to be replaced.

    Raises:
        ForeignNoiseError: under `vmap`, something draws from torch's generator.
    """
    token = _current.set(_Noise(key, hyper))
    try:
        with (functions or Functions()).in_lanes(uniform):
            yield
    except RuntimeError as error:
        if "randomness error mode" not in str(error):
            raise
        raise ForeignNoiseError(
            "the model or the loss draws from torch's generator, whose randomness cannot follow a lane: draw "
            "with trials.noise.uniform, and drop with torch.nn.functional.dropout or trials.noise.Dropout"
        ) from error
    finally:
        _current.reset(token)


def uniform(*shape: int) -> Tensor:
    """Float32 tensor of this shape, uniform in [0, 1), of the running lane and step; each call has its own
    stream.

    Raises:
        RuntimeError: called outside a training step.
    """
    current = _current.get()
    if current is None or current.key is None:
        raise RuntimeError("uniform() draws from the stream of a training step: call it inside Task.loss")
    current.calls += 1
    position = torch.arange(math.prod(shape), device=current.key.device, dtype=torch.int64)
    call = mix(current.key ^ ((current.calls * 0x9E3779B9) & _MASK))
    bits = mix((mix(position & _MASK) ^ call) & _MASK)
    return (bits >> 8).to(torch.float32).mul(2.0**-24).reshape(shape)


def lane_value(name: str) -> Tensor:
    """() a float hyperparameter of the running lane, for what `Task.metrics` needs of them.

    Raises:
        RuntimeError: called outside a step and an evaluation.
        KeyError: there is none of that name.
    """
    current = _current.get()
    if current is None:
        raise RuntimeError(
            f"lane_value({name!r}) reads the running lane: call it inside Task.loss or metrics"
        )
    return current.hyper[name]


class Dropout(nn.Module):
    """Dropout from the lane's own stream; a rate given by name is a float hyperparameter, one per lane."""

    def __init__(self, rate: float | str) -> None:
        super().__init__()
        if not isinstance(rate, str) and not 0.0 <= rate < 1.0:
            raise ValueError(f"rate={rate} must be in [0, 1), or the name of a float hyperparameter")
        self.rate = rate

    @property
    def p(self) -> float | Tensor:
        """The rate under the name it has in `torch.nn.Dropout`, which attention layers ask for.

        Raises:
            ValueError: it is a float hyperparameter, and there is none of that name.
        """
        if not isinstance(self.rate, str):
            return self.rate
        current = _current.get()
        if current is None or self.rate not in current.hyper:
            raise ValueError(f"Dropout({self.rate!r}) needs a float hyperparameter of that name")
        return current.hyper[self.rate]

    def forward(self, input: Tensor) -> Tensor:
        """The input with entries dropped while training, unchanged in evaluation."""
        if not self.training or self.rate == 0.0:
            return input
        return dropped(uniform, input, self.p)


_OTHER_DROPOUTS = (nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def replace_dropout(model: nn.Module) -> nn.Module:
    """The model with every `nn.Dropout` replaced, in place: a generator's stream cannot follow a row.

    Raises:
        ValueError: another kind of dropout, which has no such form.
    """
    # Not named_children: that names a module used twice only once, and the second use would stay.
    for name, child in list(model._modules.items()):
        if child is None:
            continue
        if type(child) is nn.Dropout:
            setattr(model, name, Dropout(child.p) if child.p < 1.0 else child)
        elif isinstance(child, _OTHER_DROPOUTS) and child.p > 0:
            raise ValueError(
                f"{type(child).__name__} cannot follow a lane: use trials.noise.Dropout in its place"
            )
        elif isinstance(child, nn.MultiheadAttention) and child.dropout > 0:
            raise ValueError(
                f"{type(child).__name__} {name!r} has dropout={child.dropout} of its own, which cannot "
                "follow a lane: set it to 0, or attend with torch.nn.functional.scaled_dot_product_attention"
            )
        else:
            replace_dropout(child)
    return model
