"""Hypothesis strategies that every feature joins."""

from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from schedules import combine, sampling, tuners
from schedules.knots import INTERPOLATIONS, SCALES
from schedules.shapes import COOLDOWNS, constant
from schedules.spec import COMMON, SCHEDULES, build
from schedules.types import Keep, Probe, Schedule, Segment, Trace, Tuner

# The settings of a law: seeded, and few examples, because a law is run over every entry of a table.
law = settings(derandomize=True, deadline=None, max_examples=20)

unit = st.floats(0, 1)
share = st.floats(0, 1, exclude_min=True)
fraction = st.floats(0, 1, exclude_max=True)
positive = st.floats(0, exclude_min=True, allow_infinity=False)
factor = st.floats(0, 1e6)
horizons = st.integers(1, 2000)

# family -> argument -> legal values; tests/contracts/test_schedules.py checks that none is forgotten
ARGUMENTS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "constant": {"factor": factor},
    "linear": {"floor": unit},
    "cosine": {"floor": unit},
    "power": {"power": positive, "floor": unit},
    "exponential": {"floor": share},
    "inverse_sqrt": {"timescale_fraction": positive},
    "multistep": {"milestones": st.lists(unit, min_size=1, max_size=5), "drop": unit},
    "rex": {"beta": positive, "floor": unit},
    "wsd": {"cooldown_fraction": share, "cooldown": st.sampled_from(COOLDOWNS), "floor": unit},
    "one_cycle": {"peak_fraction": fraction, "start_factor": unit, "floor": unit},
    "slow_start_fast_decay": {
        "peak_fraction": fraction,
        "start_factor": share,
        "power": positive,
        "floor": share,
    },
    "rewarm": {"peak_fraction": fraction, "floor": unit},
    "infinite": {
        "settle_fraction": unit,
        "plateau_factor": share,
        "anneal_fraction": share,
        "floor": share,
    },
    "knots": {
        "factors": st.lists(factor, min_size=2, max_size=8),
        "fractions": st.lists(unit, min_size=8, max_size=8, unique_by=lambda place: round(place, 4)),
        "interpolation": st.sampled_from(INTERPOLATIONS),
        "scale": st.sampled_from(SCALES),
    },
}


@st.composite
def tables(draw: st.DrawFn, name: str | None = None, common: Sequence[str] = COMMON) -> dict[str, Any]:
    """The table of a schedule of this family (None: of any), with some of its arguments."""
    name = draw(st.sampled_from(list(SCHEDULES))) if name is None else name
    optional = dict(ARGUMENTS[name])
    needed = {argument: optional.pop(argument) for argument in SCHEDULES[name].needs}
    table = draw(st.fixed_dictionaries(needed, optional=optional))
    if "warmup_fraction" in common and draw(st.booleans()):
        table["warmup_fraction"] = draw(fraction)
    match draw(st.sampled_from(["", "read_every", "read_fractions"])):
        case "read_every" if "read_every" in common:
            table["read_every"] = draw(st.integers(1, 100))
        case "read_fractions" if "read_fractions" in common:
            table["read_fractions"] = draw(st.lists(unit, min_size=1, max_size=5))
        case _:
            pass
    if table.get("cooldown") == "exponential" and table.get("floor") == 0:
        del table["floor"]
    if "fractions" in table:
        table["fractions"] = sorted(round(place, 4) for place in table["fractions"][: len(table["factors"])])
    if table.get("scale") == "log":
        table["factors"] = [max(height, 1e-9) for height in table["factors"]]
    return {"name": name, **table}


def _combined(parts: st.SearchStrategy[Schedule]) -> st.SearchStrategy[Schedule]:
    steps = st.integers(0, 300)
    some_steps = st.integers(1, 300)
    return st.one_of(
        st.builds(combine.warmup, steps, parts),
        st.builds(lambda a, b, start: combine.join([a, b], [start]), parts, parts, some_steps),
        st.builds(combine.restart, parts, some_steps, st.none() | st.integers(1, 5)),
        st.builds(combine.scale, parts, unit),
        st.builds(lambda part, ends: combine.clip(part, *sorted(ends)), parts, st.tuples(factor, factor)),
        st.builds(combine.shift, parts, st.integers(-300, 300)),
        st.builds(combine.hold, parts, steps),
        st.builds(sampling.every, parts, some_steps),
        st.builds(sampling.at_fractions, parts, horizons, st.lists(unit, min_size=1, max_size=5)),
    )


def schedules() -> st.SearchStrategy[Schedule]:
    """Schedules of every family, and combinations of them."""
    return st.recursive(st.builds(build, tables(), horizons), _combined, max_leaves=4)


