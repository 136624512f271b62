"""Where a loss will be: an exponential through a few steps of it, with an error bar."""

import math
import warnings
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Losses = NDArray[np.floating[Any]]
FORECASTERS = ("bounded", "published", "last")
_LAST = 10  # losses that say where it is now
_RATES = 40  # tried before the best is refined
_DOUBT_OF_FALL = 0.5  # parts of the fall that is forecast, and of the fall that was seen, that a standard
_DOUBT_OF_SHAPE = 0.25  # deviation allows for: two of them cover 4 in 5 of simulated power laws
_LARGEST = 1e6  # losses for which rounding is less than the smoothing: with larger ones FITPACK crashes
_SHARE_OUTLYING = 0.03  # of the points, in each pass


def forecast(
    losses: Losses, horizon: float, forecaster: str = "bounded", passes: int = 10
) -> tuple[float, float]:
    """Loss at step `horizon`, counted from the first of the losses, and its standard deviation.

    "bounded" is `bounded`, "published" is `published`, "last" the mean of the last ten. Losses are (n,); one
    that is not finite makes the forecast infinite. `passes` is for the published one.

    >>> steps = np.arange(100)
    >>> value, sd = forecast(1 + np.exp(-steps / 50), horizon=1000)
    >>> round(value, 2), sd < 0.3
    (1.0, True)

    Raises:
        ValueError: no losses, or no such forecaster.
    """
    if forecaster not in FORECASTERS:
        raise ValueError(f"forecaster={forecaster!r} must be one of {', '.join(FORECASTERS)}")
    values = np.asarray(losses, np.float64)
    if not values.size:
        raise ValueError("a forecast needs at least one loss")
    if not np.isfinite(values).all():
        return math.inf, math.nan
    if len(values) < 4 or forecaster == "last":
        return _last(values)
    return bounded(values, horizon) if forecaster == "bounded" else published(values, horizon, passes)


def _last(values: NDArray[np.float64]) -> tuple[float, float]:
    last = values[-_LAST:]
    return float(last.mean()), float(last.std()) / math.sqrt(len(last))


def bounded(losses: Losses, horizon: float) -> tuple[float, float]:
    """An exponential a * exp(-b x) + c by least squares, not trusted further than the losses themselves fell.

    Rates b go from 1 / (1.5 n) to 1 by equal ratios, then finely around the best; a and c are linear given
    b. The value is clipped to [last - 2 * drop, last + 2 * sd]: last is the mean of the last ten losses,
    drop how far they fell from the first ten, sd the standard deviation of all. The standard deviation of
    the forecast is that of the least squares, linear about the fit, or what was cut off where that is more;
    added to it is a doubt that losses are exponential at all. It is no larger than the interval.

    The unbounded fit below loses to no forecast at all on losses that fall by a power law; this one had a
    fifth of its regret on both families, over 120 and 150 repetitions.

    >>> value, sd = bounded(1 + np.exp(-np.arange(100) / 50), horizon=1000)
    >>> round(value, 2)
    1.0
    """
    values = np.asarray(losses, np.float64)
    count = len(values)
    last = float(values[-_LAST:].mean())
    drop = max(0.0, float(values[:_LAST].mean()) - last)
    spread = float(values.std())
    low, high = last - 2 * drop, last + 2 * spread
    steps = np.arange(count, dtype=np.float64)
    rates = np.geomspace(1 / (1.5 * count), 1.0, _RATES)
    best = int(np.argmin(_residuals(steps, values, rates)))
    ends = rates[max(0, best - 1)], rates[min(_RATES - 1, best + 1)]
    fine = np.asarray(np.geomspace(*ends, 2 * _RATES + 1), np.float64)
    rate = float(fine[int(np.argmin(_residuals(steps, values, fine)))])
    (slope, level), fitted = _linear(steps, values, rate)
    raw = level + slope * math.exp(-rate * horizon)
    value = min(max(raw, low), high)
    noise = float(np.sqrt(np.sum((values - fitted) ** 2) / max(1, count - 3)))
    decay = np.exp(-rate * steps)
    jacobian = np.stack([decay, np.ones(count), -slope * steps * decay], axis=1)
    tail = math.exp(-rate * horizon)
    gradient = np.asarray([tail, 1.0, -slope * horizon * tail])
    variance = float(gradient @ np.linalg.pinv(jacobian.T @ jacobian, hermitian=True) @ gradient)
    # Least squares know nothing of losses that are no exponential, and these are the rule.
    doubt = math.hypot(_DOUBT_OF_FALL * (last - value), _DOUBT_OF_SHAPE * drop, noise / math.sqrt(count))
    sd = math.hypot(max(noise * math.sqrt(max(0.0, variance)), abs(raw - value)), doubt)
    return value, float(min(sd, max(high - low, 1e-12)))


