"""The command `hpo`: parse, dispatch, exit codes.

0 done · 1 every trial failed, or trials cannot run at all · 2 wrong use · 3 interrupted, can be resumed
"""

import os
import sys

import typer

from hpo.cli import export, init, look, search, system
from hpo.errors import HpoError, RunnerError

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 3

app = typer.Typer(
    name="hpo",
    help="Find hyperparameters, learning rates and the shape of their schedule.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("search")(search.search)
app.command("resume")(search.resume)
app.command("list")(look.list_studies)
app.command("show")(look.show)
app.command("best")(look.best)
app.command("report")(look.report)
app.command("export")(export.export)
app.command("init")(init.init)
app.command("doctor")(system.doctor)
app.command("ui")(system.ui)


def main() -> None:
    """Run the command line; errors of the user's are one line, without a traceback unless `--debug`."""
    # Before parsing, so that it works wherever the user put it.
    debug = "--debug" in sys.argv
    try:
        app()
    except HpoError as error:
        if debug:
            raise
        sys.stderr.write(f"hpo: {error}\n")
        sys.exit(FAILED if isinstance(error, RunnerError) else WRONG_USE)
    except KeyboardInterrupt:
        sys.stderr.write("hpo: stopped\n")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone, as in `hpo list | head`: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
