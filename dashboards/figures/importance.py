"""Which hyperparameters mattered."""

from collections.abc import Mapping

import plotly.graph_objects as go

from dashboards import theme
from dashboards.load import Study
from hpo.importance import importance as shares_of

_MOST_BARS = 12  # the rest of a large space matters least


def importance_of(study: Study) -> dict[str, float]:
    """Name of each searched hyperparameter -> its share of the spread, highest first; empty when unknown."""
    return shares_of(study.history, study.space) if study.space.domains else {}


def importance(shares: Mapping[str, float]) -> go.Figure | None:
    """A bar for each hyperparameter, the one that mattered most on top."""
    if not shares:
        return None
    names = list(shares)[:_MOST_BARS][::-1]
    values = [shares[name] for name in names]
    drawn = theme.figure(max(200, 64 + 34 * len(names)))
    drawn.add_bar(
        x=values,
        y=[theme.text(name, 32) for name in names],
        orientation="h",
        text=[f"{value:.0%}" for value in values],
        textposition="outside",
        cliponaxis=False,
        marker={"color": theme.BEST, "opacity": [0.35 + 0.65 * value / max(values) for value in values]},
        hovertemplate="%{y}: <b>%{x:.1%}</b> of the spread<extra></extra>",
    )
    drawn.update_layout(margin={"l": 16, "t": 8, "r": 48}, bargap=0.35, showlegend=False)
    drawn.update_xaxes(title_text="share of the spread in the results", tickformat=".0%", rangemode="tozero")
    drawn.update_yaxes(automargin=True, showgrid=False, type="category", ticksuffix="  ")
    return drawn
