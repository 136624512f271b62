"""What was measured of the kernels, and which variant that makes the one to use.

One file in the cache folder for each device, torch and Triton: another version of either may have turned
the verdict round, so its measurements are its own.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch

from trials.names import cache_folder

Variant = Literal["reference", "compiled", "triton"]
Size = Literal["small", "medium", "large"]

_MEDIUM, _LARGE = 1 << 20, 1 << 24  # elements from which on


def size_class(elements: int) -> Size:
    """The class whose measurement speaks for work on this many elements.

    >>> size_class(1000), size_class(5_000_000), size_class(100_000_000)
    ('small', 'medium', 'large')
    """
    return "small" if elements < _MEDIUM else "medium" if elements < _LARGE else "large"


@dataclass(frozen=True)
class Row:
    """One kernel at one size, its three variants timed in one process: medians, in seconds a call."""

    kernel: str  # 'update/adamw', 'signals', …
    size: Size
    shape: tuple[int, ...]  # (K, P), or (K, B, C, H, W)
    moved_bytes: int  # read and written by one call of the kernel
    reference_seconds: float  # plain torch as it stands
    compiled_seconds: float  # what torch.compile makes of it
    triton_seconds: float

    @property
    def bytes_per_second(self) -> float:
        """Read and written by the kernel."""
        return self.moved_bytes / self.triton_seconds

    @property
    def fastest(self) -> Variant:
        """The variant to use; of equals the plainer."""
        seconds: dict[Variant, float] = {
            "reference": self.reference_seconds,
            "compiled": self.compiled_seconds,
            "triton": self.triton_seconds,
        }
        return min(seconds, key=lambda variant: seconds[variant])


@dataclass(frozen=True)
class Machine:
    """What a measurement holds for."""

    device: str
    torch: str
    triton: str


def machine(device: torch.device) -> Machine | None:
    """What measurements on this device hold for; None where kernels cannot run.

    They run on CUDA devices with Triton; its interpreter on the CPU is for tests.
    """
    if device.type != "cuda":
        return None
    try:
        import triton
    except ImportError:
        return None
    return Machine(torch.cuda.get_device_name(device), torch.__version__, triton.__version__)


def _path(measured_on: Machine) -> Path:
    facts = json.dumps(asdict(measured_on), sort_keys=True)
    return cache_folder() / "kernels" / f"{hashlib.sha256(facts.encode()).hexdigest()[:32]}.json"


def write(measured_on: Machine, rows: Iterable[Row]) -> Path:
    """Remember measurements in place of earlier ones; the file appears whole or not at all."""
    path = _path(measured_on)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(
        json.dumps({"machine": asdict(measured_on), "rows": [asdict(row) for row in rows]}, indent=1)
    )
    partial.replace(path)
    return path


def read(measured_on: Machine) -> tuple[Row, ...]:
    """The measurements remembered; none where nothing was measured."""
    path = _path(measured_on)
    try:
        text = path.read_text()
    except FileNotFoundError:
        return ()
    try:
        return tuple(Row(**{**row, "shape": tuple(row["shape"])}) for row in json.loads(text)["rows"])
    except (ValueError, TypeError, KeyError):
        warnings.warn(f"{path} holds no measurements of kernels and is not used: remove it", stacklevel=2)
        return ()
