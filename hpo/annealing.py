"""How much of its annealing a trial has still to come, from the schedule that its config names.

A loss falls as the rate falls, and goes on to for a while after: laws of the loss under annealing subtract a
sum over the drops of the rate, each with the part of it that has taken effect (`schedules.laws`). Of the
simplest of them (Tissue, Wang, Wang: Scaling Law with Learning Rate Annealing, 2024) that sum is how far an
average of the rate that forgets has fallen below the peak, as a share of it. Its memory, 0.998 a step on runs
of 24,000 steps, is a fiftieth of the horizon here, so that a step may be an epoch.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from schedules import spec as schedules
from schedules.tuner_spec import is_tuner
from schedules.types import Schedule
from trials.spec import TrialSpec, Value

_MEMORY = 0.02  # of the horizon
_PLACES = 201  # of the horizon at which a schedule is looked at
_LIKE_PAIRS = 3.0  # what says that annealing is worth nothing counts as much as so many pairs
_APART = 0.03  # variance of what is left that those pairs have more than the ones there are
_RIDGE = 0.1  # draws the slope of the ends on the values towards 1
_TINY = 1e-12
_FLATTEST = 0.3  # slope below which values say too little for a worth in their units


@dataclass(frozen=True, slots=True, eq=False)
class Annealing:
    """The average of a rate, a share of its peak: 1 until the peak, which a warm-up leads to."""

    steps: np.ndarray  # (n,)
    rates: np.ndarray  # (n,)

    def rate(self, step: float) -> float:
        """The average after so many steps."""
        return float(np.interp(step, self.steps, self.rates))


def schedule_of(spec: TrialSpec) -> Schedule | None:
    """The schedule that the trial's config names, if it names any hyperparameter of one.

    None where nothing says what it follows: in a function without a schedule, or where it finds its rates
    while training.
    """
    if not schedules.HYPERPARAMETERS.keys() & spec.config.keys() or is_tuner(spec.config):
        return None
    try:
        return schedules.from_config(spec.config, spec.horizon)
    except ValueError:
        return None  # a function may mean something else by these names


def annealing_of(spec: TrialSpec) -> Annealing | None:
    """How the rate of a trial falls; None as `schedule_of`, and where it is 0 throughout.

    >>> found = annealing_of(TrialSpec(0, {"schedule": "linear"}, 0, 100, (100,), 100, 0))
    >>> [round(found.rate(step) - found.rate(100), 2) for step in (0, 50, 100)]
    [0.98, 0.5, 0.0]
    """
    named = {name: value for name, value in spec.config.items() if name in schedules.HYPERPARAMETERS}
    return _annealing(tuple(named.items()), spec.horizon) if named else None


def peak_of(spec: TrialSpec) -> float:
    """The learning rate that the config names; NaN where it names none."""
    rate = spec.config.get("lr", math.nan)
    return math.nan if isinstance(rate, (bool, str)) else float(rate)


@lru_cache(maxsize=1024)
def _annealing(named: tuple[tuple[str, Value], ...], horizon: int) -> Annealing | None:
    schedule = schedule_of(TrialSpec(0, dict(named), 0, horizon, (horizon,), horizon, 0))
    if schedule is None:
        return None
    steps = np.unique(np.linspace(0, horizon, _PLACES).round())
    factors = schedule(steps)
    peak = float(factors.max())
    if peak <= 0:
        return None
    factors = factors / peak
    factors[: int(factors.argmax())] = 1.0
    kept = np.exp(-np.diff(steps) / (_MEMORY * horizon)).tolist()
    average = [1.0]
    for factor, part in zip(factors[1:].tolist(), kept, strict=True):
        average.append(factor + part * (average[-1] - factor))
    return Annealing(steps, np.array(average))


@dataclass(frozen=True, slots=True, eq=False)
class Worth:
    """What annealing is worth at a level of the budget, in the units of the values there.

    More at a high rate than at a low one, where pairs say so: what a law counts are drops of the rate itself.
    """

    gain: float  # by annealing from the peak to 0, at the median rate
    slant: float  # how much more of it at the highest rate than at the lowest
    rates: np.ndarray  # (m,) increasing, of the pairs that it was learnt from
    usual: float  # what is left at the level is worth so much in the mean
    center: np.ndarray  # (2,) of the pairs: what is left, and that times the place of the rate
    doubt: np.ndarray  # (2, 2) covariance of gain and slant

    def evened(self, values: np.ndarray, lefts: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """(n,) the values as if all had as much left; as they are where nothing is known of it."""
        if self is NOTHING:
            return values
        worth = self._gains(rates) * lefts
        return values - np.where(np.isnan(lefts), 0.0, worth - self.usual)

    def doubts(self, lefts: np.ndarray, rates: np.ndarray) -> np.ndarray:
        """(n,) standard deviations of what evening shifts these by."""
        if self is NOTHING:
            return np.zeros(len(lefts))
        apart = np.stack([lefts, lefts * _places(rates, self.rates)], axis=1) - self.center
        apart = np.where(np.isnan(apart), 0.0, apart)
        return np.sqrt(np.maximum(0.0, np.einsum("ni,ij,nj->n", apart, self.doubt, apart)))

    def _gains(self, rates: np.ndarray) -> np.ndarray:
        return np.maximum(0.0, self.gain + self.slant * _places(rates, self.rates))


NOTHING = Worth(0.0, 0.0, np.empty(0), 0.0, np.zeros(2), np.zeros((2, 2)))


def worth_of(
    values: np.ndarray,  # (n,) at the level
    lefts: np.ndarray,  # (n,) of the annealing, at the level; NaN: not known
    rates: np.ndarray,  # (n,) at the peak; NaN: not known
    finals: np.ndarray,  # (n,)
    spreads: np.ndarray,  # (n,) of the finals
) -> Worth:
    """By least squares over pairs: their ends, on their values and on what was left of their annealing.

    Drawn towards nothing, the more the fewer pairs there are and the less they differ in what was left: where
    all have the same schedule it is exactly nothing.

    >>> values, lefts = np.array([2.0, 3.0] * 20), np.array([0.0, 1.0] * 20)
    >>> found = worth_of(values, lefts, np.full(40, 0.1), np.full(40, 2.0), np.zeros(40))
    >>> round(found.gain, 1), found.evened(values[:2], lefts[:2], np.array([0.1, 0.1])).round(1).tolist()
    (0.9, [2.5, 2.5])
    """
    known = ~np.isnan(lefts)
    if known.sum() < 2 or np.ptp(lefts[known]) == 0:
        return NOTHING
    among = np.sort(rates[known & ~np.isnan(rates)])
    left = np.where(known, lefts, lefts[known].mean())
    weights = 1 / (float(np.var(finals)) + np.square(spreads) + _TINY)
    weights /= weights.sum()
    columns = np.stack([values, left, np.where(known, left * _places(rates, among), 0.0), finals])
    center = columns @ weights
    columns -= center[:, None]
    moments: np.ndarray = (columns * weights) @ columns.T
    variances: np.ndarray = np.diagonal(moments)[:3] + _TINY
    doubt = _LIKE_PAIRS / len(values) * (1 + _APART / float(variances[1]))
    towards = variances * np.array([_RIDGE, doubt, doubt])
    drawn = moments[:3, 3] + np.array([towards[0], 0.0, 0.0])
    inverse: np.ndarray = np.linalg.inv(moments[:3, :3] + np.diag(towards))
    found = inverse @ drawn
    errors = columns[3] - found @ columns[:3]
    count = 1 / float(weights @ weights)  # effective
    error = float(weights @ (errors * errors)) / max(1.0, count - 3)
    slope = max(float(found[0]), _FLATTEST)
    gain, slant = (-found[1:] / slope).tolist()
    worth = Worth(gain, slant, among, 0.0, center[1:3], error * inverse[1:, 1:])
    # Values stay where they are in the mean.
    return replace(worth, usual=float(np.mean((values - worth.evened(values, lefts, rates))[known])))


def _places(rates: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(n,) where rates lie among others, from -0.5 to 0.5; 0 where one is not known."""
    low, high = (np.searchsorted(among, rates, side) for side in ("left", "right"))
    return np.where(np.isnan(rates), 0.0, (low + high) / (2 * max(1, len(among))) - 0.5)
