"""Regret of tuners against spent trainings, on one self-contained page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from dashboards import page, theme

_DASHES = ("solid", "dash", "dot")


def write(curves: Mapping[str, Any], about: str, out: Path) -> Path:
    """Write the page of these contenders: each a mean with half its interval, along `spent`; its path."""
    figure = regrets(curves)
    what = "Of what would be returned, after a full training: 0 is the best known, 1 the usual random config."
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
        lower = [max(mean - half, 1e-4) for mean, half in pairs]
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
            y=[max(mean, 1e-4) for mean, _ in pairs],
            mode="lines",
            name=label,
            legendgroup=name,
            line={"color": shade, "width": 2.4, "dash": _DASHES[cycle % len(_DASHES)]},
            hovertemplate=f"{label}<br><b>%{{y:.3f}}</b> after %{{x:.2f}} trainings<extra></extra>",
        )
    drawn.update_xaxes(type="log", title_text="spent steps, in full trainings")
    drawn.update_yaxes(type="log", title_text="normalised regret")
    return drawn
