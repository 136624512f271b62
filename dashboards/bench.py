"""Regret of tuners against spent trainings, on one self-contained page."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from dashboards import page, theme

_DASHES = ("solid", "dash", "dot")
_LEAST = 1e-3  # regret; what is lower is drawn there, as a logarithm of 0 cannot be


def write(curves: Mapping[str, Any], about: str, out: Path) -> Path:
    """Write the page of these contenders: each a mean with half its interval, along `spent`; its path."""
    figure = regrets(curves)
    what = (
        "Of what would be returned, after a full training: 0 is the best known, 1 the usual random config. "
        "Lines are means over problems and seeds, bands their intervals at 95 %."
    )
    body = f"""<header>
<p class="kind">Comparison</p>
<h1>{len(curves)} tuners</h1>
<p class="about">{theme.text(about, 400)}</p>
</header>
{page.section("regret", "Regret against spent trainings", what, figure, "")}"""
    return page.write(page.page("Comparison of tuners", body, {"regret": figure}), out)


def regrets(curves: Mapping[str, Any]) -> go.Figure:
    """Means as lines, intervals as bands, both axes logarithmic."""
    drawn = theme.figure(560)
    for place, (name, curve) in enumerate(curves.items()):
        cycle, colour = divmod(place, len(theme.SERIES))
        label, shade = theme.text(name, 60), theme.SERIES[colour]
        pairs = list(zip(curve["mean"], curve["half"], strict=True))
        upper = [mean + half for mean, half in pairs]
        lower = [max(mean - half, _LEAST / 2) for mean, half in pairs]
        drawn.add_scatter(
            x=[*curve["spent"], *reversed(curve["spent"])],
            y=[*upper, *reversed(lower)],
            fill="toself",
            fillcolor=shade,
            opacity=0.12,
            line={"width": 0},
            hoverinfo="skip",
            legendgroup=name,
            showlegend=False,
        )
        drawn.add_scatter(
            x=curve["spent"],
            y=[max(mean, _LEAST) for mean, _ in pairs],
            mode="lines",
            name=label,
            legendgroup=name,
            line={"color": shade, "width": 2.4, "dash": _DASHES[cycle % len(_DASHES)]},
            hovertemplate=f"{label}<br><b>%{{y:.3f}}</b> after %{{x:.2f}} trainings<extra></extra>",
        )
    spent = [at for curve in curves.values() for at in curve["spent"]]
    # By the means alone: an interval over few seeds reaches to 0, and would leave the lines no room.
    means = [max(mean, _LEAST) for curve in curves.values() for mean in curve["mean"]]
    drawn.update_xaxes(title_text="spent steps, in full trainings", **_axis(min(spent), max(spent), 1.0))
    drawn.update_yaxes(title_text="normalised regret", **_axis(min(means), max(means), 1.5))
    return drawn


def _axis(low: float, high: float, room: float) -> dict[str, Any]:
    """A logarithmic axis from `low / room` to `high * room`, each tick with its number."""
    low, high = low / room, high * room
    ticks = theme.decades(low, high)
    return {
        "type": "log",
        "range": [math.log10(low), math.log10(high)],
        "tickvals": ticks,
        "ticktext": [theme.number(tick) for tick in ticks],
    }
