"""Configs drawn from what the user believes, less and less as the study goes on.

The first is where every prior has its centre. After it a trial is drawn from the priors with a probability
that falls as one over the number of trials, so that a right prior gives its best trials early and a wrong one
costs as many as a logarithm of the trials (as the decaying share in Mallik et al., "PriorBand: Practical
Hyperparameter Optimization in the Age of Deep Learning", NeurIPS 2023, arXiv:2306.12370).
"""

import numpy as np

from hpo.events import Suggestion
from hpo.space import Space
from trials.seeding import stream

_HALF = 10.0  # trials after which every second one is drawn from the priors


def share(number: int) -> float:
    """Of the trials of this number, how many are drawn from the priors.

    >>> share(0), share(10), share(90)
    (1.0, 0.5, 0.1)
    """
    return _HALF / (_HALF + number)


def drawn(space: Space, seed: int, number: int) -> Suggestion:
    """The suggestion for the trial of this number; uniform where there are no priors."""
    point = stream(seed, "sampler", number).random(len(space.names))
    if not space.priors:
        return Suggestion(space.decode(point), origin="random")
    if number == 0:
        return Suggestion(space.decode(centered(space, point)), origin="prior: its centre")
    if stream(seed, "prior", number).random() >= share(number):
        return Suggestion(space.decode(point), origin="random")
    return Suggestion(space.decode(believed(space, point)), origin="prior")


def centered(space: Space, point: np.ndarray) -> np.ndarray:
    """(d,) the point with every prior at its centre."""
    places = [space.priors[name].place if name in space.priors else at for name, at in _columns(space, point)]
    return np.array(places, float)


def believed(space: Space, point: np.ndarray) -> np.ndarray:
    """(d,) uniform numbers as a point that is drawn from the priors."""
    places = [
        space.priors[name].drawn(at) if name in space.priors else at for name, at in _columns(space, point)
    ]
    return np.array(places, float)


def _columns(space: Space, point: np.ndarray) -> list[tuple[str, float]]:
    return [(name, float(at)) for name, at in zip(space.names, point, strict=True)]


def log_density(space: Space, points: np.ndarray, active: np.ndarray) -> np.ndarray:
    """(n,) logarithm of the priors at (n, d) points, relative to a uniform; what is inactive counts 0."""
    found = np.zeros(len(points))
    for column, name in enumerate(space.names):
        if name in space.priors:
            found += space.priors[name].log_density(points[:, column]) * active[:, column]
    return found
