"""The text of the report: what was found, what it took, what went wrong, how to do it again."""

import datetime
import json
import math
from collections.abc import Mapping
from typing import Any

from dashboards import theme
from dashboards.figures.table import table
from dashboards.load import Study
from hpo.audits import false_stops
from hpo.history import State, Trial, readings
from hpo.judgement import judged_by, reported_by

_STATES: tuple[State, ...] = (
    "completed",
    "running",
    "paused",
    "stopped",
    "diverged",
    "failed",
    "out_of_memory",
)
_MOST_ERRORS = 20
_POINTS = 100_000  # of a schedule, among which its peak is looked for


def header(study: Study) -> str:
    """Name, state and aim of the study."""
    finish = study.history.finish
    if finish is not None:
        state, label = "finished", f"finished: {theme.text(finish.reason, 80)}"
        if finish.error:
            state, label = "unfinished", f"cannot go on: {theme.text(finish.error, 300)}"
    elif study.history.sessions:
        how = "paused" if study.history.is_paused else "not finished"
        state, label = "unfinished", f"{how}, as of {_moment(study.changed)}"
    else:
        state, label = "unfinished", "not begun"
    search = _section(study.table, "search")
    about = [
        f"{'Lower' if part.goal == 'min' else 'Higher'} <b>{theme.text(part.metric)}</b> is better"
        for part in study.objective.parts
    ]
    about += [theme.text(bound.words()) for bound in study.objective.bounds]
    if study.objective.chosen_by is not None:
        about.append(f"the winner {theme.text(study.objective.chosen_by.words())} among the leading third")
    task = study.table.get("task")
    if isinstance(task, Mapping):
        task = task.get("name")
    if task:
        about.append(f"task {theme.text(task)}")
    names = [theme.text(search[key]) for key in ("sampler", "pruner") if search.get(key)]
    if names:
        about.append(" and ".join(names))
    if study.started is not None:
        about.append(f"begun {_moment(study.started)}")
    return f"""<header>
<p class="kind">Study <span class="badge {state}">{label}</span></p>
<h1>{theme.text(study.name, 120)}</h1>
<p class="about">{" · ".join(about)}</p>
</header>"""


def best(study: Study) -> str:
    """The best trial: its value, metrics, config and schedule."""
    trial = study.best
    if trial is None:
        kept = " and ".join(bound.words() for bound in study.objective.bounds)
        within = f" with {theme.text(kept, 200)}" if kept else ""
        empty = f'<p class="empty">No trial has a result{within}.</p>'
        return f'<section class="card best" id="best"><h2>Best trial</h2>{empty}</section>'
    metric = theme.text(study.objective.metric)
    state = "" if trial.state == "completed" else f", {trial.state}"
    metrics = dict(trial.reports[-1].metrics) if trial.reports else {}
    finish = study.history.finish
    tested = dict(finish.test) if finish is not None else {}
    rows = "".join(
        f"<div><dt>{theme.text(name, 32)}</dt><dd>{theme.text(value)}</dd></div>"
        for name, value in trial.spec.config.items()
    )
    once = f" <small>{readings(study.history)}</small>" if tested else ""
    test = _metrics(tested) if tested else '<p class="empty">not read</p>'
    return f"""<section class="card best" id="best">
<h2>Best trial <small>trial {trial.spec.trial}{state}</small></h2>
<p class="value"><b>{theme.number(study.value(trial))}</b> {metric}</p>
{_judged(study, trial)}{_front(study)}<div class="columns">
<div class="metrics"><h3>Validation</h3>{_metrics(metrics)}</div>
<div class="metrics test"><h3>Test{once}</h3>{test}</div>
</div>
<h3>Config</h3>
<dl class="config">{rows}</dl>
{_rate_curve(study, trial)}
</section>"""


def _judged(study: Study, trial: Trial) -> str:
    said = (judged_by(study.history, trial), reported_by(study.history))
    return "".join(f'<p class="about">{theme.text(line, 200)}</p>\n' for line in said if line)


def _front(study: Study) -> str:
    """Which trials the best one shares the front with; "" where one metric is sought."""
    if not study.objective.others or not study.history.front:
        return ""
    numbers = ", ".join(str(trial.spec.trial) for trial in study.history.front)
    return f'<p class="about">First by this metric of the trials that no other beats: {numbers}</p>\n'


def _metrics(metrics: Mapping[str, float]) -> str:
    rows = "".join(
        f"<div><dt>{theme.text(name, 32)}</dt><dd>{theme.number(float(value))}</dd></div>"
        for name, value in metrics.items()
    )
    return f"<dl>{rows}</dl>"


def _rate_curve(study: Study, trial: Trial) -> str:
    """The schedule as a small drawing."""
    steps, rates = study.rates(trial, 120)
    if not len(steps) or not rates.max() > 0:
        return ""
    width, height = 560.0, 72.0
    along = steps / max(1.0, float(steps[-1])) * width
    heights = height - rates / rates.max() * (height - 4) - 2
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(along, heights, strict=True))
    highest = study.rates(trial, _POINTS)[1].max()
    return f"""<h3>Learning rate <small>at most {theme.number(float(highest))},
over {theme.number(float(trial.spec.horizon))} steps</small></h3>
<svg class="rate" viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none" role="img"
 aria-label="learning rate over the steps of the trial">
<polygon points="0,{height:g} {points} {width:g},{height:g}"></polygon>
<polyline points="{points}"></polyline></svg>"""


