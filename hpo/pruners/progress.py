"""Whether a trial has moved since it last reported: one that only probes is what it was."""

from trials.spec import Report


class Progress:
    """Remembers how far each trial had come.

    A tuner's probes spend steps, but until one is adopted the trial stands where it stood. Judged there, a
    trial that compares learning rates from its first step would be stopped for not having begun.
    """

    def __init__(self) -> None:
        self._steps: dict[int, int] = {}

    def has_moved(self, report: Report) -> bool:
        """Whether the report is of a later step than the trial's last one; remembers it.

        >>> progress = Progress()
        >>> [progress.has_moved(Report(0, step, 40, 0.0, {})) for step in (0, 10, 10)]
        [False, True, False]
        """
        before = self._steps.get(report.trial, 0)
        self._steps[report.trial] = report.step
        return report.step > before

    def forget(self, trial: int) -> None:
        """The trial has ended: it reports no more."""
        self._steps.pop(trial, None)
