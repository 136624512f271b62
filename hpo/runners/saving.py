"""Rows of trials under way, saved now and then, so that whoever takes their place goes on from there."""

import contextlib
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from hpo.rows import halfway_name
from hpo.runners.base import Target
from trials.folds import FoldedDrive
from trials.halfway import Halfway
from trials.spec import TrialSpec

_SHARE = 20  # saving takes at most one part of so many of the time


class Saving:
    """Saves every so many ticks of a trial, less often where that would take long."""

    def __init__(self, target: Target) -> None:
        self._every, self._folder = target.save_every, Path(target.folder)
        self._ticks = Counter[int]()  # of each trial, since it was saved
        self._not_before = 0.0
        self._saved: list[int] = []
        self._is_told = False  # that it cannot be done

    def found(self, spec: TrialSpec) -> Halfway | None:
        """What was saved of this very trial, whoever trained it then."""
        return Halfway.load(self._folder / halfway_name(spec.trial), spec)

    def tick(self, drive: FoldedDrive, trials: Iterable[int]) -> str:
        """A tick of these trials is done; why one could not be saved, the first time that it was so."""
        if not self._every:
            return ""
        there = [trial for trial in trials if trial in drive]
        self._ticks.update(there)
        due = [trial for trial in there if self._ticks[trial] >= self._every]
        began = time.monotonic()
        if not due or began < self._not_before:
            return ""
        problem = self.save(drive, due)
        ended = time.monotonic()
        self._not_before = ended + _SHARE * (ended - began)
        return problem

    def save(self, drive: FoldedDrive, trials: Iterable[int]) -> str:
        """Save these trials now; why one could not be, the first time that it was so."""
        problem = ""
        for trial in trials:
            self._ticks.pop(trial, None)
            halfway = drive.halfway(trial)
            if halfway is None:
                continue
            spec = drive.so_far(trial)
            assert spec is not None
            try:
                halfway.save(self._folder / halfway_name(trial), spec[0])
                self._saved.append(trial)
            except OSError as error:
                problem = f"trials under way cannot be saved: {error}"
        if self._is_told:
            return ""
        self._is_told = bool(problem)
        return problem

    def forget(self, trial: int) -> None:
        """A trial has ended: nobody will go on with it."""
        self._ticks.pop(trial, None)
        with contextlib.suppress(OSError):  # it was none, or the search removes it
            (self._folder / halfway_name(trial)).unlink()

    def take(self) -> tuple[int, ...]:
        """Trials saved since this was last asked."""
        saved, self._saved = self._saved, []
        return tuple(dict.fromkeys(saved))
