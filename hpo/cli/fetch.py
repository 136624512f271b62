"""`hpo fetch`: the folder of a study that a cluster runs, brought home."""

import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo import study, studyfile
from hpo.cli.look import print_line
from hpo.cli.options import Debug, Root
from hpo.cli.submit import ADDRESS, THERE, Address, head_at
from hpo.errors import RunnerError, StudyExists, UsageError
from hpo.runners.parcel import unpacked
from hpo.store import Journal

if TYPE_CHECKING:
    from hpo.runners.submission import Head

_LOOK = 0.5  # seconds between two looks at what the head does for us
_PATIENCE = 600.0  # seconds that the head may take to pack a study


def fetch(
    name: Annotated[
        str, typer.Argument(metavar="STUDY", help="Name of a study, or what `hpo submit` called it.")
    ],
    address: Address = ADDRESS,
    there: Annotated[
        str, typer.Option(help=f"Folder on the head that keeps studies; default as submitted, or {THERE}.")
    ] = "",
    root: Root = Path(study.DEFAULT_ROOT),
    tracking: Annotated[
        str | None, typer.Option(help='MLflow tracking URI to write it to, or "none"; default as submitted.')
    ] = None,
    debug: Debug = False,
) -> None:
    """Bring the folder of a study home that a cluster runs or ran; as often as you like."""
    head = head_at(address)
    sent = next((one for one in head.all() if name in (one.name, one.facts.get("hpo_study"))), None)
    facts = sent.facts if sent is not None else dict[str, str]()
    name = facts.get("hpo_study", name)
    studyfile.check_name(name)
    folder = root / name
    _check_replaceable(folder)
    text = _packed_there(head, name, there or facts.get("hpo_there", THERE))
    _take_place(text, folder)
    history, _, _ = study.read(folder)
    assert history.study is not None
    uri = tracking or facts.get("hpo_tracking", "none")
    config = study.config_of(history.study, folder, [f'tracking.uri="{uri}"'])
    study.complete(config, folder, _to_stderr)
    running = len(history.running)
    state = "finished" if history.finish is not None else f"{running} trials under way"
    print_line(f"{folder}: {len(history.trials)} trials, {state}; `hpo show {study.named(folder)}` shows it")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"hpo: {line}\n")


def _packed_there(head: "Head", name: str, there: str) -> str:
    """The study's folder as lines, as the head packs it."""
    known_as = head.submit(
        ["hpo.runners.parcel", f"{there.rstrip('/')}/{name}"], f"hpo-fetch-{secrets.token_hex(8)}"
    )
    deadline = time.monotonic() + _PATIENCE
    while not (ended := head.look(known_as)).has_ended:
        if time.monotonic() > deadline:
            raise RunnerError(
                f"the head at {head.address} has not packed the study in {_PATIENCE:.0f} seconds"
            )
        time.sleep(_LOOK)
    text = head.output(known_as)
    head.forget(known_as)
    if ended.state != "SUCCEEDED":
        said = [line for line in text.splitlines() if line.startswith("hpo: ")]
        raise UsageError(said[-1].removeprefix("hpo: ") if said else f"{known_as}: {ended.message}")
    return text


def _check_replaceable(folder: Path) -> None:
    """Whether a fetched study may take the place of what is here; nobody may be searching it."""
    if not folder.exists():
        return
    if not (folder / study.JOURNAL).is_file():
        raise StudyExists(f"{folder} exists and is no study: choose another folder with --dir, or remove it")
    journal = Journal(folder / study.JOURNAL)
    journal.open()
    journal.close()


def _take_place(text: str, folder: Path) -> None:
    """Write what was fetched, unless what is here is another study, or has gone on by itself.

    Raises:
        StudyExists: it is.
        RunnerError: it did not arrive whole.
    """
    with unpacked(text, folder) as fetched:
        here = folder / study.JOURNAL
        if here.exists():
            kept = here.read_bytes()
            whole = kept[: kept.rfind(b"\n") + 1]
            if not (fetched / study.JOURNAL).read_bytes().startswith(whole):
                raise StudyExists(
                    f"{folder} is another study, or has gone on here: choose another folder with --dir"
                )
