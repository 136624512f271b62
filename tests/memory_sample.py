"""Trials under a limit of memory, in a process of their own: `python -m tests.memory_sample LANES MEGABYTES`.

Prints a line of JSON: what the trials reported without and with the limit, how they ended, what was said.
"""

import json
import resource
import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from tests.trials_sample import CPU, finish, spec
from trials.drive import Drive, Reduced
from trials.lanes import Lanes
from trials.recipe import recipe
from trials.task import Splits
from trials.train import build

COPIES = 50_000  # of each number in the batch: 13 MB for each intermediate result of a lane


class Wide:
    """A small model whose step takes much more memory than its row."""

    def data(self, split_seed: int) -> Splits:
        made = torch.Generator().manual_seed(1)
        x = torch.randn(128, 4, generator=made)
        part = {"x": x, "y": x.sum(1)}
        return Splits(part, {name: tensor[:8] for name, tensor in part.items()})

    def model(self, config: Mapping[str, object]) -> nn.Module:
        return nn.Linear(4, 1)

    def loss(self, model: nn.Module, batch: Mapping[str, Tensor], hyper: Mapping[str, Tensor]) -> Tensor:
        wide = (model(batch["x"]) - batch["y"][:, None]).expand(-1, COPIES) * 1.0
        return (wide.sin() + wide.square()).mean()

    def metrics(self, model: nn.Module, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return {"loss": (model(batch["x"])[:, 0] - batch["y"]).square()}


def main() -> None:
    lanes, megabytes = int(sys.argv[1]), int(sys.argv[2])
    task = Wide()
    config = {"lr": 0.05, "batch_size": 64}
    splits = task.data(0)
    said: list[Reduced] = []

    def trained() -> tuple[dict[int, list[list[float]]], dict[int, str]]:
        drive = Drive(Lanes(build(task, splits, recipe(task, config), CPU), lanes), tick=4)
        tick = drive.tick

        def heard() -> list[object]:
            found = tick()
            said.extend(one for one in found if isinstance(one, Reduced))
            return [one for one in found if not isinstance(one, Reduced)]

        drive.tick = heard  # type: ignore[method-assign]
        for trial in range(lanes):
            drive.admit(spec(config, trial, budget=12, rungs=(6,)))
        reports, ends = finish(drive)
        return (
            {
                trial: [[one.spent, one.metrics["train_loss"], one.metrics["val_loss"]] for one in each]
                for trial, each in reports.items()
            },
            {trial: end.outcome for trial, end in ends.items()},
        )

    free, _ = trained()
    with open("/proc/self/statm") as file:
        held = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + megabytes * 1_000_000, -1))
    short, outcomes = trained()
    reduced = [[one.lanes, list(one.parked)] for one in said]
    print(json.dumps({"free": free, "short": short, "outcomes": outcomes, "reduced": reduced}))


if __name__ == "__main__":
    main()
