"""Schedules beside each other on one self-contained page."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from dashboards import page, theme
from schedules import Schedule, thin

_POINTS = 400  # evenly spaced, besides those where the curve bends
_MOST_STEPS = 1_000_000  # of more, so many are looked at
_DASHES = ("solid", "dash", "dot")
_COLUMNS = (
    ("schedule", ""),
    ("first", "number"),
    ("highest", "number"),
    ("at step", "number"),
    ("last", "number"),
)


def write(schedules: Mapping[str, Schedule], steps: int, lr: float | None, out: Path) -> Path:
    """Write the page of these schedules, by what they are called, over the steps from 0; its path.

    With `lr` the rates are drawn, else the factors.
    """
    figure = shapes(schedules, steps, lr)
    names = [theme.text(name, 120) for name in schedules]
    what = "Learning rate" if lr else "Factor on the learning rate"
    about = f"Of each update, over {theme.number(float(steps))} steps."
    title = "Schedule" if len(names) == 1 else "Schedules"
    body = f"""<header>
<p class="kind">{title}</p>
<h1>{names[0] if len(names) == 1 else f"{len(names)} schedules"}</h1>
</header>
{page.section("shapes", what, about, figure, "")}
<section class="card"><h2>In numbers</h2>{_table(schedules, steps, lr)}</section>"""
    return page.write(page.page(f"{title}: {', '.join(schedules)}", body, {"shapes": figure}), out)


def shapes(schedules: Mapping[str, Schedule], steps: int, lr: float | None = None) -> go.Figure:
    """The schedules over the steps; colours first, then dashes, tell them apart."""
    drawn = theme.figure(460)
    for place, (name, schedule) in enumerate(schedules.items()):
        at, factors = _curve(schedule, steps)
        label = theme.text(name, 60)
        cycle, colour = divmod(place, len(theme.SERIES))
        drawn.add_scatter(
            x=at,
            y=(lr or 1.0) * factors,
            mode="lines",
            name=label,
            line={
                "color": theme.SERIES[colour],
                "width": 2.4,
                "dash": _DASHES[cycle % len(_DASHES)],
            },
            hovertemplate=f"{label}<br><b>%{{y:.4g}}</b> at step %{{x:,}}<extra></extra>",
        )
    drawn.update_layout(showlegend=len(schedules) > 1)
    drawn.update_xaxes(title_text="step", tickformat="~s")
    drawn.update_yaxes(
        title_text="learning rate" if lr else "factor", rangemode="tozero", exponentformat="power"
    )
    return drawn


def _curve(schedule: Schedule, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """(n,) steps and (n,) factors, jumps and corners among them."""
    every = np.unique(np.linspace(0, steps - 1, min(steps, _MOST_STEPS)).round())
    factors = schedule(every)
    even = np.linspace(0, len(every) - 1, min(len(every), _POINTS)).round().astype(int)
    kept = np.union1d(even, np.array(thin(factors, 1e-3).steps))
    return every[kept], factors[kept]


def _table(schedules: Mapping[str, Schedule], steps: int, lr: float | None) -> str:
    rows: list[str] = []
    for name, schedule in schedules.items():
        at, factors = _curve(schedule, steps)
        rates = (lr or 1.0) * factors
        peak = int(rates.argmax())
        cells = (rates[0], rates[peak], at[peak], rates[-1])
        numbers = "".join(f'<td class="number">{theme.number(float(cell))}</td>' for cell in cells)
        rows.append(f"<tr><td>{theme.text(name, 120)}</td>{numbers}</tr>")
    heads = "".join(f'<th class="{kind}"><span>{head}</span></th>' for head, kind in _COLUMNS)
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
