"""Text or table <-> schedule, and the config of a trial -> schedule.

A schedule as text is a family and its arguments, `wsd(cooldown_fraction=0.2, cooldown="sqrt")`; as a table it
is {name = "wsd", cooldown_fraction = 0.2, cooldown = "sqrt"}. Arguments of every family:

- `warmup_fraction`: the part of the horizon spent warming up; the shape is stretched over what is left.
- `read_every` (steps) or `read_fractions` (of what is left): when the shape is read after the warm-up; at
  every step unless given.

All errors are ValueError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from schedules.check import COUNT, FRACTION, number, unknown, whole
from schedules.combine import hold, warmup
from schedules.hyperparameters import HYPERPARAMETERS, check_name
from schedules.knots import knots
from schedules.sampling import at_fractions, every
from schedules.shapes import (
    constant,
    cosine,
    exponential,
    infinite,
    inverse_sqrt,
    linear,
    multistep,
    one_cycle,
    power,
    rewarm,
    rex,
    slow_start_fast_decay,
    wsd,
)
from schedules.text import TUNER_NAMES, read, written
from schedules.types import Schedule

__all__ = [
    "COMMON",
    "HYPERPARAMETERS",
    "SCHEDULES",
    "Family",
    "build",
    "check_name",
    "format",
    "from_config",
    "parse",
    "table_of",
]


@dataclass(frozen=True, slots=True)
class Family:
    """One entry of the table of schedules."""

    shape: Callable[..., Schedule]  # (horizon, **arguments) -> schedule
    arguments: tuple[str, ...]  # in the order of writing
    meaning: str
    needs: tuple[str, ...] = ()  # arguments without a default


def _constant(horizon: int, factor: float = 1.0) -> Schedule:
    return constant(factor)


# Written by hand: to add a schedule, add a function and a line.
SCHEDULES: dict[str, Family] = {
    "constant": Family(_constant, ("factor",), "the same factor at every step"),
    "linear": Family(linear, ("floor",), "straight down"),
    "cosine": Family(cosine, ("floor",), "half a cosine down"),
    "power": Family(power, ("power", "floor"), "a power of the steps left"),
    "exponential": Family(exponential, ("floor",), "down by equal ratios"),
    "inverse_sqrt": Family(inverse_sqrt, ("timescale_fraction",), "inverse square root of the step"),
    "multistep": Family(multistep, ("milestones", "drop"), "a staircase"),
    "rex": Family(rex, ("beta", "floor"), "reflected exponential: holds up, then falls faster than linear"),
    "wsd": Family(wsd, ("cooldown_fraction", "cooldown", "floor"), "stable, then a cooldown at the end"),
    "one_cycle": Family(one_cycle, ("peak_fraction", "start_factor", "floor"), "up and down half cosines"),
    "slow_start_fast_decay": Family(
        slow_start_fast_decay,
        ("peak_fraction", "start_factor", "power", "floor"),
        "up by equal ratios, then quickly down",
    ),
    "rewarm": Family(rewarm, ("peak_fraction", "floor"), "up from the floor, then half a cosine down to it"),
    "infinite": Family(
        infinite,
        ("settle_fraction", "plateau_factor", "anneal_fraction", "floor"),
        "down to a plateau, hold, anneal",
    ),
    "knots": Family(
        knots,
        ("factors", "fractions", "interpolation", "scale"),
        "through given factors",
        needs=("factors",),
    ),
}

COMMON = ("warmup_fraction", "read_every", "read_fractions")  # arguments of every family

# What others call them; only ever suggested.
_ELSEWHERE = {
    "polynomial": "power",
    "poly": "power",
    "step": "multistep",
    "exp": "exponential",
    "onecycle": "one_cycle",
    "1cycle": "one_cycle",
    "trapezoid": "wsd",
    "trapezoidal": "wsd",
    "warmup_stable_decay": "wsd",
    "reflected_exponential": "rex",
    "none": "constant",
}


def build(spec: str | Mapping[str, Any], horizon: int) -> Schedule:
    """The schedule of a text or table, stretched over `horizon` steps, warm-up included.

    Warm-up takes round(warmup_fraction * horizon) steps, leaving at least one; the shape gets the rest as its
    horizon.

    >>> build("linear(warmup_fraction=0.2)", horizon=10)([0, 1, 2, 6, 10]).tolist()
    [0.5, 1.0, 1.0, 0.5, 0.0]
    >>> build({"name": "linear", "read_every": 5}, horizon=10)([0, 4, 5, 10]).tolist()
    [1.0, 1.0, 0.5, 0.0]

    Raises:
        ValueError: text that is no schedule, an unknown family or argument, a value that is not legal.
    """
    if isinstance(spec, str):
        spec = read(spec)
    name = _check_names(spec)
    arguments = {argument: value for argument, value in spec.items() if argument != "name"}
    try:
        horizon = whole("horizon", horizon, COUNT)
        fraction = number("warmup_fraction", arguments.pop("warmup_fraction", 0.0), FRACTION)
        read_every = arguments.pop("read_every", None)
        read_fractions = arguments.pop("read_fractions", None)
        if read_every is not None and read_fractions is not None:
            raise ValueError("read_every and read_fractions exclude each other: give one")
        warmup_steps = min(round(fraction * horizon), horizon - 1)
        shape_steps = horizon - warmup_steps
        schedule = SCHEDULES[name].shape(shape_steps, **arguments)
        if read_every is not None:
            schedule = hold(every(schedule, whole("read_every", read_every)), shape_steps)
        if read_fractions is not None:
            schedule = at_fractions(schedule, shape_steps, read_fractions)
    except ValueError as error:
        raise ValueError(f"schedule {name!r}: {error}") from None
    return warmup(warmup_steps, schedule)


def parse(text: str) -> dict[str, Any]:
    """The table of a schedule written as text, its arguments checked. Nothing in the text is executed.

    >>> parse('wsd(cooldown_fraction=0.2, cooldown="sqrt")')
    {'name': 'wsd', 'cooldown_fraction': 0.2, 'cooldown': 'sqrt'}

    Raises:
        ValueError: as `build`.
    """
    table = read(text)
    build(table, horizon=1)
    return table


def format(table: Mapping[str, Any]) -> str:
    """The text of a table, arguments in the order of the family; `parse` gives the table back.

    >>> format({"name": "rex", "warmup_fraction": 0.05, "beta": 0.3})
    'rex(beta=0.3, warmup_fraction=0.05)'

    Raises:
        ValueError: as `build`.
    """
    build(table, horizon=1)
    name = table["name"]
    known = (*SCHEDULES[name].arguments, *COMMON)
    return written(name, {argument: table[argument] for argument in known if argument in table})


def table_of(config: Mapping[str, bool | int | float | str]) -> dict[str, Any]:
    """The table of the schedule that a trial's config asks for; other names are ignored.

    >>> table_of({"lr": 0.1, "schedule": "rex", "warmup_fraction": 0.05, "rex_beta": 0.3})
    {'name': 'rex', 'warmup_fraction': 0.05, 'beta': 0.3}
    >>> table_of({"schedule": "knots(fractions=[0, 0.2, 1])", "knot_1": 0.1, "knot_2": 1.0, "knot_3": 0.0})
    {'name': 'knots', 'fractions': [0, 0.2, 1], 'factors': [0.1, 1.0, 0.0]}

    Raises:
        ValueError: as `from_config`, except for values that are not legal.
    """
    chosen = config.get("schedule", "cosine")
    if not isinstance(chosen, str):
        raise ValueError(f"schedule={chosen!r} must be a text; known: {', '.join(SCHEDULES)}")
    table = read(chosen)
    name = _check_names(table, complete=False)
    lists: dict[str, list[float]] = {}
    for flat, hyperparameter in HYPERPARAMETERS.items():
        if flat not in config or flat == "schedule":
            continue
        if hyperparameter.families and name not in hyperparameter.families:
            raise ValueError(_misplaced(flat, hyperparameter.families, name))
        argument = hyperparameter.argument
        if argument in table:
            raise ValueError(f"{flat}={config[flat]!r} is given twice: schedule={chosen!r} sets {argument}")
        if hyperparameter.place is None:
            table[argument] = config[flat]
        else:
            items = lists.setdefault(argument, [])
            if hyperparameter.place != len(items):
                stem = flat.rpartition("_")[0]
                raise ValueError(
                    f"{flat} is given, {stem}_{len(items) + 1} is not: number them from 1 without gaps"
                )
            items.append(cast(float, config[flat]))
    return {**table, **lists}


def from_config(config: Mapping[str, bool | int | float | str], horizon: int) -> Schedule:
    """The schedule that a trial's config asks for, stretched over `horizon` steps, warm-up included.

    Only names in `HYPERPARAMETERS` are read, all others are ignored. Without `schedule` it is a cosine.

    >>> from_config({"lr": 0.1, "schedule": "wsd(cooldown_fraction=0.5)"}, horizon=100)([0, 75, 100]).tolist()
    [1.0, 0.5, 0.0]
    >>> from_config({"schedule": "cosine", "cooldown_fraction": 0.2}, horizon=100)
    Traceback (most recent call last):
    ValueError: cooldown_fraction belongs to schedule 'wsd', not 'cosine': add when = {schedule = "wsd"}

    Raises:
        ValueError: an unknown family, a hyperparameter that the family does not know or that is given twice,
            a value that is not legal.
    """
    return build(table_of(config), horizon)


def _misplaced(flat: str, families: tuple[str, ...], name: str) -> str:
    if len(families) == 1:
        owner = families[0]
        return f'{flat} belongs to schedule {owner!r}, not {name!r}: add when = {{schedule = "{owner}"}}'
    owners = ", ".join(repr(family) for family in families)
    return f"{flat} belongs to schedules {owners}, not {name!r}: add when = {{schedule = [those it is for]}}"


def _check_names(table: Mapping[str, Any], complete: bool = True) -> str:
    """The family of a table, whose arguments it knows and (if complete) has all it needs of."""
    name = table.get("name")
    if name is None:
        raise ValueError(f'a schedule needs a name, as in {{name = "cosine"}}; known: {", ".join(SCHEDULES)}')
    if name in TUNER_NAMES:
        raise ValueError(
            f"{name!r} is a tuner, not a schedule: its factors depend on the losses (`tuner_from_config`)"
        )
    if not isinstance(name, str) or name not in SCHEDULES:
        known = (*SCHEDULES, *TUNER_NAMES)
        raise ValueError(unknown("schedule", name, known, _ELSEWHERE.get(str(name).lower())))
    family = SCHEDULES[name]
    known = (*family.arguments, *COMMON)
    for argument in table:
        if argument != "name" and argument not in known:
            raise ValueError(f"schedule {name!r}: {unknown('argument', argument, known)}")
    for argument in family.needs if complete else ():
        if argument not in table:
            flat = [key for key, value in HYPERPARAMETERS.items() if value.argument == argument]
            raise ValueError(f"schedule {name!r} needs {argument}, or {flat[0]}, {flat[1]}, … in a config")
    return name
