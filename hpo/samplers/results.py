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
    """((n,) normal scores of the ranks, lower is better; (n,) variance beside that of all).

    Equal values have one rank: were they counted, a best one that is found again would be no exception any
    more. What broke off counts as often as it did.
    """
    from scipy.special import ndtri  # pyright: ignore[reportMissingTypeStubs]

    values = np.array([result.value for result in results])
    distinct, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    counts = np.where(np.isfinite(distinct), 1, counts)
    ends = np.cumsum(counts)
    found = ndtri(((ends - 0.5 * counts) / ends[-1])[places])
    finite = values[np.isfinite(values)]
    usual = float(np.std(np.minimum(finite, 2 * np.median(finite) - finite.min()))) or 1.0
    spreads = np.array([result.spread for result in results]) / usual
    extra = np.minimum(_VAGUE * np.square(spreads), 2.0)
    width = float(found.std()) or 1.0
    return (found - found.mean()) / width, extra
