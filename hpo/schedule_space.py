"""Whether every schedule, tuner and rule that a space can ask for can be had, found out before any trial."""

import re
from collections.abc import Iterator, Sequence

from hpo import rate_bounds
from hpo.errors import UsageError
from hpo.space import Choice, Space
from schedules import HYPERPARAMETERS, from_config
from schedules.hypergradient import FLOATS, check_floats
from schedules.tuner_spec import tuner_from_config
from trials.spec import Value

_READ = ("lr", *HYPERPARAMETERS, *FLOATS)


def schedules_of(space: Space) -> Sequence[Value]:
    """What a config of the space may name as its schedule."""
    domain = space.domains.get("schedule")
    return domain.choices if isinstance(domain, Choice) else [space.fixed.get("schedule", "cosine")]


def check_schedules(space: Space, where: str, steps: int, horizon: int) -> None:
    """Every schedule the space can choose is known, and so are all its hyperparameters, at both their ends.

    Raises:
        UsageError: one is not, or a value within the bounds is not legal.
    """
    if not isinstance(space.domains.get("schedule"), Choice | None):
        raise UsageError(f"{where} [space] schedule: must be a name or a choice of names")
    try:
        for config in _ends(space):
            check_floats(config)
            _check_rate(config.get("lr", 0.0))
            if tuner_from_config(config, horizon, steps) is None:
                from_config(config, horizon)
    except ValueError as error:
        is_of_steps = re.search(rf"\b(horizon={horizon}|budget={steps})\b", str(error))
        place = f" ([trial] steps = {steps})" if is_of_steps else ""
        raise UsageError(f"{where} [space]: {error}{place}") from error


def _check_rate(lr: Value) -> None:
    if isinstance(lr, str):
        raise ValueError(f"lr={lr!r} must be a number, a range, or {rate_bounds.WORDS!r}, which finds one")
    if lr < 0:
        raise ValueError(f"lr={lr:g} must be at least 0")


def _ends(space: Space) -> Iterator[dict[str, Value]]:
    """What schedules and rules read of configs at the ends of all ranges, with every choice in turn."""
    seen: list[dict[str, Value]] = []
    columns = {name: column for column, name in enumerate(space.names)}
    choices: list[tuple[str, Value]] = [
        (name, choice)
        for name, domain in space.domains.items()
        if isinstance(domain, Choice) and name != "schedule"
        for choice in domain.choices
    ]
    for schedule in schedules_of(space):
        for end in (0.0, 1.0):
            for changed in (None, *choices):
                point = [end] * len(columns)
                taken = [("schedule", schedule), *([] if changed is None else [changed])]
                for name, value in taken:
                    if name in columns:
                        point[columns[name]] = space.domains[name].encode(value)
                config = {name: value for name, value in space.decode(point).items() if name in _READ}
                if config not in seen:
                    seen.append(config)
                    yield config
