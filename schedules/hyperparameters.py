"""The flat names under which a study can search the schedule, next to `lr`.

Each is an argument of some families; `spec.from_config` turns them into a schedule.
"""

from dataclasses import dataclass

from schedules.check import COUNT, FACTOR, FRACTION, POSITIVE, SHARE, UNIT, Interval, unknown
from schedules.knots import INTERPOLATIONS, SCALES
from schedules.shapes import COOLDOWNS

MOST_KNOTS = 8
MOST_MILESTONES = 4


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One flat name: the argument it sets, where it applies and what it may be."""

    argument: str  # of the family's shape; "" for the family itself
    families: tuple[str, ...]  # () means every family
    legal: Interval | tuple[str, ...] | None  # numbers, texts, or (the family itself) a text for `spec.parse`
    meaning: str
    is_whole: bool = False  # a number without fraction
    place: int | None = None  # from 0, for one item of an argument that is a list


_FLOORED = (
    "cosine",
    "linear",
    "power",
    "exponential",
    "rex",
    "wsd",
    "one_cycle",
    "slow_start_fast_decay",
    "rewarm",
    "infinite",
)

# Written by hand; tests/contracts/test_schedules.py holds it against the table of families.
HYPERPARAMETERS: dict[str, Hyperparameter] = {
    "schedule": Hyperparameter(
        "", (), None, "the family, by name or as text such as wsd(cooldown_fraction=0.3)"
    ),
    "warmup_fraction": Hyperparameter(
        "warmup_fraction", (), FRACTION, "part of the horizon spent rising to the first factor"
    ),
    "read_every": Hyperparameter(
        "read_every", (), COUNT, "steps for which a factor is held once warm", is_whole=True
    ),
    "floor": Hyperparameter("floor", _FLOORED, UNIT, "the last factor, reached at the horizon"),
    "decay_power": Hyperparameter(
        "power", ("power", "slow_start_fast_decay"), POSITIVE, "exponent of the decay; 1 is the plain form"
    ),
    "rex_beta": Hyperparameter(
        "beta", ("rex",), POSITIVE, "1 is linear, 0.5 the paper's form, less holds the peak for longer"
    ),
    "timescale_fraction": Hyperparameter(
        "timescale_fraction", ("inverse_sqrt",), POSITIVE, "part of the horizon before the decay sets in"
    ),
    "cooldown_fraction": Hyperparameter(
        "cooldown_fraction", ("wsd",), SHARE, "last part of the horizon, spent falling to the floor"
    ),
    "cooldown": Hyperparameter("cooldown", ("wsd",), COOLDOWNS, "form of the fall to the floor"),
    "peak_fraction": Hyperparameter(
        "peak_fraction",
        ("one_cycle", "slow_start_fast_decay", "rewarm"),
        FRACTION,
        "part of the horizon before the peak",
    ),
    "start_factor": Hyperparameter(
        "start_factor", ("one_cycle", "slow_start_fast_decay"), UNIT, "the first factor, before the rise"
    ),
    "settle_fraction": Hyperparameter(
        "settle_fraction", ("infinite",), UNIT, "part of the trunk spent falling to the plateau"
    ),
    "plateau_factor": Hyperparameter("plateau_factor", ("infinite",), SHARE, "the factor of the plateau"),
    "anneal_fraction": Hyperparameter(
        "anneal_fraction", ("infinite",), SHARE, "last part of the horizon, spent falling to the floor"
    ),
    "drop_factor": Hyperparameter("drop", ("multistep",), UNIT, "what each milestone multiplies by"),
    **{
        f"milestone_{number}": Hyperparameter(
            "milestones",
            ("multistep",),
            UNIT,
            f"fraction of the horizon of milestone {number}, in any order",
            place=number - 1,
        )
        for number in range(1, MOST_MILESTONES + 1)
    },
    **{
        f"knot_{number}": Hyperparameter(
            "factors", ("knots",), FACTOR, f"factor at knot {number}, evenly spaced", place=number - 1
        )
        for number in range(1, MOST_KNOTS + 1)
    },
    "knot_interpolation": Hyperparameter(
        "interpolation", ("knots",), INTERPOLATIONS, "straight or smooth between knots"
    ),
    "knot_scale": Hyperparameter(
        "scale", ("knots",), SCALES, "whether the factor or its logarithm is interpolated"
    ),
}


def check_name(name: str) -> None:
    """Do nothing if this is the flat name of a schedule hyperparameter.

    >>> check_name("warmup_fraction")

    Raises:
        ValueError: it is not; the message suggests the nearest one.
    """
    if name not in HYPERPARAMETERS:
        raise ValueError(unknown("schedule hyperparameter", name, HYPERPARAMETERS))
