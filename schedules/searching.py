"""The stages of AutoLRS, one after another: propose, probe, choose, train on."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from schedules.axes import Box, around, propose, spread
from schedules.candidates import MOST_SHRINKS, SHRINK
from schedules.combine import rising, scale, warmup
from schedules.compare import are_equal, check_apart, score
from schedules.elementwise import Floats
from schedules.plan import Fact, Plan, Spending, fact
from schedules.probing import Candidate, Ingredients, Probing
from schedules.shapes import constant, linear
from schedules.stages import Division, Stage
from schedules.surrogate import Mean, Surrogate
from schedules.types import Keep, Probe, Schedule, Segment, Trace, TunerError

_LAST = 10  # steps whose mean loss is what came of a stage
_NARROWEST = 0.02  # of an axis: less is nothing to search in


@dataclass
class Search:
    """The search of one run; `plan` is to be run once."""

    made: Ingredients
    division: Division
    spending: Spending
    share: float  # of the budget, for probing
    facts: list[Fact]
    factor: float = 1.0  # of the rate where things stand
    val_loss: float = math.nan  # likewise
    signal: str = "training"  # that the last candidates were forecast from
    returned: int = 0  # probed steps that were adopted
    prior: Mean | None = None

    def plan(self) -> Plan:
        """Warm up, go through the stages, fall to 0."""
        made, division = self.made, self.division
        self.factor = made.axes[0].value(made.axes[0].place(made.start_factor))
        length = division.longest(None, 0, self.spending.left, sum(made.rounds)) or 0
        if warm := division.warmup(length):
            yield from self._keep(warmup(warm, constant(self.factor)), warm, {}, None)
        centre: Sequence[float] = [0.5] * len(made.axes)
        number = 0
        # What a guard took back is missing: there may not be steps for a search any more.
        while division.rest(length, self.spending.kept, number) and self._planned(number):
            box = around(centre, made.shrink**number)
            best, row, stage, length = yield from self._best(number, box)
            adopt, steps = None, stage.steps
            schedule = rising(self.factor, best.factor, round(made.ramp_fraction * stage.probe_steps))
            if made.is_adopted:
                adopt, steps, schedule = best.number, stage.steps - stage.probe_steps, constant(best.factor)
                self.returned += stage.probe_steps
            trace = yield from self._keep(schedule, steps, best.others, adopt)
            came = float(np.asarray(trace.losses[-_LAST:], np.float64).mean())
            # A forecast is of what it was made from.
            row["regret"] = float(row["forecast"]) - (self.val_loss if self.signal == "validation" else came)
            centre, self.factor, number = best.place, best.factor, number + 1
        if (left := min(length - self.spending.kept, self.spending.left)) > 0:
            fall = linear(left) if division.anneal_fraction else constant()
            yield from self._keep(scale(fall, self.factor), left, {}, None)

    def _keep(
        self, schedule: Schedule, steps: int, others: dict[str, float], adopt: int | None
    ) -> Generator[Keep | Probe, Sequence[Trace], Trace]:
        (trace,) = yield Keep(Segment(schedule, steps, 1, others), adopt)
        self.val_loss = score(trace)
        return trace

    def _best(
        self, number: int, box: Box
    ) -> Generator[Keep | Probe, Sequence[Trace], tuple[Candidate, Fact, Stage, int]]:
        """The best candidate of a stage, its row, the stage, and the kept steps of the whole run."""
        rate = self.made.axes[0]
        lowest, highest = math.inf, 0.0
        for _ in range(MOST_SHRINKS + 1):
            if not (planned := self._planned(number)):
                break
            made, stage, length = planned
            candidates = yield from self._rounds(made, stage, number, box)
            rows = [_row(number, one) for one in candidates]
            self.facts += rows
            able = [one for one in candidates if math.isfinite(one.score) and not one.is_stopped]
            if able:
                best = self._chosen(able)
                row = rows[candidates.index(best)]
                row["chosen"] = True
                return best, row, stage, length
            lowest = min(lowest, *(one.factor for one in candidates))
            highest = max(highest, *(one.factor for one in candidates))
            low, high = box[0]
            less = math.log(SHRINK) / math.log(rate.high / rate.low)
            low, high = max(0.0, low - less), min(high - less, *(one.place[0] for one in candidates))
            if high - low < _NARROWEST:
                break
            box = ((low, high), *box[1:])
        raise TunerError(f"every rate from {lowest:.3g} to {highest:.3g} times lr diverged: lower lr, or low")

    def _chosen(self, able: Sequence[Candidate]) -> Candidate:
        """The best; with `stays`, the nearest to the rate before of those that equal it."""
        best = min(able, key=lambda one: one.score)
        if not self.made.stays or best.scored is None:
            return best
        first = best.scored
        equals = [one for one in able if one.scored is not None and are_equal(one.scored, first)]
        return min(equals, key=lambda one: abs(math.log(one.factor / self.factor)))

    def _planned(self, number: int) -> tuple[Ingredients, Stage, int] | None:
        """As many candidates as can be afforded, the stage, and the kept steps of the whole run."""
        kept, left = self.spending.kept, self.spending.left
        for count in range(sum(self.made.rounds), 1, -1):
            probing = self.share * self.spending.budget - (self.spending.probed - self.returned)
            length = self.division.longest(kept, number, left, count, probing)
            if length is not None and (rest := self.division.rest(length, kept, number)):
                return self.made.with_candidates(count), rest[0], length
        return None

    def _rounds(
        self, made: Ingredients, stage: Stage, number: int, box: Box
    ) -> Generator[Keep | Probe, Sequence[Trace], list[Candidate]]:
        signal = made.signal
        if signal == "switching":
            signal = "validation" if self.division.is_at_its_longest(number) else "training"
        self.signal = signal
        probing = Probing(made, stage, signal, self.factor, self.val_loss, self.spending)
        candidates: list[Candidate] = []
        surrogate: Surrogate | None = None
        for size in made.rounds:
            surrogate = self._surrogate(made, candidates)
            places = self._places(made, size, number, box, candidates, surrogate)
            fresh = [_candidate(made, place) for place in places]
            if not fresh:
                break
            yield from probing.run(fresh, candidates)
            if number == 0 and not candidates:
                check_apart([one.scored for one in fresh if one.scored is not None])
            candidates += fresh
        last = self._surrogate(made, candidates)
        if made.has_prior and last is not None:
            self.prior = lambda points: last.predict(points)[0]
        return candidates

    def _surrogate(self, made: Ingredients, candidates: Sequence[Candidate]) -> Surrogate | None:
        known = [one for one in candidates if math.isfinite(one.score)]
        if len(known) < 1:
            return None
        points = np.asarray([one.place for one in known], np.float64)
        scores = np.asarray([one.score for one in known], np.float64)
        deviations = np.nan_to_num(np.asarray([one.deviation for one in known], np.float64))
        return Surrogate(points, scores, deviations, self.prior if made.has_prior else None)

    def _places(
        self,
        made: Ingredients,
        size: int,
        number: int,
        box: Box,
        candidates: Sequence[Candidate],
        surrogate: Surrogate | None,
    ) -> Floats:
        below = min((one.place[0] for one in candidates if one.has_diverged), default=math.inf)
        if surrogate is not None:
            known = np.asarray([one.place for one in candidates], np.float64)
            return propose(size, surrogate, known, box, made.kappa, below)
        if not made.is_random:
            # All of the first round diverged: the rounds after it would but do so again.
            return spread(size, box) if not candidates else np.zeros((0, len(box)))
        draw = np.random.default_rng([made.seed, number, len(candidates)]).random((size, len(box)))
        lows = np.asarray([low for low, _ in box])
        highs = np.asarray([high for _, high in box])
        highs[0] = min(highs[0], below)
        return lows + draw * np.maximum(highs - lows, 0.0)


def _candidate(made: Ingredients, place: Floats) -> Candidate:
    values = [axis.value(float(one)) for axis, one in zip(made.axes, place, strict=True)]
    names = [axis.name for axis in made.axes[1:]]
    return Candidate(tuple(float(one) for one in place), values[0], dict(zip(names, values[1:], strict=True)))


def _row(number: int, one: Candidate) -> Fact:
    steps = sum(len(trace.losses) for trace in one.traces)
    row = fact(number, one.factor, steps, one.score, one.forecast, one.forecast_sd, one.others)
    return {**row, "stopped": one.is_stopped}
