"""Curves as files of comma-separated values, columns step, lr and loss, and as traces of trials."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpo.errors import UsageError
from hpo.history import Trial
from hpo.traces import load_trace
from schedules.laws import Curve

COLUMNS = ("step", "lr", "loss")


def read_curve(path: Path, needs_loss: bool, warmup_steps: int | None = None) -> Curve:
    """The curve in a file. Other columns than step, lr and loss are ignored.

    Args:
        path: of the file.
        needs_loss: whether a file without a column loss is refused.
        warmup_steps: as of `Curve`.

    Raises:
        UsageError: no such file, or none that is a curve; names the file, the line and what would be right.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is no text of comma-separated values: {error}") from None
    if not rows:
        raise UsageError(f"{path} is empty: columns {', '.join(COLUMNS)} are wanted")
    header = [cell.strip().lower() for cell in rows[0]]
    has_loss = "loss" in header
    wanted = COLUMNS if needs_loss or has_loss else COLUMNS[:2]
    lacking = [name for name in wanted if name not in header]
    if lacking:
        raise UsageError(
            f"{path} has no column {', '.join(lacking)}: its first line is {','.join(rows[0])[:80]!r}"
        )
    columns = {name: _column(path, rows, header.index(name), name) for name in wanted}
    try:
        return Curve(
            columns["step"], columns["lr"], columns.get("loss"), name=str(path), warmup_steps=warmup_steps
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def trial_curve(folder: Path, trial: Trial) -> Curve:
    """The rates and training losses of a finished trial.

    Raises:
        UsageError: as `load_trace`; a trial without a learning rate of its own, or losses that are no curve.
    """
    number = trial.spec.trial
    trace = load_trace(folder, number)
    lr = trial.spec.config.get("lr", trace.lr)
    if not isinstance(lr, (int, float)) or isinstance(lr, bool) or not math.isfinite(lr):
        raise UsageError(
            f"trial {number} of study {folder.name!r} has no lr in its config: no rates can be told"
        )
    name = f"trial {number}"
    try:
        return Curve(np.arange(len(trace.loss)), lr * trace.factor, trace.loss, name=name)
    except ValueError as error:
        raise UsageError(f"study {folder.name!r}: {error}") from None


def write_curve(path: Path, columns: Sequence[tuple[str, Sequence[float]]]) -> None:
    """Write columns of equal lengths under their names.

    Raises:
        UsageError: the file cannot be written.
    """
    lines = [",".join(name for name, _ in columns)]
    lines += [",".join(map(repr, row)) for row in zip(*(values for _, values in columns), strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def write_text(path: Path, text: str, flag: str = "--out") -> None:
    """Write a file that the user named after this flag.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{flag} {path}: {error.strerror}") from None


def _column(path: Path, rows: Sequence[Sequence[str]], place: int, name: str) -> list[float]:
    found: list[float] = []
    for line, row in enumerate(rows[1:], start=2):
        cell = row[place].strip() if place < len(row) else ""
        try:
            found.append(float(cell))
        except ValueError:
            raise UsageError(f"{path} line {line}: {name} is {cell!r}, a number is wanted") from None
    return found
