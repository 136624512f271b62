"""Numbers, times, configs and curves as short text that any terminal can show."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII_BLOCKS = "_.-:=+*#"
# Dots of a braille cell from bottom to top, left column and right column, as bits of U+2800.
_BRAILLE = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))


def number(value: float) -> str:
    """Four significant digits, and no more zeros than it takes.

    >>> number(0.0312345), number(1e-7), number(500.0), number(float("nan"))
    ('0.03123', '1e-07', '500', 'nan')
    """
    return f"{value:.4g}"


def count(value: int) -> str:
    """A whole number in groups of three digits.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{value:,}"


def steps(spent: int, kept: int, wall: int) -> str:
    """What was paid for; then what was kept of it and how many passed one after another, where that differs.

    >>> steps(500, 500, 500), steps(1500, 1000, 1250)
    ('500 steps', '1,500 steps (1,000 kept, 1,250 wall)')
    """
    more = "" if spent == kept == wall else f" ({count(kept)} kept, {count(wall)} wall)"
    return f"{count(spent)} steps{more}"


def duration(seconds: float) -> str:
    """A time in at most two units.

    >>> duration(7.31), duration(125), duration(3 * 3600 + 125), duration(90_000)
    ('7.3 s', '2 min 5 s', '3 h 2 min', '1 d 1 h')
    """
    if not seconds >= 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    units = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    size, unit, smaller, small = next(one for one in units if seconds >= one[0])
    whole, rest = divmod(int(seconds), size)
    return f"{whole} {unit} {rest // smaller} {small}"


def value(found: object) -> str:
    """A hyperparameter's value."""
    return number(found) if isinstance(found, float) else str(found)


def config(found: Mapping[str, object]) -> str:
    """A config on one line.

    >>> config({"lr": 0.001, "optimizer": "sgd"})
    'lr=0.001 optimizer=sgd'
    """
    return " ".join(f"{name}={value(one)}" for name, one in found.items())


def printable(text: str, encoding: str, longest: int = 0) -> str:
    """Text from elsewhere on one line: no control characters, nothing the encoding lacks, cut when longer.

    >>> printable("a\\x1b[2Jb\\n  c", "utf-8"), printable("größe ▁", "ascii"), printable("abcdef", "ascii", 5)
    ('a[2Jb c', 'gr??e ?', 'ab...')
    """
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    line = line.encode(encoding, "replace").decode(encoding)
    return line if not longest or len(line) <= longest else line[: longest - 3] + "..."


def shows(letters: str, encoding: str) -> bool:
    """Whether the encoding has these letters."""
    try:
        letters.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def sparkline(values: Sequence[float], width: int, encoding: str = "utf-8") -> str:
    """A curve from 0 to its highest value, one letter a point.

    >>> sparkline([0, 1, 2, 3], 4), sparkline([0, 1, 2, 3], 4, "ascii")
    ('▁▃▆█', '_-+#')
    """
    heights = _resampled(values, width)
    blocks = _BLOCKS if shows(_BLOCKS, encoding) else _ASCII_BLOCKS
    return "".join(blocks[round(height * (len(blocks) - 1))] for height in heights)


def braille(values: Sequence[float], width: int, height: int) -> list[str]:
    """A curve from 0 to its highest value, in lines of braille; two points and four levels a letter."""
    heights = _resampled(values, 2 * width)
    levels = [round(one * (4 * height - 1)) for one in heights]
    rows: list[str] = []
    for row in reversed(range(height)):
        line = ""
        for column in range(width):
            bits = 0
            for side in (0, 1):
                position = 2 * column + side
                # Drawn down to the level of the point before, so that a steep curve stays one line.
                before = levels[max(0, position - 1)]
                low, high = sorted((before, levels[position]))
                for level in range(low if low == high else low + 1, high + 1):
                    if level // 4 == row:
                        bits |= _BRAILLE[side][level % 4]
            line += chr(0x2800 + bits)
        rows.append(line)
    return rows


def _resampled(values: Sequence[float], width: int) -> list[float]:
    """So many heights from 0 to 1; what is not finite is 0."""
    known = np.nan_to_num(np.asarray(values, dtype=float), nan=0.0, posinf=0.0, neginf=0.0)
    if not len(known):
        return []
    top = float(known.max())
    places = np.linspace(0, len(known) - 1, width)
    found = np.interp(places, np.arange(len(known)), known)
    return [min(1.0, max(0.0, float(one) / top)) if top > 0 and math.isfinite(top) else 0.0 for one in found]
