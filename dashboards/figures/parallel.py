"""Parallel coordinates: every trial a line over the axes of its hyperparameters and its result.

Drawn from plain lines rather than Plotly's own trace of that name, which needs WebGL, cannot show that a
hyperparameter was inactive, and knows no logarithmic axis.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from dashboards import theme
from dashboards.load import Study
from hpo.history import Trial
from hpo.space import Choice, Domain, Float, Int
from trials.spec import Value

_MOST_AXES = 14  # beside the result; more could not be read
_INACTIVE = -0.14  # height of the band for values that a trial does not have
# Part of the trials, from the best on -> how their lines are drawn.
_SHADES = (
    (0.05, "rgba(139, 92, 246, 0.95)"),
    (0.20, "rgba(99, 102, 241, 0.75)"),
    (0.45, "rgba(59, 130, 246, 0.55)"),
    (0.75, "rgba(100, 149, 200, 0.40)"),
    (1.00, "rgba(128, 138, 156, 0.28)"),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """One vertical line: where a value lies on it, from 0 to 1, and what is written beside it."""

    name: str
    place: Callable[[Value], float]
    ticks: Sequence[tuple[float, str]]


def parallel(study: Study, order: Sequence[str] = ()) -> go.Figure | None:
    """A line for each trial with a result, the better the stronger.

    Args:
        study: to draw.
        order: names of hyperparameters, most important first; decides which are left out of a large space.
    """
    trials = study.ranked()
    names = [name for name in study.searched() if study.values(name)]
    if not trials or not names:
        return None
    if len(names) > _MOST_AXES:
        kept = [*(name for name in order if name in names), *(name for name in names if name not in order)]
        names = [name for name in names if name in kept[:_MOST_AXES]]
    axes = [_axis(name, study) for name in names]
    result = _number_axis(study.objective.metric, [study.value(trial) for trial in trials])
    drawn = theme.figure(440)
    groups: list[tuple[list[Trial], str]] = []
    first = 0
    for part, colour in _SHADES:
        last = math.ceil(part * len(trials))
        groups.append((trials[first:last], colour))
        first = last
    width = theme.thinned(1.8, len(trials))
    for group, colour in reversed(groups):
        _lines(drawn, study, group[::-1], axes, result, colour, width)
    if study.best in trials:
        _lines(drawn, study, [study.best], axes, result, theme.BEST, 4.0)
    _frame(drawn, [*axes, result], any(_is_inactive(trial, axes) for trial in trials))
    return drawn


def _is_inactive(trial: Trial, axes: Sequence[Axis]) -> bool:
    return any(axis.name not in trial.spec.config for axis in axes)


def _lines(
    drawn: go.Figure,
    study: Study,
    trials: Sequence[Trial],
    axes: Sequence[Axis],
    result: Axis,
    colour: str,
    width: float,
) -> None:
    across: list[float | None] = []
    heights: list[float | None] = []
    labels: list[str] = []
    numbers: list[int] = []
    for trial in trials:
        value = study.value(trial)
        metric = theme.text(study.objective.metric)
        head = f"trial {trial.spec.trial}, {metric} <b>{theme.number(value)}</b>"
        for place, axis in enumerate(axes):
            found = trial.spec.config.get(axis.name)
            across.append(place)
            heights.append(_INACTIVE if found is None else axis.place(found))
            shown = "inactive" if found is None else theme.text(found)
            labels.append(f"{head}<br>{theme.text(axis.name)}: {shown}")
        across.extend([len(axes), None])
        heights.extend([result.place(value), None])
        labels.extend([head, ""])
        numbers.extend([trial.spec.trial] * (len(axes) + 2))
    if trials:
        drawn.add_scatter(
            x=across,
            y=heights,
            mode="lines+markers",
            text=labels,
            customdata=numbers,
            connectgaps=False,
            line={"color": colour, "width": width},
            marker={"color": colour, "size": 4 if width < 3 else 7},
            hovertemplate="%{text}<extra></extra>",
            showlegend=False,
        )


def _frame(drawn: go.Figure, axes: Sequence[Axis], has_inactive: bool) -> None:
    for place, axis in enumerate(axes):
        drawn.add_shape(
            type="line",
            x0=place,
            x1=place,
            y0=0,
            y1=1,
            line={"color": theme.QUIET, "width": 1.5},
            layer="below",
        )
        is_last = place == len(axes) - 1
        drawn.add_annotation(
            x=place,
            y=1.06,
            text=f"<b>{theme.text(axis.name, 20)}</b>",
            showarrow=False,
            yanchor="bottom",
            xanchor="right" if is_last else "left" if place == 0 else "center",
            font={"size": 12},
        )
        for height, label in axis.ticks:
            drawn.add_annotation(
                x=place,
                y=height,
                text=label,
                showarrow=False,
                xanchor="right" if is_last else "left",
                xshift=-7 if is_last else 7,
                font={"size": 11},
                name="tick",
            )
    if has_inactive:
        drawn.add_shape(
            type="line",
            x0=0,
            x1=len(axes) - 1,
            y0=_INACTIVE,
            y1=_INACTIVE,
            line={"color": theme.QUIET, "width": 1.5, "dash": "dot"},
            layer="below",
        )
        drawn.add_annotation(
            x=0,
            y=_INACTIVE,
            text="inactive",
            showarrow=False,
            xanchor="right",
            xshift=-8,
            font={"size": 11},
            opacity=0.8,
        )
    low = _INACTIVE - 0.06 if has_inactive else -0.05
    drawn.update_layout(margin={"l": 0, "r": 0, "t": 8, "b": 8}, dragmode="select")
    drawn.update_layout(meta={"narrowest": 80 * len(axes)})
    # Room on both sides, for labels and for a drag that begins beside the first axis.
    drawn.update_xaxes(visible=False, range=[-0.5, len(axes) - 0.75], fixedrange=True)
    drawn.update_yaxes(visible=False, range=[low, 1.18], fixedrange=True)


def _axis(name: str, study: Study) -> Axis:
    domain = study.space.domains.get(name)
    values = study.values(name)
    if domain is not None and all(domain.contains(value) for value in values):
        return Axis(name, domain.encode, _ticks(domain))
    numbers = [
        float(value) for value in values if not isinstance(value, (bool, str)) and math.isfinite(value)
    ]
    if len(numbers) == len(values):
        return _number_axis(name, numbers)
    choice = Choice(tuple(dict.fromkeys(str(value) for value in values)))
    return Axis(name, lambda value: choice.encode(str(value)), _ticks(choice))


def _ticks(domain: Domain) -> list[tuple[float, str]]:
    if isinstance(domain, Choice):
        return [(domain.encode(choice), theme.text(choice, 16)) for choice in domain.choices[:12]]
    if domain.scale == "log":
        values = _round_numbers(domain.low, domain.high)
    elif isinstance(domain, Int) and domain.high - domain.low < 8:
        values = [float(value) for value in range(domain.low, domain.high + 1)]
    else:
        values = [float(value) for value in np.linspace(domain.low, domain.high, 5)]
        if isinstance(domain, Int):
            values = [float(round(value)) for value in values]
    whole = isinstance(domain, Int)
    return [(domain.encode(int(value) if whole else value), theme.number(value)) for value in values]


def _round_numbers(low: float, high: float) -> list[float]:
    """Both ends of a logarithmic axis, and the round numbers that are not too close to them."""
    ratio = math.log(high / low)
    inner = [
        value
        for value in theme.decades(low, high)
        if math.log(value / low) > 0.08 * ratio and math.log(high / value) > 0.08 * ratio
    ]
    return [low, *inner, high]


def _number_axis(name: str, values: Sequence[float]) -> Axis:
    low, high = min(values), max(values)
    if low == high or not math.isfinite(high - low):
        return Axis(name, lambda value: 0.5, [(0.5, theme.number(low))])
    domain = Float(low, high, "log" if low > 0 and high / low > 20 else "linear")
    return Axis(name, domain.encode, _ticks(domain))
