"""The two tasks that learning rates are measured on: a convnet on MNIST and a character transformer.

Their constants are those of the experiment before the code, so that figures can be set side by side. What
trials report on (`val`) is apart from what tuners compare rates on (`tune`).
"""

import itertools
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.shared_data import FOLDER
from trials.spec import Config, Value
from trials.task import Batch, Hyper, Splits
from trials.tasks.charlm import CharLM


class Mnist:
    """7,000 training images, 2,000 to report on, 1,000 to compare rates on; 39,546 weights."""

    defaults: ClassVar[Mapping[str, Value]] = {"optimizer": "sgd", "momentum": 0.9, "batch_size": 64}

    def data(self, split_seed: int) -> Splits:
        """Images (N, 1, 28, 28) uint8 and labels, divided where they lie, whatever the seed."""
        with np.load(FOLDER / "digits-domains" / "digits_domains_28x28.npz") as file:
            images, labels = file["mnist_x"], file["mnist_y"]
        bounds = (0, 7000, 9000, 10000)
        train, val, tune = (
            {
                "image": torch.from_numpy(images[low:high])[:, None],
                "label": torch.from_numpy(labels[low:high].astype(np.int64)),
            }
            for low, high in itertools.pairwise(bounds)
        )
        return Splits(train, val, tune=tune)

    def model(self, config: Config) -> nn.Module:
        """Two convolutions of stride two and two linear layers."""
        return nn.Sequential(
            *(nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(784, 48), nn.ReLU(), nn.Linear(48, 10)),
        )

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["image"].to(torch.float32) / 255.0 - 0.13)

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self._logits(model, batch), batch["label"])

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Cross-entropy and accuracy of each image."""
        logs, labels = F.log_softmax(self._logits(model, batch), -1), batch["label"]
        return {
            "loss": -logs.gather(-1, labels[:, None])[:, 0],
            "accuracy": (logs.argmax(-1) == labels).to(torch.float32),
        }


class Shakespeare(CharLM):
    """Windows of 32 characters, 8 a batch; 320 windows to report on, 64 others to compare rates on."""

    defaults: ClassVar[Mapping[str, Value]] = {
        **CharLM.defaults,
        "batch_size": 8,
        "beta2": 0.99,
        "weight_decay": 0.01,
        "clip_norm": 1.0,
    }

    def __init__(self, context: int = 32) -> None:
        super().__init__(str(FOLDER / "tiny-text" / "tinyshakespeare.txt"), context, 2_000_000)

    def data(self, split_seed: int) -> Splits:
        """Training windows begin at every character of the first nine tenths."""
        size, length = len(self._codes), self.context + 1
        train, rest = self._codes[: size * 9 // 10], self._codes[size * 9 // 10 :]
        half = len(rest) // 2

        def some(part: Tensor, count: int) -> dict[str, Tensor]:
            windows = part.unfold(0, length, (len(part) - length) // count)
            return {"text": windows[:count].to(torch.uint8).contiguous()}

        windows = {"text": train.unfold(0, length, 1).to(torch.uint8).contiguous()}
        return Splits(windows, some(rest[half:], 320), tune=some(rest[:half], 64))


class LongShakespeare(Shakespeare):
    """The same text for a model of 0.8 million weights: four layers, 128 wide."""

    defaults: ClassVar[Mapping[str, Value]] = {**Shakespeare.defaults, "width": 128, "depth": 4}
