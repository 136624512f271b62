"""The trials that lead, on data of the source, under every family of shifts, and elsewhere."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from dashboards import theme
from hpo.objective import Objective
from hpo.transfer import Judged

_ROW, _NARROWEST = 34, 56  # pixels of a trial, and of a column
_ABOVE = "standardised"  # the column where higher is better, whatever the metric


def shifts(judgements: Sequence[Judged], metric: Objective) -> go.Figure | None:
    """A row for each trial, best on top; each column is shaded by itself, from its worst to its best."""
    shown = [one for one in judgements if one.families or one.targets]
    if not shown:
        return None
    columns = _columns(shown)
    sign = 1.0 if metric.goal == "max" else -1.0
    signs = [1.0 if name == _ABOVE else sign for name, _ in columns]
    shades = [
        _shades([one * value for value in values]) for one, (_, values) in zip(signs, columns, strict=True)
    ]
    rows = [f"trial {one.trial}{' *' if one.narrow else ''}" for one in shown]
    drawn = theme.figure(116 + _ROW * len(rows))
    drawn.add_heatmap(
        x=[name for name, _ in columns],
        y=rows,
        z=[list(row) for row in zip(*shades, strict=True)],
        hoverinfo="skip",
        colorscale=[[0.0, "rgba(139, 92, 246, 0.0)"], [1.0, "rgba(139, 92, 246, 0.55)"]],
        zmin=0.0,
        zmax=1.0,
        showscale=False,
        xgap=2,
        ygap=2,
    )
    # Numbers are a trace of their own: those of a heatmap are black or white whatever the page is.
    drawn.add_scatter(
        x=[name for name, values in columns for _ in values],
        y=rows * len(columns),
        text=[theme.number(value) for _, values in columns for value in values],
        mode="text",
        textfont={"size": 12},
        hovertemplate="%{y}, %{x}: <b>%{text}</b><extra></extra>",
        showlegend=False,
    )
    drawn.update_xaxes(side="top", showgrid=False, tickangle=-35, automargin=True, type="category")
    drawn.update_yaxes(
        autorange="reversed", showgrid=False, automargin=True, type="category", ticksuffix="  "
    )
    drawn.update_layout(
        margin={"l": 16, "r": 8, "t": 84, "b": 8}, meta={"narrowest": 90 + _NARROWEST * len(columns)}
    )
    return drawn


def _columns(shown: Sequence[Judged]) -> list[tuple[str, list[float]]]:
    families = dict.fromkeys(name for one in shown for name in one.families)
    targets = dict.fromkeys(name for one in shown for name in one.targets)
    columns = [("plain", [one.plain for one in shown])]
    if families:
        columns += [
            *((theme.text(name), [one.families.get(name, math.nan) for one in shown]) for name in families),
            ("mean", [one.mean for one in shown]),
            ("worst", [one.families.get(one.worst, math.nan) for one in shown]),
            (_ABOVE, [one.standardised for one in shown]),
        ]
    return columns + [
        (f"→ {theme.text(name, 24)}", [one.targets.get(name, math.nan) for one in shown]) for name in targets
    ]


def _shades(values: Sequence[float]) -> list[float | None]:
    """From 0 at the worst to 1 at the best; none where there is no number, the middle where all are alike."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    return [
        None if not math.isfinite(value) else (value - low) / (high - low) if high > low else 0.5
        for value in values
    ]
