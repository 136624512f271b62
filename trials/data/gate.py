"""Who may use torch's own random generator: many that draw from it, or one that seeds it.

Torch has one generator for the whole process. Threads that read examples may draw from it (augmentation
does); a trial's first weights are drawn after seeding it, and nobody else may draw meanwhile.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets many through, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone: int | None = None  # thread that has it for itself

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Inside, nobody seeds the generator."""
        me = threading.get_ident()
        with self._changed:
            # Whoever has it for himself may also read: it is his own draw then.
            self._changed.wait_for(lambda: self._alone in (None, me))
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Inside, nobody else draws."""
        me = threading.get_ident()
        with self._changed:
            is_nested = self._alone == me
            if not is_nested:
                self._changed.wait_for(lambda: self._alone is None)
                self._alone = me
                self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            if not is_nested:
                with self._changed:
                    self._alone = None
                    self._changed.notify_all()


generator = Gate()
