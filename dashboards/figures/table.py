"""Every trial as a row of an HTML table; the page sorts it by a click on a heading."""

import math

from dashboards import theme
from dashboards.load import Study
from hpo.history import Trial


def table(study: Study) -> str:
    """HTML of the table, best trials first; "" without trials."""
    if not study.history.trials:
        return ""
    names = study.searched()
    # Three counters where steps were probed, else one.
    trials = study.history.trials.values()
    steps = ["spent", "kept", "wall"]
    if all(trial.spent == trial.kept == trial.wall for trial in trials):
        steps = ["steps"]
    metrics = _metrics(study)
    heads = [
        ("trial", "number"),
        ("state", "state"),
        *((name, "number") for name in metrics),
        *((name, "number") for name in steps),
        ("seconds", "number"),
        *((name, _kind(study, name)) for name in names),
    ]
    ranked = study.ranked()
    ranks = {trial.spec.trial: rank for rank, trial in enumerate(ranked)}
    ordered = [*ranked, *(trial for trial in study.history.trials.values() if trial.spec.trial not in ranks)]
    head = "".join(
        f'<th class="{kind}" scope="col"><button type="button">{theme.text(name)}</button></th>'
        for name, kind in heads
    )
    rows = "\n".join(_row(study, trial, metrics, names, heads, len(steps)) for trial in ordered)
    return f'<table id="trials"><thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'


def _metrics(study: Study) -> list[str]:
    names: dict[str, None] = dict.fromkeys(study.objective.names)
    for trial in study.history.trials.values():
        if trial.reports:
            names.update(dict.fromkeys(trial.reports[-1].metrics))
    return list(names)


def _kind(study: Study, name: str) -> str:
    values = study.values(name)
    are_numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return "number" if values and are_numbers else "text"


def _row(
    study: Study,
    trial: Trial,
    metrics: list[str],
    names: list[str],
    heads: list[tuple[str, str]],
    counters: int,
) -> str:
    last = trial.reports[-1] if trial.reports else None
    found: list[object] = [
        trial.spec.trial,
        trial.state if trial.replica_of is None else f"{trial.state} (trial {trial.replica_of} again)",
        *(last.metrics.get(name) if last else None for name in metrics),
        *(trial.spent, trial.kept, trial.wall)[:counters],
        last.seconds if last else None,
        *(trial.spec.config.get(name) for name in names),
    ]
    cells = "".join(_cell(value, kind) for value, (_, kind) in zip(found, heads, strict=True))
    is_best = trial is study.best or (study.objective.others and trial in study.history.front)
    best = ' class="best"' if is_best else ""
    return f'<tr data-trial="{trial.spec.trial}"{best}>{cells}</tr>'


def _cell(value: object, kind: str) -> str:
    if value is None:
        return f'<td class="{kind} none" data-sort="">&ndash;</td>'
    if kind == "state":
        state = str(value).split(" ", 1)[0]  # its colour; of a replica more follows
        return f'<td class="state" data-state="{state}">{value}</td>'
    if kind == "text":
        return f'<td class="text">{theme.text(value)}</td>'
    assert isinstance(value, (int, float))
    # What is not a number is worse than any.
    key = repr(value) if math.isfinite(value) else ""
    return f'<td class="number" data-sort="{key}">{theme.number(float(value))}</td>'
