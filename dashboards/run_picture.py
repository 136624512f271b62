"""A picture of one run of AutoLRS: the rates it tried and chose, and what it forecast against what came.

`record` takes from a study's trace the few numbers that are drawn, so that the picture is drawn again without
training again.
"""

import html
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dashboards import theme
from dashboards.load import load
from hpo.errors import UsageError
from hpo.traces import Numbers, TrialTrace
from schedules import thin

NAME = "autolrs-run"
WIDTH, HEIGHT = 760, 470
_LEFT, _RIGHT = 58, 12
_RATES, _LOSSES = (14, 190), (226, 404)  # top and bottom of the two panels
_INK = "#7d879b"
_KEPT, _TRIED, _FORECAST = theme.SERIES[0], theme.SERIES[1], theme.SERIES[3]
_DEVIATIONS = 2.0
_FLOOR = 0.01  # of the highest rate: below, nothing is drawn

Run = Mapping[str, Any]
Place = Callable[[float], float]


def record(folder: Path) -> dict[str, Any]:
    """What is drawn of the best trial of a study.

    Raises:
        UsageError: it has no trace, or was not searched in stages.
    """
    study = load(folder)
    trial = study.best
    trace = study.trace(trial) if trial is not None else None
    if trial is None or trace is None:
        raise UsageError(f"{folder} has no trial with a trace")
    begins = _begins(trace)
    if not begins:
        raise UsageError(f"trial {trial.spec.trial} of {folder} was not searched in stages")
    # The last fifth is the fall to 0 and belongs to no stage.
    ends = [*begins[1:], round(0.8 * len(trace.factor))]
    return {
        "schedule": trial.spec.config["schedule"],
        "lr": trial.spec.config["lr"],
        "steps": {"kept": trial.kept, "spent": trial.spent, "wall": trial.wall},
        "stages": [list(one) for one in zip(begins, ends, strict=True)],
        "rate": _line(0, trace.factor),
        "branches": [
            _line(probe.step, probe.factor)
            for probe in trace.probes
            if not probe.is_adopted and len(probe.factor) > 1
        ],
        "loss": _medians(trace.loss),
        "val_loss": _kept_val_losses(trace),
        "forecasts": [
            {name: _short(fact[name]) for name in ("stage", "factor", "forecast", "forecast_sd", "chosen")}
            for fact in trace.facts
            if math.isfinite(fact["forecast"])
        ],
    }


def _begins(trace: TrialTrace) -> list[int]:
    """Where the stages begin: where several candidates do."""
    first = [probe.step for probe in trace.probes if probe.start < 0 and not probe.is_adopted]
    return [step for step in sorted(set(first)) if first.count(step) > 1]


def _kept_val_losses(trace: TrialTrace) -> list[list[float]]:
    found: list[list[float]] = []
    for probe in trace.probes:
        if probe.is_adopted:
            for number, value in enumerate(probe.val_losses, start=1):
                at = probe.step + round(len(probe.factor) * number / len(probe.val_losses))
                found.append([at, _short(float(value))])
    return sorted(found)


def _line(begin: int, factors: Numbers) -> list[list[float]]:
    knots = thin(factors, tolerance=5e-3)
    return [[begin + step, _short(factor)] for step, factor in zip(knots.steps, knots.factors, strict=True)]


def _medians(losses: Numbers, most: int = 250) -> list[list[float]]:
    parts = np.array_split(np.arange(len(losses)), min(most, len(losses)))
    return [[int(part[len(part) // 2]), _short(float(np.median(losses[part])))] for part in parts]


def _short(value: float) -> float:
    return value if isinstance(value, (bool, int)) else float(f"{value:.4g}")


def write(folder: Path, out: Path) -> None:
    """Record a study's run beside the pictures."""
    text = json.dumps(record(folder), separators=(",", ":"))
    (out / f"{NAME}.json").write_text(text.replace('],"', '],\n"') + "\n", encoding="utf-8")


def picture(run: Run) -> str:
    """The run as SVG."""
    kept, lr = run["steps"]["kept"], run["lr"]

    def along(step: float) -> float:
        return _LEFT + step / kept * (WIDTH - _LEFT - _RIGHT)

    lines = [run["rate"], *run["branches"]]
    highest = max(lr * factor for line in lines for _, factor in line)
    up_rate = _log(_FLOOR * highest, highest * 1.15, _RATES)
    losses = [value for _, value in (*run["loss"], *run["val_loss"])]
    losses += [one["forecast"] for one in run["forecasts"]]
    known = [value for value in losses if value > 0]
    low, high = float(np.quantile(known, 0.02)) / 1.15, max(value for _, value in run["val_loss"]) * 1.15
    up_loss = _log(low, high, _LOSSES)
    words = f"An AutoLRS run of {kept} kept steps: rates tried and followed, losses and forecasts"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
            f'height="{HEIGHT}" role="img" font-family="{html.escape(theme.FONT)}" font-size="11" '
            f'fill="{_INK}">',
            f"<title>{html.escape(words)}</title>",
            f"<defs>{_clip('rates', _RATES)}{_clip('losses', _LOSSES)}</defs>",
            *_ticks(theme.decades(_FLOOR * highest, highest * 1.15), up_rate, "learning rate", _RATES),
            *_ticks(theme.decades(low, high), up_loss, "loss", _LOSSES),
            *_stages(run, along),
            '<g clip-path="url(#rates)">',
            *(
                _poly(_between(line), along, lambda one: up_rate(lr * one), _TRIED, 0.9)
                for line in run["branches"]
            ),
            _poly(_between(run["rate"]), along, lambda one: up_rate(lr * one), _KEPT, 2.4),
            '</g><g clip-path="url(#losses)">',
            _poly(run["loss"], along, up_loss, _INK, 0.9, 0.7),
            *_forecasts(run, along, up_loss, low),
            _poly(run["val_loss"], along, up_loss, _KEPT, 2.2),
            "</g>",
            *_steps(kept, along),
            *_legend(),
            "</svg>\n",
        ]
    )


def _clip(name: str, panel: tuple[int, int]) -> str:
    top, bottom = panel
    return (
        f'<clipPath id="{name}"><rect x="0" y="{top - 8}" width="{WIDTH}" height="{bottom - top + 8}"/>'
        f"</clipPath>"
    )


def _log(low: float, high: float, panel: tuple[int, int]) -> Place:
    top, bottom = panel

    def up(value: float) -> float:
        part = math.log(max(value, low * 1e-3) / low) / math.log(high / low)
        return bottom - part * (bottom - top)

    return up


def _poly(
    line: Sequence[Sequence[float]], along: Place, up: Place, colour: str, width: float, opacity: float = 1.0
) -> str:
    points = " ".join(f"{along(step):.1f},{up(value):.1f}" for step, value in line)
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}" stroke-linejoin="round"/>'
    )


