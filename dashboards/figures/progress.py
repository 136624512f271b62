"""The best value so far against the steps spent by all trials."""

import math

import plotly.graph_objects as go

from dashboards import theme
from dashboards.load import Study


def progress(study: Study) -> go.Figure | None:
    """A falling (or rising) stair over a dot for each trial that ended."""
    ends = [end for end in study.ends if math.isfinite(end.value)]
    if not ends:
        return None
    drawn = theme.figure(360)
    for state in ("stopped", "completed"):
        some = [end for end in ends if study.history.trials[end.trial].state == state]
        if some:
            drawn.add_scatter(
                x=[end.spent for end in some],
                y=[end.value for end in some],
                mode="markers",
                name=f"{state} trials",
                text=[f"trial {end.trial}, {state}" for end in some],
                marker={
                    "color": theme.STATE_COLOURS[state],
                    "size": 7,
                    "opacity": 0.75 if state == "completed" else 0.45,
                },
                hovertemplate="%{text}<br><b>%{y:.4g}</b> at %{x:,} steps<extra></extra>",
            )
    incumbents = study.history.incumbents
    if incumbents:
        shown = [study.objective.shown(incumbent.value) for incumbent in incumbents]
        drawn.add_scatter(
            x=[*(incumbent.spent for incumbent in incumbents), study.history.spent],
            y=[*shown, shown[-1]],
            mode="lines",
            name="best so far",
            text=[f"trial {incumbent.trial}" for incumbent in (*incumbents, incumbents[-1])],
            line={"shape": "hv", "color": theme.BEST, "width": 3},
            hovertemplate="%{text}<br><b>%{y:.4g}</b> is the best at %{x:,} steps<extra></extra>",
        )
    drawn.update_xaxes(title_text="steps spent by all trials", tickformat="~s", rangemode="tozero")
    drawn.update_yaxes(
        title_text=theme.text(study.objective.metric, 32), **theme.metric_axis(end.value for end in ends)
    )
    return drawn
