"""Rows of trials under way, saved now and then, so that whoever takes their place goes on from there."""

import contextlib
import io
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from hpo.rows import halfway_name, remove_halfway
from hpo.runners.base import Target
from hpo.runners.storage import Storage
from trials.folds import FoldedDrive
from trials.halfway import Halfway
from trials.spec import TrialSpec

_SHARE = 20  # saving takes at most one part of so many of the time


class Saving:
    """Saves every so many ticks of a trial, less often where that would take long.

    In the study's folder, or at the URL `save_to`; there nothing has to travel with what a worker says.

    Raises:
        UsageError: a URL that cannot be.
    """

    def __init__(self, target: Target) -> None:
        self._every, self._folder = target.save_every, Path(target.folder)
        self._storage = Storage(target.save_to) if target.save_to else None
        self._stored: set[int] = set()  # trials that may have a file there
        self._ticks = Counter[int]()  # of each trial, since it was saved
        self._not_before = 0.0
        self._saved: list[int] = []  # in the folder
        self._is_told = False  # that it cannot be done

    def check(self) -> None:
        """Find out whether rows can be saved where they are to be.

        Raises:
            UsageError: they cannot.
        """
        if self._storage is not None:
            self._storage.check()

    def found(self, spec: TrialSpec) -> Halfway | None:
        """What was saved of this very trial, whoever trained it then."""
        if self._storage is not None:
            # Without it the trial begins again, and says the same.
            with contextlib.suppress(OSError):
                self._stored.add(spec.trial)
                data = self._storage.read(_name(spec.trial))
                if data is not None and (found := Halfway.read(io.BytesIO(data), spec)) is not None:
                    return found
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
            try:
                self._put(halfway)
            except OSError as error:
                problem = f"trials under way cannot be saved: {error}"
        if self._is_told:
            return ""
        self._is_told = bool(problem)
        return problem

    def _put(self, halfway: Halfway) -> None:
        trial = halfway.course.spec.trial
        if self._storage is None:
            halfway.save(self._folder / halfway_name(trial))
            self._saved.append(trial)
            return
        file = io.BytesIO()
        halfway.write(file)
        self._stored.add(trial)
        self._storage.write(_name(trial), file.getvalue())

    def keep(self, held: Halfway) -> str:
        """Save a trial that has made room; why it could not be, alike for all of them, "" where it was."""
        try:
            self._put(held)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def forget(self, trial: int) -> None:
        """A trial has ended: nobody will go on with it."""
        self._ticks.pop(trial, None)
        remove_halfway(self._folder, trial)
        if self._storage is not None and trial in self._stored:
            self._stored.discard(trial)
            with contextlib.suppress(OSError):  # the search removes it when the study ends
                self._storage.remove(_name(trial))

    def take(self) -> tuple[int, ...]:
        """Trials saved in the folder since this was last asked."""
        saved, self._saved = self._saved, []
        return tuple(dict.fromkeys(saved))


def _name(trial: int) -> str:
    return PurePosixPath(halfway_name(trial)).name
