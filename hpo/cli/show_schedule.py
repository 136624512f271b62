"""`hpo schedule show`: a schedule drawn in the terminal and on a page."""

import importlib
import math
import shutil
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray

from hpo.cli.options import Debug
from hpo.cli.plot import MARKS, plot
from hpo.errors import UsageError
from hpo.listeners import words
from schedules import Knots, Schedule, build, load_knots, replay
from schedules.export import SUFFIXES

_STEPS = 1000
_MOST_POINTS = 1_000_000  # of a curve; of more steps, so many are looked at
_WIDEST = 120  # letters


def show_schedule(
    which: Annotated[
        str,
        typer.Argument(
            metavar="NAME|TEXT|FILE", help='Such as wsd, "wsd(cooldown_fraction=0.3)", or an exported file.'
        ),
    ],
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Updates to show; default those of a file, or 1000."),
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", help="Show rates: factors times this one.")] = None,
    compare: Annotated[
        list[str] | None,
        typer.Option("--compare", metavar="NAME|TEXT|FILE", help="Another one beside it; repeatable."),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Also write a page of HTML to this file.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Draw a schedule in the terminal and on a page."""
    names: list[str] = list(dict.fromkeys([which, *(compare or [])]))
    if len(names) > len(MARKS):
        raise UsageError(f"--compare: {len(names)} schedules are too many for one picture, {len(MARKS)} fit")
    if lr is not None and not (lr > 0 and math.isfinite(lr)):
        raise UsageError(f"--lr {lr} must be a number above 0")
    if html is not None and html.is_dir():
        raise UsageError(f"--html {html} is a folder: name a file, such as {html / 'schedule.html'}")
    files = {name: _file(name) for name in names if name.endswith(SUFFIXES)}
    if steps is None:
        steps = max((knots.horizon for knots in files.values()), default=_STEPS)
    schedules = {name: replay(files[name]) if name in files else _built(name, steps) for name in names}
    if lr is None and len(names) == 1 and which in files:
        lr = files[which].lr or None
    places = np.unique(np.linspace(0, steps - 1, min(steps, _MOST_POINTS)).round())
    curves = {name: (lr or 1.0) * schedule(places) for name, schedule in schedules.items()}
    _print(curves, places, steps, "learning rate" if lr else "factor on the learning rate")
    if html is not None:
        _write_page(schedules, steps, lr, html)


def _file(name: str) -> Knots:
    try:
        return load_knots(Path(name))
    except ValueError as error:
        raise UsageError(str(error)) from error


def _built(text: str, steps: int) -> Schedule:
    try:
        return build(text, steps)
    except ValueError as error:
        hint = "; `hpo schedule list` explains each" if "unknown" in str(error) else ""
        raise UsageError(f"{error}{hint}") from error


def _print(
    curves: Mapping[str, NDArray[np.float64]], places: NDArray[np.float64], steps: int, title: str
) -> None:
    encoding = sys.stdout.encoding or "ascii"
    width = max(20, min(_WIDEST, shutil.get_terminal_size((80, 24)).columns))
    lines = plot(curves, steps, title, width, encoding)
    lines.append("")
    for mark, (name, values) in zip(MARKS, curves.items(), strict=False):
        peak = int(values.argmax())
        facts = (
            f"first {words.number(values[0])}, highest {words.number(values[peak])} "
            f"at step {words.count(int(places[peak]))}, last {words.number(values[-1])}"
        )
        shown = words.printable(name, encoding, longest=width - 2)
        lines.append(f"{mark} {shown}" if len(curves) > 1 else shown)
        lines.append(textwrap.fill(facts, width, initial_indent="  ", subsequent_indent="  "))
    sys.stdout.write("\n".join(lines) + "\n")


def _write_page(schedules: Mapping[str, Schedule], steps: int, lr: float | None, out: Path) -> None:
    try:
        # By name, as nothing here may depend on the dashboards.
        importlib.import_module("dashboards.shapes").write(schedules, steps, lr, out)
    except ImportError as error:
        raise UsageError(f"--html {out}: {error}") from error
    except OSError as error:
        raise UsageError(f"--html {out}: {error.strerror or error}") from error
    sys.stdout.write(f"{out}\n")
