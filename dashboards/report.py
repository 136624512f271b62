"""A study on one self-contained page: no network, no server, light and dark."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from dashboards import page, parts, theme
from dashboards.figures.curves import curves
from dashboards.figures.front import front
from dashboards.figures.importance import importance, importance_of
from dashboards.figures.parallel import parallel
from dashboards.figures.progress import progress
from dashboards.figures.schedules import schedules
from dashboards.figures.shifts import shifts
from dashboards.figures.signals import signals
from dashboards.load import Study, load
from dashboards.shifted import shifted
from hpo.compared import COMPARED
from hpo.importance import preload as preload_importance
from hpo.transfer import judged, told_metric


def preload() -> None:
    """Import what a report needs (a second or two), at a moment when the process would only wait."""
    preload_importance()
    go.Figure(go.Scatter()).to_json()  # plotly loads its parts when they are first used


def write(study: Path | str, out: Path | str) -> Path:
    """Write the report of a study, given as its folder or its journal; the path it was written to.

    The file is replaced whole: whoever has it open never sees half a page.

    Raises:
        JournalError: the journal is missing or cannot be read as written.
    """
    return page.write(render(load(study)), Path(out))


def _compared(table: Mapping[str, Any]) -> int:
    """How many trials the study wants compared; studies of older versions do not say."""
    return int(table.get("report", {}).get("compared", COMPARED))


def render(study: Study) -> str:
    """The page."""
    drawn: dict[str, go.Figure] = {}

    def section(name: str, title: str, about: str, draw: Callable[[], go.Figure | None], empty: str) -> str:
        figure = draw()
        if figure is not None:
            drawn[name] = figure
        return page.section(name, title, about, figure, empty)

    metric = theme.text(study.objective.metric)
    shares = importance_of(study)
    told = told_metric(study.history)
    judgements = judged(study.history, _compared(study.table))
    sections = [
        section(
            "progress",
            "Progress",
            f"The best {metric} of a single run so far, against the steps spent by all trials.",
            lambda: progress(study),
            "No trial has ended with a result yet.",
        ),
        section(
            "front",
            "Front",
            "Completed trials by two metrics. None of the others is better than those of the front in one "
            "metric without being worse in another.",
            lambda: front(study),
            "",
        ),
        section(
            "curves",
            "Learning curves",
            f"{metric} at every report. Trials that were stopped early are faded.",
            lambda: curves(study),
            "No trial has reported yet.",
        ),
        section(
            "schedules",
            "Schedules of the best trials",
            f"Learning rate above, {metric} below, over the same steps.",
            lambda: schedules(study),
            "",
        ),
        section(
            "signals",
            "Step by step",
            "What every kept update was, for the best trial; a click in the legend shows the others. "
            "Gradient norms are before clipping: l2, and l1 dotted. Thin branches of the rate are probes: "
            "steps that were tried and gone back on.",
            lambda: signals(study),
            "",
        ),
        section(
            "shifts",
            "Under shifts and elsewhere",
            f"{theme.text(told.metric)} of the leading trials on the source's own data, on its copies under "
            "each family of shifts, and, after an arrow, on target domains. Darker is better in each column.",
            lambda: shifts(judgements, told),
            "",
        ),
        section(
            "importance",
            "What mattered",
            "How much of the spread between trials each hyperparameter explains, by functional analysis of "
            "variance.",
            lambda: importance(shares),
            "Too few trials to tell, or all of them ended alike.",
        ),
        section(
            "parallel",
            "All configs",
            "A line for each trial, the better the stronger. Drag over an axis to keep the trials that pass "
            "there, here and in the table; double-click to see all.",
            lambda: parallel(study, list(shares)),
            "No trial has a result yet.",
        ),
    ]
    body = f"""{parts.header(study)}
<div class="hero">{parts.best(study)}{parts.facts(study)}</div>
<div class="grid">{"".join(sections)}</div>
{shifted(study, judgements, told)}
{parts.trials(study)}
{parts.errors(study)}
{parts.notices(study)}
{parts.reproduce(study)}"""
    return page.page(f"{study.name}: study report", body, drawn)
