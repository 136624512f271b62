"""What comes with a worker's words, where no disk is shared: written into the study's folder, then told."""

import time
from pathlib import Path

from hpo.events import Noticed, TrialFinished
from hpo.rows import is_halfway
from hpo.runners.base import Heard, Word
from trials.files import whole


def written(word: Word, folder: Path) -> dict[str, str]:
    """Write what came into the study's folder; name -> why it could not be, of what could not."""
    problems: dict[str, str] = {}
    for name, data in word.files:
        try:
            # A row of a trial under way is only a shorter way.
            with whole(folder / name, is_synced=not is_halfway(name)) as file:
                file.write(data)
        except OSError as error:
            # One notice for all trials under way: in the same words for each.
            problems[name] = (error.strerror or str(error)) if is_halfway(name) else str(error)
    return problems


def kept(word: Word, folder: Path) -> list[Heard]:
    """The events of a word, once the rows, traces and scores that came with them lie in the study's folder.

    A trial whose row cannot be written has failed; a study without a trace is as good. One under way that
    could not be saved begins again where its worker is gone or it has made room.
    """
    problems = written(word, folder)
    events: list[Heard] = []
    for event in word.value:
        if isinstance(event, TrialFinished) and event.row in problems:
            error = f"the row could not be saved: {problems.pop(event.row)}"
            events.append(TrialFinished(event.trial, "failed", event.time, error))
        else:
            events.append(event)
    events.extend(
        Noticed("trace", f"{name} could not be written: {error}", time.time())
        for name, error in problems.items()
        if not is_halfway(name)
    )
    unsaved = [error for name, error in problems.items() if is_halfway(name)]
    if unsaved:
        text = f"trials under way cannot be saved, and begin again where they should go on: {unsaved[0]}"
        events.append(Noticed("saving", text, time.time()))
    return events
