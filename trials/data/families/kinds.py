"""How a task's part is to be read: as images, as a table, or as text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from trials.data.families.letters import PADDING, changed_case

_LEAST_SIDE = 4  # pixels; below it there is nothing to look at
_FAR = (
    3.0  # deviations: a standardised column has neither this mean nor this deviation, also in a small split
)
_PRIVATE = 0xF0000  # code points that Unicode gives to nobody


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
                right = "[0, 1]" if part.is_floating_point() else f"0..{self.high} of Image(high={self.high})"
                raise ValueError(
                    f"images of {part.dtype} have values {low:g} to {high:g}, not within {right}"
                )
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
    """Rows (N, F) of float columns, standardised unless `center` and `scale`, of each column, say how to.

    Values: float32 (N, F), standardised. A column of scale 0 is left alone: a code, or a constant.
    """

    scale: Sequence[float] | None = None
    center: Sequence[float] | None = None
    name: ClassVar[str] = "table"

    def __post_init__(self) -> None:
        for number, one in enumerate(self.scale or ()):
            if not 0.0 <= one < float("inf"):
                raise ValueError(f"scale[{number}]={one} must be at least 0, and finite")
        if self.center is not None and self.scale is None:
            raise ValueError("center without scale: give both, or neither for standardised columns")
        if self.center is not None and self.scale is not None and len(self.center) != len(self.scale):
            raise ValueError(f"center has {len(self.center)} columns, scale has {len(self.scale)}")

    def examples(self, part: Tensor) -> Tensor:
        """The part itself, checked."""
        if part.dim() != 2 or not part.is_floating_point():
            raise ValueError(
                f"a table has shape {tuple(part.shape)} and dtype {part.dtype}: (N, F) floats are right"
            )
        if not part.shape[1]:
            raise ValueError("a table has no columns")
        if not bool(part.isfinite().all()):
            row, column = (~part.isfinite()).nonzero()[0].tolist()
            raise ValueError(
                f"a table has {part[row, column].item()} in row {row}, column {column}: impute it first"
            )
        if self.scale is not None:
            if len(self.scale) != part.shape[1]:
                raise ValueError(f"scale has {len(self.scale)} columns, the table has {part.shape[1]}")
        elif len(part):
            self._refuse_without_scale(part)
        return part

    @staticmethod
    def _refuse_without_scale(part: Tensor) -> None:
        mean, deviation = part.mean(0), part.std(0, correction=0)
        strange = (mean.abs() > _FAR) | (deviation > _FAR)
        if bool(strange.any()):
            column = int(strange.nonzero()[0, 0])
            found = f"mean {float(mean[column]):g} and deviation {float(deviation[column]):g}"
            raise ValueError(
                f"column {column} has {found}, and no scale: standardise the columns, or say what they vary "
                "by, Table(scale=..., center=...)"
            )

    def _units(self, part: Tensor) -> tuple[Tensor, Tensor]:
        """(F,) scale and center in double precision."""
        scale = torch.tensor(tuple(self.scale or ()), dtype=torch.float64, device=part.device)
        if self.center is None:
            return scale, torch.zeros_like(scale)
        return scale, torch.tensor(tuple(self.center), dtype=torch.float64, device=part.device)

    def read(self, part: Tensor) -> Tensor:
        """Float32 standardised."""
        if self.scale is None:
            return part.to(torch.float32)
        scale, center = self._units(part)
        return ((part.to(torch.float64) - center) / torch.where(scale > 0, scale, torch.inf)).to(
            torch.float32
        )

    def write(self, values: Tensor, part: Tensor) -> Tensor:
        """Of the part's dtype, in its units."""
        if self.scale is None:
            return values.to(part.dtype)
        scale, center = self._units(part)
        found = (values.to(torch.float64) * scale + center).to(part.dtype)
        # What was not changed comes back to the last digit.
        return torch.where((scale == 0) | (values == self.read(part)), part, found)


@dataclass(frozen=True, slots=True)
class Text:
    """Texts (N, L) of whole numbers, each a place in `characters`; `padding` is the code behind the end.

    Values: int64 (N, L) code points, see `letters`. An entry of several characters is a word's part as it
    is. What a text is filled up with where it became shorter is the padding, or blanks where there is none.
    """

    characters: Sequence[str]
    padding: int | None = None
    name: ClassVar[str] = "text"

    def __post_init__(self) -> None:
        size = len(self.characters)
        if len(set(self.characters)) < size:
            twice = next(one for one in self.characters if list(self.characters).count(one) > 1)
            raise ValueError(f"characters have {twice!r} twice")
        if self.padding is not None and not 0 <= self.padding < size:
            raise ValueError(f"padding={self.padding} must be a code, 0 to {size - 1}")

    def examples(self, part: Tensor) -> Tensor:
        """The part itself, checked."""
        if part.dim() != 2 or part.is_floating_point() or part.is_complex() or part.dtype == torch.bool:
            raise ValueError(
                f"text has shape {tuple(part.shape)} and dtype {part.dtype}: (N, L) whole numbers are right"
            )
        if part.numel():
            low, high = (int(end) for end in part.aminmax())
            if low < 0 or high >= len(self.characters):
                raise ValueError(
                    f"text has codes {low}..{high}, characters are 0..{len(self.characters) - 1}"
                )
        return part

    def _points(self, device: torch.device) -> Tensor:
        """(size,) int64 the code point of every code; entries of several characters get private ones."""
        points = [
            PADDING if code == self.padding else ord(one) if len(one) == 1 else _PRIVATE + code
            for code, one in enumerate(self.characters)
        ]
        return torch.tensor(points, device=device)

    def read(self, part: Tensor) -> Tensor:
        """Int64 code points."""
        return self._points(part.device)[part.to(torch.int64)]

    def write(self, values: Tensor, part: Tensor) -> Tensor:
        """Codes of the part's dtype.

        A character that is not in the vocabulary is written in its other case, else as a blank, and where
        there is none, the text keeps what it had at this place.
        """
        points = self._points(part.device)
        known, code = points.sort()

        def looked_up(wanted: Tensor) -> tuple[Tensor, Tensor]:
            place = torch.searchsorted(known, wanted.contiguous()).clamp(max=len(known) - 1)
            return known[place] == wanted, code[place]

        found = part.to(torch.int64)
        blank = torch.full_like(values, ord(" "))
        for choice in (blank, changed_case(values, "swapcase"), values):
            is_known, codes = looked_up(choice)
            found = torch.where(is_known, codes, found)
        return found.to(part.dtype)
