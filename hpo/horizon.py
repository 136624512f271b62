"""Which completed trial would be best if all had been trained longer: `hpo best --horizon N`.

Each curve is taken for a power law of the step, `a + b t^-c`, as learning curves mostly are (Hestness et al.,
"Deep Learning Scaling is Predictable, Empirically", 2017, arXiv:1712.00409; Domhan, Springenberg and Hutter,
"Speeding Up Automatic Hyperparameter Optimization of Deep Neural Networks by Extrapolation of Learning
Curves", IJCAI 2015), its exponent averaged over a grid by how well it fits. How wrong that is on these curves
is measured on them: each is cut as far before its end as the horizon is behind it, and its end is predicted.
The root of the mean squared error is part of every interval, and so is the scatter of seeds, where there are
several of some config.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpo.errors import UsageError
from hpo.forecasts import Forecast
from hpo.history import WITHOUT_VALUE, History, Trial
from hpo.posterior import scatter

FURTHEST = 4  # times the longest run
LEAST_TRIALS = 5  # with a curve
LEAST_REPORTS = 4  # of a curve, and of a curve that is cut
LEVEL, _WIDTH = 0.95, 1.96
_EXPONENTS = np.array([0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.0])
_PRIOR = (math.log(0.5), 0.8)  # of the logarithm of the exponent: mean, standard deviation
_DRAWS = 4000

_Curve = tuple[np.ndarray, np.ndarray]  # (n,) steps, (n,) minimised values


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of the trial that is expected to be best after so many steps. Values as the user knows them."""

    trial: int
    steps: int
    mean: float
    low: float  # ends of the interval
    high: float
    chance: float  # that it is the best
    among: int  # trials


def predicted(history: History, steps: int) -> Prediction:
    """The winner of a run of so many steps.

    Raises:
        UsageError: the curves cannot say; with what is missing.
    """
    objective = history.objective
    if not objective.is_single:
        raise UsageError(f"--horizon is for one metric without constraints: the study {objective.words()}")
    curves = {
        trial.spec.trial: curve
        for trial in history.trials.values()
        if len(curve := _curve(history, trial)[0])
    }
    whole = max((int(curve[-1]) for curve in curves.values()), default=0)
    if whole and steps <= whole:
        raise UsageError(
            f"--horizon {steps} is no longer than the runs there are, of {whole} steps: leave it out, or "
            "name more"
        )
    if whole and steps > FURTHEST * whole:
        raise UsageError(
            f"--horizon {steps} is more than {FURTHEST} times the longest run, of {whole} steps: at most "
            f"{FURTHEST * whole} can be predicted"
        )
    cut = whole * whole / steps if whole else 0.0
    fit = [
        history.trials[number]
        for number, curve in curves.items()
        if curve[-1] == whole and int((curve <= cut).sum()) >= LEAST_REPORTS
    ]
    if len(fit) < LEAST_TRIALS:
        raise UsageError(_missing(steps, whole, cut, len(fit), len(curves)))
    curves_fit = [_curve(history, trial) for trial in fit]
    share, wrong = backtested(curves_fit, cut)
    found = _blended(curves_fit, steps, share)
    # How seeds scatter now is taken for how they will.
    seeds = {trial.spec.trial: ends_by_seed(history, trial) for trial in fit}
    single, _ = scatter(seeds.values())
    forecasts = {
        number: Forecast(one.mean, math.sqrt(one.spread**2 + wrong**2 + single / len(ends)))
        for (number, ends), one in zip(seeds.items(), found, strict=True)
    }
    best = min(forecasts, key=lambda number: (forecasts[number].mean, number))
    drawn = np.random.default_rng(0).normal(size=(_DRAWS, len(forecasts)))
    drawn = np.array([one.mean for one in forecasts.values()]) + drawn * np.array(
        [one.spread for one in forecasts.values()]
    )
    chance = float((drawn.argmin(1) == list(forecasts).index(best)).mean())
    one = forecasts[best]
    ends = [objective.shown(one.mean + side * _WIDTH * one.spread) for side in (-1, 1)]
    return Prediction(best, steps, objective.shown(one.mean), min(ends), max(ends), chance, len(fit))


def ends_by_seed(history: History, trial: Trial) -> list[float]:
    """Final values of a config, minimised, of each seed."""
    return [history.value(one) for one in history.seeds(trial)]


