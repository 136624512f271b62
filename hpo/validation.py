"""The `[validation]` section of a study file, checked against the rest of the study.

What can be known without the data is found out here; what cannot (families, sizes, parts), when the data is
loaded, before any training.
"""

from collections.abc import Mapping
from typing import Any, cast

from hpo.errors import UsageError
from hpo.objective import Objective
from hpo.options import unknown
from hpo.space import Choice, Space
from trials.spec import Value
from trials.validation import KINDS, SHIFT_SHARE, SHIFTED, TRAIN_FAMILIES, Validation

# Keys of the section that mean something with these kinds only.
_OF_KINDS: dict[str, tuple[str, ...]] = {
    "families": ("shifted", "shifted-kfold"),
    "folds": ("shifted-kfold", "kfold"),
    "folds_for": ("shifted-kfold",),
    "fold": ("kfold",),
    "group": ("group",),
    "time": ("time",),
}
_DEFAULTS = Validation()


def read(section: Mapping[str, Any], space: Space, where: str) -> Validation:
    """The validation that a filled section describes.

    Raises:
        UsageError: values that do not go together, or with the hyperparameters that are searched.
    """
    place = f"{where} [validation]"
    found = Validation.read({**section, "trained": _trained(space, where)})
    if found.kind not in KINDS:
        raise UsageError(f"{place}: {unknown('kind', found.kind, KINDS)}")
    for name, kinds in _OF_KINDS.items():
        if getattr(found, name) != getattr(_DEFAULTS, name) and found.kind not in kinds:
            raise UsageError(
                f"{place} {name} = {section[name]!r} goes with kind = {' or '.join(map(repr, kinds))}, "
                f"not with {found.kind!r}"
            )
    if len(set(found.families)) < len(found.families):
        twice = next(name for name in found.families if found.families.count(name) > 1)
        raise UsageError(f"{place} families names {twice!r} twice")
    if found.kind in ("kfold", "shifted-kfold") and found.folds < 2:
        raise UsageError(f"{place} folds = {found.folds} must be at least 2")
    if found.kind == "shifted-kfold" and 0 < len(found.families) < found.folds:
        raise UsageError(
            f"{place} folds = {found.folds} must be at most the number of families, {len(found.families)}"
        )
    if found.fold >= found.folds:
        raise UsageError(f"{place} fold = {found.fold} must be below folds = {found.folds}; the first is 0")
    if found.interval >= 1:
        raise UsageError(f"{place} interval = {found.interval:g} must be below 1: it is of an accuracy")
    for name in ("group", "time"):
        if found.kind == name and not getattr(found, name):
            raise UsageError(f'{place} kind = {name!r} needs {name} = "NAME", a part of the task\'s data')
    _check_training(found, place)
    return found


def _trained(space: Space, where: str) -> tuple[str, ...]:
    """Values that `train_families` may have, but for "none"."""
    domain = space.domains.get(TRAIN_FAMILIES)
    values: tuple[Value, ...] = (space.fixed.get(TRAIN_FAMILIES, "none"),)
    if domain is not None:
        if not isinstance(domain, Choice):
            raise UsageError(f"{where} [space] {TRAIN_FAMILIES}: must be a word or a choice of words")
        values = tuple(domain.choices)
    for value in values:
        if not isinstance(value, str):
            raise UsageError(
                f"{where} [space] {TRAIN_FAMILIES}: {value!r} must be 'none', 'all' or families joined by +"
            )
    if SHIFT_SHARE in {*space.domains, *space.fixed} and values == ("none",):
        raise UsageError(
            f"{where} [space] {SHIFT_SHARE}: needs {TRAIN_FAMILIES}, the families that a share of the "
            "training examples is shifted by"
        )
    return tuple(cast(str, value) for value in values if value != "none")


def _check_training(found: Validation, place: str) -> None:
    if found.kind == "shifted" and found.trained:
        raise UsageError(
            f"{place} kind = 'shifted' would score trials on families that they train on "
            f"({TRAIN_FAMILIES} = {found.trained[0]!r}): write kind = 'shifted-kfold', which trains fold "
            "models for these scores"
        )
    if found.kind == "shifted-kfold" and not found.trained:
        raise UsageError(
            f"{place} kind = 'shifted-kfold' is for trials that train on families: give [space] "
            f'{TRAIN_FAMILIES} = {{choice = ["none", "all"]}}, or write kind = \'shifted\''
        )


def check_objective(objective: Objective, found: Validation, where: str) -> None:
    """Refuse a metric that the validation does not measure, and fold models that nothing asks for.

    Raises:
        UsageError: what is wrong, and what would be right.
    """
    metric, is_ranked = objective.final.metric, objective.is_ranked
    if is_ranked and not found.is_shifted:
        raise UsageError(
            f"{where} metric = {metric!r} needs [validation] kind = 'shifted' or 'shifted-kfold'; it is "
            f"{found.kind!r}"
        )
    if found.kind == "shifted-kfold" and not is_ranked:
        raise UsageError(
            f"{where} [validation] kind = 'shifted-kfold' trains fold models for a metric such as "
            f"'{SHIFTED}accuracy', which metric = {metric!r} does not use"
        )
