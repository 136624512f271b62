"""The best value so far against the steps spent by all trials."""

import math

import plotly.graph_objects as go

from dashboards import theme
from dashboards.load import End, Study
from hpo.history import State


def progress(study: Study) -> go.Figure | None:
    """A falling (or rising) stair over a dot for each trial that ended."""
    ends = [end for end in study.ends if math.isfinite(end.value)]
    if not ends:
        return None
    drawn = theme.figure(360)
    states: tuple[State, ...] = ("stopped", "completed")
    for state in states:
        some = [end for end in ends if study.history.trials[end.trial].state == state]
        _dots(drawn, study, f"{state} trials", [end for end in some if _of(study, end) is None], state)
        # Lower than the stair without being the best: a lucky seed of a config that the mean judges.
        _dots(drawn, study, "other seeds", [end for end in some if _of(study, end) is not None], state)
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


def _of(study: Study, end: End) -> int | None:
    """The trial that it was a replica of."""
    return study.history.trials[end.trial].replica_of


def _dots(drawn: go.Figure, study: Study, name: str, ends: list[End], state: State) -> None:
    if not ends:
        return
    again = {
        end.trial: "" if _of(study, end) is None else f" (trial {_of(study, end)} again)" for end in ends
    }
    drawn.add_scatter(
        x=[end.spent for end in ends],
        y=[end.value for end in ends],
        mode="markers",
        name=name,
        text=[f"trial {end.trial}, {state}{again[end.trial]}" for end in ends],
        marker={
            "color": theme.STATE_COLOURS[state],
            "symbol": "circle-open" if name == "other seeds" else "circle",
            "size": 7,
            "opacity": 0.75 if state == "completed" else 0.45,
        },
        hovertemplate="%{text}<br><b>%{y:.4g}</b> at %{x:,} steps<extra></extra>",
    )
