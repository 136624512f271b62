"""`hpo explain STUDY TRIAL`: why a trial was tried, how it went, and why it ended, from the journal alone."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from hpo import study
from hpo.cli.look import print_json, print_line
from hpo.cli.options import Debug, Json, Root, Study
from hpo.errors import UsageError
from hpo.events import Event, TrialPaused, TrialResumed
from hpo.history import History, Trial
from hpo.judgement import judged_by, judgement
from hpo.listeners import words
from hpo.listeners.console import searched

# Where a suggestion came from -> what that means.
_ORIGINS = {
    "random": "It was drawn at random",
    "sobol": "It is the next point of a sequence that covers the space evenly (Sobol)",
    "grid": "It is the next point of the grid",
    "prior": "It was drawn from what the study says is believed (`prior` in [space])",
    "start": "It is a starting point of the study ([[start]])",
    "earlier": "It is among the best of an earlier study (`--from`)",
    "model": "The model of the sampler proposed it",
    "replica": "It measures a leading configuration once more, with another seed, so that luck does not choose",
}
# Beginning of a pruner's reason -> what its rule is.
_RULES = {
    "asha": "of the trials that came as far as this rung, only the best share goes on (asha)",
    "median": "a trial goes on while its best value is no worse than the middle one of the completed trials at "
    "the same rung (median)",
    "trust": "a trial is stopped where its forecast leaves next to no chance, at rungs that have ranked earlier "
    "trials as they ended, first of all those of its own program (trust)",
    "pause": "a trial makes room for others that are forecast to end better (pause)",
    "time is up": "the study had reached a limit",
    "target reached": "the study had reached a limit",
    "a metric is not reported": "the study could not go on",
}


def explain(
    which: Study,
    number: Annotated[int, typer.Argument(metavar="TRIAL", min=0, help="Number of the trial.")],
    root: Root = Path(study.DEFAULT_ROOT),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Explain a trial: why it was tried, how it went, why it ended."""
    folder = study.find(which, root)
    history, events, _ = study.read(folder)
    if number not in history.trials:
        there = f"0 to {max(history.trials)}" if history.trials else "none yet"
        raise UsageError(f"study {folder.name!r} has no trial {number}; there are trials {there}")
    trial = history.trials[number]
    found = {
        "trial": number,
        "state": trial.state,
        "origin": trial.origin,
        "tried": tried(history, trial),
        "went": [*went(history, trial), *rests(events, number)],
        "stop_reason": trial.stop_reason,
        "ended": ended(history, trial),
        "config": dict(trial.spec.config),
    }
    if json:
        print_json(found)
        return
    print_line(f"trial {number} of {folder.name}: {trial.state.replace('_', ' ')}")
    print_line(f"config: {words.config(searched(history, trial))}")
    for head, lines in (
        ("why it was tried", tried(history, trial)),
        ("how it went", [*went(history, trial), *rests(events, number)]),
        ("why it ended", ended(history, trial)),
    ):
        print_line(f"{head}:")
        for line in lines:
            print_line(f"  {line}")


def tried(history: History, trial: Trial) -> list[str]:
    """Why this config, in sentences."""
    search = _section(history, "search")
    if not trial.origin:
        sampler = search.get("sampler", "unknown")
        return [f"The journal does not say: it was written before it could. The sampler was {sampler}."]
    kind, _, detail = trial.origin.partition(": ")
    said = _ORIGINS.get(kind, f"It is a suggestion of another kind, {kind!r}")
    if kind == "model":
        said += f" ({search.get('sampler', 'unknown')})"
    lines = [f"{said}{f': {detail}' if detail else ''}."]
    priors = _priors(history, trial)
    if priors:
        lines.append(f"Believed beforehand: {priors}.")
    if trial.spec.parent:
        lines.append(f"It went on from a saved row, {trial.spec.parent}.")
    return lines


def _priors(history: History, trial: Trial) -> str:
    space = _section(history, "space")
    shown: list[str] = []
    for name, value in trial.spec.config.items():
        entry = space.get(name)
        found = cast(Mapping[str, Any], entry).get("prior") if isinstance(entry, Mapping) else None
        if isinstance(found, Mapping):
            prior = cast(Mapping[str, Any], found)
            center, sure = prior.get("center"), prior.get("confidence", "medium")
            shown.append(f"{name} near {words.value(center)} ({sure}), tried with {words.value(value)}")
    return ", ".join(shown)


