"""Knots as text, for a file or another program: TOML, CSV, a schedule's text, Python that needs torch only.

Texts are read with errors that say what is wrong in them; all are ValueError.
"""

import csv
import io
import tomllib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from schedules.check import unknown
from schedules.knots import CLOSEST
from schedules.replay import Knots, pairs
from schedules.spec import format
from schedules.text import SUFFIXES

FORMAT = 1
_KEYS = ("format", "lr", "knots")
_COLUMNS = ("step", "factor", "lr")


def to_toml(knots: Knots, about: str = "") -> str:
    """The knots as a TOML file, with a line about them at its top; `from_toml` gives them back.

    >>> print(to_toml(Knots((0, 9), (1.0, 0.0), lr=0.1), "Found by hand."), end="")
    # Found by hand.
    # Factors on the learning rate, straight between knots and held after the last one.
    format = 1
    lr = 0.1
    knots = [ # [step, factor]
        [0, 1.0],
        [9, 0.0],
    ]
    """
    lines = [
        *_comment(about),
        "# Factors on the learning rate, straight between knots and held after the last one.",
        f"format = {FORMAT}",
        *([] if knots.lr is None else [f"lr = {knots.lr!r}"]),
        "knots = [ # [step, factor]",
        *(f"    [{step}, {factor!r}]," for step, factor in pairs(knots)),
        "]",
    ]
    return "\n".join(lines) + "\n"


