"""The device that trains, and what of its arithmetic is global."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was asked to; nothing to wait for on the CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def tensor_floats(allowed: bool) -> Iterator[None]:
    """Inside, float32 products on CUDA may round their factors to TF32 (10 bits), or may not.

    Torch's own defaults differ between matrix products (not allowed) and convolutions (allowed).
    """
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
