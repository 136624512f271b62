"""Colours, fonts and number formats that all figures share.

Figures carry no colours of text, grid or background: the page sets those, for light and dark.
"""

import html
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

BEST = "#8b5cf6"
STATE_COLOURS = {
    "completed": "#3b82f6",
    "running": "#06b6d4",
    "paused": "#0e7490",
    "stopped": "#94a3b8",
    "diverged": "#f59e0b",
    "failed": "#ef4444",
    "out_of_memory": "#be185d",
}
SERIES = ("#8b5cf6", "#0ea5e9", "#10b981", "#f59e0b", "#ec4899")  # of a few trials side by side
QUIET = "rgba(128, 138, 156, 0.45)"  # lines behind the data, on light and on dark
FONT = 'Inter, system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


def number(value: float) -> str:
    """Four significant digits.

    >>> number(0.0312345), number(12000.0), number(float("inf"))
    ('0.03123', '12,000', 'inf')
    """
    if math.isfinite(value) and 1e3 <= abs(value) < 1e15:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """A time in at most two units.

    >>> duration(7.31), duration(125), duration(3 * 3600 + 125)
    ('7.3 s', '2 min 5 s', '3 h 2 min')
    """
    if not seconds >= 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    units = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))
    size, unit, smaller, small = next(one for one in units if seconds >= one[0])
    whole, rest = divmod(int(seconds), size)
    return f"{whole} {unit} {rest // smaller} {small}"


def text(value: object, longest: int = 60) -> str:
    """A name or value from elsewhere as it may stand on the page or in a figure: escaped, not too long."""
    shown = number(value) if isinstance(value, float) else str(value)
    shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    return html.escape(shown if len(shown) <= longest else shown[: longest - 1] + "…")


def text_block(value: str) -> str:
    """Several lines from elsewhere as they may stand on the page: escaped, line breaks kept."""
    return html.escape(
        "".join(letter if letter.isprintable() or letter in "\n\t" else " " for letter in value)
    )


def figure(height: int) -> go.Figure:
    """An empty figure with what all have in common."""
    drawn = go.Figure()
    drawn.update_layout(
        template="none",
        height=height,
        margin={"l": 64, "r": 16, "t": 36, "b": 52},
        font={"family": FONT, "size": 13},
        hovermode="closest",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"},
    )
    drawn.update_xaxes(showline=False, zeroline=False, ticks="", title={"standoff": 12})
    drawn.update_yaxes(showline=False, zeroline=False, ticks="", title={"standoff": 12})
    return drawn


def metric_axis(values: Iterable[float]) -> dict[str, Any]:
    """Type, range and ticks of an axis for a metric.

    Logarithmic where the values span more than a decade, and blind to a few that are huge.
    """
    found = np.array([value for value in values if math.isfinite(value)])
    if not len(found):
        return {}
    low, high = float(found.min()), float(found.max())
    if not math.isfinite(1.2 * (high - low)):
        return {}
    usual = float(np.quantile(found, 0.9))
    if low > 0 and high / low > 20:
        high = min(high, 30 * usual)
        ticks = decades(low, high)
        room = 0.06 * math.log10(high / low)
        return {
            "type": "log",
            "range": [math.log10(low) - room, math.log10(high) + room],
            "tickvals": ticks,
            "ticktext": [number(tick) for tick in ticks],
        }
    if high - low > 3 * (usual - low) > 0:
        high = low + 1.5 * (usual - low)
    room = 0.06 * (high - low) or max(abs(low) * 0.06, 1e-9)
    return {"type": "linear", "range": [low - room, high + room]}


def thinned(width: float, lines: int) -> float:
    """The width of a line that is one of many."""
    return width * min(1.0, max(0.4, math.sqrt(60 / max(1, lines))))


def decades(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis: powers of ten, where these are few also 2 and 5 of each.

    >>> decades(1e-4, 1e-1)
    [0.0001, 0.001, 0.01, 0.1]
    >>> decades(0.04, 1.5)
    [0.05, 0.1, 0.2, 0.5, 1.0]
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = max(1, (last - first) // 6)  # powers of ten, so that very wide axes are not crowded
    steps = [1] if math.log10(high / low) >= 2.9 else [1, 2, 5]
    found = [float(f"{step}e{power}") for power in range(first, last + 1, every) for step in steps]
    return [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
