"""Means over problems with intervals over seeds, as tables.

A seed's figure is the mean over the problems; the interval is Student's over the seeds, at 95 %. Contenders
are compared seed by seed, since they had the same noise.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpo.bench.play import Run


@dataclass(frozen=True, slots=True)
class Figure:
    """A mean and half the width of its interval; nan where one seed tells none."""

    mean: float
    half: float

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if math.isnan(self.half) else f"{self.mean:.3f} ± {self.half:.3f}"


def interval(values: Sequence[float]) -> Figure:
    """The mean with Student's interval at 95 %.

    >>> str(interval([1.0, 2.0, 3.0]))
    '2.000 ± 2.484'
    """
    found = np.asarray(values, float)
    if len(found) < 2:
        return Figure(float(found.mean()), math.nan)
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs]

    width = float(stdtrit(len(found) - 1, 0.975)) * float(found.std(ddof=1)) / math.sqrt(len(found))
    return Figure(float(found.mean()), width)


@dataclass(frozen=True, slots=True)
class Line:
    """One contender's line."""

    contender: str
    regrets: Mapping[float, Figure]  # spent, in trainings -> regret
    against: Mapping[float, Figure]  # the same, less the first contender's; nothing for itself
    stopped_best: Figure  # share of studies
    trials: float  # a study
    stopped: float
    milliseconds: float  # of the processor a trial, the sampler's: asking, and telling of ends


def lines(runs: Sequence[Run], spent: Sequence[float]) -> list[Line]:
    """A line for each contender, in the order of the runs."""
    names = list(dict.fromkeys(run.contender for run in runs))
    of = {name: [run for run in runs if run.contender == name] for name in names}
    found: list[Line] = []
    for name in names:
        mine, first = of[name], of[names[0]]
        found.append(
            Line(
                name,
                {at: interval(_by_seed(mine, _regret_at(at))) for at in spent},
                {} if mine is first else {at: _difference(mine, first, at) for at in spent},
                interval(_by_seed(mine, lambda run: float(run.stopped_best))),
                float(np.mean([run.trials for run in mine])),
                float(np.mean([run.stopped for run in mine])),
                sum(run.milliseconds for run in mine) / max(1, sum(run.trials for run in mine)),
            )
        )
    return found


def _regret_at(spent: float) -> Callable[[Run], float]:
    return lambda run: run.regret_at(spent)


def _by_seed(runs: Sequence[Run], value: Callable[[Run], float]) -> list[float]:
    seeds = sorted({run.seed for run in runs})
    return [float(np.mean([value(run) for run in runs if run.seed == seed])) for seed in seeds]


def _difference(runs: Sequence[Run], others: Sequence[Run], spent: float) -> Figure:
    mine, theirs = (_by_seed(found, _regret_at(spent)) for found in (runs, others))
    return interval(np.subtract(mine, theirs).tolist())


def markdown(found: Sequence[Line], spent: Sequence[float], compared: bool = True) -> str:
    """The lines as a table, and with `compared` another of their differences from the first."""
    heads = ["contender", *(f"regret at {at:g}x" for at in spent)]
    heads += ["best stopped", "trials", "stopped", "ms a trial"]
    rows = [
        [
            f"`{line.contender}`",
            *(str(line.regrets[at]) for at in spent),
            str(line.stopped_best) if line.stopped else "-",
            f"{line.trials:.0f}",
            f"{line.stopped:.0f}",
            f"{line.milliseconds:.1f}",
        ]
        for line in found
    ]
    texts = [_table(heads, rows)]
    if compared and len(found) > 1:
        heads = [f"less `{found[0].contender}`", *(f"at {at:g}x" for at in spent)]
        rows = [[f"`{line.contender}`", *(_signed(line.against[at]) for at in spent)] for line in found[1:]]
        texts.append(_table(heads, rows))
    return "\n\n".join(texts)


def _signed(figure: Figure) -> str:
    return f"{'+' if figure.mean >= 0 else ''}{figure}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_table(found: Sequence[Line]) -> list[dict[str, Any]]:
    """The lines as plain data, for JSON."""

    def plain(figure: Figure) -> dict[str, float]:
        return {"mean": figure.mean, "half": figure.half}

    return [
        {
            "contender": line.contender,
            "regret": {f"{at:g}": plain(figure) for at, figure in line.regrets.items()},
            "against_first": {f"{at:g}": plain(figure) for at, figure in line.against.items()},
            "stopped_best": plain(line.stopped_best),
            "trials": line.trials,
            "stopped": line.stopped,
            "milliseconds": line.milliseconds,
        }
        for line in found
    ]


def curves(runs: Sequence[Run], most: float, points: int = 80) -> dict[str, Any]:
    """What is drawn: contender -> mean regret and its interval along the spent trainings."""
    grid = np.geomspace(max(0.25, most / 400), most, points)
    found: dict[str, Any] = {}
    for name in dict.fromkeys(run.contender for run in runs):
        mine = [run for run in runs if run.contender == name]
        figures = [interval(_by_seed(mine, _regret_at(float(at)))) for at in grid]
        found[name] = {
            "spent": grid.tolist(),
            "mean": [figure.mean for figure in figures],
            "half": [0.0 if math.isnan(figure.half) else figure.half for figure in figures],
        }
    return found
