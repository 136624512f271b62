"""Memory: how much is free, how much a computation holds at its peak."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def free_bytes(device: torch.device) -> int:
    """Bytes that could be allocated on the device now."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        # What the allocator holds without using it can be used again.
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


class _Peak(TorchDispatchMode):
    """Counts the bytes of storages on the host that operations made and that are still alive."""

    def __init__(self) -> None:
        super().__init__()
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Not to be hidden from torch.compile: to hide it, torch would import all of that, 1 s."""
        return False

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call, then count what came into being."""
        before = {_storage(part) for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        found = func(*args, **(kwargs or {}))
        for part in tree_leaves(found):
            # An operation that returns its argument, or a view of it, makes nothing.
            if (
                isinstance(part, Tensor)
                and _storage(part) not in before
                and _storage(part) not in self._alive
            ):
                storage = part.untyped_storage()
                self._alive[_storage(part)] = (StorageWeakRef(storage), storage.nbytes())
        self._alive = {key: one for key, one in self._alive.items() if not one[0].expired()}
        alive = sum(size for _, size in self._alive.values())
        self.peak = max(self.peak, alive + _hidden_bytes(func, args))
        return found


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _hidden_bytes(func: Any, args: tuple[Any, ...]) -> int:
    """Bytes that an operation on the host takes out of torch's sight while it runs.

    oneDNN copies the images that go into a convolution, or back through one, to a layout of its own.
    """
    if func is torch.ops.aten.convolution.default:
        return args[0].nbytes
    if func is torch.ops.aten.convolution_backward.default:
        return args[0].nbytes + args[1].nbytes
    return 0


def peak_bytes(function: Callable[[], object], device: torch.device) -> int:
    """The most bytes that tensors made by the function took at one time; what it was given is not counted."""
    if device.type == "cuda":
        # The allocator knows, and sees what libraries take for themselves.
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        function()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with _Peak() as mode:
        function()
    return mode.peak
