"""Independent configs: uniform ones, and such as the priors of the space would have."""

from hpo.events import Event, Suggestion, TrialStarted
from hpo.samplers.believed import drawn
from hpo.space import Space


class Random:
    """Every config is drawn from the stream of its trial's number."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed
        self._next = 0  # number of the next trial

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, TrialStarted):
            self._next = max(self._next, event.spec.trial + 1)

    def ask(self, n: int) -> list[Suggestion]:
        """The next n configs."""
        numbers = range(self._next, self._next + n)
        return [drawn(self._space, self._seed, number) for number in numbers]
