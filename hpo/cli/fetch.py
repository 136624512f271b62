"""`hpo fetch`: the folder of a study that a cluster runs, brought home."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo import study
from hpo.cli import there as heads
from hpo.cli.look import print_line
from hpo.cli.options import Debug, Root
from hpo.cli.submit import ADDRESS, THERE, Address, head_at
from hpo.errors import StudyExists
from hpo.runners.parcel import unpacked
from hpo.store import Journal

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
    found = heads.find(head, name, there)
    folder = root / found.name
    _check_replaceable(folder)
    text = heads.said(head, "fetch", ["hpo.runners.parcel", found.folder], _PATIENCE)
    _take_place(text, folder)
    history, _, _ = study.read(folder)
    assert history.study is not None
    uri = tracking or found.tracking
    config = study.config_of(history.study, folder, [f'tracking.uri="{uri}"'])
    study.complete(config, folder, _to_stderr)
    running = len(history.running)
    state = "finished" if history.finish is not None else f"{running} trials under way"
    print_line(f"{folder}: {len(history.trials)} trials, {state}; `hpo show {study.named(folder)}` shows it")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"hpo: {line}\n")


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
