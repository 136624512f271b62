"""Studies that lie on the head of a cluster: found, and commands about them that the head runs for us."""

import secrets
import time
from typing import TYPE_CHECKING, NamedTuple

from hpo import studyfile
from hpo.cli.submit import THERE
from hpo.errors import RunnerError, UsageError

if TYPE_CHECKING:
    from hpo.runners.submission import Head

_LOOK = 0.5  # seconds between two looks at what the head does for us


class There(NamedTuple):
    """A study on a head."""

    name: str
    folder: str  # as the head names it
    tracking: str  # MLflow tracking URI that it is to be written to here; "none": there it was


def find(head: "Head", name: str, there: str) -> There:
    """The study of this name, or that `hpo submit` called so; in a folder `there`, "" where it was submitted to."""
    sent = next((one for one in head.all() if name in (one.name, one.facts.get("hpo_study"))), None)
    facts = sent.facts if sent is not None else dict[str, str]()
    name = facts.get("hpo_study", name)
    studyfile.check_name(name)
    root = there or facts.get("hpo_there", THERE)
    return There(name, f"{root.rstrip('/')}/{name}", facts.get("hpo_tracking", "none"))


def said(head: "Head", what: str, words: list[str], patience: float) -> str:
    """All that a command prints which the head runs; `what` names it.

    Raises:
        UsageError, RunnerError: it failed, as it said; or it did not end in so many seconds.
    """
    known_as = head.submit(words, f"hpo-{what}-{secrets.token_hex(8)}")
    deadline = time.monotonic() + patience
    while not (ended := head.look(known_as)).has_ended:
        if time.monotonic() > deadline:
            raise RunnerError(f"the head at {head.address} has not ended to {what} in {patience:.0f} seconds")
        time.sleep(_LOOK)
    text = head.output(known_as)
    head.forget(known_as)
    if ended.state != "SUCCEEDED":
        lines = [line for line in text.splitlines() if line.startswith("hpo: ")]
        message = lines[-1].removeprefix("hpo: ") if lines else f"{known_as}: {ended.message}"
        raise (RunnerError if ended.code == 1 else UsageError)(message)
    return text
