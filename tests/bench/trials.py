"""Whole studies against peers: process start to process end, same convnet, data, batch size, steps and
sampler.

    python -m tests.bench.trials [--trials 32 128] [--runs 5] [--only NAME ...] [--out FILE]

Contenders take turns, so that a machine that drifts drifts for all of them. Prints a table in Markdown.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
STUDY = Path(__file__).with_name("study.toml")
HPO = Path(sys.executable).with_name("hpo")


@dataclass
class Contender:
    name: str
    words: str
    command: list[str]
    cache: str = ""  # "cold": emptied before every run; "warm": filled before the first
    wall: dict[int, list[float]] = field(default_factory=dict)
    cpu: dict[int, list[float]] = field(default_factory=dict)
    memory: dict[int, list[float]] = field(default_factory=dict)
    shares: dict[int, list[dict[str, float]]] = field(default_factory=dict)


def contenders() -> list[Contender]:
    peer = [sys.executable, "-m"]
    search = [str(HPO), "search", str(STUDY), "--debug", "--seed", "{seed}", "--trials", "{trials}"]
    return [
        Contender("hpo-cold", "this project, empty compile cache", [*search, "--tracking", "none"], "cold"),
        Contender("hpo-warm", "this project, warm compile cache", [*search, "--tracking", "none"], "warm"),
        Contender("hpo-mlflow", "this project, warm, with MLflow", search, "warm"),
        Contender(
            "optuna-1",
            "Optuna 5 TPE, one process",
            # One thread: two were slower for a model of this size.
            [*peer, "tests.bench.peers.optuna_one", "{trials}", "{seed}", "1"],
        ),
        Contender(
            "optuna-2",
            "Optuna 5 TPE, two processes",
            [*peer, "tests.bench.peers.optuna_two", "{trials}", "{seed}"],
        ),
        Contender(
            "ray",
            "Ray Tune + OptunaSearch, two reused actors",
            [*peer, "tests.bench.peers.ray_tune", "{trials}", "{seed}"],
        ),
    ]


def tree_memory(process: psutil.Process) -> float:
    """Megabytes that the process and all below it hold, shared pages divided among their holders."""
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            try:
                total += one.memory_full_info().pss
            except psutil.Error:
                continue
    except psutil.Error:
        pass
    return total / 1e6


def run(contender: Contender, trials: int, seed: int, cache: Path) -> tuple[float, float, float, str]:
    """(wall seconds, cpu seconds, peak megabytes, what it said)."""
    if contender.cache == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        command = [part.format(trials=trials, seed=seed) for part in contender.command]
        env = {**os.environ, "HPO_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
        before = os.times()
        began = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=said, stderr=subprocess.STDOUT)
        peak, watched = 0.0, psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, tree_memory(watched))
            try:
                process.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
        wall = time.perf_counter() - began
        after = os.times()
        said.seek(0)
        text = said.read().decode(errors="replace")
        if process.returncode != 0:
            raise SystemExit(f"{contender.name} failed with {process.returncode}:\n{text[-3000:]}")
        cpu = (after.children_user - before.children_user) + (after.children_system - before.children_system)
        return wall, cpu, peak, text


def spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    chosen = [one for one in contenders() if not options.only or one.name in options.only]
    with tempfile.TemporaryDirectory() as folder:
        caches = {"cold": Path(folder) / "cold", "warm": Path(folder) / "warm", "": Path(folder) / "none"}
        if any(one.cache == "warm" for one in chosen):
            warm = Contender(
                "warm-up", "", [*contenders()[1].command, "--set", "runner.compile=always"], "warm"
            )
            # As many trials as are measured: how wide a package is follows from them.
            _, _, _, text = run(warm, max(options.trials), 0, caches["warm"])
            assert list((caches["warm"] / "programs").glob("*.pt2")), text
        for trials in options.trials:
            for number in range(options.runs):
                for one in chosen:
                    wall, cpu, peak, text = run(one, trials, number, caches[one.cache])
                    one.wall.setdefault(trials, []).append(wall)
                    one.cpu.setdefault(trials, []).append(cpu)
                    one.memory.setdefault(trials, []).append(peak)
                    line = re.search(r"seconds of the search process: (.*)", text)
                    if line:
                        pairs = re.findall(r"(\w+) ([\d.]+)", line[1])
                        one.shares.setdefault(trials, []).append(
                            {name: float(value) for name, value in pairs}
                        )
                    sys.stderr.write(f"{trials} trials, run {number + 1}: {one.name} {wall:.1f} s\n")
    lines = table(chosen, options.trials, options.runs)
    sys.stdout.write(lines)
    if options.out:
        options.out.write_text(lines)
        raw = {one.name: {"wall": one.wall, "cpu": one.cpu, "memory": one.memory} for one in chosen}
        options.out.with_suffix(".json").write_text(json.dumps(raw))


def ratio(slow: list[float], fast: list[float]) -> str:
    return f"{statistics.median(a / b for a, b in zip(slow, fast, strict=True)):.2f}"


def table(chosen: list[Contender], counts: list[int], runs: int) -> str:
    facts = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")), "")
    names = ("torch", "optuna", "mlflow", "ray", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    lines = [
        f"{len(os.sched_getaffinity(0))} cores of {cpu}, Python {platform.python_version()}, {versions}.",
        f"Medians of {runs} runs (least-most), contenders in turn.",
    ]
    for trials in counts:
        lines += [
            "",
            f"**{trials} trials of 500 steps**",
            "",
            "| contender | wall seconds | CPU seconds | peak MB | times Optuna 1 | Optuna 2 | Ray Tune |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        rivals = ("optuna-1", "optuna-2", "ray")
        for one in chosen:
            ratios = [
                ratio(peer.wall[trials], one.wall[trials]) if peer is not None and peer is not one else "-"
                for peer in (next((p for p in chosen if p.name == rival), None) for rival in rivals)
            ]
            cells = [
                spread(one.wall[trials]),
                spread(one.cpu[trials]),
                spread(one.memory[trials], 0),
                *ratios,
            ]
            lines.append(f"| {one.words} | " + " | ".join(cells) + " |")
        for one in chosen:
            if trials in one.shares:
                wall = statistics.median(one.wall[trials])
                parts = [
                    f"{name} {statistics.median(share[name] for share in one.shares[trials]):.2f} s"
                    for name in one.shares[trials][0]
                ]
                lines.append("")
                lines.append(f"{one.words}: of {wall:.1f} s the search process spent {', '.join(parts)}.")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
