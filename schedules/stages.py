"""How a run is divided into stages of search and training, so that it ends with its budget."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from schedules.plan import longest


@dataclass(frozen=True, slots=True)
class Stage:
    """Steps of one stage: trained in all, and for each candidate."""

    steps: int
    probe_steps: int


@dataclass(frozen=True, slots=True)
class Division:
    """Constants of a run: warm-up, stages that double, and an anneal at the end."""

    horizon: int
    warmup_fraction: float
    anneal_fraction: float
    probe_fraction: float  # of a stage
    least_probe: Callable[[int], int]  # kept steps -> fewest steps of a probe
    stages: int | None  # so many, sharing what there is; or, where None, of these steps:
    first_stage_steps: int
    most_stage_steps: int
    probe_cost: int  # times the steps of a probe that a candidate takes: 2 with a cool-down
    is_adopted: bool

    def warmup(self, length: int) -> int:
        """Steps of warm-up of a run of that many kept steps."""
        return round(self.warmup_fraction * length)

    def anneal(self, length: int) -> int:
        """Steps at the end that fall to 0."""
        return round(self.anneal_fraction * length)

    def rest(self, length: int, kept: int, done: int) -> list[Stage]:
        """The stages still to come, `done` of them past, `kept` steps after the start."""
        left = length - kept - self.anneal(length)
        sizes: list[int] = []
        if self.stages is None:
            while left > 0:
                steps = min(self.first_stage_steps * 2 ** (done + len(sizes)), self.most_stage_steps, left)
                sizes.append(steps)
                left -= steps
            if len(sizes) > 1 and self._probe(sizes[-1], length) >= sizes[-1]:
                # What is left over is too short to search in.
                sizes[-2:] = [sizes[-2] + sizes[-1]]
        else:
            for stage in range(done, self.stages):
                # Doubling to the end: this one has 1 of the 1 + 2 + 4 + … parts of what is left.
                steps = round(left / (2 ** (self.stages - stage) - 1))
                sizes.append(steps)
                left -= steps
        return [Stage(steps, self._probe(steps, length)) for steps in sizes]

    def _probe(self, steps: int, length: int) -> int:
        return max(int(steps * self.probe_fraction), self.least_probe(length))

    def is_at_its_longest(self, done: int) -> bool:
        """Whether stages have doubled for the last time, one of them at their longest being past."""
        return self.stages is None and self.first_stage_steps * 2 ** (done - 1) >= self.most_stage_steps

    def is_possible(self, length: int, kept: int, done: int) -> bool:
        """Whether every stage is longer than its probes."""
        rest = self.rest(length, kept, done)
        return all(stage.probe_steps < stage.steps for stage in rest) and (bool(rest) or done > 0)

    def cost(self, length: int, kept: int, done: int, candidates: int) -> tuple[int, int]:
        """Steps that what is left of a run takes at most, and how many of them are spent on probing only."""
        rest = self.rest(length, kept, done)
        saved = sum(stage.probe_steps for stage in rest) if self.is_adopted else 0
        probed = sum(candidates * self.probe_cost * stage.probe_steps for stage in rest)
        return sum(stage.steps for stage in rest) + self.anneal(length) + probed - saved, probed - saved

    def longest(
        self, kept: int | None, done: int, left: int, candidates: int, probing: float = math.inf
    ) -> int | None:
        """The most kept steps that the steps left allow, and those left for probing only.

        Kept None: nothing has been run, nor the warm-up.
        """

        def begin(length: int) -> int:
            return self.warmup(length) if kept is None else kept

        def fits(length: int) -> bool:
            first = begin(length) if kept is None else 0
            cost, probed = self.cost(length, begin(length), done, candidates)
            return first + cost <= left and probed <= probing

        most = self.horizon
        if not self.is_possible(most, begin(most), done):
            return None
        # The shortest run whose stages are longer than their probes.
        short = longest(0, most, lambda less: self.is_possible(most - less, begin(most - less), done))
        return longest(most - (short or 0), most, fits)
