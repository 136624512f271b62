"""Handwritten digits: 1,797 images of 8x8, ten classes.

scikit-learn's copy of the UCI test set "Optical Recognition of Handwritten Digits" (E. Alpaydin,
C. Kaynak, 1998).
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.data.augment import mixup, shifted
from trials.data.families.kinds import Image, Kind
from trials.data.shipped import table
from trials.losses import one_hot, smoothed_cross_entropy
from trials.models.convnet import ConvNet
from trials.spec import Config, Value
from trials.task import Batch, Hyper, Splits

_CLASSES = 10


class Digits:
    """A small convnet on 8x8 digits: 60 % train, 20 % validation, 20 % test."""

    defaults: ClassVar[Mapping[str, Value]] = {
        "width": 16,
        "activation": "relu",
        "norm": "none",
        "label_smoothing": 0.0,
    }
    shifts: ClassVar[Mapping[str, Kind]] = {"image": Image(high=16)}
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"backbone": ("backbone.",), "head": ("head.",)}

    def data(self, split_seed: int) -> Splits:
        """Images (N, 1, 8, 8) uint8 from 0 to 16, labels (N,) int64."""
        found = table("load_digits", split_seed, is_classification=True)
        images = torch.from_numpy(found.features).to(torch.uint8).reshape(-1, 1, 8, 8)
        labels = torch.from_numpy(found.target).to(torch.int64)
        train, val, test = (
            {"image": images[part], "label": labels[part]}
            for part in map(torch.from_numpy, (found.train, found.val, found.test))
        )
        return Splits(train, val, test)

    def model(self, config: Config) -> nn.Module:
        """The convnet of this width."""
        return ConvNet(
            1,
            8,
            _CLASSES,
            width=config.get("width", 16),
            act=str(config.get("activation", "relu")),
            norm=str(config.get("norm", "none")),
        )

    def logits(self, model: nn.Module, images: Tensor) -> Tensor:
        """(B, 1, 8, 8) numbers from 0 to 16 -> (B, 10)."""
        return model(images.to(torch.float32) / 16.0 - 0.3)

    def seen(self, batch: Batch, hyper: Hyper) -> tuple[Tensor, Tensor]:
        """Images and targets as they are trained on.

        Where they are given, `shift` is the share of images moved by a pixel, `mixup` the strength of mixing.
        """
        images, targets = batch["image"], batch["label"]
        if (share := hyper.get("shift")) is not None:
            images = shifted(images, share)
        if (strength := hyper.get("mixup")) is not None:
            images, targets = mixup(images, one_hot(targets, _CLASSES), strength)
        return images, targets

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Cross-entropy, smoothed by `label_smoothing`."""
        images, targets = self.seen(batch, hyper)
        return smoothed_cross_entropy(self.logits(model, images), targets, hyper["label_smoothing"])

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Cross-entropy and accuracy of each image."""
        logs, labels = F.log_softmax(self.logits(model, batch["image"]), -1), batch["label"]
        return {
            "loss": -logs.gather(-1, labels[:, None])[:, 0],
            "accuracy": (logs.argmax(-1) == labels).to(torch.float32),
        }
