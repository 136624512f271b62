"""The learning-rate schedules of the best trials, over their losses."""

from itertools import islice

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards import theme
from dashboards.load import Study


def schedules(study: Study, most: int = len(theme.SERIES)) -> go.Figure | None:
    """Rates above, the metric below, on one axis of steps; a colour for each of the best few configs."""
    every = study.leading(len(study.history.trials))
    trials = list(islice((trial for trial in every if len(study.rates(trial)[0])), most))
    if not trials:
        return None
    drawn = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.55, 0.45])
    drawn.update_layout(theme.figure(460).layout)
    everything: list[float] = []
    for trial, colour in zip(trials, theme.SERIES, strict=False):
        label = f"trial {trial.spec.trial}"
        steps, rates = study.rates(trial)
        is_best = trial is study.best
        drawn.add_scatter(
            x=steps,
            y=rates,
            mode="lines",
            name=label,
            legendgroup=label,
            line={"color": colour, "width": 3 if is_best else 1.8},
            text=[f"{label}, {theme.text(trial.spec.config.get('schedule', 'cosine'))}"] * len(steps),
            hovertemplate="%{text}<br>rate <b>%{y:.3g}</b> at step %{x:,}<extra></extra>",
            row=1,
            col=1,
        )
        at = [report.step for report in trial.reports]
        metric = study.curve(trial)[1]
        everything.extend(metric.tolist())
        drawn.add_scatter(
            x=at,
            y=metric,
            mode="lines+markers",
            name=label,
            legendgroup=label,
            showlegend=False,
            line={"color": colour, "width": 3 if is_best else 1.8},
            marker={"color": colour, "size": 5},
            hovertemplate=f"{label}<br><b>%{{y:.4g}}</b> at step %{{x:,}}<extra></extra>",
            row=2,
            col=1,
        )
    drawn.update_xaxes(showline=False, zeroline=False, ticks="")
    drawn.update_yaxes(showline=False, zeroline=False, ticks="", title={"standoff": 12})
    drawn.update_xaxes(title_text="step", tickformat="~s", title={"standoff": 12}, row=2, col=1)
    drawn.update_yaxes(title_text="learning rate", rangemode="tozero", exponentformat="power", row=1, col=1)
    drawn.update_yaxes(
        title_text=theme.text(study.objective.metric, 32), **theme.metric_axis(everything), row=2, col=1
    )
    return drawn
