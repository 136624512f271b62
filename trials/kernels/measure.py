"""Times of every kernel, of its reference, and of what torch.compile makes of that.

A call is captured once as a device graph and replayed, as a training step is, so what launching from Python
costs counts for none of the three.
"""

import statistics
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from trials.kernels import reference
from trials.kernels.verdicts import Row, size_class
from trials.optim import OPTIMIZERS, Optimizer

# (K, P): many small networks; many of the size of a convnet; few of the size of a ResNet-18. Odd counts of
# weights on purpose: nothing makes a model's weights a multiple of anything.
ROWS: tuple[tuple[int, int], ...] = ((64, 4_810), (64, 77_002), (4, 11_173_962))
# (K, B, C, H, W)
IMAGES: tuple[tuple[int, int, int, int, int], ...] = (
    (16, 64, 1, 8, 8),
    (8, 256, 3, 32, 32),
    (64, 256, 3, 32, 32),
)
_PADDING = 4
_REPETITIONS = 30


def bytes_moved(optimizer: Optimizer, lanes: int, weights: int) -> int:
    """Bytes that one update reads and writes: weights and state both, gradients read only.

    >>> from trials.optim import adamw, sgd
    >>> bytes_moved(sgd, 1, 1), bytes_moved(adamw, 2, 10)
    (20, 560)
    """
    return 4 * lanes * weights * (2 + 1 + 2 * optimizer.slots)


@dataclass(frozen=True)
class _Case:
    kernel: str
    shape: tuple[int, ...]
    moved_bytes: int
    plain: Callable[..., None]
    fused: Callable[..., None]
    arguments: tuple[Any, ...]


def _update_cases(device: torch.device, lanes: int, width: int) -> Iterator[_Case]:
    from trials.kernels.update import update

    for optimizer in OPTIMIZERS.values():

        def plain(*arguments: Any, optimizer: Optimizer = optimizer) -> None:
            reference.update(optimizer, *arguments)

        column = partial(torch.full, (lanes, 1), device=device)
        hyper = {name: column(value) for name, value in optimizer.defaults.items()}
        arguments = (
            torch.randn(lanes, width, device=device),
            torch.randn(lanes, width, device=device),
            torch.zeros(lanes, optimizer.slots, width, device=device),
            hyper["lr"],
            column(100, dtype=torch.int64),
            hyper,
            column(0.5),
        )
        yield _Case(
            f"update/{optimizer.name}",
            (lanes, width),
            bytes_moved(optimizer, lanes, width),
            plain,
            partial(update, optimizer),
            arguments,
        )


def _signals_case(device: torch.device, lanes: int, width: int) -> _Case:
    from trials.kernels.signals import signals

    grads, previous = (torch.randn(lanes, width, device=device) for _ in range(2))
    arguments = (grads, previous, torch.empty(lanes, 3, device=device))
    return _Case("signals", (lanes, width), 8 * lanes * width, reference.signals, signals, arguments)


def _augment_case(device: torch.device, shape: tuple[int, int, int, int, int]) -> _Case:
    from trials.kernels.augment import augment

    lanes, batch, channels, height, width = shape
    examples, count = (lanes, batch), 4 * batch
    out = torch.empty(shape, device=device)
    arguments = (
        torch.randint(256, (count, channels, height, width), dtype=torch.uint8, device=device),
        torch.randint(count, examples, device=device),
        torch.randint(2 * _PADDING + 1, (*examples, 2), device=device),
        torch.rand(examples, device=device) < 0.5,
        torch.full((channels,), 0.5, device=device),
        torch.full((channels,), 0.25, device=device),
        _PADDING,
        out,
    )
    # A pixel is a byte read and a float written.
    return _Case("augment", shape, 5 * out.numel(), reference.augment, augment, arguments)


def _cases(
    device: torch.device,
    rows: tuple[tuple[int, int], ...],
    images: tuple[tuple[int, int, int, int, int], ...],
) -> Iterator[_Case]:
    for lanes, width in rows:
        yield from _update_cases(device, lanes, width)
        yield _signals_case(device, lanes, width)
    for shape in images:
        yield _augment_case(device, shape)


def _replayable(run: Callable[[], None]) -> Callable[[], None]:
    """The call captured as a device graph."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def seconds(run: Callable[[], None], device: torch.device, repetitions: int = _REPETITIONS) -> float:
    """Median time of a call: of device events around replays on a CUDA device, else of the host's clock."""
    times: list[float] = []
    if device.type != "cuda":
        run()
        for _ in range(repetitions):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        return statistics.median(times)
    with torch.cuda.device(device):
        replay = _replayable(run)
        replay()
        for _ in range(repetitions):
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            replay()
            after.record()
            after.synchronize()
            times.append(before.elapsed_time(after) / 1000)
    return statistics.median(times)


def compare(
    device: torch.device,
    rows: tuple[tuple[int, int], ...] = ROWS,
    images: tuple[tuple[int, int, int, int, int], ...] = IMAGES,
    only: Collection[str] = (),
) -> list[Row]:
    """Every kernel at every shape, or only the kernels named, each in its three variants.

    `verdicts.write` makes the verdicts known to `dispatch`. On a CPU the kernels run in Triton's interpreter
    (`TRITON_INTERPRET=1`), where their times mean nothing.
    """
    found: list[Row] = []
    with torch.no_grad():
        for case in _cases(device, rows, images):
            if only and case.kernel not in only:
                continue
            # A compiler that meets one function in many shapes makes one slow form for all of them.
            torch.compiler.reset()
            alone = torch.compile(case.plain, dynamic=False)
            variants = (case.plain, alone, case.fused)
            times = [seconds(partial(variant, *case.arguments), device) for variant in variants]
            elements = case.arguments[-1 if case.kernel == "augment" else 0].numel()
            found.append(Row(case.kernel, size_class(elements), case.shape, case.moved_bytes, *times))
    return found
