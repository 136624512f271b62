"""What an operation is, and where its random numbers come from."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trials.noise import mix
from trials.seeding import key

_MASK = 0xFFFFFFFF


class Draws:
    """Random numbers of N examples: a function of (seed, names, example number, call, position) alone.

    Integers are hashed, as in `trials.noise`, so the numbers are those of the example wherever it lies: in
    any chunk, beside any others, on any machine and device.
    """

    def __init__(self, seed: int, *names: int | str, examples: Tensor) -> None:
        """`names` tell streams of one seed apart; `examples` (N,) int64 are the examples' numbers."""
        self.device, self._calls = examples.device, 0
        stream = torch.tensor(key(seed, *names) & _MASK, device=self.device)
        # One-to-one in the example's number: no two examples below 2**32 share a key.
        self._keys = mix(mix(stream) ^ mix(examples & _MASK))
        self._common = mix(stream ^ 0x5BD1E995)[None]

    def _bits(self, keys: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(N,) keys -> (N, *shape) int32, every value as often; each call has its own stream."""
        self._calls += 1
        calls = mix(keys ^ ((self._calls * 0x9E3779B9) & _MASK))
        positions = mix(torch.arange(math.prod(shape), device=self.device))
        return mix_(_narrow(calls)[:, None] ^ _narrow(positions)).reshape(len(keys), *shape)

    def uniform(self, *shape: int) -> Tensor:
        """(N, *shape) float32, uniform in [0, 1)."""
        return _fraction(self._bits(self._keys, shape))

    def between(self, low: float, high: float, *shape: int) -> Tensor:
        """(N, *shape) float32, uniform in [low, high)."""
        return self.uniform(*shape) * (high - low) + low

    def tails(self, low: tuple[float, float], high: tuple[float, float], *shape: int) -> Tensor:
        """(N, *shape) float32, uniform in one of two ranges, either as often as the other."""
        is_high = self.uniform(*shape) < 0.5
        return torch.where(is_high, self.between(*high, *shape), self.between(*low, *shape))

    def sign(self, *shape: int) -> Tensor:
        """(N, *shape) float32, -1 or 1."""
        return (self._bits(self._keys, shape) >> 31).to(torch.float32) * 2.0 + 1.0

    def choice(self, count: int, *shape: int) -> Tensor:
        """(N, *shape) int64, uniform in [0, count)."""
        return ((self._bits(self._keys, shape).to(torch.int64) & _MASK) * count) >> 32

    def normal(self, *shape: int) -> Tensor:
        """(N, *shape) float32, standard normal (G. E. P. Box, M. E. Muller, 1958)."""
        size = math.prod(shape)
        pairs = self._bits(self._keys, (2, (size + 1) // 2)).to(torch.float64)
        # In double precision, so that libraries whose last digits differ agree once rounded.
        radius = (((pairs[:, 0] + 0.5) * 2.0**-32 + 0.5).log() * -2.0).sqrt()
        angle = pairs[:, 1] * (math.tau * 2.0**-32)
        both = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)[:, :size]
        return both.to(torch.float32).reshape(-1, *shape)

    def common(self, *shape: int) -> Tensor:
        """(*shape) float32 in [0, 1), the same for every example of the copy."""
        return _fraction(self._bits(self._common, shape))[0]


def _fraction(bits: Tensor) -> Tensor:
    return ((bits >> 8) & 0xFFFFFF).to(torch.float32).mul_(2.0**-24)


def _narrow(value: Tensor) -> Tensor:
    """The low 32 bits of int64, as int32."""
    return torch.where(value >= 2**31, value - 2**32, value).to(torch.int32)


def mix_(value: Tensor) -> Tensor:
    """`trials.noise.mix` of int32, in place: a third of the time, as there are two bits of work for four.

    Shifts of negative numbers bring in ones, which are masked; products wrap as they do there.
    """
    value ^= (value >> 16) & 0xFFFF
    value *= 0x7FEB352D
    value ^= (value >> 15) & 0x1FFFF
    value *= 0x846CA68B - 2**32
    value ^= (value >> 16) & 0xFFFF
    return value


@dataclass(frozen=True, slots=True)
class Operation:
    """One way to corrupt, strongly: magnitudes are drawn from the tails, away from the identity.

    Laws: same shape, dtype, range; finite; what an example becomes depends on it and its draws alone.
    """

    name: str
    apply: Callable[[Tensor, Draws], Tensor]  # (N, …), and draws of as many examples -> (N, …)


def each(values: Tensor) -> Tensor:
    """(N,) -> (N, 1, 1, 1): a number for each image."""
    return values[:, None, None, None]


def unit(images: Tensor) -> Tensor:
    """The images with what left [0, 1] cut off."""
    return images.clamp(0.0, 1.0)


def blend(one: Tensor, other: Tensor, share: Tensor | float) -> Tensor:
    """`one`, a `share` of it replaced by `other`. Not `torch.lerp`, which may round once or twice."""
    return one + share * (other - one)


def chosen(mask: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """`one` where the mask (bool), else `other`; finite floats.

    Exact, as shares of 0 and 1 are, and on a CPU six times as fast as `torch.where` of a mask without order.
    """
    return torch.lerp(other, one, mask.to(one.dtype))


def side(images: Tensor) -> int:
    """The shorter side in pixels: what magnitudes in pixels are scaled by."""
    return min(images.shape[-2:])
