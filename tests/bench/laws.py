"""How well loss laws predict held-out schedules: recorded runs of two sizes, up to 72,000 steps.

    python -m tests.bench.laws

Fitted on three curves of a size (cosine_24000, constant_24000, wsdcon_9), tested on the other six. Needs the
recorded curves, see tests/shared_data.py.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from schedules.laws import Coefficients, Curve, FittedLaw, fit, memory_constants
from schedules.laws.annealing import annealing
from schedules.laws.curve import Floats
from schedules.laws.kernels import REFERENCE_AREA
from tests.shared_data import FITTED, HELD_OUT, PEAK, SIZES, WARMUP, curves

# Luo et al., 2025: (L0, A, alpha, B, C, beta, gamma) of their law, rates in units of the optimizer.
PUBLISHED = {
    "25": (3.040, 0.525, 0.508, 363.788, 2.066, 0.583, 0.641),
    "100": (2.651, 0.601, 0.453, 437.946, 2.132, 0.598, 0.655),
}


@dataclass(frozen=True)
class Score:
    """Errors on several curves: of each curve first, then their mean."""

    mae: float
    relative: float  # mean relative error
    mean_of_worst: float  # mean of the curves' largest relative errors
    worst: float  # the largest of all
    coverage: float  # by the 90 % interval
    least_coverage: float  # of the curve that is covered worst

    def errors(self) -> list[str]:
        return [f"{one:.5f}" for one in (self.mae, self.relative, self.mean_of_worst, self.worst)]


def score(law: FittedLaw, tests: Sequence[Curve], rise: Callable[[Curve], Floats] | None = None) -> Score:
    """How well a law predicts these curves. `rise`: what is added to its losses."""
    rows: list[tuple[float, ...]] = []
    for one in tests:
        said, observed, settled = law.predict(one), one.observed(), one.settled()
        errors = np.abs(said.losses + (rise(one) if rise else 0.0) - observed)[settled]
        relative = errors / observed[settled]
        covered = ((said.low <= observed) & (observed <= said.high))[settled]
        rows.append((errors.mean(), relative.mean(), relative.max(), covered.mean()))
    table = np.array(rows)
    mae, relative, worst, coverage = table.mean(0).tolist()
    return Score(mae, relative, worst, table[:, 2].max(), coverage, table[:, 3].min())


def published(size: str) -> tuple[FittedLaw, Callable[[Curve], Floats]]:
    """The Multi-Power Law as its authors fitted it, and what their sum has that ours has not.

    They count the rise of the rate in warm-up as negative drops.
    """
    limit, amplitude, exponent, gain, c, beta, gamma = PUBLISHED[size]
    # Their areas are in units of the rate, ours in steps at the peak.
    amplitude, gain, c = (
        amplitude * (REFERENCE_AREA * PEAK) ** -exponent,
        gain * PEAK,
        c * PEAK ** (1 - gamma),
    )
    law = FittedLaw(
        "multi_power",
        PEAK,
        Coefficients(limit, amplitude, exponent, gain),
        {"C": c, "beta": beta, "gamma": gamma},
        24_000.0,
        WARMUP,
        0.0005,
    )
    rates = np.arange(1, WARMUP + 1) / WARMUP
    before = np.cumsum(rates) - rates

    def rise(curve: Curve) -> Floats:
        area = annealing(replace(curve, warmup_steps=WARMUP), curve.steps, PEAK).area
        effect = 1.0 - (1.0 + c * rates**-gamma * (area[:, None] - before)) ** -beta
        return gain * effect.mean(1)

    return law, rise


def donor_constants(size: str) -> dict[str, float]:
    """Of the memory, from all nine curves of the other size."""
    (other,) = set(SIZES) - {size}
    return memory_constants({other: curves(other)})


def contenders(size: str) -> dict[str, Callable[[], FittedLaw]]:
    """Row of the table -> what makes its law; only this is timed."""
    three, donor = curves(size, FITTED), donor_constants(size)
    return {
        "progress, constants of the other size": lambda: fit(three, constants=donor),
        "progress, shipped constants": lambda: fit(three),
        "the same without delta": lambda: fit(three, constants={**donor, "delta": 0.0}),
        "annealing, memory 0.998, Huber 0.001": lambda: fit(
            three, "annealing", {"memory": 0.998}, huber_width=1e-3
        ),
        "annealing": lambda: fit(three, "annealing"),
        "multi_power, refitted": lambda: fit(three, "multi_power"),
    }


def row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    fit(curves("25", FITTED))  # loads scipy
    names = (
        "law",
        "size",
        "MAE",
        "mean relative",
        "mean of worst",
        "worst",
        "coverage (least)",
        "fit seconds",
    )
    print(row(*names), row(*("---" for _ in names)), sep="\n")
    for size in SIZES:
        tests = curves(size, HELD_OUT)
        for name, make in contenders(size).items():
            began = time.perf_counter()
            law = make()
            seconds = time.perf_counter() - began
            found = score(law, tests)
            covered = f"{found.coverage:.2f} ({found.least_coverage:.2f})"
            print(row(name, f"{size}M", *found.errors(), covered, f"{seconds:.2f}"))
        found = score(published(size)[0], tests, published(size)[1])
        print(row("multi_power, as published", f"{size}M", *found.errors(), "-", "-"))


if __name__ == "__main__":
    main()
