"""Starting points from earlier studies: the best configs they found, tried again here.

Feurer, Springenberg and Hutter, "Initializing Bayesian Hyperparameter Optimization via Meta-Learning", AAAI
2015, begin with the best configs of similar tasks. Here every earlier study that is named gives some, the
best and such as are not near to those before.
"""

from collections.abc import Hashable, Sequence
from itertools import zip_longest
from typing import NamedTuple, Protocol

import numpy as np

from hpo.earlier.mapping import order, restricted
from hpo.events import EarlierTaken, Event, Listener, Suggestion, TrialStarted
from hpo.samplers.starts import completed
from hpo.space import Space
from trials.seeding import stream
from trials.spec import Config

MOST = 5  # of all earlier studies
_APART = 0.1  # of the range of some hyperparameter


class Leader(NamedTuple):
    """A config to begin with."""

    config: Config
    origin: str


class _Sampler(Listener, Protocol):
    def ask(self, n: int) -> list[Suggestion]: ...


class Leaders:
    """The best configs of earlier studies that were not tried yet."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._told: list[EarlierTaken] = []
        self._leaders: list[Leader] = []
        self._tried: set[Hashable] = set()

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, EarlierTaken):
            self._told.append(event)
            self._leaders = leaders(self._space, self._told, self._seed)
        elif isinstance(event, TrialStarted) and self._leaders:
            self._tried.add(self._key(event.spec.config))

    def untried(self) -> list[Leader]:
        """Best first."""
        return [one for one in self._leaders if self._key(one.config) not in self._tried]

    def _key(self, config: Config) -> Hashable:
        return tuple(config.get(name) for name in self._space.names)


class EarlierStarts:
    """The first trials are the leaders of earlier studies, the others what the sampler inside asks for."""

    def __init__(self, inner: _Sampler, space: Space, seed: int) -> None:
        self._inner, self._leaders = inner, Leaders(space, seed)

    def tell(self, event: Event) -> None:
        """Take in one event."""
        self._leaders.tell(event)
        self._inner.tell(event)

    def ask(self, n: int) -> list[Suggestion]:
        """The next n suggestions."""
        first = [Suggestion(dict(one.config), origin=one.origin) for one in self._leaders.untried()[:n]]
        # Asked for as many all the same: what a sampler suggests goes by the number of the trial.
        return [*first, *(self._inner.ask(n)[len(first) :] if len(first) < n else [])]


def leaders(space: Space, told: Sequence[EarlierTaken], seed: int) -> list[Leader]:
    """The best of each study in turn; what a study does not know is drawn at random."""
    found: list[Leader] = []
    for row in zip_longest(*(_of_one(space, one) for one in told)):
        for leader in row:
            if leader is not None and len(found) < MOST:
                drawn = stream(seed, "earlier", len(found)).random(len(space.names))
                found.append(Leader(completed(space, leader.config, drawn), leader.origin))
    return found


def _of_one(space: Space, told: EarlierTaken) -> list[Leader]:
    here = restricted(space, told.mapped)
    found: list[Leader] = []
    taken = np.empty((0, len(here.names)))
    is_kept = any(one.excess == 0 and np.isfinite(one.values).all() for one in told.results)
    for rank, place in enumerate(order(told.results)):
        one = told.results[place]
        if len(found) == MOST or not np.isfinite(one.values).all() or (is_kept and one.excess > 0):
            break
        point = here.encode([one.config])
        if len(taken) and (np.abs(taken - point).max(1) < _APART).any():
            continue
        taken = np.concatenate([taken, point])
        words = "the best" if not rank else f"number {rank + 1}"
        found.append(Leader(one.config, f"earlier: {words} of {told.source}"))
    return found
