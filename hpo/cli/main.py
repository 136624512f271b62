"""The command `hpo`: parse, dispatch, exit codes.

0 done · 1 every trial failed, or trials cannot run at all · 2 wrong use · 3 interrupted, can be resumed
"""

import atexit
import functools
import gc
import os
import sys
from collections.abc import Callable

import typer

from hpo.cli import (
    bench,
    control,
    explain,
    export,
    extend,
    fetch,
    init,
    look,
    schedule,
    search,
    submit,
    system,
    train,
)
from hpo.errors import HpoError, RunnerError

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 3

# What the parser raises about a command line; typer has its own copy of click or not, by version.
_ParseError: type[Exception] = typer.BadParameter.__mro__[2]


def _told(command: Callable[..., None]) -> Callable[..., None]:
    """The command, whose errors are one line without a traceback unless `--debug`, and an exit code."""

    @functools.wraps(command)
    def run(*arguments: object, **options: object) -> None:
        try:
            command(*arguments, **options)
            sys.stdout.flush()
        except HpoError as error:
            if options.get("debug"):
                raise
            _say(error)
            raise typer.Exit(FAILED if isinstance(error, RunnerError) else WRONG_USE) from None
        except KeyboardInterrupt:
            _say("stopped")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # The reader of our output has gone, as in `hpo list | head`: nothing is left to say.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(DONE) from None
        except OSError as error:
            # A disk that is full, a file that cannot be read: the message has the name.
            if options.get("debug"):
                raise
            _say(error)
            raise typer.Exit(FAILED) from None

    return run


def _say(what: object) -> None:
    """One line, whatever the message was made of."""
    sys.stderr.write(f"hpo: {' '.join(line.strip() for line in str(what).splitlines() if line.strip())}\n")


app = typer.Typer(
    name="hpo",
    help="Find hyperparameters, learning rates and the shape of their schedule.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _command in {
    "search": search.search,
    "resume": search.resume,
    "pause": control.pause,
    "scale": control.scale,
    "submit": submit.submit,
    "fetch": fetch.fetch,
    "train": train.train,
    "extend": extend.extend,
    "list": look.list_studies,
    "show": look.show,
    "best": look.best,
    "explain": explain.explain,
    "report": look.report,
    "export": export.export,
    "bench": bench.bench,
    "init": init.init,
    "doctor": system.doctor,
    "ui": system.ui,
}.items():
    app.command(_name)(_told(_command))

_schedule = typer.Typer(
    help="Show schedules, find them on a loss law, refine them.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@_schedule.callback()
def _explain(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


for _name, _command in schedule.commands.items():
    _schedule.command(_name)(_told(_command))
app.add_typer(_schedule, name="schedule")


def main() -> None:
    """Run the command line."""
    # What is left at the end goes with the process: Python would look through it for garbage first, 0.4 s.
    atexit.register(gc.freeze)
    try:
        code = app(args=sys.argv[1:] or ["--help"], prog_name="hpo", standalone_mode=False)
    except _ParseError as error:
        _say(getattr(error, "format_message")())  # noqa: B009 - the class is known at run time only
        sys.exit(WRONG_USE)
    sys.exit(code or DONE)
