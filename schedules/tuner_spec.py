"""Text <-> tuner, and the config of a trial -> tuner.

A tuner is written where a schedule is, as a name with arguments: `schedule = "race(k=4, base=\"wsd\")"`.
`guarded=true` is an argument of every one. All errors are ValueError.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from schedules.autolrs import autolrs
from schedules.check import truth, unknown
from schedules.guarded import guarded as guard
from schedules.hyperparameters import HYPERPARAMETERS
from schedules.plan import Planned
from schedules.plateau import accelat, plateau
from schedules.race import lean, race
from schedules.range_test import range_test
from schedules.spec import SCHEDULES
from schedules.text import TUNER_NAMES, read, written
from schedules.types import Tuner

COMMON = ("guarded",)  # arguments of every tuner
_GUARDING = ("autolrs", "lean")  # guard themselves unless told not to
_MENTION = 10_000  # steps for which a text is checked where there is no run yet


@dataclass(frozen=True, slots=True)
class TunerFamily:
    """One entry of the table of tuners."""

    make: Callable[..., Planned]  # (horizon, budget, **arguments) -> tuner
    arguments: tuple[str, ...]  # in the order of writing
    meaning: str


_INTERVAL = ("low", "high", "probe_share")
_RACE = (
    *("k", "ratio", "base", "warmup_fraction", "rank_fraction", "finalists", "final_fraction", "centre"),
    *_INTERVAL,
)

# Written by hand: to add a tuner, add a function and a line.
TUNER_FAMILIES: dict[str, TunerFamily] = {
    "auto": TunerFamily(race, _RACE, "the default search, a race"),
    "race": TunerFamily(
        race, _RACE, "several rates from step 0, two go on after a tenth, one after three tenths"
    ),
    "lean": TunerFamily(
        lean,
        (
            *("k", "ratio", "base", "warmup_fraction", "probe_fraction"),
            *("start_factor", "ramp_fraction", *_INTERVAL),
        ),
        "start low, try higher rates once",
    ),
    "autolrs": TunerFamily(
        autolrs,
        (
            *(
                "low",
                "high",
                "published",
                "stages",
                "first_stage_steps",
                "most_stage_steps",
                "probe_fraction",
            ),
            *("rounds", "kappa", "score", "signal", "forecaster", "probe_evals", "chunks", "shrink"),
            *(
                "prior_mean",
                "adopt",
                "stay",
                "warmup_fraction",
                "start_factor",
                "ramp_fraction",
                "anneal_fraction",
            ),
            *("probe_share", "weight_decay", "momentum", "seed"),
        ),
        "search stage by stage",
    ),
    "plateau": TunerFamily(
        plateau,
        (
            *("factor", "patience", "threshold", "mode", "cooldown"),
            *("segment_steps", "warmup_fraction", "floor"),
        ),
        "lower the rate when the validation loss stops falling",
    ),
    "accelat": TunerFamily(
        accelat,
        ("factor", "threshold", "segment_steps", "warmup_fraction", "floor"),
        "lower the rate when the mean validation loss of five segments stops falling",
    ),
    "range_test": TunerFamily(
        range_test,
        ("sweep_steps", "sweeps", "low", "high", "base", "warmup_fraction"),
        "sweep the rate, train where the loss fell fastest",
    ),
}


def is_tuner(config: Mapping[str, bool | int | float | str]) -> bool:
    """Whether a trial's config asks for a tuner rather than a schedule.

    >>> is_tuner({"schedule": "race(k=4)"}), is_tuner({"schedule": "rex"}), is_tuner({})
    (True, False, False)
    """
    chosen = config.get("schedule")
    if not isinstance(chosen, str):
        return False
    try:
        return read(chosen)["name"] in TUNER_FAMILIES
    except ValueError:
        return False


def build_tuner(spec: str | Mapping[str, Any], horizon: int, budget: int) -> Tuner:
    """The tuner of a text or table: `horizon` kept steps if `budget` steps in all allow them.

    >>> tuner = build_tuner('race(k=4, base="wsd")', horizon=1000, budget=1500)
    >>> len(tuner.ask().segments)
    4

    Raises:
        ValueError: text that is no tuner, an unknown name or argument, a value that is not legal, or a budget
            too small for the search.
    """
    table = read(spec) if isinstance(spec, str) else spec
    name = _check_names(table)
    arguments = {argument: value for argument, value in table.items() if argument != "name"}
    try:
        if name in _GUARDING:
            return TUNER_FAMILIES[name].make(horizon, budget, **arguments)
        is_guarded = truth("guarded", arguments.pop("guarded", False))
        tuner = TUNER_FAMILIES[name].make(horizon, budget, **arguments)
    except ValueError as error:
        raise ValueError(f"schedule {name!r}: {error}") from None
    return guard(tuner) if is_guarded else tuner


def parse_tuner(text: str) -> dict[str, Any]:
    """The table of a tuner written as text, its arguments checked. Nothing in the text is executed.

    >>> parse_tuner("race(k=4, guarded=true)")
    {'name': 'race', 'k': 4, 'guarded': True}

    Raises:
        ValueError: as `build_tuner`, but for the budget.
    """
    table = read(text)
    # Long enough for the stages of any search.
    build_tuner(table, _MENTION, 10 * _MENTION)
    return table


def format_tuner(table: Mapping[str, Any]) -> str:
    """The text of a table, arguments in the order of the tuner; `parse_tuner` gives the table back.

    >>> format_tuner({"name": "race", "guarded": True, "base": "wsd", "k": 4})
    'race(k=4, base="wsd", guarded=true)'

    Raises:
        ValueError: as `parse_tuner`.
    """
    build_tuner(table, _MENTION, 10 * _MENTION)
    name = table["name"]
    known = (*TUNER_FAMILIES[name].arguments, *COMMON)
    return written(name, {argument: table[argument] for argument in known if argument in table})


def tuner_table_of(config: Mapping[str, bool | int | float | str]) -> dict[str, Any]:
    """The table of the tuner that a trial's config asks for.

    Of the flat names of schedules only `warmup_fraction` means the same here.

    >>> tuner_table_of({"lr": 0.1, "schedule": "race(k=4)", "warmup_fraction": 0.1})
    {'name': 'race', 'k': 4, 'warmup_fraction': 0.1}

    Raises:
        ValueError: as `build_tuner`, except for values that are not legal; or a flat name that is not for it.
    """
    chosen = str(config.get("schedule"))
    table = read(chosen)
    name = _check_names(table)
    for flat in HYPERPARAMETERS:
        if flat not in config or flat == "schedule":
            continue
        if flat != "warmup_fraction":
            raise ValueError(f"{flat} belongs to schedules, not to the tuner {name!r}: leave it out")
        if flat in table:
            raise ValueError(f"{flat}={config[flat]!r} is given twice: schedule={chosen!r} sets it")
        if flat not in TUNER_FAMILIES[name].arguments:
            raise ValueError(f"{flat} is no argument of the tuner {name!r}: leave it out")
        table[flat] = config[flat]
    return table


def tuner_from_config(
    config: Mapping[str, bool | int | float | str], horizon: int, budget: int
) -> Tuner | None:
    """The tuner that a trial's config asks for; None where it asks for a schedule.

    >>> tuner_from_config({"lr": 0.1, "schedule": "auto"}, horizon=1000, budget=1500).ask().segments[0].steps
    100
    >>> tuner_from_config({"lr": 0.1, "schedule": "rex"}, horizon=1000, budget=1000)

    Raises:
        ValueError: as `build_tuner` and `tuner_table_of`.
    """
    return build_tuner(tuner_table_of(config), horizon, budget) if is_tuner(config) else None


def _check_names(table: Mapping[str, Any]) -> str:
    """The name of a tuner, whose arguments it knows."""
    name = table.get("name")
    if name in SCHEDULES:
        raise ValueError(
            f"{name!r} is a schedule, not a tuner: it does not listen; tuners: {', '.join(TUNER_NAMES)}"
        )
    if not isinstance(name, str) or name not in TUNER_FAMILIES:
        raise ValueError(unknown("tuner", name, TUNER_FAMILIES))
    known = (*TUNER_FAMILIES[name].arguments, *COMMON)
    for argument in table:
        if argument != "name" and argument not in known:
            raise ValueError(f"schedule {name!r}: {unknown('argument', argument, known)}")
    return name
