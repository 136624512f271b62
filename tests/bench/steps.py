"""What a trial-step costs on one CPU core: lanes of one program against the loop a careful user writes.

    python -m tests.bench.steps [--runs 5] [--only speeds memory recompilations] [--out FILE]

Contenders take turns within a run, so that a machine that drifts drifts for all of them.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.bench.contenders import Case, Loop, Ours, describe, row
from trials.capacity import estimate

CPU = torch.device("cpu")
CASES = (Case("mlp"), Case("convnet"))
LANES = (1, 4, 8, 16)
STEPS = 200


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"


def turns(contenders: dict[str, tuple[Callable[[int], float], int]], runs: int) -> dict[str, list[float]]:
    """Milliseconds a trial-step of each contender, (run, lanes), in each run."""
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for run, _ in contenders.values():
        run(20)
    for _ in range(runs):
        for name, (run, lanes) in contenders.items():
            found[name].append(run(STEPS) / STEPS / lanes * 1e3)
    return found


def speeds(runs: int, folder: Path) -> list[str]:
    lines = ["", "**Milliseconds a trial-step, one core**", ""]
    names = ["loop", "loop, torch.compile"]
    names += [f"{kind}, {lanes} lanes" for kind in ("eager", "compiled") for lanes in LANES]
    lines += [row("contender", *(case.model for case in CASES)), row("---", *("---" for _ in CASES))]
    columns: list[dict[str, list[float]]] = []
    for case in CASES:
        contenders: dict[str, tuple[Callable[[int], float], int]] = {
            "loop": (Loop(case, CPU, False).run, 1),
            "loop, torch.compile": (Loop(case, CPU, True).run, 1),
        }
        for kind, mode in (("eager", "never"), ("compiled", "always")):
            for lanes in LANES:
                ours = Ours(case, lanes, CPU, mode, folder)
                contenders[f"{kind}, {lanes} lanes"] = (ours.run, lanes)
        columns.append(turns(contenders, runs))
    for name in names:
        lines.append(row(name, *(spread(column[name]) for column in columns)))
    lines += [
        "",
        row("ratio, medians of the runs' own", *(case.model for case in CASES)),
        row("---", "---", "---"),
    ]

    def ratio(column: dict[str, list[float]], slow: str, fast: str) -> str:
        each = [a / b for a, b in zip(column[slow], column[fast], strict=True)]
        return f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})"

    def best(column: dict[str, list[float]]) -> str:
        return min(column, key=lambda name: statistics.median(column[name]))

    lines.append(
        row(
            "one lane against torch.compile loop", *(ratio(c, names[1], "compiled, 1 lanes") for c in columns)
        )
    )
    lines.append(
        row("best against the plain loop", *(f"{ratio(c, 'loop', best(c))}, {best(c)}" for c in columns))
    )
    return lines


def high_water() -> int:
    """The most bytes this process has held, without what its parent held, which `getrusage` counts."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this needs Linux: /proc/self/status has no VmHWM")


def memory() -> list[str]:
    """Bytes that a lane takes, against the estimate."""
    lines = ["", "**Kilobytes a lane, eager step**", ""]
    lines += [row("model", "measured", "estimated", "estimated / measured"), row(*["---"] * 4)]
    for case in CASES:
        peaks: dict[int, int] = {}
        for lanes in (16, 144):
            command = [sys.executable, "-m", "tests.bench.steps", "--memory", case.model, str(lanes)]
            # What is freed goes back at once, so that the high water is of what was alive.
            env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
            said = subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout
            peaks[lanes] = int(said.split()[-1])
        measured = (peaks[144] - peaks[16]) / 128
        ours = Ours(case, 1, CPU, "never")
        found = estimate(ours.program, case.config())
        lines.append(
            row(
                case.model, f"{measured / 1e3:.0f}", f"{found.lane / 1e3:.0f}", f"{found.lane / measured:.2f}"
            )
        )
    return lines


def warm_start(case: Case, folder: Path) -> tuple[float, float]:
    """Seconds to a compiled step that the cache has: from the program, and from the start of the process."""
    command = [sys.executable, "-m", "tests.bench.steps", "--warm", case.model, str(folder)]
    began = time.time()
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(said[-2]), float(said[-1]) - began


def recompilations(folder: Path) -> list[str]:
    """Packages taken into use and built after the first tick, over refills and new rates; a warm start."""
    lines = [
        "",
        "**Compiled after the first tick; seconds until a step from the cache is ready, imports included**",
        "",
    ]
    lines += [row("model", "count", "from a program", "from the start of the process"), row(*["---"] * 4)]
    for case in CASES:
        ours = Ours(case, 8, CPU, "always", folder)
        again = ours.compiled_later()
        starts = [warm_start(case, folder) for _ in range(5)]
        lines.append(row(case.model, again, *(spread(list(one)) for one in zip(*starts, strict=True))))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=["speeds", "memory", "recompilations"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", nargs=2, metavar=("MODEL", "LANES"), help=argparse.SUPPRESS)
    parser.add_argument("--warm", nargs=2, metavar=("MODEL", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.warm:
        ours = Ours(Case(options.warm[0]), 8, CPU, "always", Path(options.warm[1]))
        began = time.perf_counter()
        ours.compiler.step(ours.program, 8, 8)
        assert ours.compiler.loaded == 1
        print(time.perf_counter() - began, time.time())
        return
    if options.memory:
        model, lanes = options.memory
        Ours(Case(model), int(lanes), CPU, "never").run(10)
        print(high_water())
        return
    lines = [describe(CPU), f"Medians of {options.runs} runs of {STEPS} steps (least-most), in turn."]
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "speeds": lambda: speeds(options.runs, Path(folder)),
            "memory": memory,
            "recompilations": lambda: recompilations(Path(folder)),
        }
        for part in options.only:
            lines += parts[part]()
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
            if options.out:
                with options.out.open("a") as file:
                    file.write("\n".join(lines) + "\n")
            lines = []


if __name__ == "__main__":
    main()
