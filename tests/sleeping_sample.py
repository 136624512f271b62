"""Objectives that only wait, and load nothing that takes long."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

SPACE = {"x": {"low": -2.0, "high": 2.0}}


def value(config: Mapping[str, Any], spent: int) -> float:
    """What both report."""
    return (config["x"] - 0.5) ** 2 + 1 / spent


def waiting(spec: Any) -> Iterator[dict[str, float]]:
    """A twentieth of a second a rung."""
    for rung in spec.rungs:
        time.sleep(0.05)
        yield {"step": rung, "val_loss": value(spec.config, rung)}


def endless(spec: Any) -> float:
    """It answers nobody."""
    time.sleep(600)
    return 0.0


def second(spec: Any) -> float:
    """A second of nothing."""
    time.sleep(1.0)
    return value(spec.config, spec.budget)


for _function in (waiting, endless, second):
    _function.space = SPACE  # type: ignore[attr-defined]
