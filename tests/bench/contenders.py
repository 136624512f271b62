"""The same model and data trained two ways: as lanes of a program, and by the loop a careful user writes.

Imports only `trials` and `schedules`, so it runs where nothing else is installed.
"""

import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.compiling import Compiler, Origin
from trials.devices import synchronize
from trials.lanes import Lanes
from trials.models.convnet import ConvNet
from trials.models.mlp import MLP
from trials.models.resnet import ResNet
from trials.models.transformer import Transformer
from trials.noise import Dropout
from trials.program import Program
from trials.recipe import recipe
from trials.spec import Config, TrialSpec, Value
from trials.task import Batch, Hyper, Splits, load_task
from trials.train import build, load_splits

TICK = 10


class Made:
    """A model of the benchmark on numbers that were made up: only speed is asked for here."""

    def __init__(self, model: str, dropout: float = 0.0) -> None:
        self.kind, self.dropout = model, dropout
        self.defaults: dict[str, Value] = {"dropout": dropout} if dropout else {}

    def data(self, split_seed: int) -> Splits:
        """Images or text of the right shape, drawn at random."""
        made = torch.Generator().manual_seed(split_seed)

        def split(count: int) -> dict[str, Tensor]:
            if self.kind in ("transformer", "gpt"):
                length, symbols = (64, 96) if self.kind == "transformer" else (256, 4096)
                return {"text": torch.randint(symbols, (count, length + 1), generator=made)}
            channels, size = (3, 32) if self.kind == "resnet" else (1, 8)
            image = torch.randint(256, (count, channels, size, size), generator=made, dtype=torch.uint8)
            return {"image": image, "label": torch.randint(10, (count,), generator=made)}

        return Splits(split(2048), split(256), split(64))

    def model(self, config: Config) -> nn.Module:
        """The model of this name."""
        if self.kind == "mlp":
            return MLP(64, 10, width=128, depth=2)
        if self.kind == "convnet":
            return ConvNet(1, 8, 10, width=16)
        if self.kind == "resnet":
            return ResNet(3, 10)
        if self.kind == "transformer":
            return Transformer(96, 64, width=64, depth=2, heads=4, dropout="dropout")
        return Transformer(4096, 256, width=768, depth=12, heads=12)

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Cross-entropy."""
        if "text" in batch:
            logs = F.log_softmax(model(batch["text"][:, :-1]).float(), -1)
            return -logs.gather(-1, batch["text"][:, 1:, None]).mean()
        images = batch["image"].to(torch.float32) / 255.0
        if self.kind == "mlp":
            images = images.flatten(1)
        logs = F.log_softmax(model(images).float(), -1)
        return -logs.gather(-1, batch["label"][:, None]).mean()

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Nothing of interest."""
        first = next(iter(batch.values()))
        return {"loss": first.reshape(len(first), -1).float().mean(-1)}


@dataclass(frozen=True)
class Case:
    """A model, its batch size and precision."""

    model: str
    batch_size: int = 64
    precision: str = "float32"
    dropout: float = 0.0

    def task(self) -> Made:
        return Made(self.model, self.dropout)

    def config(self) -> dict[str, Value]:
        found: dict[str, Value] = {
            "optimizer": "adamw",
            "lr": 1e-3,
            "weight_decay": 1e-2,
            "batch_size": self.batch_size,
            "precision": self.precision,
        }
        return found

    def origin(self) -> Origin:
        options: dict[str, Value] = {"model": self.model, "dropout": self.dropout}
        return Origin(f"{Path(__file__).resolve()}:Made", options)


