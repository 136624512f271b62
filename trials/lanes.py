"""K trials of one program, every lane at its own step.

Running lanes are always the first rows: the last one moves into the place of one that leaves, so nothing is
computed for empty lanes in eager mode, and a compiled step of a fixed width runs over the rows in pieces.
"""

import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trials.capture import Recorder
from trials.compiling import Compiler
from trials.data.order import batches
from trials.data.stream import Reader, Stream
from trials.program import CHUNK, Block, Program, Step
from trials.rows import Row
from trials.signals import SIGNALS
from trials.spec import TrialSpec, is_out_of_memory
from trials.task import Batch


class OutOfMemory(Exception):  # noqa: N818 - named for what happened
    """Memory ran out inside `Lanes.run`; what was done until then stands.

    `signals` (T, K, S); `done` (K,) steps that each lane has done of the T; `torn`, trials whose row may be
    half changed.
    """

    def __init__(
        self, signals: NDArray[np.float32], done: NDArray[np.int64], torn: tuple[int, ...], reason: str
    ) -> None:
        super().__init__(reason)
        self.signals, self.done, self.torn = signals, done, torn


class Lanes:
    """K rows of one program; every lane at its own step.

    A lane is known by a number: a trial's own, or one below zero for a copy of its row.
    """

    def __init__(self, program: Program, capacity: int, compiler: Compiler | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"lanes={capacity} must be at least 1")
        self.program, self.capacity = program, capacity
        self.compiler = compiler or Compiler.never()
        self._block = program.block(capacity)
        self._recorder = Recorder(program, self.compiler.notice)
        self._order: list[int] = []  # number of each running row
        self._specs: dict[int, TrialSpec] = {}
        self._steps: dict[
            int, int
        ] = {}  # host copy of the step, so that nothing is read back from the device
        self._facts: dict[int, Row] = {}  # what of a row training does not change; its tensors are empty
        self._train_size = program.splits.train_size
        self._reader: Reader | None = None

    def __len__(self) -> int:
        return len(self._order)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The lanes that run, in the order of the columns that `run` and `evaluate` speak of."""
        return tuple(self._order)

    def admit(self, spec: TrialSpec, start: Row | None = None, number: int | None = None) -> None:
        """Give a trial the next free lane, from its first row or from `start`.

        With a `number` below zero it is one more lane of a trial: it sees the same batches and the same
        noise, and only what it is told to do differs.

        Raises:
            ValueError: no lane is free, or the row is of another structure.
        """
        number = spec.trial if number is None else number
        if len(self._order) == self.capacity:
            raise ValueError(f"all {self.capacity} lanes are taken")
        if number in self._specs:
            raise ValueError(f"trial {number} has a lane already")
        row = start or self.program.first_row(spec)
        self.refuse_misfit(row)
        self._order.append(number)
        self._specs[number] = spec
        self._write(number, row)

    def refuse_misfit(self, row: Row) -> None:
        """Nothing, for a row of this structure.

        Raises:
            ValueError: it is of another.
        """
        # By shape and name: a copy alone would stretch one slot of optimizer state over two.
        for name in ("weights", "buffers", "state", "memory"):
            tensor: Tensor = getattr(row, name)
            wanted = tuple(getattr(self._block, name).shape[1:])
            if tuple(tensor.shape) != wanted:
                raise ValueError(
                    f"the row does not fit the program: its {name} have shape {tuple(tensor.shape)}, "
                    f"{wanted} is wanted"
                )
        missing = [name for name in self.program.float_names if name not in row.hyper]
        if missing:
            raise ValueError(f"the row does not fit the program: it has no {', '.join(missing)}")

    def _write(self, trial: int, row: Row) -> None:
        nothing = torch.empty(0)
        self._facts[trial] = replace(row, weights=nothing, buffers=nothing, state=nothing, memory=nothing)
        lane = self._order.index(trial)
        values = torch.tensor([row.hyper[name] for name in self.program.float_names], dtype=torch.float32)
        block = self._block
        block.weights[lane].copy_(row.weights)
        block.buffers[lane].copy_(row.buffers)
        block.state[lane].copy_(row.state)
        block.memory[lane].copy_(row.memory)
        block.hyper[lane].copy_(values)
        block.step[lane] = row.step
        block.key[lane] = row.key
        self._steps[trial] = row.step

    def read(self, trial: int) -> Row:
        """The trial's row, copied to the host."""
        lane, facts = self._order.index(trial), self._facts[trial]
        block = self._block
        weights, buffers, state, memory = (
            tensor[lane].to("cpu", copy=True)
            for tensor in (block.weights, block.buffers, block.state, block.memory)
        )
        step = self._steps[trial]
        return replace(facts, weights=weights, buffers=buffers, state=state, memory=memory, step=step)

    def hyper(self, number: int) -> Mapping[str, float]:
        """The float hyperparameters of a running row."""
        return self._facts[number].hyper

    def set_hyper(self, number: int, values: Mapping[str, float]) -> None:
        """Set float hyperparameters of a running row, for the steps to come.

        Raises:
            ValueError: the program has no such float hyperparameter.
        """
        known = self.program.float_names
        for name in values:
            if name not in known:
                raise ValueError(
                    f"{name!r} is no float hyperparameter of this trial; it has {', '.join(known)}"
                )
        facts = self._facts[number]
        self._facts[number] = replace(facts, hyper={**facts.hyper, **values})
        lane = self._order.index(number)
        for name, value in values.items():
            self._block.hyper[lane, known.index(name)] = value

    def write(self, trial: int, row: Row) -> None:
        """Set a running trial's row: rewind, fork, exploit.

        Raises:
            ValueError: the row is of another structure.
        """
        self.refuse_misfit(row)
        self._write(trial, row)

    def copy(self, source: int, target: int) -> None:
        """Overwrite the target's row with the source's; each keeps its hyperparameters and streams."""
        a, b = self._order.index(source), self._order.index(target)
        block = self._block
        for tensor in (block.weights, block.buffers, block.state, block.memory, block.step):
            tensor[b].copy_(tensor[a])
        self._steps[target] = self._steps[source]

    def retire(self, trial: int) -> None:
        """The lane is free again; read the row first if it is wanted."""
        lane, last = self._order.index(trial), len(self._order) - 1
        if lane != last:
            for tensor in self._block.tensors():
                tensor[lane].copy_(tensor[last])
            self._order[lane] = self._order[last]
            self._order[last] = trial
        self._forget(trial)

    def _forget(self, trial: int) -> None:
        self._order.remove(trial)
        for table in (self._specs, self._steps, self._facts):
            table.pop(trial, None)

    def shrink(self, capacity: int) -> None:
        """Hold fewer lanes from now on, and give their memory back.

        Raises:
            ValueError: more lanes than that are running.
        """
        if not len(self._order) <= capacity or capacity < 1:
            raise ValueError(f"{len(self._order)} lanes are running, {capacity} cannot hold them")
        self.capacity = capacity
        # By way of the host: there is no room for both blocks where this is called.
        self._recorder.forget()
        device, names = self.program.device, [place.name for place in fields(Block)]
        for name in names:
            # One after another, each let go of before the next is copied.
            setattr(self._block, name, getattr(self._block, name)[:capacity].to("cpu", copy=True))
        if device.type == "cuda":
            torch.cuda.empty_cache()
            for name in names:
                setattr(self._block, name, getattr(self._block, name).to(device))

    def run(self, factors: NDArray[np.floating]) -> NDArray[np.float32]:
        """(T, K) learning-rate factors -> (T, K, S) signals of each step; one host transfer.

        K is the number of running lanes, in the order of `numbers`; `trials.signals.SIGNALS` names the S.

        Raises:
            OutOfMemory: memory ran out on the way; it says how far each lane came.
        """
        steps, count = factors.shape
        assert count == len(self._order), "one column of factors for each running lane"
        done = np.zeros(count, np.int64)
        found = np.full((steps, count, len(SIGNALS)), np.nan, np.float32)
        step, width = self.compiler.step(self.program, count, self.capacity)
        began = time.perf_counter()
        start = 0
        try:
            # Piece by piece, each through all its steps: its rows stay in the cache meanwhile.
            for start in range(0, count, width):
                here = slice(start, min(start + width, count))
                self._run_piece(step, width, start, factors[:, here], done[here], found[:, here])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            piece = self._order[start : start + width]
            # A compiled step does not say whether it had begun to change rows.
            torn = piece if self.program.is_updating or step != self.program.step else []
            self._count(done)
            # The frames hold what was computed so far: the very memory that is wanted.
            traceback.clear_frames(error.__traceback__)
            raise OutOfMemory(
                found, done, tuple(torn), (str(error) or type(error).__name__).splitlines()[0]
            ) from None
        self.compiler.record(self.program, steps * count, time.perf_counter() - began)
        self._count(done)
        if self._reader is not None:
            self._reader.expect([self._steps[trial] for trial in self._order], steps)
        return found

    def _count(self, done: NDArray[np.int64]) -> None:
        for trial, steps in zip(self._order, done.tolist(), strict=True):
            self._steps[trial] += steps

    def _run_piece(
        self,
        step: Step,
        width: int,
        start: int,
        factors: NDArray[np.floating],  # (T, K) of one piece of the lanes
        done: NDArray[np.int64],  # (K,), written: steps done, also where memory ran out on the way
        found: NDArray[np.float32],  # (T, K, S), written: signals of the steps done
    ) -> None:
        steps, count = factors.shape
        device, trials = self.program.device, self._order[start : start + count]
        # Rows beyond `count` are idle or left over; what is computed for them is never read.
        factors_here = torch.zeros(steps, width, device=device)
        factors_here[:, :count] = torch.as_tensor(factors, dtype=torch.float32)
        signals = torch.empty(steps, width, len(SIGNALS), device=device)
        tensors = self._sized(start + width).lanes(start, start + width).tensors()
        stream = self.program.splits.train
        try:
            with torch.no_grad():
                if isinstance(stream, Stream):
                    for t in range(steps):
                        index, data = self._read(stream, trials, t, width, step != self.program.step)
                        signals[t] = step(*tensors, factors_here[t], index, *data)
                        done[:] = t + 1
                    return
                index, data = self._index(trials, steps, width), self.program.data(width)
                if self._recorder.run(step, tensors, factors_here, index, data, signals):
                    done[:] = steps
                    return
                for t in range(steps):
                    signals[t] = step(*tensors, factors_here[t], index[t], *data)
                    done[:] = t + 1
        finally:
            came = int(done[0])
            found[:came] = signals[:came, :count].to("cpu").numpy()

    def _index(self, trials: list[int], steps: int, width: int) -> Tensor:
        """(T, K, B) examples of the next steps of these trials, K padded to the width."""
        size = self.program.batch_size
        index = np.zeros((steps, width, size), np.int64)
        for lane, trial in enumerate(trials):
            index[:, lane] = batches(
                self._specs[trial].seed, self._steps[trial], steps, size, self._train_size
            )
        return torch.from_numpy(index).to(self.program.device)

    def _read(
        self, stream: Stream, trials: list[int], t: int, width: int, is_fixed: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(K, B) index of step t and the examples it points into, (n, …) each, read in the background."""
        if self._reader is None:
            seed = self._specs[trials[0]].split_seed
            self._reader = Reader(stream, seed, self.program.batch_size)
        at = [self._steps[trial] + t for trial in trials]
        at += at[:1] * (width - len(at))
        # Lanes at the same step share its batch; a compiled step wants one for each lane.
        distinct = at if is_fixed else sorted(set(at))
        places = list(range(width)) if is_fixed else [distinct.index(one) for one in at]
        size, device = self.program.batch_size, self.program.device
        index = torch.tensor(places)[:, None] * size + torch.arange(size)
        read = [self._reader.batch(one) for one in distinct]
        data = [torch.cat([batch[name] for batch in read]) for name in stream.forms]
        return index.to(device), tuple(part.to(device, non_blocking=True) for part in data)

    def _sized(self, lanes: int) -> Block:
        """The block, grown by idle rows where a compiled step is wider than the capacity."""
        held = len(self._block.step)
        if held < lanes:
            grown = self.program.block(lanes)
            for new, old in zip(grown.tensors(), self._block.tensors(), strict=True):
                new[:held].copy_(old)
            self._block = grown
        return self._block

    def evaluate(
        self, split: str | Batch, numbers: Sequence[int] | None = None, per_example: bool = False
    ) -> Mapping[str, NDArray[np.float32]]:
        """Every metric on a split for some running lanes (all of them unless given), each (K,).

        `split` is a field of `Splits`, or examples like those of one. With `per_example` each is (K, N), one
        value for every example.
        """
        block = self._some(self._order if numbers is None else numbers)
        examples = getattr(self.program.splits, split) if isinstance(split, str) else split
        found = self._evaluate(block, examples, CHUNK, per_example)
        return {name: values.to("cpu").numpy() for name, values in found.items()}

    def sharpness(self, numbers: Sequence[int]) -> NDArray[np.float32]:
        """(K,) sharpness of some running lanes, see `Program.sharpness`; one lane after another.

        A gradient of a gradient holds several times what a step does: side by side it might not fit.
        """
        found = [self.program.sharpness(self._some([number])) for number in numbers]
        return torch.cat(found).to("cpu").numpy()

    def _some(self, numbers: Sequence[int]) -> Block:
        """The rows of some running lanes: views where they are the first ones, copies otherwise."""
        lanes = [self._order.index(number) for number in numbers]
        if lanes == list(range(len(lanes))):
            return self._block.lanes(0, len(lanes))
        return Block(*(tensor[lanes] for tensor in self._block.tensors()))

    def _evaluate(
        self, block: Block, split: Batch | Stream, chunk: int, per_example: bool
    ) -> dict[str, Tensor]:
        """Metrics of some lanes; where memory runs out, of fewer lanes, then of fewer examples at once."""
        count = len(block.step)
        try:
            return self.program.evaluate(block, split, chunk, per_example)
        except Exception as error:
            if not is_out_of_memory(error) or (count == 1 and chunk == 1):
                raise
        if count == 1:
            return self._evaluate(block, split, chunk // 2, per_example)
        halves = block.lanes(0, count // 2), block.lanes(count // 2, count)
        parts = [self._evaluate(half, split, chunk, per_example) for half in halves]
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
