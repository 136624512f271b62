"""One rung, and the best few: random configs run to it, and those go on to their ends. No library.

python -m tests.bench.peers.tuner_rounds NAME
"""

import functools
import math
import random

from tests.bench.peers.tuner import Answer, Begin, Dimension, Verdict, serve


class Study:
    """Rounds of `width` random configs to the first rung at or beyond `fraction`; the best `kept` go on."""

    def __init__(self, begin: Begin, width: int = 25, kept: int = 2, fraction: float = 0.06) -> None:
        self._begin, self._width, self._kept = begin, width, kept
        self._rung = next(rung for rung in begin.rungs if rung >= fraction * begin.steps)
        self._generator = random.Random(begin.seed)
        self._number = 0
        self._looked_at: set[int] = set()  # reached the rung, or broke off
        self._round: dict[int, float] = {}  # of these, the ones that wait for the round to be complete
        self._chosen: list[int] = []  # to go on

    def ask(self) -> Answer:
        if self._chosen:
            return Answer(self._chosen.pop(0), None)
        # Lanes that are free while the last of a round are under way take configs of the next.
        self._number += 1
        return Answer(self._number - 1, {one.name: self._drawn(one) for one in self._begin.space})

    def _drawn(self, one: Dimension) -> float:
        at = self._generator.random()
        if not one.log:
            return one.low + at * (one.high - one.low)
        return math.exp(math.log(one.low) + at * math.log(one.high / one.low))

    def report(self, trial: int, step: int, loss: float) -> Verdict:
        if step != self._rung:
            return "go"
        self._look(trial, loss)
        return "pause"

    def end(self, trial: int, loss: float | None) -> None:
        if trial not in self._looked_at:
            self._look(trial, math.inf)

    def _look(self, trial: int, loss: float) -> None:
        """Take in what a trial came to, and choose once the round is complete."""
        self._looked_at.add(trial)
        self._round[trial] = loss
        if len(self._round) == self._width:
            best = sorted(self._round, key=self._round.__getitem__)[: self._kept]
            self._chosen += [trial for trial in best if math.isfinite(self._round[trial])]
            self._round.clear()


if __name__ == "__main__":
    serve({"best-2-of-25": Study, "best-3-of-27": functools.partial(Study, width=27, kept=3)})