def _between(line: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Knots with points between them: what is straight between two factors is not on a logarithmic axis."""
    steps, values = [one[0] for one in line], [one[1] for one in line]
    at = np.union1d(np.arange(steps[0], steps[-1] + 1, 5), steps)
    return list(zip(at.tolist(), np.interp(at, steps, values).tolist(), strict=True))


def _forecasts(run: Run, along: Place, up: Place, low: float) -> list[str]:
    """At the end of its stage each forecast, the chosen one filled, with its interval."""
    drawn: list[str] = []
    for number, (_, end) in enumerate(run["stages"]):
        mine = [one for one in run["forecasts"] if one["stage"] == number]
        for place, one in enumerate(sorted(mine, key=lambda one: one["factor"])):
            across = along(end) + 7 * (place - len(mine) / 2) - 4
            bottom, top = (one["forecast"] + sign * _DEVIATIONS * one["forecast_sd"] for sign in (-1, 1))
            drawn.append(
                f'<line x1="{across:.1f}" x2="{across:.1f}" y1="{up(max(bottom, low)):.1f}" '
                f'y2="{up(max(top, low)):.1f}" stroke="{_FORECAST}" stroke-width="1.6" '
                f'stroke-opacity="{1 if one["chosen"] else 0.5}"/>'
                f'<circle cx="{across:.1f}" cy="{up(max(one["forecast"], low)):.1f}" r="3.4" '
                f'stroke="{_FORECAST}" stroke-width="1.4" fill="{_FORECAST if one["chosen"] else "none"}"/>'
            )
    return drawn


def _ticks(values: Sequence[float], up: Place, title: str, panel: tuple[int, int]) -> list[str]:
    top, bottom = panel
    lines = [
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{up(one):.1f}" y2="{up(one):.1f}" stroke="{_INK}" '
        f'stroke-opacity="0.25"/><text x="{_LEFT - 6}" y="{up(one) + 4:.1f}" text-anchor="end">'
        f"{theme.number(one)}</text>"
        for one in values
    ]
    middle = (top + bottom) / 2
    return [
        *lines,
        f'<text x="12" y="{middle:g}" text-anchor="middle" '
        f'transform="rotate(-90 12 {middle:g})">{title}</text>',
    ]


def _stages(run: Run, along: Place) -> list[str]:
    drawn: list[str] = []
    for begin, _ in run["stages"]:
        for top, bottom in (_RATES, _LOSSES):
            drawn.append(
                f'<line x1="{along(begin):.1f}" x2="{along(begin):.1f}" y1="{top}" y2="{bottom}" '
                f'stroke="{_INK}" stroke-opacity="0.5" stroke-dasharray="3 3"/>'
            )
    top, bottom = _LOSSES
    last = along(run["stages"][-1][1])
    drawn.append(
        f'<line x1="{last:.1f}" x2="{last:.1f}" y1="{top}" y2="{bottom}" stroke="{_INK}" '
        f'stroke-opacity="0.5" stroke-dasharray="3 3"/>'
    )
    return drawn


def _steps(kept: int, along: Place) -> list[str]:
    size = next(one for one in (50, 100, 200, 500, 1000, 2000, 5000) if kept / one <= 10)
    return [
        f'<text x="{along(step):.1f}" y="{_LOSSES[1] + 16}" text-anchor="middle">{step}</text>'
        for step in range(0, kept + 1, size)
    ] + [f'<text x="{WIDTH - _RIGHT}" y="{_LOSSES[1] + 32}" text-anchor="end">kept step</text>']


def _legend() -> list[str]:
    words = (
        (_KEPT, "followed: rate, validation loss"),
        (_TRIED, "tried and gone back on"),
        (_INK, "training loss"),
        (_FORECAST, "forecast, two deviations; chosen: filled"),
    )
    drawn: list[str] = []
    for number, (colour, text) in enumerate(words):
        across, down = _LEFT + 230 * (number % 2), _LOSSES[1] + 38 + 18 * (number // 2)
        drawn.append(
            f'<rect x="{across}" y="{down - 5}" width="14" height="3" rx="1.5" fill="{colour}"/>'
            f'<text x="{across + 20}" y="{down}">{text}</text>'
        )
    return drawn
