"""The page around the figures: one file, no network, no server, light and dark."""

import os
from collections.abc import Mapping
from pathlib import Path

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dashboards import theme

_HERE = Path(__file__).parent
# Nothing on the page may load anything: what a study's names and values say is only ever shown.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'"
)


def section(name: str, title: str, about: str, figure: go.Figure | None, empty: str) -> str:
    """A figure's place on the page; without one a line that says why, if there is such a line."""
    if figure is None and not empty:
        return ""
    if figure is None:
        body = f'<p class="empty">{empty}</p>'
    else:
        layout = figure.to_dict()["layout"]
        size = f"height:{layout['height']}px;min-width:{layout.get('meta', {}).get('narrowest', 0)}px"
        body = f'<div class="figure" id="figure-{name}" style="{size}"></div>'
    return f'<section id="{name}" class="card"><h2>{title}</h2><p class="about">{about}</p>{body}</section>'


def page(title: str, body: str, drawn: Mapping[str, go.Figure]) -> str:
    """The page; each figure is drawn in the section of its name."""
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
<title>{theme.text(title, 80)}</title>
<style>{_style()}</style>
</head>
<body>
<main>
{body}
</main>
{figures}
{library}
<script>{(_HERE / "report.js").read_text(encoding="utf-8")}</script>
</body>
</html>
"""


def write(text: str, out: Path) -> Path:
    """Write the file whole, so that whoever has it open never sees half a page; its path."""
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(out)
    return out


def _embedded(text: str) -> str:
    """JSON as it may stand inside a script element."""
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _style() -> str:
    colours = "".join(f"--{state}: {colour};" for state, colour in theme.STATE_COLOURS.items())
    css = (_HERE / "report.css").read_text(encoding="utf-8")
    return f":root {{ --best: {theme.BEST}; {colours} --font: {theme.FONT}; }}\n{css}"
