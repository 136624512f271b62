"""Where earlier results come from: what `--from` takes, and how it is read.

STUDY                     a study of ours, by name or folder
optuna:URL#STUDY          a study in a storage of Optuna, such as optuna:sqlite:///old.db#digits, or in a
                          journal file of Optuna by its path, such as optuna:journal.log#digits
mlflow:URI#EXPERIMENT     the runs of an experiment, such as mlflow:sqlite:///mlflow.db#hpo
"""

import os
from collections.abc import Callable, Sequence

from hpo.earlier.former import FormerStudy
from hpo.errors import MissingDependency, StudyNotFound, UsageError
from hpo.history import History
from hpo.listeners.mirror import QUIET
from hpo.objective import Objective

_KINDS = ("optuna", "mlflow")


def split(text: str, where: str) -> tuple[str, str, str]:
    """(kind, "" for one of ours; URL or name; name in the store).

    >>> split("optuna:sqlite:///old.db#digits", "--from")
    ('optuna', 'sqlite:///old.db', 'digits')
    >>> split("studies/digits", "--from")
    ('', 'studies/digits', '')

    Raises:
        UsageError: a store without the name of what is meant in it.
    """
    kind, _, rest = text.partition(":")
    if kind not in _KINDS:
        if not text:
            raise UsageError(f"{where} '' must be a study, {_forms()}")
        return "", text, ""
    url, _, name = rest.rpartition("#")
    if not url or not name:
        raise UsageError(
            f"{where} {text!r} must be {_forms()}: a URL, or the path of a journal of Optuna, a # and a name"
        )
    return kind, url, name


def _forms() -> str:
    return "optuna:URL#STUDY or mlflow:URI#EXPERIMENT"


def check(sources: Sequence[str], where: str) -> None:
    """Refuse what is no source, or named twice.

    Raises:
        UsageError: with what it should look like.
    """
    for place, text in enumerate(sources):
        split(text, where)
        if text in sources[:place]:
            raise UsageError(f"{where} {text!r} is named twice")


def read(
    text: str, objective: Objective, names: Sequence[str], where: str, study: Callable[[str], History]
) -> FormerStudy:
    """What the source holds, by the metrics that are sought here.

    Args:
        text: the source.
        objective: of this study.
        names: hyperparameters of this study.
        where: for messages.
        study: the history of a study of ours, given its name or folder.

    Raises:
        UsageError: there is no such thing, or it cannot be read as one.
        MissingDependency: the library of its store is not installed.
    """
    kind, url, name = split(text, where)
    place = f"{where} {text}"
    try:
        if kind == "optuna":
            from hpo.earlier import optuna

            return optuna.former(url, name, objective, place)
        if kind == "mlflow":
            for variable, value in QUIET.items():
                os.environ.setdefault(variable, value)
            from hpo.earlier import mlflow

            return mlflow.former(url, name, objective, names, place)
    except ImportError as error:
        raise MissingDependency(f"{place} needs {kind}: install it, or leave it out ({error})") from error
    from hpo.earlier import ours

    try:
        history = study(url)
    except StudyNotFound as error:
        raise UsageError(f"{place}: {error}") from error
    return ours.former(history, objective, place)
