"""`hpo pause` and `hpo scale`, and what `hpo resume` does of a study that runs and is paused."""

from pathlib import Path
from typing import Annotated

import typer

from hpo import control, study
from hpo.cli import there as heads
from hpo.cli.look import print_line
from hpo.cli.options import Debug, Root, Study
from hpo.cli.submit import head_at
from hpo.orders import Verb

Address = Annotated[
    str,
    typer.Option(
        metavar="http://HEAD:8265", help="Of the head whose cluster runs it by itself (hpo submit)."
    ),
]
There = Annotated[str, typer.Option(help="Folder on the head that keeps studies; default as submitted.")]

_PATIENCE = 120.0  # seconds that a head may take


def pause(
    which: Study,
    address: Address = "",
    there: There = "",
    root: Root = Path(study.DEFAULT_ROOT),
    debug: Debug = False,
) -> None:
    """Pause a running study: its trials stay where they are until `hpo resume`. Ctrl-C ends one instead."""
    _tell(which, root, address, there, "pause")


def scale(
    which: Study,
    workers: Annotated[int, typer.Argument(metavar="N", min=1, help="Workers to have.")],
    address: Address = "",
    there: There = "",
    root: Root = Path(study.DEFAULT_ROOT),
    debug: Debug = False,
) -> None:
    """Give a running study more or fewer workers; those too many leave when their trials have ended."""
    _tell(which, root, address, there, "scale", workers)


def _tell(which: str, root: Path, address: str, there: str, verb: Verb, workers: int = 0) -> None:
    if address:
        print_line(tell_there(which, address, there, verb, workers))
    else:
        print_line(control.tell(study.find(which, root), verb, workers))


def tell_there(which: str, address: str, there: str, verb: Verb, workers: int = 0) -> str:
    """Have the head that has the study tell its search; what it did, as a line."""
    head = head_at(address)
    found = heads.find(head, which, there)
    words = ["hpo.control", verb, found.folder, str(workers), address]
    text = heads.said(head, verb, words, _PATIENCE)
    return text.splitlines()[-1]  # what Ray says comes before
