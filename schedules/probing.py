"""Candidates of one stage: run them for a while, stop those that are hopeless, score the others."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from schedules.axes import Axis
from schedules.combine import rising, scale, shift
from schedules.compare import score
from schedules.elementwise import Floats
from schedules.forecast import forecast
from schedules.plan import Spending
from schedules.shapes import linear
from schedules.stages import Stage
from schedules.types import Keep, Probe, Segment, Trace

SCORES = ("cooldown", "last", "forecast")
SIGNALS = ("training", "validation", "switching")
_DEVIATIONS = 2.0  # to each side of a forecast
_PASSES = {"training": 10, "validation": 1}  # of the published forecast

Asking = Generator[Keep | Probe, Sequence[Trace], None]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a search is made of; `autolrs` says what each is for."""

    axes: tuple[Axis, ...]  # the rate first
    rounds: tuple[int, ...]
    kappa: float
    score: str
    signal: str
    forecaster: str
    probe_evals: int
    chunks: int
    shrink: float
    has_prior: bool
    is_adopted: bool
    stays: bool
    ramp_fraction: float
    start_factor: float
    is_random: bool
    seed: int

    def with_candidates(self, count: int) -> "Ingredients":
        """The same with so many candidates in all, fewer in the last rounds."""
        rounds: list[int] = []
        for size in self.rounds:
            rounds.append(min(size, count - sum(rounds)))
        return replace(self, rounds=tuple(size for size in rounds if size))


@dataclass
class Candidate:
    """A rate, with what goes with it, and what came of it."""

    place: tuple[float, ...]  # on each axis, from 0 to 1
    factor: float
    others: dict[str, float]
    number: int = -1  # of its last segment that may be gone on from
    traces: list[Trace] = field(default_factory=list[Trace])
    is_stopped: bool = False
    forecast: float = math.inf
    forecast_sd: float = math.nan
    score: float = math.inf
    deviation: float = 0.0  # of the score
    scored: Trace | None = None  # whose validation loss the score is

    @property
    def losses(self) -> Floats:
        """Training losses so far, one a step."""
        return np.concatenate([np.asarray(trace.losses, np.float64) for trace in self.traces])

    @property
    def val_losses(self) -> Floats:
        """Validation losses so far."""
        return np.concatenate([np.asarray(trace.val_losses, np.float64) for trace in self.traces])

    @property
    def has_diverged(self) -> bool:
        """Whether a loss is not finite."""
        return not (np.isfinite(self.losses).all() and np.isfinite(self.val_losses).all())


@dataclass
class Probing:
    """How the candidates of one stage are run."""

    made: Ingredients
    stage: Stage
    signal: str  # training or validation
    begin: float  # factor where they begin
    begin_loss: float  # validation loss there
    spending: Spending

    def run(self, fresh: Sequence[Candidate], before: Sequence[Candidate]) -> Asking:
        """Probe them, those of earlier rounds being there to compare with, and score them."""
        steps = self.stage.probe_steps
        ramp = round(self.made.ramp_fraction * steps)
        cuts = [round(steps * part / self.made.chunks) for part in range(1, self.made.chunks)]
        # Nobody is judged at the end of the ramp: those that are too high lead there.
        cuts = [*sorted({max(2 * ramp, cut) for cut in cuts} - {0, steps}), steps]
        running, start = list(fresh), 0
        for end in cuts:
            first = self.spending.candidates
            segments = tuple(self._segment(one, ramp, start, end, end == steps) for one in running)
            starts = tuple(one.number for one in running) if start else ()
            traces = yield Probe(segments, starts)
            for place, (one, trace) in enumerate(zip(running, traces, strict=True)):
                one.number = first + place
                one.traces.append(trace)
                self._look(one)
            running = [one for one in running if not one.has_diverged]
            if end < steps:
                running = self._hopeful(running, before)
            if not running:
                break
            start = end
        if self.made.score == "cooldown" and running:
            falls = [Segment(scale(linear(steps), one.factor), steps, 1, is_mark=False) for one in running]
            traces = yield Probe(tuple(falls), tuple(one.number for one in running))
            for one, trace in zip(running, traces, strict=True):
                one.scored = trace
        self._score([*before, *fresh], running)

    def _segment(self, one: Candidate, ramp: int, start: int, end: int, is_last: bool) -> Segment:
        evals = 0
        if self.made.score == "last":
            evals = int(is_last)
        elif self.made.score == "forecast" and self.signal == "validation":
            share = (end - start) / self.stage.probe_steps
            evals = min(end - start, max(1, round(self.made.probe_evals * share)))
        is_mark = not is_last or self.made.is_adopted or self.made.score == "cooldown"
        schedule = shift(rising(self.begin, one.factor, ramp), start)
        return Segment(schedule, end - start, evals, {} if start else one.others, is_mark)

    def _look(self, one: Candidate) -> None:
        """Forecast where it will be at the end of the stage."""
        if one.has_diverged:
            return
        losses, horizon = one.losses, float(self.stage.steps)
        signal = self.signal if one.val_losses.size and self.made.score == "forecast" else "training"
        if signal == "validation":
            horizon *= len(one.val_losses) / len(losses)
            losses = one.val_losses
            if losses.max() >= self.begin_loss:
                # No better than where it began, at least once: an exponential has nothing to say.
                one.forecast, one.forecast_sd = float(losses[-1]), float(losses.std())
                return
        found = forecast(losses, horizon, self.made.forecaster, _PASSES[signal])
        one.forecast, one.forecast_sd = found

    def _hopeful(self, running: list[Candidate], before: Sequence[Candidate]) -> list[Candidate]:
        """Those whose forecast does not lie wholly above the leader's."""
        everyone = [one for one in [*before, *running] if math.isfinite(one.forecast)]
        if not everyone:
            return running
        leader = min(everyone, key=lambda one: one.forecast)
        highest = leader.forecast + _DEVIATIONS * leader.forecast_sd
        for one in running:
            one.is_stopped = one is not leader and one.forecast - _DEVIATIONS * one.forecast_sd > highest
        return [one for one in running if not one.is_stopped]

    def _score(self, everyone: Sequence[Candidate], finished: Sequence[Candidate]) -> None:
        for one in finished:
            match self.made.score:
                case "forecast":
                    one.score, one.deviation = one.forecast, one.forecast_sd
                case "last":
                    one.scored = one.traces[-1]
                case _:
                    pass
            if one.scored is not None:
                one.score = score(one.scored)
        if self.made.score == "forecast":
            for one in everyone:
                if one.is_stopped:
                    one.score, one.deviation = one.forecast, one.forecast_sd
            return
        known = [one for one in everyone if math.isfinite(one.score) and not one.is_stopped]
        _compare(known)
        if known:
            # Not measured, but no better than the worst that was.
            worst = max(one.score for one in known)
            for one in everyone:
                if one.is_stopped:
                    one.score, one.deviation = worst, (worst - min(one.score for one in known)) / 2


def _compare(known: Sequence[Candidate]) -> None:
    """Standard errors of scores, but for what the examples have in common for all candidates."""
    told = [one for one in known if one.scored is not None and len(one.scored.example_losses) > 1]
    if len(told) < 2 or len({len(one.scored.example_losses) for one in told if one.scored}) > 1:
        return
    losses = np.stack([np.asarray(one.scored.example_losses, np.float64) for one in told if one.scored])
    if not np.isfinite(losses).all():
        return
    apart = losses - losses.mean(axis=0)
    errors = apart.std(axis=1, ddof=1) / math.sqrt(losses.shape[1])
    for one, error in zip(told, errors, strict=True):
        one.deviation = float(error)
