"""Learning curves of all trials; those that were stopped are faded."""

import plotly.graph_objects as go

from dashboards import theme
from dashboards.load import Study

_LINES = {
    # state -> (opacity, width); in the order of drawing
    "stopped": (0.35, 1.2),
    "failed": (0.6, 1.2),
    "diverged": (0.6, 1.2),
    "out_of_memory": (0.6, 1.2),
    "completed": (0.65, 1.4),
    "paused": (0.6, 1.4),
    "running": (0.9, 1.6),
}


def curves(study: Study) -> go.Figure | None:
    """The metric at every rung, a line for each trial, the best on top.

    Trials of one state are one trace, parted by gaps: a thousand traces would make the page slow.
    """
    trials = [trial for trial in study.history.trials.values() if trial.reports]
    if not trials:
        return None
    drawn = theme.figure(360)
    everything: list[float] = []
    best = study.best
    for state, (opacity, width) in _LINES.items():
        steps: list[float | None] = []
        values: list[float | None] = []
        names: list[str] = []
        for trial in trials:
            if trial.state != state or trial is best:
                continue
            spent, metric = study.curve(trial)
            everything.extend(metric.tolist())
            steps.extend([*spent.tolist(), None])
            values.extend([*metric.tolist(), None])
            names.extend([f"trial {trial.spec.trial}, {state}"] * (len(spent) + 1))
        if steps:
            thin = theme.thinned(width, len(trials))
            _add(drawn, state, steps, values, names, theme.STATE_COLOURS[state], opacity, thin)
    if best is not None:
        spent, metric = study.curve(best)
        everything.extend(metric.tolist())
        names = [f"trial {best.spec.trial}, the best"] * len(spent)
        _add(drawn, "best", spent.tolist(), metric.tolist(), names, theme.BEST, 1.0, 3.0)
    drawn.update_xaxes(title_text="steps spent by the trial", tickformat="~s", rangemode="tozero")
    drawn.update_yaxes(title_text=theme.text(study.objective.metric, 32), **theme.metric_axis(everything))
    return drawn


def _add(
    drawn: go.Figure,
    name: str,
    steps: list[float | None] | list[float],
    values: list[float | None] | list[float],
    names: list[str],
    colour: str,
    opacity: float,
    width: float,
) -> None:
    drawn.add_scatter(
        x=steps,
        y=values,
        mode="lines+markers",
        name=name,
        text=names,
        opacity=opacity,
        connectgaps=False,
        line={"color": colour, "width": width},
        marker={"color": colour, "size": 3 if width < 2 else 6},
        hovertemplate="%{text}<br><b>%{y:.4g}</b> at step %{x:,}<extra></extra>",
    )
