"""A tick recorded as a CUDA graph and replayed: no launch from Python inside a tick, no wait for the host.

A graph replays the same kernels on the same memory, so what it reads and writes stays where it was when it
was recorded: the rows themselves, and one place each for factors, indices and signals.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trials.signals import SIGNALS

if TYPE_CHECKING:
    from trials.program import Program, Step


@dataclass
class _Graph:
    """A recorded tick and the tensors that it reads and writes."""

    graph: Any  # torch.cuda.CUDAGraph
    factors: Tensor  # (T, K)
    index: Tensor  # (T, K, B)
    signals: Tensor  # (T, K, S)


class Recorder:
    """Records and replays the ticks of one program; does nothing where there is no CUDA device.

    The first tick of each kind runs as it is, which also chooses algorithms and fills the allocator; the
    second is recorded. Ticks that are cut short are replays of a single step.
    """

    def __init__(self, program: "Program", notice: Callable[[str], None] = lambda line: None) -> None:
        self.program, self.notice = program, notice
        self._graphs: dict[Any, _Graph] = {}
        self._seen: set[Any] = set()
        self._pool: Any = None
        self._full = 0  # steps of the longest tick so far: the one worth a graph of its own
        self._is_refused = program.device.type != "cuda"

    def forget(self) -> None:
        """The rows are elsewhere now: nothing recorded may be replayed."""
        self._graphs.clear()
        self._seen.clear()

    def run(
        self,
        step: "Step",
        rows: tuple[Tensor, ...],
        factors: Tensor,  # (T, K)
        index: Tensor,  # (T, K, B)
        data: tuple[Tensor, ...],
        signals: Tensor,  # (T, K, S), written
    ) -> bool:
        """Whether the tick was run from a graph; False: it is the caller's to run."""
        if self._is_refused or self.program.forward.reason:
            return False
        steps = len(factors)
        self._full = max(self._full, steps)
        length = steps if steps == self._full else 1
        # By address: a graph must never be replayed on rows or data that lie elsewhere now.
        kind = (step, length, len(factors[0]), *(tensor.data_ptr() for tensor in (*rows, *data)))
        if kind not in self._seen:
            self._seen.add(kind)
            return False
        recorded = self._graphs.get(kind) or self._record(kind, step, length, rows, factors, index, data)
        if recorded is None:
            return False
        for start in range(0, steps, length):
            recorded.factors.copy_(factors[start : start + length])
            recorded.index.copy_(index[start : start + length])
            recorded.graph.replay()
            signals[start : start + length].copy_(recorded.signals)
        return True

    def _record(
        self,
        kind: Any,
        step: "Step",
        length: int,
        rows: tuple[Tensor, ...],
        factors: Tensor,
        index: Tensor,
        data: tuple[Tensor, ...],
    ) -> _Graph | None:
        made = _Graph(
            torch.cuda.CUDAGraph(),
            factors[:length].clone(),
            index[:length].clone(),
            torch.empty(length, len(factors[0]), len(SIGNALS), device=factors.device),
        )
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        torch.cuda.synchronize(self.program.device)
        try:
            with torch.cuda.graph(made.graph, pool=self._pool):
                for t in range(length):
                    made.signals[t] = step(*rows, made.factors[t], made.index[t], *data)
        except RuntimeError as error:
            # Nothing ran: recording only writes down. The tick is then run as ever.
            self._is_refused = True
            line = str(error).splitlines()[0]
            self.notice(f"the step cannot be recorded as a device graph and runs without: {line}")
            return None
        self._graphs[kind] = made
        return made
