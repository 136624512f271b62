"""A study of Optuna in its relational storage or journal file, read and never written."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.exc
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.earlier.files import check_table, read_only
from hpo.earlier.former import FormerStudy, FormerTrial
from hpo.errors import UsageError
from hpo.objective import Objective
from hpo.options import unknown
from hpo.samplers.optuna import quiet

_OUTCOMES: Mapping[TrialState, Any] = {
    TrialState.COMPLETE: "completed",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}


def former(url: str, name: str, objective: Objective, place: str) -> FormerStudy:
    """The study of this name in the storage at this URL.

    Raises:
        UsageError: the storage cannot be read, has no such study, or several values of which none is told
            to be the metric that is sought.
    """
    with quiet():
        try:
            storage = _journal(url, place) if _is_file(url) else _database(url, place)
            names = [study.study_name for study in storage.get_all_studies()]
            if name not in names:
                raise UsageError(f"{place}: {unknown('study', name, names)}")
            study = optuna.load_study(study_name=name, storage=storage)
            trials = study.get_trials(deepcopy=False)
            directions = study.directions
            named = study.metric_names or []
        except (
            sqlalchemy.exc.SQLAlchemyError,
            optuna.exceptions.OptunaError,
            RuntimeError,
            ImportError,
        ) as error:
            said = str(error.__cause__ or error).splitlines()[0]
            raise UsageError(f"{place}: no storage of Optuna can be read at {url}: {said}") from error
    places = _places(objective, named, len(directions), place)
    ended = [trial for trial in trials if trial.state in _OUTCOMES]
    # Optuna counts steps from 0, and a study has one budget as far as it says.
    budget = max((1 + max(trial.intermediate_values, default=0) for trial in ended), default=1)
    signs = [-1.0 if direction == StudyDirection.MAXIMIZE else 1.0 for direction in directions]
    words = [
        f"{named[at] if named else 'its value'}, {'max' if signs[at] < 0 else 'min'}imised" for at in places
    ]
    return FormerStudy(
        ", ".join(words),
        [_trial(trial, budget, places, signs, _bounded(trial, objective, named)) for trial in ended],
        under_way=len(trials) - len(ended),
    )


def _is_file(url: str) -> bool:
    """Whether a path is meant, as of a journal; a database has a URL."""
    return "://" not in url


def _database(url: str, place: str) -> BaseStorage:
    check_table(url, "studies", "storage of Optuna", place)
    # Nothing of an earlier study may change: tables that are not there are not made.
    return RDBStorage(read_only(url, place), skip_table_creation=True)


def _journal(path: str, place: str) -> BaseStorage:
    """The storage that is a file of one operation a line, as `JournalFileBackend` writes it.

    Raises:
        UsageError: there is no such file, or it holds something else.
    """
    if not Path(path).is_file():  # Optuna would make it
        raise UsageError(
            f"{place}: there is no file {path}: name a journal of Optuna by its path, a database by its URL, "
            "such as sqlite:///old.db"
        )
    try:
        return JournalStorage(JournalFileBackend(path))
    # Optuna replays each line as it is: what is none of its own breaks anywhere.
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, OSError) as error:
        raise UsageError(
            f"{place}: {path} is no journal of Optuna; a database needs its URL, such as sqlite:///{path} "
            f"({type(error).__name__}: {error})"
        ) from error


def _places(objective: Objective, named: list[str], count: int, place: str) -> list[int]:
    """Which of a trial's values are those of the metrics that are sought."""
    wanted = [part.metric for part in objective.parts]
    if len(wanted) == 1 and count == 1:
        return [0]
    missing = [metric for metric in wanted if metric not in named]
    if missing:
        known = ", ".join(named) or f"{count} without names (set_metric_names gives them)"
        raise UsageError(f"{place}: none of its values is {missing[0]}, which metric names; its are {known}")
    return [named.index(metric) for metric in wanted]


def _bounded(trial: FrozenTrial, objective: Objective, named: list[str]) -> dict[str, float]:
    """What it came to in the metrics that this study bounds: a value, or an attribute that the user set."""
    told: dict[str, Any] = dict(trial.user_attrs)
    values = list(trial.values or [])
    if named or len(values) == 1:
        told |= zip(named or [objective.metric], values, strict=False)
    known = {bound.metric: told.get(bound.metric) for bound in objective.bounds}
    return {
        name: float(one)
        for name, one in known.items()
        if isinstance(one, (int, float)) and not isinstance(one, bool)
    }


def _trial(
    trial: FrozenTrial, budget: int, places: list[int], signs: list[float], bounded: Mapping[str, float]
) -> FormerTrial:
    reports: dict[int, tuple[float, ...]] = {}
    if len(signs) == 1:
        reports = {
            1 + step: (signs[0] * value if math.isfinite(value) else math.inf,)
            for step, value in trial.intermediate_values.items()
            if step >= 0
        }
    if trial.state == TrialState.COMPLETE:
        reports[budget] = tuple(signs[at] * trial.values[at] for at in places)
    last = max(reports, default=budget)
    told = {name: {last: value} for name, value in bounded.items()}
    return FormerTrial(trial.params, _OUTCOMES[trial.state], budget, reports, told)
