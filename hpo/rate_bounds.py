"""Bounds of a study's learning rate that a range test finds, before the first trial.

`lr = "range_test"` in `[space]`. What is found takes the place of these words in the study's table, so that
the journal has bounds, and a study taken up has nothing to find.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from hpo.errors import UsageError
from hpo.events import Noticed
from hpo.runners.base import Runner
from schedules import HYPERPARAMETERS, span_of
from schedules.range_test import SWEEPS, cost_of
from trials.spec import Config, TrialSpec

WORDS = "range_test"  # instead of a range of `lr`

# A sweep goes through all rates that anybody trains with; they also stand in for the bounds until it is done.
LOWEST, HIGHEST = 1e-6, 10.0
_SWEEP_STEPS = 140  # twenty a decade, as in the sweeps that were measured
_STEPS = cost_of(_SWEEP_STEPS, SWEEPS) + 1  # of a test; a tuner has to keep a step
_RULE = ("rule", "rule_scope")


def is_wanted(space: Mapping[str, Any]) -> bool:
    """Whether a `[space]` leaves the bounds of `lr` to a range test.

    >>> is_wanted({"lr": "range_test"}), is_wanted({"lr": 0.1})
    (True, False)
    """
    return space.get("lr") == WORDS


def with_bounds(space: Mapping[str, Any], low: float = LOWEST, high: float = HIGHEST) -> dict[str, Any]:
    """The `[space]` with these bounds of `lr`, on a log scale.

    >>> with_bounds({"lr": "range_test", "batch_size": 64}, 0.01, 0.1)
    {'lr': {'low': 0.01, 'high': 0.1, 'scale': 'log'}, 'batch_size': 64}
    """
    return {**space, "lr": {"low": low, "high": high, "scale": "log"}}


def found(
    runner: Runner, examples: Sequence[Config], seed: int, split_seed: int, now: float
) -> tuple[float, float, Noticed]:
    """(lowest, highest) rate worth a trial, and what the user should know of them.

    `schedules.range_test.span_of` says what they are; where configs take several choices (optimizers,
    widths), there is one test for each, and bounds that hold all of them. `examples` take every choice.

    Raises:
        UsageError: the loss falls at no rate, or diverges at every one.
    """
    spans: list[tuple[float, float]] = []
    for config in examples:
        trial = _trial(config, seed, split_seed)
        low, high = span_of(runner.explore(trial))
        if not low < high:
            where = f"from {LOWEST:g} to {HIGHEST:g}"
            raise UsageError(f"lr = {WORDS!r}: the training loss falls at no rate {where}: give lr a range")
        rate = float(trial.config["lr"])
        spans.append((low * rate, high * rate))
    low, high = (_two_digits(end) for end in (min(low for low, _ in spans), max(high for _, high in spans)))
    tests = "1 range test" if len(spans) == 1 else f"{len(spans)} range tests"
    text = (
        f"lr is searched from {low:g} to {high:g}: {tests} of {_STEPS} steps, which no trial counts, say so"
    )
    return low, high, Noticed("range_test", text, now)


def _trial(config: Config, seed: int, split_seed: int) -> TrialSpec:
    """Sweeps from one place, and the one step after them that a tuner has to keep."""
    centre = math.sqrt(LOWEST * HIGHEST)
    plain = {name: value for name, value in config.items() if name not in (*HYPERPARAMETERS, *_RULE)}
    text = f"range_test(sweep_steps={_SWEEP_STEPS}, low={LOWEST / centre!r}, high={HIGHEST / centre!r})"
    own = {**plain, "lr": centre, "schedule": text}
    return TrialSpec(0, own, seed, _STEPS, (_STEPS,), _STEPS, split_seed)


def _two_digits(rate: float) -> float:
    return float(f"{rate:.2g}")
