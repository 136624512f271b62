"""The text beside the picture of shifts: whom each score chooses, how reliable it is, what it foretold."""

import math
from collections.abc import Sequence

from dashboards import theme
from dashboards.load import Study
from hpo.correlation import Interval
from hpo.objective import Objective
from hpo.transfer import (
    PLAIN,
    STANDARDISED,
    Chosen,
    Foretold,
    Judged,
    Reliability,
    choices,
    foretold,
    reliabilities,
)


def shifted(study: Study, judgements: Sequence[Judged], metric: Objective) -> str:
    """HTML below the picture; nothing where trials were judged on no shifts and no targets."""
    if not any(one.families or one.targets for one in judgements):
        return ""
    parts = [
        _chosen(judgements, choices(judgements, metric), metric),
        _narrow(judgements),
        _reliable(reliabilities(study.history, study.folder)),
        _foretold(foretold(study.history, study.folder)),
    ]
    body = "".join(part for part in parts if part)
    return f'<section class="card" id="shift-text"><h2>What the scores choose</h2>{body}</section>'


def _chosen(judgements: Sequence[Judged], chosen: Sequence[Chosen], metric: Objective) -> str:
    """A row for each score: the trial it chooses, and what that trial is worth."""
    by_trial = {one.trial: one for one in judgements}
    targets = list(dict.fromkeys(name for one in judgements for name in one.targets))
    heads = ["chosen by", "trial", "plain", "shifted, mean", *(f"target {name}" for name in targets)]
    rows: list[list[str]] = []
    for one in chosen:
        found = by_trial[one.trial]
        values = [found.plain, found.mean, *(found.targets.get(name, math.nan) for name in targets)]
        rows.append([one.score, str(one.trial), *(theme.number(value) for value in values)])
    return _difference(by_trial, chosen, metric) + _table(heads, rows)


def _difference(by_trial: dict[int, Judged], chosen: Sequence[Chosen], metric: Objective) -> str:
    """Whether plain and shifted scores choose the same trial, in a sentence."""
    trials = {one.score: one.trial for one in chosen}
    if PLAIN not in trials or STANDARDISED not in trials:
        return ""
    plain, shifted = by_trial[trials[PLAIN]], by_trial[trials[STANDARDISED]]
    if plain.trial == shifted.trial:
        return f'<p class="about">Plain and shifted scores choose the same trial, {plain.trial}.</p>'
    costs = f"{theme.number(abs(plain.plain - shifted.plain))} of plain {theme.text(metric.metric)}"
    gains = f"{theme.number(abs(shifted.mean - plain.mean))} of its mean under shifts"
    return (
        f'<p class="about">Plain scores choose trial {plain.trial}, shifted ones trial {shifted.trial}: '
        f"they differ by {costs} and by {gains}.</p>"
    )


def _narrow(judgements: Sequence[Judged]) -> str:
    narrow = [one for one in judgements if one.narrow]
    if not narrow:
        return ""
    trials = ", ".join(f"{one.trial} ({theme.text(', '.join(one.narrow))})" for one in narrow)
    return (
        f'<p class="about">* Trained on one family alone: {trials}. That family is scored by a model that '
        "trains on none, so what the training gains under shifts of its own kind is not in the score. Such a "
        "trial can be better elsewhere than it looks here.</p>"
    )


def _reliable(found: Sequence[Reliability]) -> str:
    if not found:
        return ""
    known = ("not known" if math.isnan(one.value) else f"{one.value:.2f}" for one in found)
    rows = [[one.score, value, str(one.trials), one.advice] for one, value in zip(found, known, strict=True)]
    return "<h3>Split-half reliability among competent trials</h3>" + _table(
        ["score", "reliability", "trials", ""], rows
    )


def _foretold(found: Sequence[Foretold]) -> str:
    if not found:
        return ""
    rows = [
        [one.target, str(one.trials), _interval(one.plain), _interval(one.shifted), _interval(one.gain)]
        for one in found
    ]
    heads = ["target", "trials", "plain score", "shifted score", "shifted over plain"]
    return "<h3>Rank correlation with targets, 95 % over images</h3>" + _table(heads, rows)


def _interval(found: Interval) -> str:
    if math.isnan(found.value):
        return "not known"
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th><span>{theme.text(name, 40)}</span></th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{theme.text(cell, 90)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
