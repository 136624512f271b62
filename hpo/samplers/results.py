"""What trials came to, as numbers that a process models: normal scores of ranks, and how sure each is."""

from typing import NamedTuple

import numpy as np

_ROWS = 120  # that a process is told: the best and the newest
_VAGUE = 0.5  # extra variance of a forecast as wide as all values; at most 2


class Result(NamedTuple):
    """Of one trial."""

    trial: int
    value: float  # forecast or seen; infinite for what broke off
    spread: float
    broke: bool
    first: int  # trial whose config it measures: its own number, unless it is a replica


def kept_rows(results: list[Result]) -> np.ndarray:
    """Rows of the best and the newest, in order."""
    if len(results) <= _ROWS:
        return np.arange(len(results))
    half = _ROWS // 2
    best = np.argsort([result.value for result in results], kind="stable")[:half]
    rest = np.setdiff1d(np.arange(len(results)), best)
    return np.sort(np.concatenate([best, rest[-half:]]))


def ordered(results: list[Result]) -> np.ndarray:
    """Rows of the first trials of configs, best first, by the means over their seeds.

    The process learns from every seed how much they scatter; the densities are of configs.
    """
    values = np.array([result.value for result in results])
    firsts = np.array([result.first for result in results])
    rows = np.flatnonzero(firsts == [result.trial for result in results])
    _, places = np.unique(firsts, return_inverse=True)
    means = np.bincount(places, values) / np.bincount(places)
    return rows[np.argsort(means[places[rows]], kind="stable")]


def normal_scores(results: list[Result]) -> tuple[np.ndarray, np.ndarray]:
    """((n,) normal scores of the ranks, lower is better; (n,) variance beside that of all)."""
    from scipy.special import ndtri  # pyright: ignore[reportMissingTypeStubs]

    values = np.array([result.value for result in results])
    order = np.sort(values)
    # Equal values have the middle of their ranks.
    middle = 0.5 * (np.searchsorted(order, values) + np.searchsorted(order, values, "right"))
    found = ndtri(np.clip(middle, 0.5, len(values) - 0.5) / len(values))
    finite = values[np.isfinite(values)]
    usual = float(np.std(np.minimum(finite, 2 * np.median(finite) - finite.min()))) or 1.0
    spreads = np.array([result.spread for result in results]) / usual
    extra = np.minimum(_VAGUE * np.square(spreads), 2.0)
    width = float(found.std()) or 1.0
    return (found - found.mean()) / width, extra
