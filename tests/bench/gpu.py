"""Lanes on a CUDA device against one trial at a time, and the kernels against what torch.compile makes.

    python -m tests.bench.gpu [--runs 5] [--only speeds large kernels memory] [--out FILE]

Imports only `trials` and `schedules`; torch 2.11 or later and its triton are all it needs.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import torch

from tests.bench.contenders import Case, Loop, Ours, describe, row
from trials.capacity import estimate

SMALL = (Case("mlp"), Case("convnet"), Case("transformer", batch_size=16, dropout=0.1))
LARGE = (
    Case("resnet", batch_size=256, precision="bfloat16"),
    Case("gpt", batch_size=8, precision="bfloat16"),
)
LANES = (1, 4, 16, 64, 256, 1024)
AIMS = {"mlp": 20, "convnet": 10, "transformer": 5}


def spread(values: list[float], digits: int = 3) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def speeds(runs: int, device: torch.device, folder: Path) -> list[str]:
    """Trials an hour at the best number of lanes against one compiled trial at a time."""
    lines = ["", "**Milliseconds a trial-step**", ""]
    lines += [row("model", "loop, torch.compile", *(f"{lanes} lanes" for lanes in LANES), "best", "aim")]
    lines += [row(*["---"] * (len(LANES) + 4))]
    for case in SMALL:
        loop = Loop(case, device, True)
        loop.run(50)
        alone: list[float] = []
        each: dict[int, list[float]] = {}
        ours: dict[int, Ours] = {}
        for lanes in LANES:
            try:
                ours[lanes] = Ours(case, lanes, device, "always", folder)
                ours[lanes].run(30)  # eager, recorded, replayed
            except torch.OutOfMemoryError:
                ours.pop(lanes, None)
                torch.cuda.empty_cache()
                break
        for _ in range(runs):
            alone.append(loop.run(200) / 200 * 1e3)
            for lanes, one in ours.items():
                steps = max(20, 200 // lanes // 10 * 10)
                each.setdefault(lanes, []).append(one.run(steps) / steps / lanes * 1e3)
        ratios = {
            lanes: statistics.median(a / b for a, b in zip(alone, found, strict=True))
            for lanes, found in each.items()
        }
        best = max(ratios, key=lambda lanes: ratios[lanes])
        cells = [spread(each[lanes], 4) if lanes in each else "out of memory" for lanes in LANES]
        lines.append(
            row(case.model, spread(alone), *cells, f"{ratios[best]:.1f}x at {best}", f"{AIMS[case.model]}x")
        )
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
    lines += [row("model", "measured", "estimated", "estimated / measured"), row(*["---"] * 4)]
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
                case.model, f"{measured / 1e6:.2f}", f"{found.lane / 1e6:.2f}", f"{found.lane / measured:.2f}"
            )
        )
    return lines


def kernels(device: torch.device) -> list[str]:
    """Each kernel against its reference, eager and compiled, and against a copy on the device."""
    from trials.kernels.measure import compare

    return compare(device)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["speeds", "large", "memory", "kernels"])
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
            "kernels": lambda: kernels(device),
        }
        for part in options.only:
            lines += parts[part]()
    text = "\n".join(lines) + "\n"
    sys.stdout.write(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
