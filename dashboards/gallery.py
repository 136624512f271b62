"""The pictures of docs/schedules.md, as SVG that shows well on light and on dark.

`python -m dashboards.gallery docs/pictures` writes them again; `python -m dashboards.gallery --run STUDY
docs/pictures` takes the numbers of the AutoLRS run from a study first.
"""

import html
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dashboards import run_picture, theme
from schedules import SCHEDULES, build, thin
from schedules.replay import pairs

WIDTH, HEIGHT = 460, 180
_LEFT, _RIGHT, _TOP, _BOTTOM = 34, 10, 12, 34
_INK = "#7d879b"  # of axes and labels: readable on white and on near black
_HORIZON = 400  # steps
_PICTURES = Path(__file__).parents[1] / "docs" / "pictures"

# Texts that show what the arguments of a family do; a family alone is its default.
_SHOWN: Mapping[str, Sequence[str]] = {
    "constant": ["constant", "constant(factor=0.5)"],
    "linear": ["linear", "linear(floor=0.3)"],
    "cosine": ["cosine", "cosine(floor=0.3)"],
    "power": ["power", "power(power=0.5)", "power(power=4)"],
    "exponential": ["exponential", "exponential(floor=0.2)"],
    "inverse_sqrt": ["inverse_sqrt", "inverse_sqrt(timescale_fraction=0.01)"],
    "multistep": ["multistep", "multistep(milestones=[0.3, 0.6, 0.8], drop=0.5)"],
    "rex": ["rex", "rex(beta=0.1)", "rex(beta=2)"],
    "wsd": [
        "wsd",
        'wsd(cooldown_fraction=0.5, cooldown="sqrt")',
        'wsd(cooldown_fraction=0.5, cooldown="exponential")',
    ],
    "one_cycle": ["one_cycle", "one_cycle(peak_fraction=0.1, start_factor=0.3)"],
    "slow_start_fast_decay": ["slow_start_fast_decay", "slow_start_fast_decay(peak_fraction=0.3, power=0.5)"],
    "rewarm": ["rewarm", "rewarm(peak_fraction=0.2, floor=0.3)"],
    "infinite": ["infinite", "infinite(plateau_factor=0.3, anneal_fraction=0.3)"],
    "knots": [
        "knots(factors=[0.1, 1, 0.7, 0.2, 0])",
        'knots(factors=[0.1, 1, 0.7, 0.2, 0], interpolation="cubic")',
        'knots(factors=[1, 0.01], scale="log")',
    ],
    # Not families, but what every family takes.
    "warmup": ["cosine", "cosine(warmup_fraction=0.2)"],
    "read": ["linear", "linear(read_every=80)", "linear(read_fractions=[0.5, 0.75])"],
}


def picture(texts: Sequence[str]) -> str:
    """These schedules over one horizon as SVG, their texts beside their colours below."""
    height = HEIGHT + 16 * len(texts) + 4
    coloured = list(zip(texts, theme.SERIES, strict=False))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" role="img" font-family="{html.escape(theme.FONT)}" font-size="11" '
            f'fill="{_INK}">',
            f"<title>{html.escape('; '.join(texts))}</title>",
            *_axes(),
            # The first, which is the default, lies on top.
            *(_line(text, colour) for text, colour in reversed(coloured)),
            *(_label(number, text, colour) for number, (text, colour) in enumerate(coloured)),
            "</svg>\n",
        ]
    )


def _line(text: str, colour: str) -> str:
    # Few points, none of which is off by more than a tenth of a pixel.
    knots = thin(build(text, _HORIZON)(np.arange(_HORIZON + 1)), tolerance=5e-4)
    points = " ".join(f"{_along(step / _HORIZON):.1f},{_up(factor):.1f}" for step, factor in pairs(knots))
    return (
        f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.2" '
        f'stroke-linejoin="round"/>'
    )


def _label(number: int, text: str, colour: str) -> str:
    below = HEIGHT + 16 * number + 8
    return (
        f'<rect x="{_LEFT}" y="{below - 6}" width="14" height="3" rx="1.5" fill="{colour}"/>'
        f'<text x="{_LEFT + 20}" y="{below}">{html.escape(text)}</text>'
    )


def pictures() -> dict[str, str]:
    """The name of every picture and what it says."""
    missing = [name for name in SCHEDULES if name not in _SHOWN]
    assert not missing, f"{missing} have no picture: add them to _SHOWN"
    found = {f"{name}.svg": picture(texts) for name, texts in _SHOWN.items()}
    run = json.loads((_PICTURES / f"{run_picture.NAME}.json").read_text(encoding="utf-8"))
    return {**found, f"{run_picture.NAME}.svg": run_picture.picture(run)}


def _along(part: float) -> float:
    return _LEFT + part * (WIDTH - _LEFT - _RIGHT)


def _up(factor: float) -> float:
    return HEIGHT - _BOTTOM - factor * (HEIGHT - _TOP - _BOTTOM)


def _axes() -> list[str]:
    """Lines at factors, labels at fractions of the horizon."""
    lines = "".join(
        f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{_up(factor):.1f}" y2="{_up(factor):.1f}" '
        f'stroke="{_INK}" stroke-opacity="{0.7 if factor == 0 else 0.25}"/>'
        f'<text x="{_LEFT - 8}" y="{_up(factor) + 4:.1f}" text-anchor="end">{factor:g}</text>'
        for factor in (0, 0.5, 1)
    )
    ticks = "".join(
        f'<text x="{_along(part):.1f}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="{anchor}">{label}</text>'
        for part, anchor, label in (
            (0, "start", "0"),
            (0.25, "middle", "25 %"),
            (0.5, "middle", "50 %"),
            (0.75, "middle", "75 %"),
            (1, "end", "horizon"),
        )
    )
    return [lines, ticks]


def main(folder: Path) -> None:
    """Write every picture into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pictures().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    words = sys.argv[1:]
    if len(words) == 3 and words[0] == "--run":
        run_picture.write(Path(words[1]), _PICTURES)
        words = words[2:]
    if len(words) != 1:
        sys.exit("usage: python -m dashboards.gallery [--run STUDY] FOLDER")
    main(Path(words[0]))