def step_arrays() -> st.SearchStrategy[np.ndarray]:
    """Steps of any shape, whole or not, a single one included."""
    shapes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=12)
    return arrays.arrays(np.int64, shapes, elements=st.integers(0, 4000)) | arrays.arrays(
        np.float64, shapes, elements=st.floats(0, 4000)
    )


def traces(segment: Segment, is_finite: bool = False) -> st.SearchStrategy[Trace]:
    """What may become of a segment: losses of any size, unless told not to not finite ones included."""
    losses = st.floats(-10, 10, width=32) if is_finite else st.floats(width=32)
    return st.builds(
        Trace,
        st.just(segment),
        arrays.arrays(np.float32, segment.steps, elements=losses),
        arrays.arrays(np.float32, segment.evals, elements=losses),
    )


class Race:
    """The smallest tuner that probes and adopts: try some factors at once, go on from the end of the best."""

    def __init__(self, factors: Sequence[float], steps: int) -> None:
        self._probes = tuple(Segment(constant(value), steps, evals=1) for value in factors)
        self._told: list[Sequence[Trace]] = []

    def ask(self) -> Keep | Probe | None:
        match len(self._told):
            case 0:
                return Probe(self._probes)
            case 1:
                ends = [float(np.nan_to_num(trace.losses[-1], nan=np.inf)) for trace in self._told[0]]
                best = int(np.argmin(ends))
                return Keep(self._probes[best], adopt=best)
            case _:
                return None

    def tell(self, traces: Sequence[Trace]) -> None:
        self._told.append(traces)


Make = Callable[[], Tuner]  # a fresh tuner, equal to every other one it makes

_few_steps = st.integers(1, 8)
_races: st.SearchStrategy[Make] = st.builds(
    lambda factors, steps: lambda: Race(factors, steps), st.lists(factor, min_size=1, max_size=3), _few_steps
)
_plain: st.SearchStrategy[Make] = st.builds(
    lambda schedule, steps, evals: lambda: tuners.open_loop(schedule, steps, evals),
    schedules(),
    _few_steps,
    st.integers(0, 3),
)

# tuner -> ways of making one; tests/contracts/test_tuners.py checks that none is forgotten
TUNER_MAKERS: dict[str, st.SearchStrategy[Make]] = {
    "open_loop": _plain,
    "after": st.builds(
        lambda schedule, steps, make: lambda: tuners.after(schedule, steps, make()),
        schedules(),
        _few_steps,
        _races | _plain,
    ),
    "bounded": st.builds(
        lambda make, ends: lambda: tuners.bounded(make(), *sorted(ends)),
        _races | _plain,
        st.tuples(factor, factor),
    ),
    "race": st.builds(
        lambda horizon, more, k, centre: lambda: tuners.race(horizon, horizon + more, k=k, centre=centre),
        st.integers(40, 120),
        st.integers(200, 300),
        st.integers(2, 4),
        st.sampled_from(["lr", "range_test"]),
    ),
    "lean": st.builds(
        lambda horizon, more, k: lambda: tuners.lean(horizon, horizon + more, k=k),
        st.integers(40, 120),
        st.integers(30, 300),
        st.integers(2, 4),
    ),
    "guarded": st.builds(
        lambda make, piece_steps, retries: lambda: tuners.guarded(make(), piece_steps, retries=retries),
        _races | _plain,
        st.none() | st.integers(2, 5),
        st.integers(1, 3),
    ),
    "autolrs": st.builds(
        lambda horizon, more, options: lambda: tuners.autolrs(horizon, horizon + more, **options),
        st.integers(130, 160),
        st.integers(100, 200),
        st.sampled_from(
            [
                {"rounds": (2, 1)},
                {"guarded": False, "rounds": (2, 1), "chunks": 1, "stages": 1, "score": "last"},
                {
                    "score": "forecast",
                    "signal": "validation",
                    "stages": 1,
                    "rounds": (2,),
                    "adopt": False,
                    "weight_decay": (0, 0.1),
                },
                {"published": True, "stages": 1, "rounds": (1, 1, 1)},
            ]
        ),
    ),
    "plateau": st.builds(
        lambda horizon, budget, patience, cooldown, floor: (
            lambda: tuners.plateau(
                horizon, budget, patience=patience, cooldown=cooldown, floor=floor, segment_steps=2
            )
        ),
        st.integers(3, 40),
        st.integers(3, 40),
        st.integers(0, 3),
        st.integers(0, 2),
        unit,
    ),
    "accelat": st.builds(
        lambda horizon, budget, threshold: (
            lambda: tuners.accelat(horizon, budget, threshold=threshold, segment_steps=2)
        ),
        st.integers(3, 40),
        st.integers(3, 40),
        st.floats(0, 1),
    ),
    "range_test": st.builds(
        lambda horizon, sweeps: lambda: tuners.range_test(horizon, horizon + 60, sweeps=sweeps),
        st.integers(1, 60),
        st.integers(1, 2),
    ),
}
