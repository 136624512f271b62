"""What goes wrong on a large cluster, in simulated time: nodes that fail, and trials that are slow.

Drawn from the seed: node failures come as a Poisson process over the whole cluster, each of a node that is
drawn with equal chances, which comes back later with what it had lost; a trial is a straggler by its number.
"""

import math
from dataclasses import dataclass

from trials.seeding import key, stream

_UNIT = float(1 << 63)


@dataclass(frozen=True, slots=True)
class Trouble:
    """How often what goes wrong."""

    seed: int = 0
    lanes_per_node: int = 8
    seconds_between_failures: float = 0.0  # of the whole cluster, on average; 0: no node fails
    seconds_down: float = 600.0  # until a node that failed is there again
    straggler_share: float = 0.0  # of trials
    straggler_factor: float = 4.0  # by which they take longer

    def __post_init__(self) -> None:
        if self.lanes_per_node < 1:
            raise ValueError(f"lanes_per_node={self.lanes_per_node} must be at least 1")
        if min(self.seconds_between_failures, self.seconds_down) < 0:
            raise ValueError("seconds_between_failures and seconds_down must not be negative")
        if not 0 <= self.straggler_share <= 1 or self.straggler_factor < 1:
            raise ValueError(
                f"straggler_share={self.straggler_share} must be between 0 and 1, and "
                f"straggler_factor={self.straggler_factor} at least 1"
            )

    def slowness(self, trial: int) -> float:
        """By which factor a trial takes longer than its curve says.

        >>> {Trouble(straggler_share=0.5).slowness(trial) for trial in range(20)} == {1.0, 4.0}
        True
        """
        is_slow = self.straggler_share and key(self.seed, "slow", trial) < self.straggler_share * _UNIT
        return self.straggler_factor if is_slow else 1.0

    def failure(self, number: int, nodes: int) -> tuple[float, int]:
        """(seconds from the failure before, or from the beginning, and the node) of a failure, from 0."""
        draw = stream(self.seed, "failure", number)
        return float(draw.exponential(self.seconds_between_failures)), int(draw.integers(nodes))


class Nodes:
    """Lanes by node: which are free, which are gone, and what happens to a node next."""

    def __init__(self, lanes: int, trouble: Trouble, began: float) -> None:
        self.trouble = trouble
        count = -(-lanes // trouble.lanes_per_node)
        self._lanes = [
            min(trouble.lanes_per_node, lanes - node * trouble.lanes_per_node) for node in range(count)
        ]
        self._free = [node for node in range(count) for _ in range(self._lanes[node])]
        self._gone: dict[int, float] = {}  # node -> when it is there again; those that went first come first
        self.failures = 0  # of nodes, so far
        self._next = (math.inf, 0)
        if trouble.seconds_between_failures:
            seconds, node = trouble.failure(0, count)
            self._next = (began + seconds, node)

    def free(self) -> int:
        """Lanes without a trial, of nodes that are there."""
        return len(self._free)

    def take(self) -> int:
        """The node of a free lane, which is free no more."""
        return self._free.pop()

    def give_back(self, node: int) -> None:
        """A lane of this node has no trial any more."""
        if node not in self._gone:
            self._free.append(node)

    def coming(self) -> float:
        """When something happens to a node next."""
        return min(self._next[0], next(iter(self._gone.values()), math.inf))

    def turn(self) -> int | None:
        """Let it happen: the node that has failed; None where one is there again, or had failed already."""
        back = next(iter(self._gone), None)
        if back is not None and self._gone[back] <= self._next[0]:
            del self._gone[back]
            self._free.extend([back] * self._lanes[back])
            return None
        time, node = self._next
        self.failures += 1
        seconds, following = self.trouble.failure(self.failures, len(self._lanes))
        self._next = (time + seconds, following)
        if node in self._gone:
            return None
        self._gone[node] = time + self.trouble.seconds_down
        self._free = [one for one in self._free if one != node]
        return node
