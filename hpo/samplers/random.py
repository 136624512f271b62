"""Independent uniform configs."""

from hpo.events import Event, Suggestion, TrialStarted
from hpo.space import Space
from trials.seeding import stream


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
        return [Suggestion(self._space.sample(stream(self._seed, "sampler", number))) for number in numbers]
