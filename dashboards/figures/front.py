"""Trials in the plane of two metrics, and those that no other beats."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards import theme
from dashboards.load import Study
from hpo.history import Trial

_MOST = 3  # planes side by side
_FRONT = "front"  # the group of those that no other beats


def front(study: Study) -> go.Figure | None:
    """The first metric over each of the others, a plane each; None where there are no two to show."""
    first, *others = study.objective.parts
    trials = [
        trial
        for trial in study.history.trials.values()
        if trial.state == "completed" and all(map(math.isfinite, study.history.values(trial)))
    ]
    if not others or not trials:
        return None
    members = {trial.spec.trial for trial in study.history.front}
    groups = {
        "beaten": [t for t in trials if t.spec.trial not in members and not study.history.excess(t)],
        "beyond the constraints": [t for t in trials if study.history.excess(t)],
        _FRONT: study.history.front,
    }
    shown = others[:_MOST]
    drawn = theme.figure(380)
    drawn = go.Figure(make_subplots(rows=1, cols=len(shown), figure=drawn, shared_yaxes=True))
    for column, other in enumerate(shown, start=1):
        for name, some in groups.items():
            if not some:
                continue
            is_front = name == _FRONT
            drawn.add_scatter(
                row=1,
                col=column,
                x=[_value(study, trial, other.metric, is_front) for trial in some],
                y=[_value(study, trial, first.metric, is_front) for trial in some],
                # With two metrics the members lie on a stair; with more the plane is a shadow of it.
                mode="lines+markers" if is_front and len(others) == 1 else "markers",
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                text=[f"trial {trial.spec.trial}" for trial in some],
                line={"shape": "hv", "color": theme.BEST, "width": 2, "dash": "dot"},
                marker={"color": _COLOURS[name], "size": 7 + 3 * is_front, "opacity": 0.5 + 0.5 * is_front},
                hovertemplate="%{text}<br>%{x:.4g}, <b>%{y:.4g}</b><extra></extra>",
            )
        across = _values(study, groups, other.metric)
        drawn.update_xaxes(title_text=theme.text(other.metric, 32), **_axis(across), row=1, col=column)
    drawn.update_yaxes(**_axis(_values(study, groups, first.metric)))
    drawn.update_yaxes(title_text=theme.text(first.metric, 32), row=1, col=1)
    return drawn


def _axis(values: Sequence[float]) -> dict[str, Any]:
    """Logarithmic where values are far apart, or the front would be a spot beside those far off.

    Nothing is cut, unlike in `theme.metric_axis`: an end of the front may be far off itself.
    """
    low, high = min(values), max(values)
    if not (low > 0 and high / low > 20):
        return {}
    ticks, room = theme.decades(low, high), 0.06 * math.log10(high / low)
    return {
        "type": "log",
        "range": [math.log10(low) - room, math.log10(high) + room],
        "tickvals": ticks,
        "ticktext": [theme.number(tick) for tick in ticks],
    }


_COLOURS = {
    "beaten": theme.STATE_COLOURS["completed"],
    "beyond the constraints": theme.STATE_COLOURS["diverged"],
    _FRONT: theme.BEST,
}


def _values(study: Study, groups: Mapping[str, Sequence[Trial]], metric: str) -> list[float]:
    """Of every trial that is drawn."""
    return [_value(study, trial, metric, name == _FRONT) for name, some in groups.items() for trial in some]


def _value(study: Study, trial: Trial, metric: str, is_front: bool) -> float:
    """What it said at its end; of a member of the front what it is compared by."""
    if not is_front:
        return trial.reports[-1].metrics[metric]
    parts = zip(study.objective.parts, study.history.compared(trial), strict=True)
    return next(part.shown(value) for part, value in parts if part.metric == metric)
