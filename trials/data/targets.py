"""Target domains: data from elsewhere that no choice may depend on, read once, by the report.

What a target's labels say must not reach the search: a target is checked when a study begins, by names,
shapes and types alone, and sealed until selection is over.
"""

import hashlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from trials.data.stream import Form, Stream, forms
from trials.names import load_object
from trials.task import Batch, Splits, Task, attribute

_SHARED = 0.5  # of a target's examples that lie in a split: from there on it is that split


@dataclass
class Target:
    """A batch that can be read once.

    >>> target = Target("printed", {"x": torch.zeros(3)})
    >>> target.examples, len(target.read()["x"])
    (3, 3)

    Raises:
        RuntimeError: `read` is called again.
    """

    name: str
    _batch: Batch | None = field(repr=False)
    digest: str = field(init=False)
    examples: int = field(init=False)

    def __post_init__(self) -> None:
        assert self._batch is not None
        self.digest, self.examples = digest(self._batch), len(next(iter(self._batch.values())))

    def read(self) -> Batch:
        """The batch, the first time; what it tells must then be written down."""
        if self._batch is None:
            raise RuntimeError(f"target {self.name!r} was read before: a target is read once, by the report")
        batch, self._batch = self._batch, None
        return batch


def digest(batch: Batch) -> str:
    """16 hexadecimal digits of names, shapes, types and contents; the same on every machine.

    >>> digest({"x": torch.arange(3)}) == digest({"x": torch.arange(3)}) != digest({"x": torch.zeros(3)})
    True
    """
    found = hashlib.blake2b(digest_size=8)
    for name, part in sorted(batch.items()):
        found.update(f"{name} {tuple(part.shape)} {part.dtype}".encode())
        found.update(_bytes(part))
    return found.hexdigest()


def _bytes(part: Tensor) -> bytes:
    return part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def load(references: Mapping[str, str], task: Task, splits: Splits, base: Path) -> dict[str, Target]:
    """The targets of a study by name, sealed; those that the task brings along where it names none.

    A reference is `module:function` or `path/to/file.py:function`, called without arguments for a batch, or
    `path/to/file.npz` with an array for each of the task's parts.

    Raises:
        ValueError: one is missing, not of the form of the task's data, or data that the study chooses by.
        TypeError: a function gave something else than named tensors.
    """
    makers: dict[str, Callable[[], Any]] = {
        name: _maker(name, reference, base) for name, reference in references.items()
    }
    found: dict[str, Target] = {}
    for name, make in (makers or attribute(task, "targets")).items():
        batch = _checked(name, _made(name, make), forms(splits.train))
        _refuse_known(name, batch, splits)
        found[name] = Target(name, batch)
    return found


def _maker(name: str, reference: str, base: Path) -> Callable[[], Any]:
    if ":" in reference:
        try:
            made = load_object(reference, base)
        except ValueError as error:
            raise ValueError(f"target {name!r}: {error}") from error
        if not callable(made):
            raise ValueError(
                f"target {name!r}: {reference!r} is no function; one that returns a batch is wanted"
            )
        return made
    path = Path(reference) if Path(reference).is_absolute() else base / reference
    if path.suffix != ".npz" or not path.is_file():
        raise ValueError(
            f"target {name!r}: {reference!r} is neither a file .npz that exists nor 'module:function'"
        )
    return lambda: _arrays(path)


def _made(name: str, make: Callable[[], Any]) -> Any:
    """What a target's function returns; what is wrong in it or its file names the target."""
    try:
        return make()
    except Exception as error:  # the user's code: as an error of the target, with its own place
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        text = str(error).strip() or type(error).__name__
        raise ValueError(f"target {name!r}: {kind}{text}").with_traceback(error.__traceback__) from error


def _arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a file as tensors.

    Raises:
        ValueError: it is damaged, no such archive, or holds what is no number.
    """
    found: dict[str, Tensor] = {}
    part = ""
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            for part in file.files:
                array = file[part]
                found[part] = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    # Everything that damaged archives were seen to raise.
    except (OSError, EOFError, ValueError, TypeError, BadZipFile, zlib.error) as error:
        place = f"{path.name}, array {part!r}," if part else str(path.name)
        raise ValueError(
            f"{place} cannot be read ({type(error).__name__}): an archive of arrays of numbers is wanted, "
            "as numpy.savez writes it"
        ) from error
    return found


def _checked(name: str, batch: Any, wanted: Mapping[str, Form]) -> Batch:
    """The batch with the types of the task's parts, where numbers stay what they are."""
    if not isinstance(batch, Mapping) or not all(isinstance(part, Tensor) for part in batch.values()):
        raise TypeError(f"target {name!r} is {type(batch).__name__}; a mapping of names to tensors is wanted")
    found = {part: _cast(batch[part], wanted[part].dtype) for part in wanted if part in batch}
    sizes = {len(part) if part.dim() else 0 for part in batch.values()}
    if found.keys() != batch.keys() or {part: forms(found)[part] for part in found} != dict(wanted):
        raise ValueError(
            f"target {name!r} differs from the task's data in names, shapes or types: {_form_words(batch)}; "
            f"wanted: {_form_words(wanted)}"
        )
    if len(sizes) != 1 or sizes == {0}:
        raise ValueError(
            f"target {name!r} has parts of {sorted(sizes)} examples; all alike and at least 1 are wanted"
        )
    return found


def _cast(part: Tensor, dtype: torch.dtype) -> Tensor:
    if part.dtype == dtype or part.is_floating_point() != dtype.is_floating_point:
        return part
    cast = part.to(dtype)
    return cast if dtype.is_floating_point or bool((cast.to(part.dtype) == part).all()) else part


def _form_words(parts: Mapping[str, Any]) -> str:
    shapes = {
        name: (tuple(part.shape[1:]) if isinstance(part, Tensor) else part.shape, part.dtype)
        for name, part in parts.items()
    }
    return ", ".join(
        f"{name} (N, {', '.join(map(str, shape))}) {dtype}" for name, (shape, dtype) in shapes.items()
    )


def _refuse_known(name: str, batch: Batch, splits: Splits) -> None:
    """A target that the study trains on or chooses by foretells nothing."""
    own = _examples(batch)
    for place in ("val", "tune", "train"):
        split = getattr(splits, place)
        if isinstance(split, Stream):
            continue
        known = set(_examples(split))
        shared = sum(one in known for one in own)
        if shared >= _SHARED * len(own):
            words = {"val": "validation", "tune": "tuning", "train": "training"}[place]
            raise ValueError(
                f"target {name!r} is {words} data: {shared} of its {len(own)} examples lie in that split; "
                "a target must be data that nothing is chosen by"
            )


def _examples(batch: Batch) -> list[int]:
    """What tells the examples apart: a hash of all their parts."""
    parts = [part.detach().cpu().contiguous() for _, part in sorted(batch.items())]
    count = min(map(len, parts))
    rows = [part[:count].reshape(count, -1).contiguous().view(torch.uint8).numpy() for part in parts]
    return [hash(one.tobytes()) for one in np.concatenate(rows, 1)]
