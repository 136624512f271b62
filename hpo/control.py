"""Tell a search that runs what to do, and wait for its answer: pause, go on, have other workers.

The order goes through the study's folder (`hpo.orders`), the answer is an event of the journal. Where the
folder is on another machine, `python -m hpo.control VERB FOLDER [WORKERS [ADDRESS]]` does it there.
"""

import shlex
import sys
import time
from pathlib import Path
from typing import cast, get_args

from hpo import codec, orders, study
from hpo.errors import HpoError, JournalError, RunnerError, UsageError
from hpo.events import StudyFinished, StudyPaused, StudyResumed, StudyScaled
from hpo.orders import Order, Verb
from hpo.store import Journal, Latest

_PATIENCE = 15.0  # seconds that a search may take to answer
_LOOK = 0.1  # seconds between two looks at the journal

_Answer = StudyPaused | StudyResumed | StudyScaled


def is_running(folder: Path) -> bool:
    """Whether a process searches the study in this folder."""
    return Journal(folder / study.JOURNAL).is_being_written()


def tell(folder: Path, verb: Verb, workers: int = 0, take_up: str = "", wake: str = "") -> str:
    """Have the running search of a study do something; what it did, as a line for the user.

    Args:
        folder: of the study.
        verb: what it is to do.
        workers: to have, for `scale`.
        take_up: the command that takes the study up where it has ended; default `hpo resume` with its name.
        wake: the command that lets it go on where it is paused, likewise.

    Raises:
        UsageError: the study is not being searched, or cannot do it.
        RunnerError: the search has not answered yet; it finds the order when it next looks.
        JournalError: the journal cannot be read as written.
    """
    name, resume = folder.name, f"hpo resume {study.named(folder)}"
    take_up, wake = take_up or resume, wake or resume
    if verb == "scale" and workers < 1:
        raise UsageError(f"workers={workers} must be at least 1: `hpo pause` has a search train nothing")
    latest = study.latest(folder)
    if latest.is_finished:
        raise UsageError(
            f"study {name!r} is finished: nothing runs that could be {_DONE[verb]}. `hpo show` shows it"
        )
    if not is_running(folder):
        more = f" --workers {workers}" if verb == "scale" else ""
        raise UsageError(f"study {name!r} is not being searched now: `{take_up}{more}` takes it up")
    if done := _already(latest, verb, name):
        return done
    journal = folder / study.JOURNAL
    size = journal.stat().st_size
    try:
        order = orders.give(folder, verb, workers)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written, so no order can be left there: {error}") from error
    try:
        answer = _answer(folder, order, size)
    except KeyboardInterrupt:
        orders.withdraw(folder, order)  # who gave it does not want it any more
        raise
    if answer is None:
        raise RunnerError(
            f"the search of {name!r} has not answered in {_PATIENCE:.0f} seconds; it will be {_DONE[verb]} "
            "as soon as what it is doing has ended (a tick, or a function in its own process)"
        )
    if isinstance(answer, StudyFinished):
        raise UsageError(f"study {name!r} ended meanwhile: {answer.reason}")
    if isinstance(answer, StudyScaled):
        if answer.error:
            raise UsageError(f"study {name!r} cannot be scaled: {answer.error}")
        many = f"{workers} worker{'s' * (workers > 1)}"
        if answer.note:
            return f"study {name!r} has up to {many} from now on: {answer.note}"
        return f"study {name!r} has {many} from now on, as trials end"
    if isinstance(answer, StudyPaused):
        return f"study {name!r} is paused: `{wake}` lets it go on"
    return f"study {name!r} goes on"


_DONE: dict[Verb, str] = {"pause": "paused", "resume": "resumed", "scale": "scaled"}


def _already(latest: Latest, verb: Verb, name: str) -> str:
    """That nothing is to be done, as it is so already; "" where it is not."""
    if verb == "pause" and latest.is_paused:
        return f"study {name!r} is paused already"
    if verb == "resume" and not latest.is_paused:
        return f"study {name!r} is running, and not paused"
    return ""


def _answer(folder: Path, order: Order, size: int) -> _Answer | StudyFinished | None:
    """What the journal says of an order beyond its first `size` bytes; None: nothing in time.

    Raises:
        UsageError: the search has gone without a word.
    """
    journal, until = folder / study.JOURNAL, time.monotonic() + _PATIENCE
    while True:
        was_running = is_running(folder)
        for event in _since(journal, size):
            is_its = isinstance(event, StudyPaused | StudyResumed | StudyScaled) and event.order == order.name
            if is_its or isinstance(event, StudyFinished):
                if not is_its:
                    orders.withdraw(folder, order)
                return cast(_Answer | StudyFinished, event)
        if not was_running:
            orders.withdraw(folder, order)
            raise UsageError(f"the search of {folder.name!r} ended before it had looked")
        if time.monotonic() > until:
            return None
        time.sleep(_LOOK)


def _since(journal: Path, size: int) -> list[object]:
    """Events that were appended beyond so many bytes and speak of the study as a whole."""
    try:
        with journal.open("rb") as file:
            file.seek(size)
            data = file.read()
    except OSError as error:
        raise JournalError(f"{journal}: {error.strerror}") from error
    whole = data[: data.rfind(b"\n") + 1].splitlines()
    return [codec.decode(line) for line in whole if b'"Study' in line]


def main() -> None:
    """Do it on the machine that has the folder, for who asks from elsewhere."""
    verb, folder, *rest = sys.argv[1:]
    try:
        assert verb in get_args(Verb)
        place = Path(folder)
        if not (place / study.JOURNAL).is_file():
            known = ", ".join(path.name for path in study.folders(place.parent)) or "none"
            raise UsageError(f"no study {place} on the head; there: {known}")
        workers = int(rest[0]) if rest else 0
        # As who asks names the head; an earlier `hpo` did not say.
        head = rest[1] if len(rest) > 1 else "http://HEAD:8265"
        wake = f"hpo resume {place.name} --address {shlex.quote(head)}"
        line = tell(place, cast(Verb, verb), workers, "hpo submit STUDY.toml --resume", wake)
    except HpoError as error:
        sys.stdout.write(f"hpo: {error}\n")
        sys.exit(1 if isinstance(error, RunnerError) else 2)
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
