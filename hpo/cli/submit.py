"""`hpo submit`: a study that a cluster runs by itself."""

import os
import re
import secrets
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo import config as configs
from hpo import study, studyfile
from hpo.cli.look import print_line
from hpo.cli.options import Debug, Settings
from hpo.config import StudyConfig
from hpo.errors import MissingDependency, UsageError
from hpo.runners.cluster import Luggage, environment, packed

if TYPE_CHECKING:
    from hpo.runners.submission import Head

Address = Annotated[
    str, typer.Option(metavar="http://HEAD:8265", help="Of the dashboard on the head of a Ray cluster.")
]
There = Annotated[str, typer.Option(help="Folder on the head that keeps studies; ~ is the home there.")]

ADDRESS, THERE = "http://127.0.0.1:8265", "~/hpo-studies"


def submit(
    what: Annotated[
        str,
        typer.Argument(
            metavar="STUDY.toml|TASK|MODULE:OBJECT", help="A study file, a built-in task, or an object."
        ),
    ],
    address: Address = ADDRESS,
    name: Annotated[str, typer.Option(help="Name of the study; default that of the task or file.")] = "",
    there: There = THERE,
    module: Annotated[
        list[Path] | None,
        typer.Option(help="A further folder that the study imports, beside that of the study; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take up the study of this name that lies there.")
    ] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Do not follow it.")] = False,
    settings: Settings = None,
    debug: Debug = False,
) -> None:
    """Have a Ray cluster run a study by itself: only its dashboard's port is needed, and this machine may go."""
    config = _config(what, name, settings or [])
    luggage, words = _luggage(what, config)
    for folder in module or []:
        if not folder.is_dir():
            raise UsageError(f"--module {folder} is no folder")
    head = head_at(address)
    uri = str(config.table["tracking"]["uri"])
    # A file store would stay on the head; it is written here when the study is fetched.
    is_local = uri != "none" and "://" not in uri.replace("sqlite:///", "", 1)
    command = [
        *("hpo", "resume" if resume else "search", config.name if resume else words),
        *("--runner", "ray", "--address", "auto", "--dir", there),
        *(["--set", "base=."] if resume else ["--name", config.name]),
        *(["--tracking", "none"] if is_local else []),
        *(word for setting in settings or [] for word in ("--set", setting)),
    ]
    known_as = f"hpo-{re.sub(r'[^A-Za-z0-9_.-]', '-', config.name)}-{secrets.token_hex(4)}"
    facts = {"hpo_study": config.name, "hpo_there": there, "hpo_tracking": uri if is_local else "none"}
    head.submit(command, known_as, luggage, [folder.resolve() for folder in module or []], facts)
    at = shlex.quote(head.address)
    print_line(f"study {config.name!r} runs on the cluster, as {known_as}")
    print_line(f"follow  ray job logs --address {at} --follow {known_as}")
    print_line(f"stop    ray job stop --address {at} {known_as}")
    print_line(f"fetch   hpo fetch {known_as} --address {at}")
    sys.stdout.flush()
    if not detach:
        _follow(head, known_as)


def _config(what: str, name: str, settings: list[str]) -> StudyConfig:
    """The study, checked here as far as it can be: what it trains is loaded."""
    table, where, base = studyfile.find(what)
    table = studyfile.override(table, settings)
    for section, key, wanted in (("runner", "name", "ray"), ("runner", "address", "auto")):
        given = table.get(section, {}).get(key, "auto")
        if given not in ("auto", wanted):
            raise UsageError(
                f"{where} [{section}] {key} = {given!r}: on the cluster it is {wanted!r}; leave it out"
            )
    config = configs.build(studyfile.override(table, ['runner.name="ray"']), where, base, name)
    if config.earlier:
        raise UsageError(
            f"{where} [search] from = {list(config.earlier)}: a cluster has no earlier studies of this machine: "
            "leave it out, or search from here with --runner ray --address ray://HEAD:10001"
        )
    return config


def _luggage(what: str, config: StudyConfig) -> tuple[Luggage, str]:
    """The folder that travels, and how the study is named in it."""
    luggage = packed(config.target(Path(study.DEFAULT_ROOT) / config.name))
    if not what.endswith(".toml"):
        if Path(f"{what}.toml").is_file() and what not in luggage.target.reference:
            what = f"{what}.toml"
        else:
            return luggage, luggage.target.reference if ":" in what else what
    path = Path(what).resolve()
    folder = Path(luggage.folder or path.parent)
    if path.parent in folder.parents:
        folder = path.parent
    if not path.is_relative_to(folder):
        raise UsageError(
            f"{what} lies outside of {folder}, which is the folder that travels: put it there, beside what it trains"
        )
    return Luggage(luggage.target, str(folder), luggage.stays), path.relative_to(folder).as_posix()


def head_at(address: str) -> "Head":
    """The server on a cluster's head.

    Raises:
        UsageError: nobody answers there as one would.
        MissingDependency: there is no Ray here.
    """
    for variable, value in environment("auto").items():
        os.environ.setdefault(variable, value)
    try:
        from hpo.runners.submission import Head
    except ImportError as error:
        raise MissingDependency(
            f"a study on a cluster needs ray, which cannot be imported ({error}): install this project with "
            "the extra 'ray'"
        ) from error
    return Head(address)


def _follow(head: "Head", known_as: str) -> None:
    def show(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    try:
        head.follow(known_as, show)
    except KeyboardInterrupt:
        sys.stderr.write("hpo: not followed any more; the study goes on\n")
        raise typer.Exit(0) from None
    ended = head.look(known_as)
    if ended.state != "SUCCEEDED":
        if ended.code is None:
            sys.stderr.write(f"hpo: {known_as}: {ended.message}\n")
        raise typer.Exit(3 if ended.state == "STOPPED" else ended.code or 1)
