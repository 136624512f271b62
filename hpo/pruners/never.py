"""Every trial has its whole budget."""

from hpo.events import Event


class Never:
    """Stops nothing."""

    def tell(self, event: Event) -> None:
        """Take in one event."""

    def keep(self, trial: int) -> bool:
        """True."""
        return True

    def reason(self, trial: int) -> str:
        """Nothing to say."""
        return ""
