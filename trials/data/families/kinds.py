"""How a task's part is to be read: as images, as a table, or as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

_LEAST_SIDE = 4  # pixels; below it there is nothing to look at


class Kind(Protocol):
    """What a part holds. Operations work on its *values*, of one form for each kind."""

    name: ClassVar[str]  # the kind's key in `table.FAMILIES`

    def examples(self, part: Tensor) -> Tensor:
        """(N, …) view of the part, one example a row.

        Raises:
            ValueError: the part is not what this says it is.
        """
        ...

    def read(self, part: Tensor) -> Tensor:
        """Rows of `examples` -> values that operations take."""
        ...

    def write(self, values: Tensor, part: Tensor) -> Tensor:
        """Values -> what has the dtype and the range of the rows that were read."""
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """Images (N, H, W), (N, C, H, W) or (K, B, C, H, W): whole numbers from 0 to `high`, or floats in [0, 1].

    Values: float32 (N, C, H, W) in [0, 1]. A part of five axes is read as K*B images, numbered in order.
    """

    high: int = 255
    name: ClassVar[str] = "image"

    def __post_init__(self) -> None:
        if self.high < 1:
            raise ValueError(f"high={self.high} must be at least 1: it is the value of white")

    def examples(self, part: Tensor) -> Tensor:
        """(N, C, H, W) view, checked."""
        if not 3 <= part.dim() <= 5:
            raise ValueError(
                f"images have shape {tuple(part.shape)}: (N, H, W), (N, C, H, W) or (K, B, C, H, W) is right"
            )
        if min(part.shape[-2:]) < _LEAST_SIDE:
            raise ValueError(
                f"images of shape {tuple(part.shape)} are under {_LEAST_SIDE} pixels high or wide"
            )
        if part.dtype == torch.bool or part.is_complex():
            raise ValueError(
                f"images are {part.dtype}: whole numbers 0..{self.high} or floats in [0, 1] are right"
            )
        if part.numel():
            low, high = (float(end) for end in part.aminmax())
            most = 1.0 if part.is_floating_point() else float(self.high)
            # Written so that NaN is refused too.
            if not (low >= 0.0 and high <= most):
                right = (
                    "floats in [0, 1]"
                    if part.is_floating_point()
                    else f"0..{self.high}, by Image(high={self.high})"
                )
                raise ValueError(f"images of {part.dtype} lie in [{low:g}, {high:g}], and not in {right}")
        return part[:, None] if part.dim() == 3 else part.reshape(-1, *part.shape[-3:])

    def read(self, part: Tensor) -> Tensor:
        """Float32 in [0, 1]."""
        values = part.to(torch.float32)
        return values if part.is_floating_point() else values / self.high

    def write(self, values: Tensor, part: Tensor) -> Tensor:
        """Of the part's dtype; whole numbers are rounded."""
        return (values if part.is_floating_point() else (values * self.high).round()).to(part.dtype)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows (N, F) of float columns, standardised unless `center` and `scale` say how to.

    Values: float32 (N, F), standardised. A column of scale 0 is left alone: a code, or a constant.
    """

    scale: Sequence[float] | None = None
    center: Sequence[float] | None = None
    name: ClassVar[str] = "table"

    def examples(self, part: Tensor) -> Tensor:
        """The part itself, checked."""
        if part.dim() != 2 or not part.is_floating_point():
            raise ValueError(
                f"a table has shape {tuple(part.shape)}, dtype {part.dtype}: (N, F) floats are right"
            )
        return part

    def read(self, part: Tensor) -> Tensor:
        """Float32 standardised."""
        return part.to(torch.float32)

    def write(self, values: Tensor, part: Tensor) -> Tensor:
        """Of the part's dtype, in its units."""
        return values.to(part.dtype)
