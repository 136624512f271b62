"""Lanes on a CUDA device against one trial at a time, and the kernels against what torch.compile makes.

    python -m tests.bench.gpu [--runs 5] [--only speeds large memory recompilations kernels] [--out FILE]

Imports only `trials` and `schedules`; torch 2.11 or later and its triton are all it needs.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from tests.bench.contenders import TICK, Case, Loop, Ours, describe, row
from trials.capacity import estimate
from trials.kernels import measure, verdicts
from trials.lanes import OutOfMemory

SMALL = (Case("mlp"), Case("convnet"), Case("transformer", batch_size=16, dropout=0.1))
LARGE = (
    Case("resnet", batch_size=256, precision="bfloat16"),
    Case("gpt", batch_size=8, precision="bfloat16"),
)
LANES = (1, 4, 16, 64, 256, 1024)
AIMS = {"mlp": 20, "convnet": 10, "transformer": 5}


def spread(values: list[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def timed(contenders: dict[str, tuple[Loop | Ours, int]], runs: int) -> dict[str, list[float]]:
    """Milliseconds a trial-step of each contender, in turn, in each run."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for one, _ in contenders.values():
        one.run(30)  # as it is, recorded, replayed
    for _ in range(runs):
        for name, (one, lanes) in contenders.items():
            steps = max(20, 200 // lanes // TICK * TICK)
            found[name].append(one.run(steps) / steps / lanes * 1e3)
    return found


def made(case: Case, lanes: int, device: torch.device, mode: str, folder: Path) -> Ours | None:
    """Lanes that have run once; None where they do not fit."""
    try:
        ours = Ours(case, lanes, device, mode, folder)
        ours.run(TICK)
    except (torch.OutOfMemoryError, OutOfMemory):
        torch.cuda.empty_cache()
        return None
    return ours


def speeds(runs: int, device: torch.device, folder: Path) -> list[str]:
    """Trials an hour at the best number of lanes against one compiled trial at a time."""
    lines = ["", "**Milliseconds a trial-step; lanes run as a device graph**", ""]
    lines += [
        row("model", "contender", "milliseconds", "times faster than the loop", "aim"),
        row(*["---"] * 5),
    ]
    for case in SMALL:
        contenders: dict[str, tuple[Loop | Ours, int]] = {
            "loop, torch.compile": (Loop(case, device, True), 1)
        }
        for lanes in LANES:
            if ours := made(case, lanes, device, "never", folder):
                contenders[f"{lanes} lanes"] = (ours, lanes)
        first = timed(contenders, runs)
        best = min(first, key=lambda name: statistics.median(first[name]))
        # Compiling takes a minute for each number of lanes: only for one, and where lanes were best.
        for lanes in sorted({1, contenders[best][1]}):
            if ours := made(case, lanes, device, "always", folder):
                contenders[f"{lanes} lanes, compiled"] = (ours, lanes)
        found = timed(contenders, runs)
        alone = found["loop, torch.compile"]
        for name, times in found.items():
            ratio = statistics.median(a / b for a, b in zip(alone, times, strict=True))
            lines.append(row(case.model, name, spread(times, 4), f"{ratio:.2f}x", f"{AIMS[case.model]}x"))
    return lines


def large(runs: int, device: torch.device, folder: Path) -> list[str]:
    """One large trial, one lane, against the loop."""
    lines = ["", "**One large trial: milliseconds a step**", ""]
    lines += [row("model", "loop, torch.compile", "one lane", "ratio", "aim"), row(*["---"] * 5)]
    for case in LARGE:
        loop, ours = Loop(case, device, True), Ours(case, 1, device, "always", folder)
        loop.run(30)
        ours.run(30)
        slow, fast = [], []
        for _ in range(runs):
            slow.append(loop.run(50) / 50 * 1e3)
            fast.append(ours.run(50) / 50 * 1e3)
        ratio = statistics.median(a / b for a, b in zip(slow, fast, strict=True))
        lines.append(row(case.model, spread(slow), spread(fast), f"{ratio:.2f}x", "0.97x"))
    return lines


def memory(device: torch.device) -> list[str]:
    """Megabytes that a lane takes, against the estimate."""
    lines = ["", "**Megabytes a lane, eager step**", ""]
    lines += [row("model", "measured", "estimated", "estimated / measured", "aim"), row(*["---"] * 5)]
    for case in SMALL:
        peaks: dict[int, int] = {}
        for lanes in (8, 72):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            ours = Ours(case, lanes, device, "never")
            ours.run(10)
            peaks[lanes] = torch.cuda.max_memory_allocated(device)
            del ours
        measured = (peaks[72] - peaks[8]) / 64
        found = estimate(Ours(case, 1, device, "never").program, case.config())
        lines.append(
            row(
                case.model,
                f"{measured / 1e6:.2f}",
                f"{found.lane / 1e6:.2f}",
                f"{found.lane / measured:.2f}",
                "0.80 to 1.20",
            )
        )
    return lines


def recompilations(device: torch.device, folder: Path) -> list[str]:
    """Packages taken into use or built after the first tick, one lane, over refills and a rate that falls."""
    lines = ["", "**Compiled after the first tick**", "", row("model", "count", "aim"), row(*["---"] * 3)]
    made = {case.model: Ours(case, 1, device, "always", folder) for case in SMALL}
    return [*lines, *(row(model, ours.compiled_later(), 0) for model, ours in made.items())]


def kernels(device: torch.device) -> list[str]:
    """Each kernel against its reference, eager and compiled, and against a copy on the device.

    What is measured is remembered: from the next process on, the faster variant is the one used.
    """
    rows = measure.compare(device)
    here = verdicts.machine(device)
    if here is not None:
        verdicts.write(here, rows)
    copy = copied_bytes(device)
    lines = ["", f"**Kernels: seconds a call; a copy on the device moves {copy / 1e9:.0f} GB/s**", ""]
    lines += [
        row("kernel", "shape", "reference", "torch.compile", "Triton", "fastest", "of a copy's speed", "aim"),
        row(*["---"] * 8),
    ]
    for one in rows:
        times = (one.reference_seconds, one.compiled_seconds, one.triton_seconds)
        share = f"{one.bytes_per_second / copy:.0%}"
        aim = "85%" if one.kernel.startswith("update/") else "-"
        cells = [f"{seconds:.2e}" for seconds in times]
        lines.append(row(one.kernel, "x".join(map(str, one.shape)), *cells, one.fastest, share, aim))
    return lines


def copied_bytes(device: torch.device) -> float:
    """Bytes a second that a copy of 1 GiB on the device reads and writes."""
    source = torch.empty(1 << 28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / measure.seconds(lambda: target.copy_(source), device)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--only", nargs="+", default=["speeds", "large", "memory", "recompilations", "kernels"]
    )
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA device here: this benchmark measures one; tests.bench.steps is for the CPU")
    device = torch.device("cuda", torch.cuda.current_device())
    lines = [describe(device), f"Medians of {options.runs} runs (least-most), contenders in turn."]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {
            "speeds": lambda: speeds(options.runs, device, folder),
            "large": lambda: large(options.runs, device, folder),
            "memory": lambda: memory(device),
            "recompilations": lambda: recompilations(device, folder),
            "kernels": lambda: kernels(device),
        }
        # Each as it comes: what fails later takes nothing of it along.
        for part in options.only:
            lines += parts[part]()
            text = "\n".join(lines) + "\n"
            sys.stdout.write(text)
            sys.stdout.flush()
            if options.out:
                with options.out.open("a") as file:
                    file.write(text)
            lines = []


if __name__ == "__main__":
    main()