def facts(study: Study) -> str:
    """What the study took, as tiles."""
    history = study.history
    counts = {state: history.count(state) for state in _STATES}
    bar = "".join(
        f'<i style="flex:{number};background:var(--{state})" title="{number} {state}"></i>'
        for state, number in counts.items()
        if number
    )
    key = "".join(
        f'<li><i style="background:var(--{state})"></i>{number} {state}</li>'
        for state, number in counts.items()
        if number
    )
    budgets = sum(trial.spec.budget for trial in history.trials.values())
    saved = 1 - history.spent / budgets if budgets else 0.0
    about = [f"{saved:.0%} fewer than all budgets"] if 0 < saved < 1 else []
    if not history.spent == history.kept == history.wall:
        about.append(f"{history.kept:,} kept, {history.wall:,} of wall time")
    sessions = f"{history.sessions} sessions" if history.sessions > 1 else "of search"
    tiles = [
        (
            theme.number(float(history.spent)),
            "steps spent",
            ", ".join(about),
        ),
        (theme.duration(history.elapsed()), sessions, ""),
    ]
    if history.elapsed() > 0:
        tiles.append(
            (theme.number(history.spent / history.elapsed()), "steps a second", "all trials together")
        )
    if history.incumbents:
        found = history.incumbents[-1]
        share = found.spent / history.spent if history.spent else 0.0
        # Several seeds may have chosen another trial than the one that ended lowest.
        is_best = study.best is study.history.trials[found.trial]
        what = "to the best result" if is_best else f"to the best single run, trial {found.trial}"
        tiles.append((theme.duration(found.seconds), what, f"{share:.0%} of the steps"))
    if tile := _audited(study):
        tiles.append(tile)
    shown = "".join(
        f'<div class="card fact"><b>{value}</b><span>{label}</span><small>{more}</small></div>'
        for value, label, more in tiles
    )
    return f"""<div class="facts">
<div class="card fact trials"><b>{len(history.trials)}</b><span>trials</span>
<div class="bar">{bar}</div><ul>{key}</ul></div>
{shown}</div>"""


def _audited(study: Study) -> tuple[str, str, str] | None:
    """How many of the trials that ran on although they would have been stopped then beat the best."""
    found = false_stops(study.audits)
    if found is None:
        return None
    some = f"{found.ended} audited trial{'s' if found.ended > 1 else ''}"
    return (
        f"{found.wrong / found.ended:.0%}",
        "of stops were false",
        f"{found.wrong} of {some} beat the best of when it would have been stopped; "
        f"95 %: {found.low:.0%} to {found.high:.0%}",
    )


def trials(study: Study) -> str:
    """The table of trials; nothing without trials."""
    rows = table(study)
    if not rows:
        return ""
    return f"""<section class="card" id="table"><h2>Trials</h2>
<div class="tools"><p class="about">Click a heading to sort.</p>
<label>Show <input id="filter" type="search" placeholder="rows with this text" autocomplete="off"></label>
<span id="shown" aria-live="polite"></span></div>
<div class="scroll">{rows}</div></section>"""


def errors(study: Study) -> str:
    """Messages of trials that failed, diverged or had no memory; nothing without any."""
    failed = [trial for trial in study.history.trials.values() if trial.error]
    if not failed:
        return ""
    rows = "".join(
        f"<details><summary>trial {trial.spec.trial} {trial.state}: {_last_line(trial.error)}</summary>"
        f"<pre>{theme.text_block(trial.error)}</pre></details>"
        for trial in failed[:_MOST_ERRORS]
    )
    rest = len(failed) - _MOST_ERRORS
    more = f'<p class="about">{rest} more are in the journal.</p>' if rest > 0 else ""
    return f'<section class="card" id="errors"><h2>What went wrong</h2>{rows}{more}</section>'


def notices(study: Study) -> str:
    """What the search had to say of how it ran; nothing without any."""
    rows = "".join(
        f"<li>{theme.text(notice.text, 400)} <small>{_moment(notice.time)}</small></li>"
        for notice in study.history.notices
    )
    return f'<section class="card" id="notices"><h2>Notices</h2><ul>{rows}</ul></section>' if rows else ""


def _last_line(error: str) -> str:
    lines = error.strip().splitlines()
    return theme.text(lines[-1].strip() if lines else "", 160)


def reproduce(study: Study) -> str:
    """Commands, seed and versions to do it again; nothing before the study began."""
    latest = study.history.study
    if latest is None:
        return ""
    folder = theme.text(str(study.folder), 300)
    name = theme.text(study.name, 120)
    commands = [f"hpo search {folder}/study.toml --name {name}-again", f"hpo show {name}"]
    if study.best is not None:
        commands.insert(1, f"hpo export {name} --trial {study.best.spec.trial} --what script")
    versions = "".join(
        f"<div><dt>{theme.text(package)}</dt><dd>{theme.text(version)}</dd></div>"
        for package, version in latest.versions.items()
    )
    table_text = json.dumps(dict(study.table), indent=2, ensure_ascii=False, default=str)
    source = f"<div><dt>source</dt><dd>{theme.text(latest.source, 48)}</dd></div>" if latest.source else ""
    return f"""<section class="card" id="reproduce"><h2>Reproduce</h2>
<pre class="commands">{chr(10).join(commands)}</pre>
<dl class="versions"><div><dt>seed</dt><dd>{latest.seed}</dd></div>{source}{versions}</dl>
<details><summary>The whole study, defaults filled in</summary>
<pre>{theme.text_block(table_text)}</pre></details>
</section>"""


def _section(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = table.get(name)
    return found if isinstance(found, Mapping) else {}


def _moment(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return "an unknown time"
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
