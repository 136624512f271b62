"""Compile every kernel for CUDA devices that need not be here: `python -m tests.kernels_compiled`.

Prints a line of JSON for each: its name, the architecture, and its code as PTX. Triton brings the assembler,
so this ends with machine code for the device, or with an error.
"""

import json
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from trials.kernels.augment import _augment
from trials.kernels.launch import EXACT
from trials.kernels.signals import _sum_chunks, _sum_lanes
from trials.kernels.update import _READS, _update

# argument -> type; the others are addresses of floats, or distances between rows
TYPES = {
    **dict.fromkeys(("step", "index", "offset"), "*i64"),
    **dict.fromkeys(("images",), "*u8"),
    **dict.fromkeys(("flip",), "*i1"),
    **dict.fromkeys(("width", "blocks", "chunks", "count", "channels", "state_slot"), "i32"),
}


def type_of(argument: str) -> str:
    """The type a kernel is handed this argument with."""
    return TYPES.get(argument, "i32" if argument.endswith("_row") else "*fp32")


def build(kernel: Any, architecture: int, **constants: Any) -> str:
    """PTX of a kernel."""
    types = {name: "constexpr" if name in constants else type_of(name) for name in kernel.arg_names}
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, types, places)
    target = GPUTarget("cuda", architecture, 32)
    built = triton.compile(source, target=target, options=EXACT)
    assert built.asm["cubin"]
    return built.asm["ptx"]


def main() -> None:
    """Build all of them."""
    image = {"height": 32, "width": 28, "padding": 4, "block": 1024}
    for architecture in (80, 90):
        for rule in _READS:
            for per_weight in (False, True):
                constants = {"rate_per_weight": per_weight, "scaled": per_weight, "block": 1024}
                ptx = build(_update, architecture, rule=rule, **constants)
                print(json.dumps([f"update/{rule}", architecture, ptx]))
        print(
            json.dumps(["signals", architecture, build(_sum_chunks, architecture, chunk=16384, block=1024)])
        )
        print(json.dumps(["signals", architecture, build(_sum_lanes, architecture, block=1024)]))
        print(json.dumps(["augment", architecture, build(_augment, architecture, **image)]))


if __name__ == "__main__":
    main()
