"""Models that cannot be mapped over lanes are trained one after another, by the same laws."""

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.trials_sample import CPU, finish, reports_agree, spec
from trials.compiling import Compiler
from trials.drive import Drive
from trials.lanes import Lanes
from trials.program import Program
from trials.recipe import recipe
from trials.task import Splits
from trials.train import build, train


class Unmapped:
    """Regression whose loss does what `vmap` has no form for."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def data(self, split_seed: int) -> Splits:
        made = torch.Generator().manual_seed(3)
        x = torch.randn(40, 3, generator=made)
        part = {"x": x, "y": x.sum(1)}
        return Splits(part, {name: tensor[:10] for name, tensor in part.items()})

    def model(self, config: Mapping[str, object]) -> nn.Module:
        return nn.Linear(3, 1)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
        error = (model(batch["x"])[:, 0] - batch["y"]).square()
        if self.kind == "shape":
            return error[error > error.median()].mean()
        if self.kind == "number":
            return error.mean() * (2.0 if error.max().item() > 1.0 else 1.0)
        if self.kind == "random":
            return (error * torch.rand_like(error)).mean()
        if self.kind == "branch":
            # One lane drops, its neighbour does not: what one needs must not be forgotten for the other.
            return (F.dropout(error, 0.5) if error.mean() > 2.0 else error).mean()
        if self.kind == "metric":
            return error.mean()
        raise KeyError(self.kind)

    def metrics(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        error = (model(batch["x"])[:, 0] - batch["y"]).square()
        if self.kind == "metric" and error.max().item() < 0:
            return {"loss": -error}
        return {"loss": error}


CONFIG = {"lr": 0.01, "batch_size": 8}


def made(kind: str, notices: list[str]) -> Program:
    task = Unmapped(kind)
    return build(task, task.data(0), recipe(task, CONFIG), CPU, notices.append)


@pytest.mark.parametrize(
    ("kind", "operation", "what"),
    [
        ("shape", "getitem", "trained"),
        ("number", "item", "trained"),
        ("random", "rand_like", "trained"),
        ("branch", "__bool__", "trained"),
        ("metric", "item", "evaluated"),
    ],
)
def test_lanes_in_turn_agree_with_each_alone_and_one_line_says_why(
    kind: str, operation: str, what: str
) -> None:
    notices: list[str] = []
    drive = Drive(Lanes(made(kind, notices), 3), tick=5)
    specs = [spec({**CONFIG, "lr": 0.01 * (trial + 1)}, trial, budget=12, rungs=(4,)) for trial in range(3)]
    for one in specs:
        drive.admit(one)
    reports, ends = finish(drive)
    assert {end.outcome for end in ends.values()} == {"completed"}
    for one in specs:
        task = Unmapped(kind)
        reports_agree(reports[one.trial], list(train(task, one, splits=task.data(0), device=CPU)))
    (line,) = notices
    assert operation in line
    assert "test_forward.py" in line
    assert what in line
    assert "\n" not in line


def test_a_random_operation_follows_the_lane_and_the_step() -> None:
    task = Unmapped("random")
    one, other = (
        list(train(task, spec(CONFIG, trial, seed=seed, budget=6), splits=task.data(0), device=CPU))
        for trial, seed in ((0, 5), (9, 5))
    )
    assert one[0].metrics == other[0].metrics, "the same seed draws the same"
    torch.manual_seed(1)
    torch.rand(3)
    again = list(train(task, spec(CONFIG, 0, seed=5, budget=6), splits=task.data(0), device=CPU))
    assert again[0].metrics == one[0].metrics, "whatever torch's own generator did before"


def test_a_mistake_is_told_as_it_is_for_one_lane_alone() -> None:
    notices: list[str] = []
    program = made("nothing", notices)
    lanes = Lanes(program, 2)
    lanes.admit(spec(CONFIG, 0))
    with pytest.raises(KeyError, match="nothing"):
        Drive(lanes).lanes.run(torch.ones(1, 1).numpy())
    assert not notices


def test_what_cannot_be_mapped_is_not_compiled_either() -> None:
    notices: list[str] = []
    program = made("number", notices)
    lanes = Lanes(program, 2, Compiler.never())
    lanes.admit(spec(CONFIG, 0))
    lanes.run(torch.ones(2, 1).numpy())
    step, width = Compiler.never().step(program, 2, 2)
    assert step == program.step
    assert width == 1
