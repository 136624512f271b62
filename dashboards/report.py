"""A study on one self-contained page: no network, no server, light and dark."""

import os
from collections.abc import Callable
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dashboards import parts, theme
from dashboards.figures.curves import curves
from dashboards.figures.importance import importance, importance_of
from dashboards.figures.parallel import parallel
from dashboards.figures.progress import progress
from dashboards.figures.schedules import schedules
from dashboards.load import Study, load
from hpo.importance import preload as preload_importance

_HERE = Path(__file__).parent
# Nothing on the page may load anything: what a study's names and values say is only ever shown.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


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
    out = Path(out)
    page = render(load(study))
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_text(page, encoding="utf-8")
    partial.replace(out)
    return out


def render(study: Study) -> str:
    """The page."""
    drawn: dict[str, go.Figure] = {}

    def section(name: str, title: str, about: str, draw: Callable[[], go.Figure | None], empty: str) -> str:
        figure = draw()
        if figure is None and not empty:
            return ""
        if figure is None:
            body = f'<p class="empty">{empty}</p>'
        else:
            drawn[name] = figure
            layout = figure.to_dict()["layout"]
            size = f"height:{layout['height']}px;min-width:{layout.get('meta', {}).get('narrowest', 0)}px"
            body = f'<div class="figure" id="figure-{name}" style="{size}"></div>'
        return (
            f'<section id="{name}" class="card"><h2>{title}</h2><p class="about">{about}</p>{body}</section>'
        )

    metric = theme.text(study.objective.metric)
    shares = importance_of(study)
    sections = [
        section(
            "progress",
            "Progress",
            f"The best {metric} so far, against the steps spent by all trials.",
            lambda: progress(study),
            "No trial has ended with a result yet.",
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
    figures = "\n".join(
        f'<script type="application/json" data-figure="{name}">{_embedded(figure.to_json() or "")}</script>'
        for name, figure in drawn.items()
    )
    library = f"<script>{get_plotlyjs()}</script>" if drawn else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="generator" content="hpo">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<link rel="icon" href="data:,">
<title>{theme.text(study.name)}: study report</title>
<style>{_style()}</style>
</head>
<body>
<main>
{parts.header(study)}
<div class="hero">{parts.best(study)}{parts.facts(study)}</div>
<div class="grid">{"".join(sections)}</div>
{parts.trials(study)}
{parts.errors(study)}
{parts.notices(study)}
{parts.reproduce(study)}
</main>
{figures}
{library}
<script>{(_HERE / "report.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def _embedded(text: str) -> str:
    """JSON as it may stand inside a script element."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _style() -> str:
    colours = "".join(f"--{state}: {colour};" for state, colour in theme.STATE_COLOURS.items())
    css = (_HERE / "report.css").read_text(encoding="utf-8")
    return f":root {{ --best: {theme.BEST}; {colours} --font: {theme.FONT}; }}\n{css}"
