"""How many lanes: bytes a lane holds, and the fewest lanes that train about as fast as any number does.

More lanes share the cost of launching each operation, until their rows outgrow the cache or the memory. Where
that is depends on the program and the machine, so it is measured, once, and remembered. Fewer lanes are
better for the search, which learns from every trial that ends before it asks for the next.
"""

import hashlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from trials.compiling import WIDTH, processor
from trials.devices import synchronize
from trials.memory import free_bytes, peak_bytes
from trials.names import cache_folder
from trials.program import Program
from trials.spec import Config, TrialSpec, is_out_of_memory

MOST = {"cpu": 64, "cuda": 4096}  # lanes tried
_SHARE = 0.8  # of the free memory that lanes may take
_CLOSE = 0.95  # of the best rate: near enough to prefer fewer lanes
_SECONDS = 0.1  # spent on each number of lanes


@dataclass(frozen=True)
class Estimate:
    """Bytes that lanes of a program take."""

    held: int  # a lane's row, between ticks
    working: int  # more for each lane while a step runs
    fixed: int  # of a step, however many lanes

    @property
    def lane(self) -> int:
        """Bytes that one more lane takes at the peak."""
        return self.held + self.working


def _arguments(program: Program, lanes: int, config: Config) -> tuple[Tensor, ...]:
    """Arguments of the step for so many lanes that all hold the first row of a trial of this config."""
    row, block = program.first_row(TrialSpec(0, config, 0, 1, (1,), 1, 0)), program.block(lanes)
    block.weights[:] = row.weights
    block.buffers[:] = row.buffers
    block.hyper[:] = torch.tensor([row.hyper[name] for name in program.float_names])
    # A rate of nothing: timing must not train, or the weights may run away.
    factor = torch.zeros(lanes, device=program.device)
    index = torch.zeros(lanes, program.batch_size, dtype=torch.int64, device=program.device)
    return *block.tensors(), factor, index, *program.data(lanes)


def _peak(program: Program, lanes: int, config: Config) -> int:
    arguments = _arguments(program, lanes, config)
    return peak_bytes(lambda: program.step(*arguments), program.device)


def estimate(program: Program, config: Config) -> Estimate:
    """Bytes of a lane, from the sizes of its row and the tensors that a step of one and of two lanes makes.

    Raises:
        torch.OutOfMemoryError: not even one lane fits.
    """
    with torch.no_grad():
        program.step(*_arguments(program, 1, config))  # finds out whether lanes can run side by side
        one, two = (_peak(program, lanes, config) for lanes in (1, 2))
    row = sum(tensor.nbytes for tensor in program.block(1).tensors())
    if program.forward.reason:
        return Estimate(row, 0, one)
    return Estimate(row, max(0, two - one), max(0, 2 * one - two))


def rate(program: Program, lanes: int, config: Config) -> float:
    """Trial-steps a second of the uncompiled step with so many lanes."""
    arguments = _arguments(program, lanes, config)
    with torch.no_grad():
        program.step(*arguments)
        synchronize(program.device)
        count, began = 0, time.perf_counter()
        while count < 2 or time.perf_counter() - began < _SECONDS:
            program.step(*arguments)
            synchronize(program.device)
            count += 1
        return lanes * count / (time.perf_counter() - began)


def fewest_near_best(rates: Mapping[int, float]) -> int:
    """The fewest lanes whose rate is near the best.

    >>> fewest_near_best({1: 100.0, 2: 190.0, 4: 300.0, 8: 310.0})
    4
    """
    best = max(rates.values())
    return min(lanes for lanes, found in rates.items() if found >= _CLOSE * best)


def measure(program: Program, config: Config, at_most: int) -> tuple[dict[int, float], bool]:
    """Number of lanes -> trial-steps a second, doubling until it no longer pays or fits.

    And whether that holds for another day: where memory was short, it was so at this moment only.
    """
    rates: dict[int, float] = {}
    is_final = True
    try:
        found = estimate(program, config)
        fits = int((_SHARE * free_bytes(program.device) - found.fixed) / max(1, found.lane))
        lanes = 1
        while lanes <= max(1, min(at_most, fits)):
            rates[lanes] = rate(program, lanes, config)
            if program.forward.reason:
                break
            tried = list(rates.values())
            # Two in a row that gain nothing: one may be the machine's noise.
            if len(tried) > 2 and max(tried[-2:]) < max(tried[:-2]) / _CLOSE:
                break
            lanes *= 2
        else:
            is_final = fits >= at_most
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        is_final = False
        if program.device.type == "cuda":
            torch.cuda.empty_cache()
    return rates or {1: 0.0}, is_final


def lanes_for(program: Program, config: Config, at_most: int = 0, is_compiled: bool = True) -> int:
    """The number of lanes for this program here; measured once, then remembered in the cache folder.

    `at_most` 0 leaves the number to the device. Where steps may be compiled, at least as many as one
    compiled call takes.
    """
    most = min(at_most or MOST[program.device.type], MOST[program.device.type])
    path = cache_folder() / "lanes" / f"{_name(program, most)}.json"
    try:
        rates = {int(lanes): float(found) for lanes, found in json.loads(path.read_text()).items()}
        if not rates or not all(1 <= n <= most and math.isfinite(found) for n, found in rates.items()):
            raise ValueError(f"{path} is damaged")
    except (OSError, ValueError, AttributeError, TypeError):
        rates, is_final = measure(program, config, most)
        if is_final:
            _write(path, rates)
    if program.forward.reason:
        return 1
    found = fewest_near_best(rates)
    if is_compiled and program.device.type == "cpu":
        found = max(found, min(WIDTH, most))
    return found


def _name(program: Program, most: int) -> str:
    facts: list[Any] = [
        f"{type(program.task).__module__}:{type(program.task).__qualname__}",
        program.structure,
        program.float_names,
        program.layout.weight_count,
        program.layout.buffer_count,
        [list(part.shape[1:]) for part in program.data(1)],
        most,
        torch.get_num_threads(),
        torch.__version__,
        processor(program.device),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _write(path: Path, rates: Mapping[int, float]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(rates))
        partial.replace(path)
    except OSError:
        # A cache that cannot be written costs a second in the next study, and nothing else.
        return
