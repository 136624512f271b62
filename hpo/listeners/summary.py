"""What a study found, as plain text: for the end of a search, `hpo best` and `hpo show`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import judgement
from hpo.history import History, State, Trial, readings
from hpo.listeners import words
from hpo.listeners.rates import evenly, followed, has_default_schedule, rate_curve
from schedules import spec as schedules

_STATES: tuple[State, ...] = (
    "completed",
    "stopped",
    "diverged",
    "failed",
    "out_of_memory",
    "running",
    "paused",
)
_CURVE_WIDTH = 40  # letters
_NAMED = 4  # trials that a line names


def summary(
    history: History,
    *,
    folder: Path | None = None,
    report: str = "",
    resume: str = "",
    encoding: str = "utf-8",
) -> str:
    """Best config, schedule, metrics, totals; several lines, without a line break at the end.

    Args:
        history: of the study.
        folder: of the study, for rates that were found while training.
        report: where the report lies.
        resume: the command that continues the study, if it can be continued.
        encoding: of the terminal; letters it lacks are not used.
    """
    lines: list[str] = []
    best = chosen(history)
    if best is None:
        ended = len(history.trials) - len(history.running)
        lines.append(f"no trial has a result ({ended} ended)")
        lines.extend(_beyond(history))
        lines.extend(_failure(history))
    else:
        state = (
            ""
            if best.state == "completed"
            else f", {best.state} after {words.steps(best.spent, best.kept, best.wall)}"
        )
        lines.extend(_front(history))
        first = f" by {history.objective.metric}" if history.objective.others else ""
        lines.append(f"best{first}: trial {best.spec.trial} of {len(history.trials)}{state}")
        said = [judgement.judged_by(history, best), judgement.reported_by(history)]
        lines.extend(filter(None, said))
        lines.extend(_table(_metrics(history, best)))
        lines.append("config:")
        lines.extend(_table({name: words.value(value) for name, value in best.spec.config.items()}))
        lines.extend(_schedule(history, best, folder, encoding))
    if history.finish is not None and history.finish.error:
        lines.append(f"error: {history.finish.error}")
    if history.finish is not None and history.finish.test:
        lines.append(f"test split, {readings(history)}:")
        lines.extend(_table({name: words.number(value) for name, value in history.finish.test.items()}))
    states = ", ".join(f"{history.count(state)} {state}" for state in _STATES if history.count(state))
    lines.append(f"trials: {states or 'none'}")
    steps = words.steps(history.spent, history.kept, history.wall)
    folds = f", and {words.count(history.fold_steps)} of fold models," if history.fold_steps else ""
    lines.append(f"spent: {steps}{folds} in {words.duration(history.elapsed())}")
    lines.extend(f"note: {notice.text}" for notice in history.notices)
    lines.extend(_narrow(history))
    if report:
        lines.append(f"report: {report}")
    if resume:
        lines.append(f"to continue: {resume}")
    return "\n".join(_whole(line, encoding) for line in lines)


def chosen(history: History) -> Trial | None:
    """The trial the study chose, or the best while it has not ended."""
    if history.finish is not None and history.finish.best is not None:
        return history.trials.get(history.finish.best)
    return history.best


def _front(history: History) -> list[str]:
    """The trials of the front, a line each under the names of the metrics; [] where one metric is sought."""
    parts, front = history.objective.parts, history.front
    if len(parts) == 1 or not front:
        return []
    rows = [("trial", *(part.metric for part in parts))]
    for trial in front:
        values = history.compared(trial)
        shown = [words.number(part.shown(value)) for part, value in zip(parts, values, strict=True)]
        rows.append((str(trial.spec.trial), *shown))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    count = f"{len(front)} trial{'s' if len(front) > 1 else ''} that no other beats"
    if history.measured:
        count += ", by means over their seeds"
    return [
        f"front: {count}",
        *(
            "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ),
    ]


def _beyond(history: History) -> list[str]:
    """Which trial is least far beyond the constraints, where none keeps them."""
    trial = history.nearest
    if trial is None:
        return []
    bounds = history.objective.bounds
    found = ", ".join(
        f"{bound.metric} {words.number(trial.metrics[bound.metric])}"
        for bound in bounds
        if bound.metric in trial.metrics
    )
    kept = " and ".join(bound.words() for bound in bounds)
    return [f"  none keeps {kept}; the nearest is trial {trial.spec.trial}: {found or 'not reported'}"]


def _metrics(history: History, trial: Trial) -> dict[str, str]:
    metrics, name = trial.metrics, history.objective.final.metric
    ordered = [name, *sorted(other for other in metrics if other != name)]
    return {one: words.number(metrics[one]) for one in ordered if one in metrics}


def _schedule(history: History, trial: Trial, folder: Path | None, encoding: str) -> list[str]:
    spec = trial.spec
    is_default = has_default_schedule(history.study)
    points, name = rate_curve(spec.config, spec.horizon, is_default, 4 * _CURVE_WIDTH), ""
    over = spec.horizon
    if points:
        name = schedules.format(_rounded(schedules.table_of(spec.config)))
    elif is_default and folder is not None:
        points = followed(folder, spec.trial, spec.config, 4 * _CURVE_WIDTH)
        rule = str(spec.config.get("rule", "none"))
        name = str(spec.config.get("schedule", "cosine")) + ("" if rule == "none" else f", rule {rule}")
        name, over = f"{name} (as followed)", trial.kept
    if not points:
        return []
    rates = [rate for _, rate in points]
    return [
        f"schedule: {name}",
        f"  {words.sparkline(evenly(points, 4 * _CURVE_WIDTH), _CURVE_WIDTH, encoding)}",
        f"  rate {words.number(rates[0])} at first, {words.number(max(rates))} at most, "
        f"{words.number(rates[-1])} at last, over {words.count(over)} steps",
    ]


def _rounded(table: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(words.number(one)) if isinstance(one, float) else one for name, one in table.items()}


def _narrow(history: History) -> list[str]:
    """That shifted scores do not do justice to trials that train on one family, if there are any."""
    narrow = [trial for trial in history.trials.values() if trial.narrow]
    if not narrow:
        return []
    named = [f"{trial.spec.trial} ({', '.join(trial.narrow)})" for trial in narrow[:_NAMED]]
    more = [f"{len(narrow) - _NAMED} more"] if len(narrow) > _NAMED else []
    return [
        f"note: trained on one family of shifts alone: trial {', '.join([*named, *more])}; what that gains "
        "under shifts of its kind is in no score, so that it can be better elsewhere than it is ranked"
    ]


def _failure(history: History) -> list[str]:
    """What the last failed trial said."""
    for trial in reversed(history.trials.values()):
        if trial.error.strip():
            return [
                f"  trial {trial.spec.trial} {trial.state}: {trial.error.strip().splitlines()[-1].strip()}"
            ]
    return []


def _table(rows: Mapping[str, str]) -> list[str]:
    width = max(map(len, rows), default=0)
    return [f"  {name.ljust(width)}  {value}" for name, value in rows.items()]


def _whole(line: str, encoding: str) -> str:
    """The line without what a terminal would obey or cannot show."""
    indent = len(line) - len(line.lstrip(" "))
    letters = "".join(letter if letter.isprintable() else "?" for letter in line[indent:])
    return " " * indent + letters.encode(encoding, "replace").decode(encoding)
