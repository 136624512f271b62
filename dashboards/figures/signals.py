"""What every step of the best trials was: loss, rate followed, norms of gradient and update, sharpness."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dashboards import theme
from dashboards.load import Study
from hpo.history import Trial
from hpo.traces import Numbers, Probed, TrialTrace, sampled

POINTS = 1000  # of a line: a screen shows no more
_BRANCH_POINTS = 40  # of a probe
_MOST_BRANCHES = 100  # the last ones, where there were more
_ROW = 150  # pixels


@dataclass(frozen=True, slots=True)
class Traced:
    """A trial that is drawn."""

    trial: Trial
    trace: TrialTrace
    colour: str
    is_best: bool

    @property
    def name(self) -> str:
        """In the legend."""
        return f"trial {self.trial.spec.trial}"

    @property
    def peak(self) -> float | None:
        """The config's learning rate."""
        lr = self.trial.spec.config.get("lr")
        return None if isinstance(lr, (bool, str)) or lr is None else float(lr)

    @property
    def sharpness(self) -> tuple[Numbers, Numbers]:
        """(n,) positions of the reports that say it, and (n,) what they say."""
        found = [
            (report.step, report.metrics["sharpness"])
            for report in self.trial.reports
            if "sharpness" in report.metrics
        ]
        steps, values = np.array(found, dtype=float).reshape(-1, 2).T
        return steps, _finite(values)


@dataclass
class Panel:
    """One row of the figure; what was drawn on it decides its axis."""

    title: str
    draw: "Callable[[Drawing, Traced], None]"
    is_log: bool
    values: list[float] = field(default_factory=list[float])


def signals(study: Study, most: int = len(theme.SERIES)) -> go.Figure | None:
    """A row for each signal over one axis of steps; the best trial, and a few others where asked for."""
    drawn: list[Traced] = []
    for trial, colour in zip(study.leading(most), theme.SERIES, strict=False):
        trace = study.trace(trial)
        if trace is not None and len(trace.factor):
            drawn.append(Traced(trial, trace, colour, is_best=not drawn))
    if not drawn:
        return None
    panels = [Panel("training loss", _losses, is_log=False)]
    if any(one.peak is not None for one in drawn):
        panels.append(Panel("learning rate", _rates, is_log=_is_wide(drawn)))
    panels.append(Panel("gradient norm", _gradients, is_log=True))
    if any(len(one.trace.update_norm) for one in drawn):
        panels.append(Panel("update norm", _updates, is_log=True))
    if any(len(one.sharpness[0]) for one in drawn):
        panels.append(Panel("sharpness", _sharpness, is_log=True))
    return Drawing(panels).figure(drawn)


class Drawing:
    """The figure while it is drawn."""

    def __init__(self, panels: list[Panel]) -> None:
        self._panels = panels
        self._figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.035)
        self._figure.update_layout(theme.figure(90 + _ROW * len(panels)).layout)
        self._row = 0

    def figure(self, traced: list[Traced]) -> go.Figure:
        """Every panel, of every trial."""
        drawn = self._figure
        for number, panel in enumerate(self._panels, start=1):
            self._row = number
            for one in reversed(traced):  # the best on top
                panel.draw(self, one)
            drawn.update_yaxes(title_text=panel.title, **_axis(panel), row=number, col=1)
        drawn.update_xaxes(showline=False, zeroline=False, ticks="", tickformat="~s")
        drawn.update_yaxes(
            showline=False, zeroline=False, ticks="", title={"standoff": 8}, exponentformat="power"
        )
        drawn.update_xaxes(title_text="kept step", title={"standoff": 12}, row=len(self._panels), col=1)
        drawn.update_layout(legend={"traceorder": "reversed"})
        return drawn

    def reach(self, value: float) -> None:
        """Have this value inside the row's axis."""
        self._panels[self._row - 1].values.append(value)

    def add(
        self,
        one: Traced,
        steps: Numbers,
        values: Numbers,
        label: str,
        *,
        width: float = 1.8,
        opacity: float = 1.0,
        dash: str = "solid",
        mode: str = "lines",
        is_named: bool = False,
        is_measured: bool = True,
    ) -> None:
        """A line of a trial in this row; gaps where a value is not finite."""
        values = _finite(values)
        if one.is_best and is_measured:
            self._panels[self._row - 1].values.extend(values.tolist())
        self._figure.add_scatter(
            x=steps,
            y=values,
            mode=mode,
            name=one.name,
            legendgroup=one.name,
            showlegend=is_named,
            visible=True if one.is_best else "legendonly",
            opacity=opacity,
            connectgaps=False,
            line={"color": one.colour, "width": width, "dash": dash},
            marker={"color": one.colour, "size": 5},
            hovertemplate=f"{one.name}, {label}<br><b>%{{y:.4g}}</b> at step %{{x:,}}<extra></extra>",
            row=self._row,
            col=1,
        )


def _losses(drawing: Drawing, one: Traced) -> None:
    _noisy(drawing, one, one.trace.loss, "training loss", is_named=True)