def went(history: History, trial: Trial) -> list[str]:
    """Its last value among those of the trials that came as far, in sentences."""
    if not trial.reports:
        return ["It has reported nothing."]
    lines: list[str] = []
    for part in history.objective.parts:
        value = part.value(trial.reports[-1].metrics)
        if not math.isfinite(value):
            lines.append(f"{part.metric} is not known.")
            continue
        others = [
            part.value(report.metrics)
            for other in history.trials.values()
            if other is not trial
            for report in other.reports
            if report.spent == trial.spent
        ]
        better = sum(other < value for other in others)
        known = sum(math.isfinite(other) for other in others)
        said = f"{part.metric} was {words.number(part.shown(value))} after {words.count(trial.spent)} steps"
        if known:
            said += f": {better} of the {known} other trials that came as far were better there"
        lines.append(said + ".")
    for bound in history.objective.bounds:
        value = trial.metrics.get(bound.metric, math.nan)
        beyond = any(side > 0 for side in bound.margins(value))
        where = "beyond" if beyond else "within"
        said = (
            f"was {words.number(value)}, {where} the constraint"
            if bound.metric in trial.metrics
            else "was not reported"
        )
        lines.append(f"{bound.metric} {said} ({bound.words()}).")
    return lines


def rests(events: Sequence[Event], number: int) -> list[str]:
    """When it made room for others and went on again, and why, in sentences."""
    lines: list[str] = []
    for event in events:
        if isinstance(event, TrialPaused) and event.trial == number:
            lines.append(f"It made room for others after {words.count(event.spent)} steps: {event.reason}.")
        elif isinstance(event, TrialResumed) and event.trial == number:
            lines.append(f"It went on, up to {words.count(event.until)} steps: {event.reason}.")
    return lines


def ended(history: History, trial: Trial) -> list[str]:
    """Why it stopped where it did, in sentences."""
    spent = f"{words.count(trial.spent)} of {words.count(trial.spec.budget)} steps"
    last = trial.error.strip().splitlines()[-1].strip() if trial.error.strip() else ""
    if trial.state == "running":
        return [f"It has not ended: {spent} are spent, or it waits for the study to be taken up."]
    if trial.state == "completed":
        return ["It had the whole budget.", *_standing(history, trial)]
    if trial.state == "stopped":
        rule = next((text for begins, text in _RULES.items() if trial.stop_reason.startswith(begins)), "")
        lines = [f"It was stopped after {spent}: {trial.stop_reason or 'the journal gives no reason'}."]
        return [*lines, f"The rule: {rule}."] if rule else lines
    said = {
        "diverged": f"It diverged after {spent}",
        "failed": f"It failed after {spent}",
        "out_of_memory": f"It ran out of memory after {spent}",
        "paused": f"It has not ended: it rests after {spent}, and may go on",
    }[trial.state]
    return [f"{said}{f': {last}' if last else ''}."]


def _standing(history: History, trial: Trial) -> list[str]:
    """What it is among the completed trials."""
    if history.objective.others:
        return _place(history, trial)
    said = [f"Its config is {judged_by(history, trial)}."] if history.judged else []
    if history.best is trial:
        return ["It is the best trial.", *said]
    if trial.replica_of is not None:
        return [f"It counts for trial {trial.replica_of}, whose config it has.", *said]
    value = history.value(trial)
    done = [other for other in history.trials.values() if other.state == "completed" and other is not trial]
    better = sum(history.value(other) < value for other in done)
    stands = [f"{better} of the {len(done)} other completed trials ended better."] if done else []
    return [*stands, *said] if judgement(history, trial) else stands


def _place(history: History, trial: Trial) -> list[str]:
    """In which front it is."""
    if trial.replica_of is not None:
        return [f"It counts for trial {trial.replica_of}, whose config it has."]
    if trial in history.front:
        return ["No other trial beats it: it is in the front."]
    if history.excess(trial) > 0:
        return ["It is beyond the constraints."]
    front = history.fronts.get(trial.spec.trial)
    if front is None:
        return []
    if history.measured:
        return ["Others beat it, by the means over their seeds."]
    if front == 0:
        return ["No other trial beats it; one with the same values stands for it in the front."]
    return [f"Others beat it: it is in front {front + 1}."]


def _section(history: History, name: str) -> Mapping[str, Any]:
    found: Any = history.study.study.get(name, {}) if history.study else {}
    return cast(Mapping[str, Any], found) if isinstance(found, Mapping) else {}
