"""Small tasks, specs and comparisons that the tests of training share, and the one table of tolerances."""

import math
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from schedules.types import Keep, Probe, Trace
from trials.compiling import Compiler
from trials.drive import Drive, Ended
from trials.lanes import Lanes
from trials.names import TASKS
from trials.noise import Dropout
from trials.program import Program
from trials.recipe import recipe
from trials.spec import Report, TrialSpec, Value
from trials.task import Splits, Task, load_task
from trials.train import build, load_splits, train

torch.set_num_threads(1)

CPU = torch.device("cpu")

# (dtype, operation) -> (relative, absolute). The only tolerances in the tests of training.
TOLERANCES: dict[tuple[str, str], tuple[float, float]] = {
    # An optimizer's update against torch.optim, over 50 steps.
    ("float32", "update"): (1e-6, 1e-6),
    ("float64", "update"): (1e-12, 1e-12),
    # A convolution, or its gradient, against torch's, on numbers of size 1.
    ("float32", "convolution"): (1e-4, 1e-4),
    ("float64", "convolution"): (1e-12, 1e-12),
    # A loss over the first tens of steps: sums in another order round otherwise, and training widens that.
    ("float32", "training"): (2e-4, 2e-5),
    # A share of examples counted right: rounding may tip the few that lie on an edge.
    ("float32", "share"): (0.0, 0.03),
    # A number that training does not feed back into itself.
    ("float32", "once"): (1e-5, 1e-6),
    # The same, kept in half the bits: a number between two that can be kept may go to either.
    ("bfloat16", "once"): (8e-3, 1e-5),
}


def close(
    found: Any,
    wanted: Any,
    operation: str,
    dtype: str = "float32",
) -> None:
    """Assert that the two agree within the table."""
    relative, absolute = TOLERANCES[dtype, operation]
    as_tensor = [torch.as_tensor(value, dtype=torch.float64) for value in (found, wanted)]
    torch.testing.assert_close(*as_tensor, rtol=relative, atol=absolute, equal_nan=True)


def reports_agree(found: Sequence[Report], wanted: Sequence[Report]) -> None:
    """Assert that two trials reported the same, within the table; seconds are the machine's."""
    assert [(one.step, one.spent) for one in found] == [(one.step, one.spent) for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.metrics.keys() == other.metrics.keys()
        for name, value in one.metrics.items():
            close(value, other.metrics[name], "share" if name == "val_accuracy" else "training")


def same(found: Sequence[Report], wanted: Sequence[Report]) -> bool:
    """Whether two trials reported the same to the last bit."""

    def facts(reports: Sequence[Report]) -> list[Any]:
        return [(one.step, one.spent, sorted(one.metrics.items())) for one in reports]

    return facts(found) == facts(wanted)


# -- built-in tasks, small ------------------------------------------------------------------------------

OPTIONS: dict[str, dict[str, Value]] = {"charlm": {"context": 8, "characters": 3000}}
SMALL: dict[str, dict[str, Value]] = {
    "digits": {"width": 2, "batch_size": 8},
    "digits-shift": {"width": 2, "batch_size": 8},
    "digits-edges": {"width": 2, "batch_size": 8, "output": 0.5},
    "tabular": {"width": 4, "depth": 1, "batch_size": 8},
    "tabular-regression": {"width": 4, "depth": 1, "batch_size": 8},
    "charlm": {"width": 8, "depth": 1, "heads": 2, "batch_size": 4},
}


@lru_cache
def task(name: str) -> Task:
    """A built-in task on little data."""
    return load_task(name, OPTIONS.get(name))


@lru_cache
def splits(name: str) -> Splits:
    """Its data."""
    return load_splits(task(name), 0, CPU)


_programs: dict[Any, Program] = {}


def program(name: str, config: Mapping[str, Value]) -> Program:
    """The program of a config of a built-in task; built once."""
    parts = recipe(task(name), config)
    if (name, parts.key) not in _programs:
        _programs[name, parts.key] = build(task(name), splits(name), parts, CPU)
    return _programs[name, parts.key]


def spec(
    config: Mapping[str, Value],
    trial: int = 0,
    seed: int | None = None,
    budget: int = 12,
    rungs: Iterable[int] = (),
    horizon: int | None = None,
) -> TrialSpec:
    """A short trial."""
    marks = tuple(sorted({*rungs, budget}))
    return TrialSpec(
        trial, config, 100 + trial if seed is None else seed, budget, marks, horizon or budget, 0
    )


def alone(name: str, one: TrialSpec, **settings: Any) -> list[Report]:
    """What `train` reports."""
    return list(train(task(name), one, splits=splits(name), device=CPU, **settings))


# -- tasks as a user writes them --------------------------------------------------------------------------


class Huge(nn.Module):
    """Needs a petabyte."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.empty(2**50).sum()


class Line:
    """Regression of a line through noisy points, by one linear layer behind a dropout."""

    defaults = {"noise": 0.0}  # noqa: RUF012 - as a user writes it

    def data(self, split_seed: int) -> Splits:
        made = torch.Generator().manual_seed(5)
        x = torch.randn(60, 3, generator=made)
        y = x @ torch.tensor([1.0, -2.0, 0.5]) + 0.1 * torch.randn(60, generator=made)
        parts = [{"x": x[part], "y": y[part]} for part in (slice(0, 40), slice(40, 50), slice(50, 60))]
        return Splits(*parts)

    def model(self, config: Mapping[str, Value]) -> nn.Module:
        if config.get("fail", False):
            raise RuntimeError("this model cannot be built")
        if config.get("kill", False):
            os.kill(os.getpid(), signal.SIGKILL)
        if config.get("pause", 0):
            time.sleep(float(config["pause"]))
        layers = [Dropout("noise"), nn.Linear(3, 1)]
        return nn.Sequential(*layers, *[Huge()] * bool(config.get("huge", False)))

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
        return F.mse_loss(model(batch["x"])[:, 0], batch["y"])

    def metrics(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"loss": (model(batch["x"])[:, 0] - batch["y"]).square()}


def line(one: TrialSpec) -> Iterator[Report]:
    """`Line` as an objective that any runner of functions takes."""
    yield from train(Line(), one, device=CPU)


def endless(one: TrialSpec) -> float:
    """An objective that answers nobody."""
    time.sleep(600)
    return math.nan


# -- driving ----------------------------------------------------------------------------------------------


def finish(drive: Drive) -> tuple[dict[int, list[Report]], dict[int, Ended]]:
    """Run a drive until it is empty: reports and end of each trial."""
    reports: dict[int, list[Report]] = {}
    ends: dict[int, Ended] = {}
    while len(drive):
        for said in drive.tick():
            if isinstance(said, Report):
                reports.setdefault(said.trial, []).append(said)
            else:
                assert said.trial not in ends
                ends[said.trial] = said
    return reports, ends


def lanes_of(
    name: str, config: Mapping[str, Value], capacity: int, compiler: Compiler | None = None
) -> Lanes:
    """Lanes of the program of a config."""
    return Lanes(program(name, config), capacity, compiler)


ALL_TASKS = tuple(TASKS)


class Script:
    """A tuner that asks for these wishes in turn and remembers what it is told."""

    def __init__(self, *wishes: Keep | Probe) -> None:
        self.wishes = wishes
        self.told: list[list[Trace]] = []

    def ask(self) -> Keep | Probe | None:
        return self.wishes[len(self.told)] if len(self.told) < len(self.wishes) else None

    def tell(self, traces: Sequence[Trace]) -> None:
        self.told.append(list(traces))

    def facts(self) -> list[dict[str, int]]:
        return [{"told": len(self.told)}]
