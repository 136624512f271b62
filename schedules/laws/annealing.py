"""What a rate did, as laws see it: the area so far, and every drop with the steps and the area since.

All rates are shares of a reference peak, so that areas are counted in steps at the peak and nothing depends
on the size of the rates.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schedules.laws.curve import Curve, Floats

MOST_POINTS = 600  # that the sum over drops is formed for; in between it is interpolated
SMALLEST_RATE = 1e-8  # of the peak: laws that divide by the rate never see 0


@dataclass(frozen=True, eq=False)
class Annealing:
    """The drops of a rate, seen from n points; k drops after merging."""

    area: Floats  # (n,) peak steps up to and with the point, warm-up included
    drops: Floats  # (k,) shares of the peak, negative for a rise
    rates: Floats  # (k,) share of the peak after the drop
    steps_since: Floats  # (n, k) steps from the drop to the point, both included; 0 for a later drop
    area_since: Floats  # (n, k) peak steps of the same stretch


def annealing(curve: Curve, points: NDArray[np.int64], peak: float) -> Annealing:
    """What the curve's rate did up to each of these steps, which lie between its first and its last.

    Drops count from the peak on. Those of neighbouring steps are merged, at their middle: up to 64 steps,
    which was measured to change predictions of 24,000 and 72,000 steps in the fifth digit only. A lone drop
    stays where it is.

    >>> seen = annealing(Curve([0, 4, 5, 9], [0.1, 0.1, 0.05, 0.05]), np.array([4, 5, 9]), peak=0.1)
    >>> seen.area.tolist(), seen.drops.tolist()
    ([5.0, 5.5, 7.5], [0.5])
    >>> seen.steps_since[:, 0].tolist(), seen.area_since[:, 0].tolist()
    ([0.0, 1.0, 5.0], [0.0, 0.5, 2.5])
    """
    first = int(curve.steps[0])
    rates = curve.rates() / peak
    area = areas(curve, peak)
    places, drops = _merged(-np.diff(rates), int(curve.warmup_end) - first)
    area_until = np.interp(places, np.arange(len(area)), area)  # before the drop's own step
    after = np.maximum(rates[np.minimum(np.ceil(places).astype(np.int64), len(rates) - 1)], SMALLEST_RATE)
    local = (points - first).astype(np.float64)
    here = area[points - first + 1]
    is_past = local[:, None] >= places
    return Annealing(
        here,
        drops,
        after,
        np.where(is_past, local[:, None] - places + 1.0, 0.0),
        np.where(is_past, np.maximum(here[:, None] - area_until, 0.0), 0.0),
    )


def areas(curve: Curve, peak: float) -> Floats:
    """Area in peak steps up to and with each step, from the one before the first row to the last row's."""
    return curve.area_before() / peak + np.concatenate([[0.0], np.cumsum(curve.rates() / peak)])


def nodes(curve: Curve) -> NDArray[np.int64]:
    """The steps at which effects are worked out for this curve: its rows, or enough of them to interpolate.

    Evenly spread, and closer and closer after every place where the rate begins to move or jumps.
    """
    if len(curve.steps) <= MOST_POINTS:
        return curve.steps
    last = len(curve.steps) - 1
    rows = np.unique(np.linspace(0, last, 2 * MOST_POINTS // 3).astype(np.int64))
    moves = np.abs(np.diff(curve.lrs))
    begins = np.flatnonzero(moves[1:] > 3 * moves[:-1] + 1e-6 * curve.peak) + 1
    largest = begins[np.argsort(moves[begins])[-16:]]  # rows before which nothing has happened yet
    near = np.unique((1.5 ** np.arange(20)).astype(np.int64))
    close = (largest[:, None] + np.concatenate([[0], near])).ravel()
    return curve.steps[np.union1d(rows, np.minimum(close, last))]


def _merged(drops: Floats, since: int) -> tuple[Floats, Floats]:
    """Places (index of the step after the drop, or between two such) and sizes of merged drops."""
    at = np.flatnonzero(drops) + 1
    at = at[at > since]
    if not len(at):
        return np.zeros(0), np.zeros(0)
    sizes = drops[at - 1]
    length = len(drops) + 1 - since
    width = max(1, min(64, length // 400), length // 1100)
    # Rises and falls are kept apart: merged they would have no middle.
    groups = 2 * ((at - since - 1) // width) + (sizes < 0)
    _, first, group = np.unique(groups, return_index=True, return_inverse=True)
    # From the first step of each group: the place of a lone drop is a whole number, not one but for rounding.
    beyond = np.bincount(group, np.abs(sizes) * (at - at[first][group])) / np.bincount(group, np.abs(sizes))
    return at[first] + beyond, np.bincount(group, sizes).astype(np.float64)
