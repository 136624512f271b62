"""Does validation on shifted copies predict accuracy on domains that nobody has seen?

    python -m tests.bench.shifts [--source mnist optdigits ...] [--seeds 3] [--workers 1] [--out DIR]

Each of four domains of digits is once the source that models are trained and chosen on; the other three are
targets that only this table looks at. A setting is a method, a rate and a seed. Methods that train on the
copies of some families are scored by fold models that did not train on the family at hand: one more lane
each. Finished models are kept in DIR and not made again, so that the benchmark can be stopped at any time.
"""

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.bench.shifts_case import Case
from tests.bench.shifts_figures import tables
from tests.bench.shifts_methods import METHODS, RATES, Model, models
from tests.bench.shifts_tasks import DOMAINS, NAMES, target, views
from trials.compiling import Compiler, Origin
from trials.drive import Drive, Ended
from trials.lanes import Lanes
from trials.program import Program
from trials.recipe import recipe
from trials.rows import Row
from trials.spec import TrialSpec
from trials.task import Splits, load_task
from trials.train import build, load_splits

_TASKS = Path(__file__).with_name("shifts_tasks.py")
STEPS = 500
LANES = 8


@dataclass
class Found:
    """What is kept of every model of one source: who was right where, and how sure."""

    path: Path
    keys: list[str]
    arrays: dict[str, Any]

    @classmethod
    def load(cls, path: Path) -> "Found":
        """What is there already."""
        if not path.exists():
            return cls(path, [], {})
        with np.load(path) as file:
            return cls(path, json.loads(str(file["keys"])), {k: file[k] for k in file.files if k != "keys"})

    def add(self, some: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Keep these too, in one piece: an interrupted benchmark has the file of before."""
        for name in some[0][1]:
            fresh = np.stack([arrays[name] for _, arrays in some])
            self.arrays[name] = np.concatenate([self.arrays[name], fresh]) if self.keys else fresh
        self.keys.extend(key for key, _ in some)
        part = self.path.with_suffix(".part.npz")
        np.savez_compressed(part, keys=json.dumps(self.keys), **self.arrays)
        os.replace(part, self.path)


def _measured(program: Program, row: Row, splits: Splits, targets: Sequence[Any]) -> dict[str, Any]:
    block = program.block(1)
    block.weights[0], block.buffers[0] = row.weights, row.buffers
    block.hyper[0] = torch.tensor([row.hyper[name] for name in program.float_names])

    def of(split: Any) -> dict[str, np.ndarray]:
        found = program.evaluate(block, split, per_example=True)
        return {name: values[0].numpy() for name, values in found.items()}

    shifted = [of(view) for view in views(splits.val)]  # type: ignore[arg-type]
    unseen = [of(one) for one in targets]
    logits = np.stack([shifted[0][f"logit_{place}"] for place in range(10)], 1)
    return {
        "right": np.stack([one["accuracy"] for one in shifted]).astype(bool),  # (1 + families, images)
        "loss": shifted[0]["loss"].astype(np.float32),  # of the originals
        "logits": logits.astype(np.float16),  # of the originals
        "target": np.stack([one["accuracy"] for one in unseen]).astype(bool),  # (targets, images)
    }


def _work(source: str, wanted: Sequence[Model], queue: Any) -> None:
    """In a process of its own: train these, and say what was found or what went wrong."""
    import traceback

    try:
        for one in _train(source, wanted):
            queue.put(one)
    except Exception:  # noqa: BLE001 - told to the process that waits
        queue.put(traceback.format_exc())


def _made(source: str, wanted: Sequence[Model], workers: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What every model found, as it comes."""
    if workers == 1:
        yield from _train(source, wanted)
        return
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    shares = [wanted[place::workers] for place in range(min(workers, len(wanted)))]
    processes = [context.Process(target=_work, args=(source, share, queue), daemon=True) for share in shares]
    for process in processes:
        process.start()
    for _ in wanted:
        said = queue.get()
        if isinstance(said, str):
            raise SystemExit(said)
        yield said
    for process in processes:
        process.join()


def _train(source: str, wanted: Sequence[Model]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every model as a trial, eight side by side; one that diverged knows nothing."""
    torch.set_num_threads(1)
    reference, options = f"{_TASKS}:Domain", {"source": source}
    device = torch.device("cpu")
    task = load_task(reference, options)
    splits = load_splits(task, 0, device)
    targets = [target(name) for name in DOMAINS if name != source]
    program = build(task, splits, recipe(task, wanted[0].config()), device)
    compiler = Compiler(
        "always", Origin(reference, options, ".", 0), notice=lambda line: print(line, file=sys.stderr)
    )
    drive = Drive(Lanes(program, LANES, compiler))
    waiting, under_way, number = list(wanted), dict[int, Model](), 0
    while waiting or under_way:
        while waiting and drive.room():
            model = waiting.pop(0)
            drive.admit(TrialSpec(number, model.config(), model.seed, STEPS, (STEPS,), STEPS, 0))
            under_way[number] = model
            number += 1
        for said in drive.tick():
            if isinstance(said, Ended):
                model = under_way.pop(said.trial)
                row = said.row or program.first_row(TrialSpec(0, model.config(), 0, 1, (1,), 1, 0))
                yield model.key, _measured(program, row, splits, targets)
    compiler.close()


def make(source: str, seeds: int, narrow: Sequence[float], folder: Path, workers: int = 1) -> Found:
    """Make the models that are missing."""
    found = Found.load(folder / f"{source}.npz")
    have = set(found.keys)
    missing = [model for model in models(NAMES, seeds, narrow) if model.key not in have]
    if not missing:
        return found
    began, some = time.perf_counter(), list[tuple[str, dict[str, Any]]]()
    for count, one in enumerate(_made(source, missing, workers), 1):
        some.append(one)
        if count % 64 == 0 or count == len(missing):
            found.add(some)
            some.clear()
            seconds = time.perf_counter() - began
            print(f"{source} {count}/{len(missing)} models, {seconds:.0f} s", file=sys.stderr, flush=True)
    return found


def main() -> None:
    """Make what is missing, print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", nargs="+", default=list(DOMAINS), choices=DOMAINS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--narrow", nargs="*", type=float, default=list(RATES[2:9:2]))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("shifts"))
    parser.add_argument("--table", action="store_true", help="make nothing, print what is there")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = {}
    # What the main table needs comes first, of all sources.
    for narrow in ([], options.narrow):
        for source in options.source:
            if options.table:
                found[source] = Found.load(options.out / f"{source}.npz")
            else:
                found[source] = make(source, options.seeds, narrow, options.out, options.workers)
    machine = platform.processor() or platform.machine()
    print(
        f"{machine}, torch {torch.__version__}, {len(METHODS)} methods, {len(RATES)} rates, {STEPS} steps.\n"
    )
    print("\n".join(tables([Case.of(source, one.keys, one.arrays) for source, one in found.items()])))


if __name__ == "__main__":
    main()