def backtested(curves: Sequence[_Curve], cut: float) -> tuple[float, float]:
    """(share of the power laws in a prediction, its root mean squared error), from curves cut at `cut` steps.

    The rest of a prediction is that all curves fall alike from now on. The two count by the inverse of their
    squared errors on the curves that lead at the cut: where laws of single curves foretell badly who leads,
    who leads now is the better guess.
    """
    ends = np.array([values[-1] for _, values in curves])
    early = [(at[at <= cut], values[at <= cut]) for at, values in curves]
    last = np.array([values[-1] for _, values in early])
    leading = np.argsort(last)[: max(3, len(curves) // 2)]
    whole = float(curves[0][0][-1])

    def errors(share: float) -> np.ndarray:
        return np.array([one.mean for one in _blended(early, whole, share)]) - ends

    law, alike = (float(np.var(errors(share)[leading])) for share in (1.0, 0.0))
    share = alike / (law + alike) if law + alike > 0 else 1.0
    return share, float(np.sqrt(np.mean(np.square(errors(share)))))


def _blended(curves: Sequence[_Curve], steps: float, share: float) -> list[Forecast]:
    """Of each curve, by its own power law and by the mean fall of all."""
    laws = [_forecast(at, values, steps) for at, values in curves]
    last = np.array([values[-1] for _, values in curves])
    fall = float(np.mean([one.mean for one in laws] - last))
    return [
        Forecast(share * law.mean + (1 - share) * (value + fall), share * law.spread)
        for law, value in zip(laws, last, strict=True)
    ]


def _missing(steps: int, whole: int, cut: float, enough: int, known: int) -> str:
    need = f"--horizon {steps} needs {LEAST_TRIALS} completed trials"
    if known < LEAST_TRIALS:
        return f"{need} that reported {LEAST_REPORTS} times or more, and there are {known}"
    return (
        f"{need} of {whole} steps with {LEAST_REPORTS} reports in their first {cut:.0f}, to know how well "
        f"their ends can be foretold, and there are {enough}: name fewer steps, or search with more [trial] "
        "reports"
    )


def _curve(history: History, trial: Trial) -> _Curve:
    """((n,) steps, (n,) minimised values) of a completed trial; empty where it says too little.

    Of a config with several seeds it is the mean of their curves, under the number of the first; one that
    broke off with a seed has none.
    """
    if trial.state != "completed" or trial.spec.parent is not None or trial.replica_of is not None:
        return np.empty(0), np.empty(0)
    group = history.seeds(trial)
    if any(one.state in WITHOUT_VALUE for one in group):
        return np.empty(0), np.empty(0)
    curves = [
        {
            report.step: value  # where steps were probed and not kept a position may repeat: the last counts
            for report in one.reports
            if math.isfinite(value := history.objective.value(report.metrics)) and report.step > 0
        }
        for one in group
    ]
    shared = [step for step in curves[0] if all(step in curve for curve in curves)]
    if len(shared) < LEAST_REPORTS:
        return np.empty(0), np.empty(0)
    means = [float(np.mean([curve[step] for curve in curves])) for step in shared]
    return np.array(shared, float), np.array(means, float)


def _forecast(at: np.ndarray, values: np.ndarray, steps: float) -> Forecast:
    """What a power law through (n,) values at (n,) steps has at `steps`; later values count more."""
    weights = at / at.sum() * len(at)
    means, variances, logs = np.empty(len(_EXPONENTS)), np.empty(len(_EXPONENTS)), np.empty(len(_EXPONENTS))
    for place, exponent in enumerate(_EXPONENTS):
        rows = np.stack([np.ones_like(at), (at / at[-1]) ** -exponent], 1)
        target = np.array([1.0, (steps / at[-1]) ** -exponent])
        gram: np.ndarray = (rows * weights[:, None]).T @ rows
        inverse: np.ndarray = np.linalg.inv(gram + 1e-12 * np.eye(2))
        solved = inverse @ ((rows * weights[:, None]).T @ values)
        noise = float((weights * np.square(values - rows @ solved)).sum()) / max(1, len(at) - 2)
        noise = max(noise, 1e-12 * max(1.0, float(np.square(values).mean())))
        means[place] = target @ solved
        variances[place] = noise * (1 + target @ inverse @ target)
        prior = -0.5 * ((math.log(exponent) - _PRIOR[0]) / _PRIOR[1]) ** 2
        logs[place] = prior - 0.5 * (len(at) - 2) * math.log(noise)
    shares = np.exp(logs - logs.max())
    shares /= shares.sum()
    mean = float(shares @ means)
    return Forecast(mean, math.sqrt(float(shares @ (variances + np.square(means - mean)))))