@dataclass
class Ours:
    """Lanes of the case's program; `run(steps)` trains all of them."""

    case: Case
    lanes_count: int
    device: torch.device
    compile: str = "always"
    folder: Path | None = None
    lanes: Lanes = field(init=False)
    program: Program = field(init=False)
    compiler: Compiler = field(init=False)

    def __post_init__(self) -> None:
        origin = self.case.origin()
        task = load_task(origin.task, origin.options)
        splits = load_splits(task, 0, self.device)
        self.program = build(task, splits, recipe(task, self.case.config()), self.device)
        self.compiler = Compiler(self.compile, origin, folder=self.folder, notice=print)  # type: ignore[arg-type]
        self.lanes = Lanes(self.program, self.lanes_count, self.compiler)
        for trial in range(self.lanes_count):
            self.lanes.admit(TrialSpec(trial, self.case.config(), trial, 10**9, (10**9,), 10**9, 0))

    def run(self, steps: int) -> float:
        """Seconds of so many steps of every lane, in ticks."""
        synchronize(self.device)
        began = time.perf_counter()
        for start in range(0, steps, TICK):
            at = np.arange(start, start + TICK, dtype=np.float64) / 10_000
            factors = np.repeat((0.5 * (1 + np.cos(np.pi * at)))[:, None], self.lanes_count, axis=1)
            assert np.isfinite(self.lanes.run(factors)).all()
        synchronize(self.device)
        return time.perf_counter() - began

    def compiled_later(self) -> int:
        """Packages taken into use or built after the first tick, over four refills and a rate that falls."""
        folder = self.folder
        assert folder is not None

        def packages() -> int:
            return self.compiler.loaded + len(list(folder.glob("*.pt2")))

        self.run(TICK)
        before = packages()
        for trial in range(min(4, self.lanes_count)):
            spec = self.lanes._specs[trial]
            self.lanes.retire(trial)
            self.lanes_count -= 1
            if self.lanes_count:
                self.run(2 * TICK)
            self.lanes.admit(spec)
            self.lanes_count += 1
            self.run(2 * TICK)
        return packages() - before


@dataclass
class Loop:
    """What a careful user writes: fused AdamW, data on the device, `torch.compile` if wanted."""

    case: Case
    device: torch.device
    is_compiled: bool

    def __post_init__(self) -> None:
        task = self.case.task()
        torch.manual_seed(0)
        self.model = _plain(task.model(self.case.config()), self.case.dropout).to(self.device).train()
        train = task.data(0).train
        assert isinstance(train, Mapping)
        self.data = {name: part.to(self.device) for name, part in train.items()}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=1e-2, fused=True)

        def loss(batch: dict[str, Tensor]) -> Tensor:
            with torch.autocast(
                self.device.type, dtype=torch.bfloat16, enabled=self.case.precision == "bfloat16"
            ):
                return task.loss(self.model, batch, {})

        self.loss: Callable[[dict[str, Tensor]], Tensor] = torch.compile(loss) if self.is_compiled else loss
        self.generator = torch.Generator().manual_seed(0)
        self.done = 0

    def run(self, steps: int) -> float:
        """Seconds of so many steps; the losses reach the host once in ten steps."""
        size, count = self.case.batch_size, len(next(iter(self.data.values())))
        synchronize(self.device)
        began = time.perf_counter()
        losses: list[Tensor] = []
        order = torch.randperm(count, generator=self.generator).to(self.device)
        for step in range(steps):
            start = (step * size) % (count - size + 1)
            if start < size and step:
                order = torch.randperm(count, generator=self.generator).to(self.device)
            index = order[start : start + size]
            batch = {name: part[index] for name, part in self.data.items()}
            for group in self.optimizer.param_groups:
                group["lr"] = 1e-3 * 0.5 * (1 + np.cos(np.pi * (self.done + step) / 10_000))
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.loss(batch)
            loss.backward()
            self.optimizer.step()
            losses.append(loss.detach())
            if len(losses) == TICK:
                assert torch.stack(losses).isfinite().all().item()
                losses = []
        self.done += steps
        synchronize(self.device)
        return time.perf_counter() - began


def _plain(module: nn.Module, rate: float) -> nn.Module:
    """The model with torch's own dropout in place of the one whose rate rides in a row."""
    for name, child in list(module.named_children()):
        if isinstance(child, Dropout):
            setattr(module, name, nn.Dropout(rate))
        else:
            _plain(child, rate)
    return module


def describe(device: torch.device) -> str:
    """Device and versions, one line."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        driver = f"CUDA {torch.version.cuda}, triton {__import__('triton').__version__}"
    else:
        facts = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in facts if line.startswith("model name")), "CPU")
        driver = f"{torch.get_num_threads()} thread"
    return f"{name}, {driver}, Python {platform.python_version()}, torch {torch.__version__}."


def row(*cells: Any) -> str:
    """A line of a Markdown table."""
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
