"""Handwritten digits: 1,797 images of 8x8, ten classes; scikit-learn's copy of the UCI test set (E. Alpaydin, C. Kaynak, 1998)."""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.data.splits import three_way
from trials.models.convnet import ConvNet
from trials.spec import Config, Value
from trials.task import Batch, Hyper, Splits


class Digits:
    """A small convnet on 8x8 digits: 60 % train, 20 % validation, 20 % test."""

    defaults: ClassVar[Mapping[str, Value]] = {
        "width": 16,
        "activation": "relu",
        "norm": "none",
        "label_smoothing": 0.0,
    }
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"backbone": ("backbone.",), "head": ("head.",)}

    def data(self, split_seed: int) -> Splits:
        """Images (N, 1, 8, 8) uint8 from 0 to 16, labels (N,) int64."""
        from sklearn.datasets import load_digits

        found = load_digits()
        images = torch.from_numpy(found.images).to(torch.uint8)[:, None]
        labels = torch.from_numpy(found.target).to(torch.int64)
        parts = three_way(len(labels), split_seed, labels=found.target)
        train, val, test = ({"image": images[part], "label": labels[part]} for part in map(torch.from_numpy, parts))
        return Splits(train, val, test)

    def model(self, config: Config) -> nn.Module:
        """The convnet of this width."""
        settings = {**self.defaults, **config}
        return ConvNet(
            1, 8, 10, width=settings["width"], act=str(settings["activation"]), norm=str(settings["norm"])
        )

    def _logits(self, model: nn.Module, batch: Batch) -> Tensor:
        return model(batch["image"].to(torch.float32) / 16.0 - 0.3)

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Cross-entropy, smoothed by `label_smoothing`."""
        logs = F.log_softmax(self._logits(model, batch), -1)
        right = -logs.gather(-1, batch["label"][:, None]).mean()
        smoothing = hyper["label_smoothing"]
        return (1 - smoothing) * right - smoothing * logs.mean()

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Cross-entropy and accuracy of each image."""
        logits = self._logits(model, batch)
        return {
            "loss": F.cross_entropy(logits, batch["label"], reduction="none"),
            "accuracy": (logits.argmax(-1) == batch["label"]).to(torch.float32),
        }
