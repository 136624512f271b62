"""The scores that settings of the benchmark of shifted validation are chosen by; higher is better.

Those of `SCORES` were settled before the benchmark was run; those of `FAIR`, for methods that train on one
family, after the table of broad methods was seen and before that of narrow ones was.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from hpo.correlation import Array
from hpo.shifted import COMPETENT
from tests.bench.shifts_case import Case


def capable(case: Case) -> Any:
    """(cells, seeds) settings whose plain accuracy is near the best."""
    return case.plain >= case.plain.max() - COMPETENT


def difficulty(case: Case) -> Array:
    """Families weighted by how hard they are for competent settings."""
    found = case.families
    weights = 1 - found[capable(case)].mean(0)
    return (found * weights).sum(-1) / weights.sum()


def _standardised(case: Case) -> Array:
    found = case.families
    some = found[capable(case)]
    return (found - some.mean(0)) / np.maximum(some.std(0), 1e-6)


def _z(case: Case, values: Array) -> Array:
    some = values[capable(case)]
    return (values - some.mean()) / max(some.std(), 1e-9)


def _without_own(case: Case) -> Array:
    """Standardised families, but for the one that a narrow method trains on."""
    found = np.where(case.narrow[:, None, :], np.nan, _standardised(case))
    return np.nanmean(found, -1)


def _imputed(case: Case) -> Array:
    """A narrow method's own family as if it gained there, over the plain method, what it gains elsewhere."""
    found, own = case.families, np.broadcast_to(case.narrow[:, None, :], case.families.shape)
    gain = np.nanmean(np.where(own, np.nan, found - case.without), -1, keepdims=True)
    return np.where(own, case.without + gain, found).mean(-1)


def _regressed(case: Case) -> Array:
    """Standardised families, a narrow method's own as others foretell it, by ridge over broad settings."""
    found = _standardised(case)
    broad = found[~case.is_narrow][capable(case)[~case.is_narrow]]
    told = found.copy()
    for family in range(found.shape[-1]):
        others = np.arange(found.shape[-1]) != family
        known, wanted = broad[:, others], broad[:, family]
        middle = known - known.mean(0)
        inner = middle.T @ middle + 0.1 * len(broad) * np.eye(others.sum())
        slope = np.linalg.solve(inner, middle.T @ (wanted - wanted.mean()))
        own = case.narrow[:, family]
        told[own, :, family] = wanted.mean() + (found[own][:, :, others] - known.mean(0)) @ slope
    return told.mean(-1)


def _pairwise(case: Case) -> Array:
    """Share of the other settings that one beats on the families that neither of them trains on alone."""
    found = _standardised(case)
    mine = np.repeat(~case.narrow, found.shape[1], 0).astype(float)  # (settings, families)
    values = found.reshape(-1, found.shape[-1])
    both = mine @ mine.T
    own = (values * mine) @ mine.T / both  # (settings, others) mean over families that count for both
    return ((own > own.T) + 0.5 * (own == own.T)).mean(1).reshape(found.shape[:2])


def _trimmed(case: Case) -> Array:
    """Without the two families that are hardest for competent settings, and the two that are easiest."""
    found = case.families
    order = found[capable(case)].mean(0).argsort()
    return found[..., order[2:-2]].mean(-1)


Score = Callable[[Case], Array]
SCORES: dict[str, Score] = {
    "V_S accuracy": lambda case: case.plain,
    "V_S loss": lambda case: -case.loss,
    "V_S loss, temperature fitted": lambda case: -case.cooled,
    "V_A mean": lambda case: case.families.mean(-1),
    "V_A difficulty-weighted": difficulty,
    "V_A z-mean": lambda case: _standardised(case).mean(-1),
    "V_A worst family": lambda case: case.families.min(-1),
    "V_A without 2 hardest, 2 easiest": _trimmed,
    "z(V_A) + z(V_S loss)": lambda case: _z(case, case.families.mean(-1)) + _z(case, -case.loss),
    "z(difficulty-weighted) + z(V_S loss)": lambda case: _z(case, difficulty(case)) + _z(case, -case.loss),
    "V_A z-mean, own family left out": _without_own,
    "V_A mean, own family imputed": _imputed,
    "V_A leaky (not allowed)": lambda case: case.leaky.mean(-1),
}
FAIR: dict[str, Score] = {
    "V_A z-mean, own family by regression": _regressed,
    "V_A pairwise, own families left out": _pairwise,
    "V_A z-mean, own family left out, + z(V_S accuracy)": lambda case: (
        _z(case, _without_own(case)) + _z(case, case.plain)
    ),
    "V_A z-mean, own family left out, + z(V_S loss)": lambda case: (
        _z(case, _without_own(case)) + _z(case, -case.loss)
    ),
}
