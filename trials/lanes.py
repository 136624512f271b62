"""K trials of one program, every lane at its own step.

Running lanes are always the first rows: the last one moves into the place of one that leaves, so nothing is
computed for empty lanes in eager mode, and a compiled step of a fixed width runs over the rows in pieces.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trials.compiling import Compiler
from trials.data.order import batches
from trials.program import Block, Program
from trials.rows import Row
from trials.spec import TrialSpec


class Lanes:
    """K trials of one program; every lane at its own step. A lane is known by its trial's number."""

    def __init__(self, program: Program, capacity: int, compiler: Compiler | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"lanes={capacity} must be at least 1")
        self.program, self.capacity = program, capacity
        self.compiler = compiler or Compiler.never()
        self._block = program.block(capacity)
        self._order: list[int] = []  # trial of each running row
        self._specs: dict[int, TrialSpec] = {}
        self._steps: dict[
            int, int
        ] = {}  # host copy of the step, so that nothing is read back from the device
        self._rows: dict[int, Row] = {}  # as last written: the facts that training does not change
        self._train_size = len(next(iter(program.splits.train.values())))

    def __len__(self) -> int:
        return len(self._order)

    @property
    def trials(self) -> tuple[int, ...]:
        """The trials that have a lane, in the order of the columns that `run` and `evaluate` speak of."""
        return tuple(self._order)

    def admit(self, spec: TrialSpec, start: Row | None = None) -> None:
        """Give a trial the next free lane, from its first row or from `start`.

        Raises:
            ValueError: no lane is free, or the row is of another structure.
        """
        if len(self._order) == self.capacity:
            raise ValueError(f"all {self.capacity} lanes are taken")
        if spec.trial in self._specs:
            raise ValueError(f"trial {spec.trial} has a lane already")
        row = start or self.program.first_row(spec)
        self._refuse_misfit(row)
        self._order.append(spec.trial)
        self._specs[spec.trial] = spec
        self._write(spec.trial, row)

    def _refuse_misfit(self, row: Row) -> None:
        # By shape and name: a copy alone would stretch one slot of optimizer state over two.
        for name, tensor in (("weights", row.weights), ("buffers", row.buffers), ("state", row.state)):
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
        self._rows[trial] = row
        lane = self._order.index(trial)
        values = torch.tensor([row.hyper[name] for name in self.program.float_names], dtype=torch.float32)
        block = self._block
        block.weights[lane].copy_(row.weights)
        block.buffers[lane].copy_(row.buffers)
        block.state[lane].copy_(row.state)
        block.hyper[lane].copy_(values)
        block.step[lane] = row.step
        block.key[lane] = row.key
        self._steps[trial] = row.step

    def read(self, trial: int) -> Row:
        """The trial's row, copied to the host."""
        lane, first = self._order.index(trial), self._rows[trial]
        weights, buffers, state = (
            tensor[lane].to("cpu", copy=True)
            for tensor in (self._block.weights, self._block.buffers, self._block.state)
        )
        return Row(weights, buffers, state, first.hyper, self._steps[trial], first.key, first.names)

    def write(self, trial: int, row: Row) -> None:
        """Set a running trial's row: rewind, fork, exploit.

        Raises:
            ValueError: the row is of another structure.
        """
        self._refuse_misfit(row)
        self._write(trial, row)

    def copy(self, source: int, target: int) -> None:
        """Overwrite the target's row with the source's; each keeps its hyperparameters and streams."""
        a, b = self._order.index(source), self._order.index(target)
        for tensor in (self._block.weights, self._block.buffers, self._block.state, self._block.step):
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
        for table in (self._specs, self._steps, self._rows):
            table.pop(trial, None)

    def run(self, factors: NDArray[np.floating]) -> NDArray[np.float32]:
        """(T, K) learning-rate factors -> (T, K) training losses before each update; one host transfer.

        K is the number of running lanes, in the order of `trials`.
        """
        steps, count = factors.shape
        assert count == len(self._order), "one column of factors for each running lane"
        device = self.program.device
        index = np.stack(
            [
                batches(
                    self._specs[trial].seed,
                    self._steps[trial],
                    steps,
                    self.program.batch_size,
                    self._train_size,
                )
                for trial in self._order
            ],
            axis=1,
        )
        step, width = self.compiler.step(self.program, len(self._order), steps)
        padded = -(-count // width) * width
        # Rows between `count` and `padded` are idle or left over; what is computed for them is never read.
        factors_here = torch.zeros(steps, padded, device=device)
        factors_here[:, :count] = torch.as_tensor(factors, dtype=torch.float32)
        index_here = torch.zeros(steps, padded, self.program.batch_size, dtype=torch.int64, device=device)
        index_here[:, :count] = torch.as_tensor(index)
        block = self._sized(padded)
        losses = torch.empty(steps, padded, device=device)
        data = self.program.data
        with torch.no_grad():
            # Piece by piece, each through all its steps: its rows stay in the cache meanwhile.
            for start in range(0, padded, width):
                piece = slice(start, start + width)
                tensors = block.lanes(start, start + width).tensors()
                for t in range(steps):
                    losses[t, piece] = step(*tensors, factors_here[t, piece], index_here[t, piece], *data)
        for trial in self._order:
            self._steps[trial] += steps
        return losses[:, :count].to("cpu").numpy()

    def _sized(self, lanes: int) -> Block:
        """The block, grown by idle rows where a compiled step is wider than the capacity."""
        held = len(self._block.step)
        if held < lanes:
            grown = self.program.block(lanes)
            for new, old in zip(grown.tensors(), self._block.tensors(), strict=True):
                new[:held].copy_(old)
            self._block = grown
        return self._block

    def evaluate(self, split: str) -> Mapping[str, NDArray[np.float32]]:
        """Every metric on a split for the running lanes, each (K,)."""
        tensors: dict[str, Tensor] = self.program.evaluate(
            self._block.lanes(0, len(self._order)), getattr(self.program.splits, split)
        )
        return {name: values.to("cpu").numpy() for name, values in tensors.items()}
