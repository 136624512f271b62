"""Which variant of a kernel runs: the reference, what torch.compile makes of it, or the Triton kernel.

On a CPU always the reference, which the compiled step contains like any other torch code. On a CUDA device
the variant that was measured fastest there at that size, and the reference where nothing was measured:
`python -m tests.bench.gpu` measures. Choosing asks shapes and dtypes only, so the device is never waited for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, get_args

import torch
from torch import Tensor
from torch.fx._symbolic_trace import is_fx_symbolic_tracing

from trials.kernels import reference, verdicts
from trials.kernels.reference import LaneUpdate
from trials.kernels.verdicts import Row, Size, Variant, size_class
from trials.optim import OPTIMIZERS, Optimizer

Function = Callable[..., None]
_SIZES: tuple[Size, ...] = get_args(Size)


def kernel_names() -> tuple[str, ...]:
    """Every kernel; an optimizer's update is one of its own."""
    return (*(f"update/{name}" for name in OPTIMIZERS), "signals", "augment")


@dataclass(frozen=True)
class Choice:
    """The variant that runs, and why."""

    kernel: str
    size: Size
    variant: Variant
    reason: str

    def __str__(self) -> str:
        return f"{self.kernel}, {self.size}: {self.variant} ({self.reason})"


@cache
def _measured(device: torch.device) -> dict[tuple[str, Size], Row]:
    """Read once a process: a measurement made meanwhile counts from the next one on."""
    here = verdicts.machine(device)
    return {} if here is None else {(row.kernel, row.size): row for row in verdicts.read(here)}


def choose(kernel: str, size: Size, device: torch.device) -> Choice:
    """The variant of a kernel that is used for work of this size."""
    if device.type != "cuda":
        return Choice(kernel, size, "reference", f"kernels run on CUDA devices, this is {device.type!r}")
    row = _measured(device).get((kernel, size))
    if row is None:
        why = "not measured on this device with this torch and Triton: python -m tests.bench.gpu"
        return Choice(kernel, size, "reference", why)
    times = (row.reference_seconds, row.compiled_seconds, row.triton_seconds)
    told = "reference {:.3g} s, compiled {:.3g} s, triton {:.3g} s".format(*times)
    return Choice(kernel, size, row.fastest, told)


def choices(device: torch.device) -> tuple[Choice, ...]:
    """What is chosen for every kernel and size."""
    return tuple(choose(kernel, size, device) for kernel in kernel_names() for size in _SIZES)


def compiled(plain: Function) -> Function:
    """The function compiled on its own; while a step around it is traced, the function as it stands.

    A step that is compiled as a whole has no use for a part that was compiled before.
    """

    def alone() -> Function:  # torch.compile loads the compiler, seconds, also where nothing is compiled
        return torch.compile(plain)

    def run(*arguments: Any) -> None:
        traced = torch.compiler.is_compiling() or is_fx_symbolic_tracing()
        (plain if traced else alone())(*arguments)

    return run


def _by_size(
    kernel: str, device: torch.device, plain: Function, fused: Callable[[], Function]
) -> dict[Size, Function]:
    """What runs at each size; `fused` loads the Triton kernel, and is called only where that is used."""
    variants: dict[Size, Variant] = {size: choose(kernel, size, device).variant for size in _SIZES}
    made: dict[Variant, Function] = {"reference": plain}
    for variant in variants.values():
        if variant not in made:
            made[variant] = fused() if variant == "triton" else compiled(plain)
    return {size: made[variant] for size, variant in variants.items()}


def update(optimizer: Optimizer, device: torch.device) -> LaneUpdate:
    """The update to use for an optimizer on a device; ask once, not at every step."""

    def plain(*arguments: Any) -> None:
        reference.update(optimizer, *arguments)

    def fused() -> Function:
        from trials.kernels.update import update as kernel

        return partial(kernel, optimizer)

    by_size = _by_size(f"update/{optimizer.name}", device, plain, fused)

    def run(
        weights: Tensor,
        grads: Tensor,
        state: Tensor,
        lr: Tensor,
        step: Tensor,
        hyper: Mapping[str, Tensor],
        scale: Tensor | None = None,
    ) -> None:
        single = weights.dtype == grads.dtype == torch.float32
        function = by_size[size_class(weights.numel())] if single else plain
        function(weights, grads, state, lr, step, hyper, scale)

    return run


def signals(device: torch.device) -> Callable[[Tensor, Tensor, Tensor], None]:
    """The function to use on a device, of the signature and meaning of `reference.signals`."""

    def fused() -> Function:
        from trials.kernels.signals import signals as kernel

        return kernel

    by_size = _by_size("signals", device, reference.signals, fused)

    def run(grads: Tensor, previous: Tensor, out: Tensor) -> None:
        single = grads.dtype == previous.dtype == torch.float32
        function = by_size[size_class(grads.numel())] if single else reference.signals
        function(grads, previous, out)

    return run


def augment(device: torch.device) -> Callable[..., None]:
    """The function to use on a device, of the signature and meaning of `reference.augment`."""

    def fused() -> Function:
        from trials.kernels.augment import augment as kernel

        return kernel

    by_size = _by_size("augment", device, reference.augment, fused)

    def run(images: Tensor, *arguments: Any) -> None:
        out = arguments[-1]
        whole = images.dtype == torch.uint8 and out.dtype in (torch.float32, torch.bfloat16)
        (by_size[size_class(out.numel())] if whole else reference.augment)(images, *arguments)

    return run
