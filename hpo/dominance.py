"""Order among trials that are judged by several numbers: who beats whom, and in which front each is.

A trial beats another if it is no worse in any objective and better in one; one that keeps the constraints
beats all that do not, and among those the one that is less far beyond them (Deb et al., "A Fast and Elitist
Multiobjective Genetic Algorithm: NSGA-II", IEEE Transactions on Evolutionary Computation 6, 2002, part VI).
"""

import numpy as np


def beats(values: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """(n, n) whether the trial of the row beats that of the column.

    Args:
        values: (n, m) objectives, minimised; infinite where there is none.
        excess: (n,) how far each is beyond the constraints, 0 for those that keep them.
    """
    no_worse = (values[:, None] <= values).all(2)
    better = (values[:, None] < values).any(2)
    level = excess[:, None] == excess
    return np.where(level, no_worse & better, excess[:, None] < excess)


def fronts(values: np.ndarray, excess: np.ndarray) -> np.ndarray:
    """(n,) the front of each: 0 for those that none beats, 1 for those that only front 0 beats, and so on.

    >>> fronts(np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [0.0, 0.0]]), np.array([0.0, 0.0, 0.0, 0.5]))
    array([0, 0, 1, 2])
    """
    if values.shape[1] == 1:
        # One number: a front is a value, and there may be as many as trials.
        keys = np.unique(np.stack([excess, values[:, 0]], 1), axis=0, return_inverse=True)[1]
        return keys.reshape(-1)
    beaten = beats(values, excess)
    open_ = beaten.sum(0)  # how many of those without a front beat each
    found = np.full(len(values), -1)
    front = 0
    while (found < 0).any():
        members = (found < 0) & (open_ == 0)
        found[members] = front
        open_ -= beaten[members].sum(0)
        front += 1
    return found


def ahead(values: np.ndarray, excess: np.ndarray, row: int) -> int:
    """How many of these are in a better front than the one of this row.

    >>> ahead(np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]]), np.zeros(3), 2)
    2
    """
    found = fronts(values, excess)
    return int((found < found[row]).sum())


def lead(values: np.ndarray, front: np.ndarray, units: np.ndarray) -> np.ndarray:
    """(n,) how far ahead of a front each is, in units of the objectives; not above 0 for what it dominates.

    The least, over its members, of the most, over the objectives, by which it is better than the member: by
    so many units the front would have to be better in all to leave nothing that beats it there (additive
    epsilon indicator; Zitzler et al., "Performance Assessment of Multiobjective Optimizers", IEEE
    Transactions on Evolutionary Computation 7, 2003).

    Args:
        values: (n, m) objectives, minimised.
        front: (k, m).
        units: (m,) what counts as 1 in each.

    >>> lead(np.array([[0.0, 3.0], [2.0, 2.0]]), np.array([[1.0, 2.0], [3.0, 0.0]]), np.ones(2))
    array([1., 0.])
    """
    return ((front[:, None] - values) / units).max(2).min(0)
