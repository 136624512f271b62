"""A small training run, and the loop that obeys a tuner to the letter: what every driver has to do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from schedules import Keep, Probe, Segment, Trace, Tuner


class Row(NamedTuple):
    """All that a training run is at one moment."""

    weights: np.ndarray
    step: int
    hyper: Mapping[str, float]


@dataclass
class Valley:
    """Gradient descent with noisy gradients on 0.5 * sum(curvature * weights^2) + floor.

    The batch is a function of (seed, step): all that is run from one place sees the same batches. Above the
    rate 2 / max(curvature) it diverges; a high rate goes fast and is noisy, a low one is slow.
    """

    curvatures: np.ndarray = field(default_factory=lambda: np.geomspace(0.01, 1.0, 12))
    lr: float = 0.1  # the config's
    noise: float = 0.3
    floor: float = 1.0
    examples: int = 0  # losses of so many examples are told
    example_noise: float = 0.0
    seed: int = 0

    def start(self) -> Row:
        weights = np.random.default_rng([self.seed, 10**9]).normal(1.0, 0.2, len(self.curvatures))
        return Row(weights * 3.0, 0, {"weight_decay": 0.0, "momentum": 0.0})

    def loss(self, weights: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            return float(np.float32(0.5 * np.sum(self.curvatures * weights**2) + self.floor))

    def run(self, row: Row, segment: Segment) -> tuple[Row, Trace]:
        weights, step = row.weights, row.step
        hyper = {**row.hyper, **segment.hyper}
        rates = self.lr * np.asarray(segment.lr(np.arange(segment.steps)))
        stops = [int(np.ceil(segment.steps * (one + 1) / segment.evals)) for one in range(segment.evals)]
        losses, val_losses = [], []
        for local, rate in enumerate(rates):
            batch = np.random.default_rng([self.seed, step]).normal(0.0, 1.0, len(weights))
            losses.append(self.loss(weights))
            with np.errstate(over="ignore", invalid="ignore"):
                slope = self.curvatures * weights + self.noise * np.sqrt(self.curvatures) * batch
                weights = (weights - rate * slope) * (1 - rate * hyper["weight_decay"])
            step += 1
            if local + 1 in stops:
                val_losses.append(self.loss(weights))
        trace = Trace(
            segment,
            np.asarray(losses, np.float32),
            np.asarray(val_losses, np.float32),
            self.of_examples(weights) if segment.evals and self.examples else np.zeros(0, np.float32),
        )
        return Row(weights, step, hyper), trace

    def of_examples(self, weights: np.ndarray) -> np.ndarray:
        """(examples,) losses whose differences between weights are noisy too."""
        draw = np.random.default_rng([self.seed, 10**9 + 1]).normal(0.0, 1.0, (2, self.examples))
        with np.errstate(over="ignore", invalid="ignore"):
            spread = draw[0] + self.example_noise * draw[1] * float(np.sum(weights))
            return np.asarray(self.loss(weights) + spread - spread.mean(), np.float32)


@dataclass
class Outcome:
    """What became of a run, and what it took."""

    row: Row
    loss: float
    spent: int = 0
    wall: int = 0
    rates: list[float] = field(default_factory=list)  # on the kept trajectory
    wishes: list[Keep | Probe] = field(default_factory=list)


def obey(tuner: Tuner, valley: Valley, budget: int, most: int = 1000) -> Outcome:
    """Do what the tuner asks for, exactly as the protocol says, until there is nothing more."""
    row = valley.start()
    out = Outcome(row, valley.loss(row.weights))
    ends: list[tuple[Row, list[float], Segment]] = []  # of all probes since the last Keep
    while (wish := tuner.ask()) is not None:
        assert len(out.wishes) < most
        out.wishes.append(wish)
        traces = []
        match wish:
            case Probe(segments, starts):
                begins = [(ends[start][0], ends[start][1]) for start in starts] or [(row, [])] * len(segments)
                assert all(ends[start][2].is_mark for start in starts)
                for (begin, path), segment in zip(begins, segments, strict=True):
                    end, trace = valley.run(begin, segment)
                    ends.append((end, [*path, *segment.lr(np.arange(segment.steps))], segment))
                    traces.append(trace)
                out.wall += max(segment.steps for segment in segments)
            case Keep(segment, adopt):
                if adopt is not None:
                    row, path, probed = ends[adopt]
                    assert probed.is_mark
                    out.rates += path
                row, trace = valley.run(row, segment)
                out.rates += segment.lr(np.arange(segment.steps)).tolist()
                out.wall += segment.steps
                traces.append(trace)
                ends = []
        out.spent += sum(len(trace.losses) for trace in traces)
        assert out.spent <= budget
        tuner.tell(traces)
    out.row, out.loss = row, valley.loss(row.weights)
    assert row.step == len(out.rates)
    return out
