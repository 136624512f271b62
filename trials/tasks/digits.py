"""Handwritten digits: 1,797 images of 8x8, ten classes.

scikit-learn's copy of the UCI test set "Optical Recognition of Handwritten Digits" (E. Alpaydin,
C. Kaynak, 1998).
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.data.splits import three_way
from trials.models.convnet import ConvNet
from trials.noise import uniform
from trials.spec import Config, Value
from trials.task import Batch, Hyper, Splits


def shifted(images: Tensor, share: Tensor) -> Tensor:
    """(B, C, H, W) -> the same, a `share` () of them moved by up to one pixel each way, zeros moved in."""
    B, _, H, W = images.shape
    draw = uniform(3, B)
    moves = torch.where(draw[2] < share, (draw[:2] * 3).to(torch.int64), 1)  # (2, B), 1 is no move
    padded = F.pad(images, (1, 1, 1, 1))
    # A sum of masked views, not a gather with an index per image: it compiles to plain vector code.
    return torch.stack(
        [
            ((moves[0] == i) & (moves[1] == j))[:, None, None, None] * padded[:, :, i : i + H, j : j + W]
            for i in range(3)
            for j in range(3)
        ]
    ).sum(0, dtype=images.dtype)


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

        found: Any = load_digits()
        images = torch.from_numpy(found.images).to(torch.uint8)[:, None]
        labels = torch.from_numpy(found.target).to(torch.int64)
        parts = three_way(len(labels), split_seed, labels=found.target)
        train, val, test = (
            {"image": images[part], "label": labels[part]} for part in map(torch.from_numpy, parts)
        )
        return Splits(train, val, test)

    def model(self, config: Config) -> nn.Module:
        """The convnet of this width."""
        return ConvNet(
            1,
            8,
            10,
            width=config.get("width", 16),
            act=str(config.get("activation", "relu")),
            norm=str(config.get("norm", "none")),
        )

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return model(images.to(torch.float32) / 16.0 - 0.3)

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Cross-entropy, smoothed by `label_smoothing`, of images moved with probability `shift` if given."""
        images, shift = batch["image"], hyper.get("shift")
        if shift is not None:
            images = shifted(images, shift)
        logs = F.log_softmax(self._logits(model, images), -1)
        right = -logs.gather(-1, batch["label"][:, None]).mean()
        smoothing = hyper["label_smoothing"]
        return (1 - smoothing) * right - smoothing * logs.mean()

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Cross-entropy and accuracy of each image."""
        logs, labels = F.log_softmax(self._logits(model, batch["image"]), -1), batch["label"]
        return {
            "loss": -logs.gather(-1, labels[:, None])[:, 0],
            "accuracy": (logs.argmax(-1) == labels).to(torch.float32),
        }