def _linear(
    steps: NDArray[np.float64], values: NDArray[np.float64], rate: float
) -> tuple[tuple[float, float], NDArray[np.float64]]:
    """(a, c) of a * exp(-rate * steps) + c by least squares, and its values."""
    decay = np.exp(-rate * steps)
    about = decay - decay.mean()
    size = float(about @ about)
    slope = float(about @ (values - values.mean())) / size if size > 0 else 0.0
    level = float(values.mean() - slope * decay.mean())
    return (slope, level), level + slope * decay


def _residuals(
    steps: NDArray[np.float64], values: NDArray[np.float64], rates: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Sum of squares that each rate leaves, (rates,)."""
    decays = np.exp(-np.outer(rates, steps))
    decays -= decays.mean(axis=1, keepdims=True)
    about = values - values.mean()
    sizes = np.sum(decays**2, axis=1)
    explained = np.divide((decays @ about) ** 2, sizes, out=np.zeros_like(sizes), where=sizes > 0)
    return about @ about - explained


def published(losses: Losses, horizon: float, passes: int = 10) -> tuple[float, float]:
    """The forecast of AutoLRS: outliers dropped, a smoothing spline, an exponential through it, no bound.

    In each pass (10 for training losses, 1 for validation losses) a quadratic smoothing spline is fitted to
    what is left, and of the 3 % of points furthest from it (of validation losses the furthest) those in the
    first half are dropped. A last spline is read at all steps; a * exp(b x) + c with b = -exp(beta) is fitted
    to it, beta by Nelder-Mead from 0 with tolerances of 1e-5, a and c by least squares. The spline keeps
    scipy's smoothing, which makes it one parabola wherever the noise is below 1. The standard deviation is of
    the losses about the smooth line.

    Jin, Zhou, Zhao, Zhu, Guo, Canini, Krishnamurthy: AutoLRS: Automatic Learning-Rate Schedule by Bayesian
    Optimization on the Fly, ICLR 2021, and its released code.

    >>> value, _ = published(1 + np.exp(-np.arange(100) / 50), horizon=1000)
    >>> abs(value - 1) > 0.05
    True
    """
    from scipy.interpolate import UnivariateSpline  # pyright: ignore[reportMissingTypeStubs]
    from scipy.optimize import minimize  # pyright: ignore

    values = np.asarray(losses, np.float64)
    steps = np.arange(len(values), dtype=np.float64)
    kept = np.ones(len(values), dtype=bool)

    def smooth() -> NDArray[np.float64]:
        powers = np.vander(steps / len(steps), 3)
        weights = np.linalg.lstsq(powers[kept], values[kept], rcond=None)[0]
        parabola = np.asarray(powers @ weights, np.float64)
        apart = values[kept] - parabola[kept]
        # What the spline is where its sum of squares allows no knots.
        if float(apart @ apart) <= kept.sum():
            return parabola
        if np.abs(values).max() > _LARGEST:
            return values
        with warnings.catch_warnings():
            # The spline says so when it finds no better smoothing; the line it has is what was published.
            warnings.simplefilter("ignore")
            return np.asarray(UnivariateSpline(steps[kept], values[kept], k=2)(steps), np.float64)

    for _ in range(passes):
        if kept.sum() <= 4:
            break
        apart = np.where(kept, np.abs(values - smooth()), -1.0)
        count = 1 if passes == 1 else max(1, round(_SHARE_OUTLYING * int(kept.sum())))
        for place in np.argsort(apart)[-count:]:
            # Late points carry the trend.
            if place < len(values) / 2 and kept.sum() > 4:
                kept[place] = False
    line = smooth()

    def residual(beta: NDArray[np.float64]) -> float:
        return float(_residuals(steps, line, np.exp(np.clip(beta, -50.0, 50.0)))[0])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cast(Any, minimize)(
            residual, np.zeros(1), method="Nelder-Mead", options={"xatol": 1e-5, "fatol": 1e-5}
        )
    rate = float(np.exp(np.clip(found.x[0], -50.0, 50.0)))
    (slope, level), _ = _linear(steps, line, rate)
    value = level + slope * math.exp(-rate * horizon)
    return (value if math.isfinite(value) else math.inf), float((values - line).std())
