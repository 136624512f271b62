"""The runs of `tests.bench.rates`: tasks, schedules, and how trials are made in processes of their own."""

import multiprocessing
import queue
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trials.compiling import Compiler, Origin
from trials.drive import Drive, Ended
from trials.lanes import Lanes
from trials.recipe import recipe
from trials.record import Record
from trials.signals import LOSS
from trials.spec import Report, TrialSpec
from trials.task import load_task
from trials.train import build, load_splits

HERE = Path(__file__).with_name("rates_tasks.py")
SCHEDULES = {
    "constant": "constant",
    "cosine": "cosine",
    "linear": "linear",
    "wsd": "wsd(cooldown_fraction=0.2)",
    "rex": "rex",
    "step": "multistep(milestones=[0.5, 0.75], drop=0.1)",
}
LANES = 8
_PATIENCE = 10.0  # seconds before it is asked whether a worker is still there
WINDOW = 10  # steps that training losses are averaged over


@dataclass(frozen=True)
class Bench:
    """One task of the benchmark."""

    name: str
    reference: str
    steps: int
    grid: tuple[float, ...]  # rates, a factor of two apart
    horizons: tuple[float, ...] = (0.5, 0.65, 0.8, 1.25, 1.6, 2.0)  # of the cosine, over the steps
    schedules: tuple[str, ...] = tuple(SCHEDULES)
    tuners: tuple[str, ...] = ()  # all, where none is named

    @property
    def centre(self) -> float:
        """The middle of the grid."""
        return float(np.sqrt(self.grid[0] * self.grid[-1]))


BENCHES = {
    "convnet": Bench("convnet", f"{HERE}:Mnist", 1000, tuple(0.01 * 2**n for n in range(6))),
    "transformer": Bench("transformer", f"{HERE}:Shakespeare", 1500, tuple(1e-3 * 2**n for n in range(6))),
    "long": Bench(
        "long",
        f"{HERE}:LongShakespeare",
        8000,
        tuple(5e-4 * 2**n for n in range(4)),
        horizons=(),
        schedules=("cosine", "wsd"),
        tuners=("race", "autolrs", "autolrs, wall", "autolrs published"),
    ),
}


@dataclass(frozen=True)
class Run:
    """One trial to be made."""

    contender: str
    lr: float
    seed: int
    schedule: str
    horizon: int
    budget: int

    @property
    def key(self) -> str:
        """What it is kept under."""
        return f"{self.contender}|{self.lr:g}|{self.seed}|{self.horizon}|{self.budget}"


def warmed(text: str) -> str:
    """The text of a schedule with a warm-up of 5 %."""
    if text.endswith(")"):
        return f"{text[:-1]}, warmup_fraction=0.05)"
    return f"{text}(warmup_fraction=0.05)"


@dataclass(frozen=True)
class Machine:
    """What runs are made on."""

    workers: int = 2
    device: str = "cpu"
    lanes: int = LANES


def made(bench: Bench, runs: list[Run], machine: Machine) -> Iterator[tuple[Run, dict[str, Any]]]:
    """The results of these runs, as they come."""
    parts = [runs[place :: machine.workers] for place in range(machine.workers)]
    context = multiprocessing.get_context("spawn")
    said: Any = context.Queue()
    processes = [
        context.Process(target=_work, args=(bench, part, machine, said), daemon=True)
        for part in parts
        if part
    ]
    for process in processes:
        process.start()
    left = len(runs)
    while left:
        try:
            one = said.get(timeout=_PATIENCE)
        except queue.Empty:
            if any(process.exitcode for process in processes):
                raise SystemExit("a worker died without a word") from None
            continue
        if isinstance(one, str):
            raise SystemExit(one)
        left -= 1
        yield one
    for process in processes:
        process.join()


def _work(bench: Bench, runs: list[Run], machine: Machine, said: Any) -> None:
    import traceback

    try:
        for found in _train(bench, runs, machine):
            said.put(found)
    except Exception:  # noqa: BLE001 - told to the process that waits
        said.put(traceback.format_exc())


def _train(bench: Bench, runs: list[Run], machine: Machine) -> Iterator[tuple[Run, dict[str, Any]]]:
    torch.set_num_threads(1)
    task = load_task(bench.reference)
    device = torch.device(machine.device)
    splits = load_splits(task, 0, device)
    first = {"lr": 0.1, "schedule": "cosine"}
    compiler = Compiler(
        "always", Origin(bench.reference, {}, ".", 0), notice=lambda line: print(line, file=sys.stderr)
    )
    drive = Drive(Lanes(build(task, splits, recipe(task, first), device), machine.lanes, compiler))
    waiting, under_way, last = list(runs), dict[int, Run](), dict[int, Report]()
    number = 0
    began: dict[int, float] = {}
    while waiting or under_way:
        # A race has the lanes to itself: its candidates run side by side.
        while waiting and drive.room() and not (under_way and _probes(waiting[0])):
            if any(_probes(run) for run in under_way.values()):
                break
            run = waiting.pop(0)
            config = {"lr": run.lr, "schedule": run.schedule}
            spec = TrialSpec(number, config, run.seed, run.budget, (run.budget,), run.horizon, 0)
            drive.admit(spec)
            under_way[number], began[number] = run, time.perf_counter()
            number += 1
        for said in drive.tick():
            match said:
                case Report():
                    last[said.trial] = said
                case Ended():
                    run = under_way.pop(said.trial)
                    yield run, _result(said, last.pop(said.trial, None), drive, splits, began.pop(said.trial))
                case _:
                    pass
    compiler.close()


def _probes(run: Run) -> bool:
    return run.budget > run.horizon or run.contender.startswith(("race", "lean", "autolrs", "published"))


def _result(ended: Ended, report: Report | None, drive: Drive, splits: Any, began: float) -> dict[str, Any]:
    record = ended.record
    assert record is not None
    kept = sum(len(part) for part in record.kept)
    spent = kept + sum(len(one.signals) for one in record.tried if not one.is_adopted)
    found: dict[str, Any] = {
        "outcome": ended.outcome,
        "kept": kept,
        "spent": spent,
        "wall": report.wall if report else None,
        "seconds": time.perf_counter() - began,
        "reason": ended.reason,
        "facts": [dict(one) for one in ended.facts],
        "curve": [round(float(x), 5) for x in _windows(record)],
    }
    if ended.row is not None:
        program = drive.lanes.program
        block = program.block(1)
        block.weights[0], block.buffers[0] = ended.row.weights, ended.row.buffers
        block.hyper[0] = torch.tensor([ended.row.hyper[name] for name in program.float_names])
        found["loss"] = float(program.evaluate(block, splits.val)["loss"][0])
    else:
        found["loss"] = float("inf")
    return found


def _windows(record: Record) -> list[float]:
    """Mean training loss over each ten kept steps."""
    losses = np.concatenate([part[:, LOSS] for part in record.kept]) if record.kept else np.zeros(0)
    return [float(losses[start : start + WINDOW].mean()) for start in range(0, len(losses), WINDOW)]
