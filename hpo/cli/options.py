"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Root = Annotated[Path, typer.Option("--dir", help="Folder that holds the studies.")]
Study = Annotated[str, typer.Argument(metavar="STUDY", help="Name of a study, or the path of its folder.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks, and where the time went.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set anything a study file can; repeatable."),
]
