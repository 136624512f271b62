"""How alike configs are, and forecasts that learn from what those of like configs missed.

Short runs flatter or wrong the same kinds of configs in the same way: a large rate is fast, a wide network
slow. What a forecast that knows only values missed, where ends are known, is taken for a draw of a Gaussian
process over the configs (kriging of residuals: Cressie, "Statistics for Spatial Data", 1993, chapter 3), with
a Matern 5/2 kernel whose length is that of the sampler's before it learns.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hpo.regression import Ends, Fit
from trials.spec import Config, Value

_LENGTH = 0.5  # of the kernel, in square roots of the number of hyperparameters
_FIRST = 256  # trials whose values say what is far and what is near
_APART = 0.7  # of a number from where there is none; of two words, times the root of 2
_OF_CONFIGS = 0.6  # share of the variance of what is missed that is the configs'
_FURTHER = 1.3  # as much variance has a forecast for a config that is like none: those that went on are alike


class _Column(NamedTuple):
    """One hyperparameter among the columns."""

    name: str
    order: np.ndarray  # sorted numbers of the first trials; empty where there are words
    words: Sequence[Value]
    is_conditional: bool  # some configs lack it

    def place(self, config: Config) -> list[float]:
        """Where the config lies: a word has a column of its own, a conditional number is on an arc."""
        value = config.get(self.name)
        if self.words:
            return [_APART * (value == word) for word in self.words]
        if value is None:
            return [0.0, 0.0] if self.is_conditional else [0.5]
        sides = (np.searchsorted(self.order, float(value), side) for side in ("left", "right"))
        rank = 0.5 * float(sum(sides)) / len(self.order)
        if not self.is_conditional:
            return [rank]
        return [_APART * math.sin(0.5 * math.pi * rank), _APART * math.cos(0.5 * math.pi * rank)]


class Likeness:
    """Configs of all trials, by what differs among the first of them.

    Numbers count by their ranks, so that no scale has to be known.
    """

    def __init__(self) -> None:
        self._configs: dict[int, Config] = {}
        self._columns: list[_Column] = []
        self._places: dict[int, np.ndarray] = {}  # trial -> its columns, in units of the length
        self._is_stale = False

    def add(self, trial: int, config: Config) -> None:
        """One more."""
        self._configs[trial] = config
        self._is_stale |= len(self._configs) <= _FIRST

    def between(self, some: Sequence[int], others: Sequence[int]) -> np.ndarray:
        """(n, m) correlations of what configs of trials do; none of different ones where nothing differs."""
        if self._is_stale:
            self._columns = _columns(list(self._configs.values()))
            self._places.clear()
            self._is_stale = False
        if not self._columns:
            return np.equal.outer(some, others).astype(float)
        a, b = (np.array([self._place(trial) for trial in trials]) for trials in (some, others))
        squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1) - 2 * (a @ b.T)
        root = math.sqrt(5.0) * np.sqrt(np.maximum(squares, 0.0))
        return (1 + root + root * root / 3) * np.exp(-root)

    def _place(self, trial: int) -> np.ndarray:
        if trial not in self._places:
            config = self._configs[trial]
            found = [number for column in self._columns for number in column.place(config)]
            self._places[trial] = np.array(found) / (_LENGTH * math.sqrt(len(self._columns)))
        return self._places[trial]


def _columns(configs: Sequence[Config]) -> list[_Column]:
    """Of the hyperparameters in which these differ."""
    found: list[_Column] = []
    for name in sorted({name for config in configs for name in config}):
        values = [config[name] for config in configs if name in config]
        is_conditional = len(values) < len(configs)
        distinct = list(dict.fromkeys(values))
        if len(distinct) + is_conditional < 2:
            continue
        if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in distinct):
            found.append(_Column(name, np.sort(np.array(values, float)), (), is_conditional))
        else:
            found.append(_Column(name, np.empty(0), distinct, is_conditional))
    return found


class Missed(NamedTuple):
    """What forecasts missed that know values only, as a process over configs."""

    trials: Sequence[int]  # n that went on
    scale: float  # variance of what they missed; 0 where it says nothing of configs
    inverse: np.ndarray  # (n, n) of their covariances
    solved: np.ndarray  # (n,) the inverse times what they missed


def missed(ends: Ends, residuals: np.ndarray, likeness: Likeness) -> Missed:
    """Learn from (n,) ends less what they were forecast to be by the others.

    Nothing is learnt where what was missed is as likely without any likeness of configs.
    """
    # A few that ended far from all others would be all that it sees.
    usual = 1.4826 * float(np.median(np.abs(residuals)))
    residuals = np.clip(residuals, -3 * usual, 3 * usual)
    scale, count = usual * usual, len(residuals)
    nothing = Missed(ends.trials, 0.0, np.zeros((count, count)), np.zeros(count))
    if not scale:
        return nothing
    shared = _OF_CONFIGS * scale * likeness.between(ends.trials, ends.trials)
    own = (1 - _OF_CONFIGS) * scale + np.square(ends.spreads)
    variances = np.diag(shared) + own
    inverse = np.linalg.inv(shared + np.diag(own))
    solved = inverse @ residuals
    gain = float(np.square(residuals) @ (1 / variances) - residuals @ solved)
    gain += float(np.log(variances).sum() + np.linalg.slogdet(inverse)[1])
    return Missed(ends.trials, scale, inverse, solved) if gain > 0 else nothing


def corrected(found: Fit, trials: Sequence[int], known: Missed, likeness: Likeness) -> Fit:
    """Forecasts of m trials, less what those that know values only are expected to miss."""
    if not known.scale:
        return found
    across = _OF_CONFIGS * known.scale * likeness.between(trials, known.trials)  # (m, n)
    explained = ((across @ known.inverse) * across).sum(1) / known.scale
    variances = np.maximum(np.square(found.widths), 0.5 * known.scale)
    return Fit(found.means + across @ known.solved, np.sqrt(_FURTHER * variances * (1 - explained)))