def from_toml(text: str) -> Knots:
    """The knots of a TOML file.

    >>> from_toml("format = 1\\nknots = [[0, 1.0], [9, 0.0]]")
    Knots(steps=(0, 9), factors=(1.0, 0.0), lr=None)

    Raises:
        ValueError: no TOML, another format, keys that are missing or unknown, knots that are not legal.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"no TOML, the file is damaged: {error}") from None
    if "format" not in table:
        raise ValueError(f"no schedule that was exported: format is missing, format = {FORMAT} is known")
    if table["format"] is True or table["format"] != FORMAT:
        raise ValueError(f"format = {table['format']!r} is not known, only {FORMAT} is: export it again")
    for key in table:
        if key not in _KEYS:
            raise ValueError(unknown("key", key, _KEYS))
    if "knots" not in table:
        raise ValueError("knots is missing: give knots = [[step, factor], …]")
    found: Any = table["knots"]
    if not isinstance(found, list) or not all(
        isinstance(knot, list) and len(cast(list[Any], knot)) == 2 for knot in cast(list[Any], found)
    ):
        raise ValueError("knots must be a list of pairs, [[step, factor], …]")
    knots = cast(list[tuple[int, float]], found)
    return Knots(tuple(step for step, _ in knots), tuple(factor for _, factor in knots), table.get("lr"))


def to_csv(knots: Knots) -> str:
    """The knots as CSV: columns step, factor, and lr, the rate at that step, empty where it is not known.

    >>> to_csv(Knots((0, 9), (1.0, 0.5), lr=0.1)).splitlines()
    ['step,factor,lr', '0,1.0,0.1', '9,0.5,0.05']
    """
    rates = ["" if knots.lr is None else repr(knots.lr * factor) for factor in knots.factors]
    rows = zip(knots.steps, knots.factors, rates, strict=True)
    return "\n".join([",".join(_COLUMNS), *(f"{step},{factor!r},{lr}" for step, factor, lr in rows)]) + "\n"


def from_csv(text: str) -> Knots:
    """The knots of CSV with columns step and factor; lr, where there is one, to within rounding.

    >>> from_csv("step,factor\\n0,1.0\\n9,0.5")
    Knots(steps=(0, 9), factors=(1.0, 0.5), lr=None)

    Raises:
        ValueError: a column is missing, a cell is no number, knots that are not legal.
    """
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        names = [name.strip() for name in next(rows, list[str]())]
        missing = [name for name in _COLUMNS[:2] if name not in names]
        if missing:
            raise ValueError(f"the first line must name the columns {', '.join(_COLUMNS)}; no {missing[0]}")
        steps: list[int] = []
        factors: list[float] = []
        rates: list[str] = []
        for row in rows:
            if not row:
                continue
            cells = dict(zip(names, row, strict=False))
            try:
                steps.append(int(cells.get("step", "")))
                factors.append(float(cells.get("factor", "")))
            except ValueError:
                raise ValueError(
                    f"line {rows.line_num}: {','.join(row)[:60]!r} has no whole step and factor"
                ) from None
            rates.append(cells.get("lr", "").strip())
    except csv.Error as error:
        raise ValueError(f"no CSV, line {rows.line_num}: {error}") from None
    return Knots(tuple(steps), tuple(factors), _rate(factors, rates))


def _rate(factors: Sequence[float], rates: Sequence[str]) -> float | None:
    """The rate that is one factor times 1, read where the factor is greatest."""
    if not factors or not max(factors) > 0:
        return None
    peak = max(range(len(factors)), key=lambda place: factors[place])
    if not rates[peak]:
        return None
    try:
        return float(rates[peak]) / factors[peak]
    except ValueError:
        raise ValueError(f"lr={rates[peak]!r} must be a number") from None


def load_knots(path: Path) -> Knots:
    """The knots of a file that was exported, TOML or CSV by its ending.

    >>> load_knots(Path("missing.toml"))
    Traceback (most recent call last):
    ValueError: missing.toml cannot be read: No such file or directory

    Raises:
        ValueError: there is no such file, or it does not say what it should; the message names it.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} must end in {' or '.join(SUFFIXES)}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # spreadsheets write a mark at the start
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no text: the file is damaged") from None
    try:
        return from_toml(text) if path.suffix == ".toml" else from_csv(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def to_text(knots: Knots) -> str:
    """The text of the same schedule as a family, for a study or a command: `build` over `knots.horizon`.

    >>> to_text(Knots((0, 4, 9), (0.5, 1.0, 0.0)))
    'knots(factors=[0.5, 1.0, 0.0], fractions=[0.0, 0.4, 0.9])'

    Raises:
        ValueError: two knots are closer than a millionth of the horizon.
    """
    found = [*pairs(knots)]
    if len(found) == 1:
        # The family takes two at least.
        found = [(0, knots.factors[0]), (knots.horizon, knots.factors[0])]
    if min((after - step for (step, _), (after, _) in pairwise(found)), default=1) < CLOSEST * knots.horizon:
        raise ValueError(f"knots closer than {CLOSEST:g} of {knots.horizon} steps have no text: use a file")
    return format(
        {
            "name": "knots",
            "factors": [factor for _, factor in found],
            "fractions": [step / knots.horizon for step, _ in found],
        }
    )


_SNIPPET = '''{about}# Factors on the learning rate, straight between knots and held after the last one.
# Needs torch only.

import bisect

from torch.optim.lr_scheduler import LambdaLR

{lr}STEPS = {steps}
FACTORS = {factors}


def factor(step):
    """What the learning rate of update `step`, counted from 0, is multiplied by."""
    after = bisect.bisect_right(STEPS, step)
    if after == 0:
        return FACTORS[0]
    if after == len(STEPS):
        return FACTORS[-1]
    part = (step - STEPS[after - 1]) / (STEPS[after] - STEPS[after - 1])
    return FACTORS[after - 1] * (1.0 - part) + FACTORS[after] * part


def make_scheduler(optimizer, last_epoch=-1):
    """Call its step() after each optimizer.step()."""
    return LambdaLR(optimizer, factor, last_epoch)
'''


def to_torch_snippet(knots: Knots, about: str = "") -> str:
    """Python that makes a torch scheduler of the knots and needs nothing but torch.

    >>> "def make_scheduler(optimizer" in to_torch_snippet(Knots((0, 9), (1.0, 0.0)))
    True
    """
    return _SNIPPET.format(
        about="".join(f"{line}\n" for line in _comment(about)),
        lr="" if knots.lr is None else f"LR = {knots.lr!r}  # the optimizer's rate when this was found\n",
        steps=_wrapped([str(step) for step in knots.steps]),
        factors=_wrapped([repr(factor) for factor in knots.factors]),
    )


def _wrapped(items: Sequence[str], width: int = 96) -> str:
    """A list, over several lines where one is too long."""
    line = f"[{', '.join(items)}]"
    if len(line) <= width:
        return line
    lines = ["   "]
    for item in items:
        if len(lines[-1]) + len(item) + 2 > width:
            lines.append("   ")
        lines[-1] += f" {item},"
    return "\n".join(["[", *lines, "]"])


def _comment(about: str) -> list[str]:
    """A comment of one line, whatever a study is called."""
    line = "".join(letter if letter.isprintable() else " " for letter in about).strip()
    return [f"# {line}"] if line else []
