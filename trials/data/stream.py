"""A split that does not fit on the device: read in the background, one order of batches for all lanes.

Which examples a batch holds depends on the split's seed and the step alone, so lanes that are at the same
step share one reading of it, and a trial still sees the same batches whoever its neighbours are.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trials.data.gate import generator
from trials.data.order import batches

_AHEAD_BYTES = 1 << 28  # of batches read ahead


@dataclass(frozen=True)
class Form:
    """Shape and type of one named part of an example."""

    shape: tuple[int, ...]
    dtype: torch.dtype


class Stream:
    """Examples of a map-style dataset, read by background threads.

    `dataset[i]` is one example: a mapping of names to tensors, arrays or numbers, of the same shapes for
    every i; `len(dataset)` is how many there are. `readers` threads read at once: decoders of images and
    files let other threads run meanwhile. For a dataset that is a list of torch's own, `collate` turns an
    example into a mapping.

    >>> stream = Stream([{"x": [float(n)]} for n in range(10)], readers=1)
    >>> stream.gather([3, 1])["x"].tolist()
    [[3.0], [1.0]]

    Raises:
        ValueError: the dataset is empty, or an example is not a mapping.
    """

    def __init__(
        self,
        dataset: Any,
        readers: int = 4,
        collate: Callable[[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        if readers < 1:
            raise ValueError(f"readers={readers} must be at least 1")
        self.dataset, self.readers, self._collate = dataset, readers, collate
        if not len(dataset):
            raise ValueError("the dataset of the stream is empty")
        self.forms = {name: Form(tuple(part.shape), part.dtype) for name, part in self._example(0).items()}
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}  # threads do not travel to another process

    def _example(self, index: int) -> dict[str, Tensor]:
        with generator.shared():
            found = self.dataset[index]
            if self._collate is not None:
                found = self._collate(found)
        if not isinstance(found, Mapping) or not found:
            raise ValueError(
                f"example {index} of the stream is {type(found).__name__}, a mapping of names to tensors is "
                "wanted: give Stream a `collate` that makes one"
            )
        return {str(name): torch.as_tensor(part) for name, part in found.items()}

    def gather(self, index: Sequence[int]) -> dict[str, Tensor]:
        """These examples stacked, each part (n, …), on the host.

        Raises:
            ValueError: an example whose parts differ in name, shape or type from the first example's.
        """
        examples = [self._example(int(one)) for one in index]
        for number, example in zip(index, examples, strict=True):
            found = {name: Form(tuple(part.shape), part.dtype) for name, part in example.items()}
            if found != self.forms:
                raise ValueError(
                    f"example {int(number)} of the stream differs from the first in names, shapes or dtypes: "
                    f"{found}, {self.forms}"
                )
        return {name: torch.stack([example[name] for example in examples]) for name in self.forms}

    def later(self, index: Sequence[int]) -> "Future[dict[str, Tensor]]":
        """`gather`, in the background."""
        if self._pool is None:
            # Made on first use: threads would not survive the fork that makes a worker.
            self._pool = ThreadPoolExecutor(self.readers, thread_name_prefix="stream")
        return self._pool.submit(self.gather, index)


class Reader:
    """The batches of the training split by step, read ahead of the lanes that will want them."""

    def __init__(self, stream: Stream, seed: int, batch_size: int) -> None:
        self.stream, self.seed, self.batch_size = stream, seed, batch_size
        self._read: dict[int, Future[dict[str, Tensor]]] = {}
        self.gathered = 0  # batches read so far
        sizes = [math.prod(form.shape) * form.dtype.itemsize for form in stream.forms.values()]
        self._batch_bytes = max(1, batch_size * sum(sizes))

    def _index(self, step: int) -> list[int]:
        return batches(self.seed, step, 1, self.batch_size, len(self.stream))[0].tolist()

    def _begin(self, step: int) -> None:
        if step not in self._read:
            self._read[step] = self.stream.later(self._index(step))
            self.gathered += 1

    def batch(self, step: int) -> dict[str, Tensor]:
        """The batch of a step, each part (B, …), on the host."""
        self._begin(step)
        try:
            return self._read[step].result()
        except BaseException:
            # Another trial may find the file that this one did not.
            del self._read[step]
            raise

    def expect(self, starts: Sequence[int], steps: int) -> None:
        """Read on for lanes that stand at these steps, and let go of what none of them will want soon."""
        # The nearest first, and no more than memory is set aside for.
        order = dict.fromkeys(start + ahead for ahead in range(steps) for start in sorted(set(starts)))
        wanted = list(order)[: max(1, _AHEAD_BYTES // self._batch_bytes)]
        for step in [step for step in self._read if step not in wanted]:
            self._read.pop(step).cancel()
        for step in wanted:
            self._begin(step)


def forms(split: "Mapping[str, Tensor] | Stream") -> Mapping[str, Form]:
    """Shape and type of each named part of the split's examples."""
    if isinstance(split, Stream):
        return split.forms
    return {name: Form(tuple(part.shape[1:]), part.dtype) for name, part in split.items()}


def chunks(
    split: "Mapping[str, Tensor] | Stream", size: int, device: torch.device
) -> Iterator[dict[str, Tensor]]:
    """The split in order, `size` examples at a time, on the device."""
    if not isinstance(split, Stream):
        count = len(next(iter(split.values())))
        for start in range(0, count, size):
            # Copies: what a metric changes in place must not be the data.
            yield {name: part[start : start + size].clone() for name, part in split.items()}
        return
    starts = range(0, len(split), size)
    following = split.later(range(min(size, len(split))))
    for start in starts:
        batch = following.result()
        if start + size < len(split):
            following = split.later(range(start + size, min(start + 2 * size, len(split))))
        yield {name: part.to(device, non_blocking=True) for name, part in batch.items()}
