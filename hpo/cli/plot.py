"""Curves as lines of text: with axes, for any width and encoding, told apart without colour."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from hpo.listeners import words

MARKS = "*o+x#@%&"  # of several curves; one alone is drawn in braille where the encoding has it
HEIGHT = 15  # letters
_NARROWEST = 16
# Dots of a braille cell from bottom to top, left column and right column, as bits of U+2800.
_BRAILLE = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
_LINES, _ASCII_LINES = "┤│└─┬", "|||--"

Spans = NDArray[np.int64]


def plot(
    curves: Mapping[str, NDArray[np.float64]],  # name -> (n,) values, evenly spaced over the steps
    steps: int,
    title: str,
    width: int = 80,
    encoding: str = "utf-8",
) -> list[str]:
    """Lines of at most `width` letters: the curves from 0 to their highest value, over steps from 0.

    >>> for line in plot({"up": np.arange(4.0)}, 4, "factor", width=26, encoding="ascii")[:3]: print(line)
    factor
       3 |               *****
         |               *
    """
    top = max((float(values.max()) for values in curves.values()), default=0.0) or 1.0
    is_fine = words.shows("⠿" + _LINES, encoding)
    lines = _LINES if is_fine else _ASCII_LINES
    labels = {
        HEIGHT - 1 - level: words.number(top * level / (HEIGHT - 1)) for level in (0, HEIGHT // 2, HEIGHT - 1)
    }
    margin = max(4, *map(len, labels.values()))
    columns = max(_NARROWEST, width - margin - 2)
    if is_fine and len(curves) == 1:
        (values,) = curves.values()
        rows = _braille(_spans(values, top, 2 * columns, 4 * HEIGHT), columns)
    else:
        rows = _marked([_spans(values, top, columns, HEIGHT) for values in curves.values()], columns)
    found = [title]
    for number, row in enumerate(rows):
        side = lines[0] if number in labels else lines[1]
        found.append(f"{labels.get(number, ''):>{margin}} {side}{row}".rstrip())
    return [*found, *_axis(steps, columns, " " * (margin + 1), lines)]


def _spans(values: NDArray[np.float64], top: float, columns: int, levels: int) -> Spans:
    """(2, columns) lowest and highest level in each column, so that no narrow peak is lost.

    A column begins where the one before it ends, so that a jump is a line and not a gap.
    """
    places = np.arange(columns) * len(values) // columns
    # A value lasts to the next one, so few values are stairs.
    ends = np.maximum(np.append(places[1:], len(values)), places + 1)
    scaled = np.clip(np.rint(values / top * (levels - 1)), 0, levels - 1).astype(np.int64)
    found = np.array(
        [
            (scaled[first:last].min(), scaled[first:last].max())
            for first, last in zip(places, ends, strict=True)
        ]
    )
    low, high = found.T
    low[1:], high[1:] = np.minimum(low[1:], high[:-1] + 1), np.maximum(high[1:], low[:-1] - 1)
    return np.array([low, high])


def _braille(spans: Spans, columns: int) -> list[str]:
    rows: list[str] = []
    for row in reversed(range(HEIGHT)):
        letters: list[str] = []
        for column in range(columns):
            bits = 0
            for side in (0, 1):
                low, high = spans[:, 2 * column + side]
                for level in range(max(low, 4 * row), min(high, 4 * row + 3) + 1):
                    bits |= _BRAILLE[side][level - 4 * row]
            letters.append(chr(0x2800 + bits) if bits else " ")
        rows.append("".join(letters))
    return rows


def _marked(spans: Sequence[Spans], columns: int) -> list[str]:
    rows: list[str] = []
    for row in reversed(range(HEIGHT)):
        letters: list[str] = []
        for column in range(columns):
            here = [
                mark
                for mark, (low, high) in zip(MARKS, spans, strict=False)
                if low[column] <= row <= high[column]
            ]
            # Where curves meet they take turns, so that none disappears.
            letters.append(here[column % len(here)] if here else " ")
        rows.append("".join(letters))
    return rows


def _axis(steps: int, columns: int, indent: str, lines: str) -> list[str]:
    """The axis of steps: a tick at every quarter, or at its ends where there is no room."""
    quarters = 4 if columns >= 4 * (len(words.count(steps)) + 4) and steps >= 4 else 1
    line, below = [lines[3]] * columns, [" "] * columns
    for quarter in range(quarters + 1):
        label = words.count(round(steps * quarter / quarters))
        place = round((columns - 1) * quarter / quarters)
        line[place] = lines[4]
        first = min(max(0, place - len(label) // 2), columns - len(label))
        below[first : first + len(label)] = label
    return [f"{indent}{lines[2]}{''.join(line)}", f"{indent} {''.join(below)}".rstrip(), f"{indent} step"]
