"""Learning-rate schedules and tuners: numpy only.

A schedule is a pure function of the step that returns a factor on the learning rate. A tuner is asked for
segments of training and is told what happened.
"""

from schedules.autolrs import autolrs
from schedules.combine import clip, hold, join, restart, scale, shift, warmup
from schedules.export import from_csv, from_toml, load_knots, to_csv, to_text, to_toml, to_torch_snippet
from schedules.guarded import guarded
from schedules.hyperparameters import HYPERPARAMETERS, Hyperparameter, check_name
from schedules.knots import knots
from schedules.plan import Fact, Planned, Spending, facts_of
from schedules.plateau import accelat, plateau
from schedules.race import lean, race
from schedules.range_test import range_of, range_test, span_of
from schedules.refine import refine
from schedules.replay import Knots, every_step, replay, thin
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
from schedules.spec import SCHEDULES, Family, build, format, from_config, parse, table_of
from schedules.tuner_spec import (
    TUNER_FAMILIES,
    TunerFamily,
    build_tuner,
    format_tuner,
    is_tuner,
    parse_tuner,
    tuner_from_config,
    tuner_table_of,
)
from schedules.tuners import TUNERS, after, bounded, open_loop
from schedules.types import Keep, Probe, Schedule, Segment, Trace, Tuner, TunerError

__all__ = [  # noqa: RUF022 - in reading order
    # the nouns
    "Schedule",
    "Segment",
    "Trace",
    "Keep",
    "Probe",
    "Tuner",
    "TunerError",
    # shapes
    "constant",
    "linear",
    "power",
    "cosine",
    "exponential",
    "inverse_sqrt",
    "multistep",
    "rex",
    "wsd",
    "one_cycle",
    "slow_start_fast_decay",
    "rewarm",
    "infinite",
    "knots",
    # schedules -> schedule
    "warmup",
    "join",
    "restart",
    "scale",
    "clip",
    "shift",
    "hold",
    "every",
    "at_fractions",
    # gradient norms -> factors
    "refine",
    # text or table <-> schedule; config -> schedule
    "Family",
    "SCHEDULES",
    "build",
    "parse",
    "format",
    "Hyperparameter",
    "HYPERPARAMETERS",
    "check_name",
    "table_of",
    "from_config",
    # factors that were followed -> knots -> file -> schedule
    "Knots",
    "every_step",
    "thin",
    "replay",
    "to_toml",
    "from_toml",
    "to_csv",
    "from_csv",
    "load_knots",
    "to_text",
    "to_torch_snippet",
    # tuners
    "open_loop",
    "after",
    "bounded",
    "guarded",
    "race",
    "lean",
    "autolrs",
    "plateau",
    "accelat",
    "range_test",
    "TUNERS",
    # text or table <-> tuner; config -> tuner
    "TunerFamily",
    "TUNER_FAMILIES",
    "build_tuner",
    "parse_tuner",
    "format_tuner",
    "is_tuner",
    "tuner_table_of",
    "tuner_from_config",
    # what a search found out, and what it took
    "Planned",
    "Spending",
    "Fact",
    "facts_of",
    "range_of",
    "span_of",
]
