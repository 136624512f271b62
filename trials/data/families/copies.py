"""Static copies: every example of a part through one strong operation of a family."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation
from trials.data.families.kinds import Image, Kind, Table, Text
from trials.data.families.table import FAMILIES
from trials.names import hint

__all__ = ["Image", "Kind", "Table", "Text", "copy", "operations_of"]

# Numbers in a chunk: on a CPU what stays in its caches, on a device what keeps it busy.
_CPU_NUMBERS, _DEVICE_NUMBERS = 2**16, 2**24


def copy(
    kind: Kind,
    family: str,
    part: Tensor,  # (N, …)
    seed: int,
    draw: int = 0,
    start: int = 0,
    chunk: int | None = None,
) -> Tensor:  # of the part's shape, dtype and range
    """The part, each example changed by one operation of the family, drawn with its magnitudes.

    A function of (seed, family, example number, draw) and the example: examples are numbered from `start`,
    so a part cut into pieces gives the pieces of the copy. `chunk`: how many examples at a time, which
    changes time and memory only.

    Raises:
        ValueError: no such family of this kind, or the part is not what `kind` says it is.
    """
    operations = operations_of(kind.name, family)
    rows = kind.examples(part)
    numbers = torch.arange(start, start + len(rows), device=part.device)
    chosen = Draws(seed, "families", kind.name, family, draw, examples=numbers).choice(len(operations))
    chunk = chunk or _fitting(rows)
    copied = torch.empty_like(rows)
    for place, operation in enumerate(operations):
        if not bool((chosen == place).any()):
            continue
        for members in (chosen == place).nonzero()[:, 0].split(chunk):
            taken = rows[members]
            draws = Draws(
                seed, "families", kind.name, family, draw, operation.name, examples=numbers[members]
            )
            copied[members] = kind.write(operation.apply(kind.read(taken), draws), taken)
    return copied.reshape(part.shape)


def operations_of(kind: str, family: str) -> tuple[Operation, ...]:
    """The operations of a family.

    Raises:
        ValueError: no such family of this kind.
    """
    families = FAMILIES[kind]
    if family not in families:
        raise ValueError(f"unknown family {family!r} of {kind} shifts{hint(family, families)}")
    return families[family]


def _fitting(rows: Tensor) -> int:
    """How many examples make a chunk."""
    numbers = _DEVICE_NUMBERS if rows.device.type != "cpu" else _CPU_NUMBERS
    return max(1, numbers // max(1, rows[:1].numel()))