def _gradients(drawing: Drawing, one: Traced) -> None:
    _noisy(drawing, one, one.trace.grad_l2, "l2 norm of the gradient")
    _noisy(drawing, one, one.trace.grad_l1, "l1 norm of the gradient", dash="dot")


def _updates(drawing: Drawing, one: Traced) -> None:
    if len(one.trace.update_norm):
        _noisy(drawing, one, one.trace.update_norm, "norm of the update")


def _rates(drawing: Drawing, one: Traced) -> None:
    trace, peak = one.trace, one.peak
    if peak is None:
        return
    branches = [probe for probe in trace.probes if not probe.is_adopted and len(probe.factor)]
    steps: list[float] = []
    rates: list[float] = []
    for probe in branches[-_MOST_BRANCHES:]:
        at = sampled(probe.factor, _BRANCH_POINTS)
        steps += [*(probe.step + at).tolist(), np.nan]
        rates += [*(peak * probe.factor[at]).tolist(), np.nan]
    if steps:
        drawing.add(one, np.array(steps), np.array(rates), "probed rate", width=1.0, opacity=0.45)
    at = sampled(trace.factor, POINTS)
    drawing.add(one, trace.steps[at].astype(float), peak * trace.factor[at], "rate", width=2.4)


def _sharpness(drawing: Drawing, one: Traced) -> None:
    steps, values = one.sharpness
    if not len(steps):
        return
    drawing.add(one, steps, values, "sharpness", mode="lines+markers")
    if one.peak is not None:
        at = sampled(one.trace.factor, POINTS)
        rates = one.peak * one.trace.factor[at]
        edge = np.divide(2.0, rates, out=np.full(len(at), np.nan), where=rates > 0)
        # A rate that falls to 0 takes the edge to infinity: it must not take the axis along.
        if one.is_best and np.isfinite(edge).any():
            drawing.reach(float(np.nanmin(edge)))
        drawing.add(
            one,
            one.trace.steps[at].astype(float),
            edge,
            "2 / rate",
            width=1.2,
            dash="dash",
            is_measured=False,
        )


def _noisy(
    drawing: Drawing, one: Traced, values: Numbers, label: str, dash: str = "solid", is_named: bool = False
) -> None:
    """A signal that jumps from step to step: its medians, over its extremes where there are many steps."""
    steps, middle, low, high = stretches(values, POINTS // 3)
    steps = one.trace.first_step + steps
    if len(steps) < len(values) and one.is_best and dash == "solid":
        around = np.concatenate([steps, steps[::-1]])
        edges = np.concatenate([high, low[::-1]])
        known = np.isfinite(edges)
        drawing.add(one, around[known], edges[known], f"{label}, lowest and highest", width=0.8, opacity=0.3)
    drawing.add(one, steps, middle, label, dash=dash, is_named=is_named)


def stretches(values: Numbers, most: int) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """(n,) middle places, medians, lowest and highest values of n stretches, each of equally many values.

    What is not finite is left out, a stretch of nothing else is NaN. Few values are left as they are.

    >>> [one.tolist() for one in stretches(np.array([1.0, 2.0, 6.0, 4.0, 4.0, 5.0]), 2)]
    [[1.0, 4.0], [2.0, 4.0], [1.0, 4.0], [6.0, 5.0]]
    """
    values = _finite(values)
    if len(values) <= 3 * most:
        return np.arange(len(values), dtype=float), values, values, values
    rows: list[tuple[float, float, float, float]] = []
    for places in np.array_split(np.arange(len(values)), most):
        known = values[places][np.isfinite(values[places])]
        middle = float(places[len(places) // 2])
        if len(known):
            rows.append((middle, float(np.median(known)), float(known.min()), float(known.max())))
        else:
            rows.append((middle, np.nan, np.nan, np.nan))
    steps, middles, low, high = np.array(rows).T
    return steps, middles, low, high


def _finite(values: Numbers) -> Numbers:
    return np.where(np.isfinite(values), values, np.nan)


def _is_wide(drawn: list[Traced]) -> bool:
    """Whether rates are told apart on a logarithmic axis only: where probes of the best went far."""
    probes: tuple[Probed, ...] = drawn[0].trace.probes
    tried = [float(one.factor.max()) for one in probes if not one.is_adopted and len(one.factor)]
    tried = [one for one in tried if one > 0]
    return bool(tried) and max(tried) > 5 * min(tried)


def _axis(panel: Panel) -> dict[str, Any]:
    known = np.array([value for value in panel.values if np.isfinite(value)])
    above = known[known > 0]
    if panel.is_log and len(above):
        # The last steps of a rate that falls to 0 are not what an axis is for.
        low, high = float(np.quantile(above, 0.01)), float(above.max())
        room = 0.06 * max(np.log10(high / low), 0.3)
        ticks = theme.decades(low, high) if high / low > 3 else []
        shown = {"tickvals": ticks, "ticktext": [theme.number(tick) for tick in ticks]} if ticks else {}
        return {"type": "log", "range": [np.log10(low) - room, np.log10(high) + room], **shown}
    if panel.title == "learning rate":
        return {"rangemode": "tozero"}
    return theme.metric_axis(panel.values)
