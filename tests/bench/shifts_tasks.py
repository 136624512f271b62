"""Digits of one domain with a copy of every image for each family, and the other three domains as targets.

The constants are those of the experiment before the code: a small convnet, SGD with momentum, batches of 64,
2,000 training and 400 validation images where the domain has as many, 1,500 of each target.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.shared_data import FOLDER
from trials.data.families.copies import copy
from trials.data.families.kinds import Image
from trials.data.families.table import FAMILIES
from trials.losses import smoothed_cross_entropy
from trials.noise import Dropout, uniform
from trials.seeding import stream
from trials.spec import Config, Value
from trials.task import Batch, Hyper, Splits

DOMAINS = ("mnist", "optdigits", "semeion", "print")
NAMES = tuple(FAMILIES["image"])
_KIND = Image(high=255)
_TRAIN, _VAL, _TARGET = 2000, 400, 1500
_SIDE, _CLASSES = 28, 10


def domain(name: str) -> tuple[Tensor, Tensor]:
    """Images (N, 1, 28, 28) uint8 and labels (N,) int64 of a domain, in an order that is always the same."""
    with np.load(FOLDER / "digits-domains" / "digits_domains_28x28.npz") as file:
        images, labels = file[f"{name}_x"], file[f"{name}_y"]
    order = stream(0, "domain", name).permutation(len(labels))
    return torch.from_numpy(images[order])[:, None], torch.from_numpy(labels[order].astype(np.int64))


def target(name: str) -> Batch:
    """1,500 images of a domain that is no source, in the form of the task's parts but without copies."""
    images, labels = domain(name)
    return {"image": images[:_TARGET, None, 0], "label": labels[:_TARGET]}


def with_copies(images: Tensor, draw: int = 0, start: int = 0) -> Tensor:
    """(N, 1, 28, 28) -> (N, 1 + families, 28, 28): each image, and one operation of each family on it."""
    copies = [copy(_KIND, name, images, seed=0, draw=draw, start=start) for name in NAMES]
    return torch.cat([images, *copies], 1)


class Domain:
    """Ten digits of one domain, trained on the images and on the copies of some families.

    The float hyperparameters `trains_FAMILY`, 0 or 1, say which: every access to an example takes the
    original or one of those copies, each as often. So models of all methods and folds share a program.
    """

    defaults: ClassVar[Mapping[str, Value]] = {
        "optimizer": "sgd",
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": 64,
        "dropout": 0.0,
        "label_smoothing": 0.0,
        **{f"trains_{name}": 0.0 for name in NAMES},
    }

    def __init__(self, source: str) -> None:
        self.source = source

    def split(self) -> tuple[Batch, Batch]:
        """Training and validation images (N, 1, 28, 28) uint8 and labels (N,), without copies."""
        images, labels = domain(self.source)
        train = min(_TRAIN, len(labels) - _VAL)
        first, second = (
            {"image": images[part], "label": labels[part]}
            for part in (slice(train), slice(train, train + _VAL))
        )
        return first, second

    def data(self, split_seed: int) -> Splits:
        """The split, with copies: images (N, 1 + families, 28, 28); the same whatever the seed."""
        train, val = self.split()
        sizes = 0, len(train["label"])
        return Splits(
            *(
                {**part, "image": with_copies(part["image"], start=start)}
                for part, start in zip((train, val), sizes, strict=True)
            )
        )

    def model(self, config: Config) -> nn.Module:
        """Two convolutions of stride two and two linear layers: 39,546 weights."""
        return nn.Sequential(
            *(nn.Conv2d(1, 8, 5, stride=2, padding=2), nn.ReLU()),
            *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
            *(nn.Flatten(), Dropout("dropout"), nn.Linear(784, 48), nn.ReLU(), nn.Linear(48, _CLASSES)),
        )

    def _logits(self, model: nn.Module, images: Tensor) -> Tensor:
        return model(images.to(torch.float32) / 255.0 - 0.13)

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Smoothed cross-entropy of one view of every image."""
        masks = torch.stack([torch.ones_like(hyper["lr"]), *(hyper[f"trains_{name}"] for name in NAMES)])
        shares = masks.cumsum(0) / masks.sum()
        images = batch["image"]
        view = (uniform(len(images))[:, None] >= shares).sum(1).clamp(max=len(NAMES))
        chosen = images.gather(1, view[:, None, None, None].expand(-1, 1, _SIDE, _SIDE))
        return smoothed_cross_entropy(self._logits(model, chosen), batch["label"], hyper["label_smoothing"])

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Cross-entropy, accuracy and logits of each image, of its first view."""
        logits, labels = self._logits(model, batch["image"][:, :1]), batch["label"]
        logs = F.log_softmax(logits, -1)
        return {
            "loss": -logs.gather(-1, labels[:, None])[:, 0],
            "accuracy": (logs.argmax(-1) == labels).to(torch.float32),
            **{f"logit_{place}": logits[:, place] for place in range(_CLASSES)},
        }


def views(batch: Batch) -> Sequence[Batch]:
    """The split once for every view: the originals first, then each family's copies."""
    images = batch["image"]
    return [{**batch, "image": images[:, place : place + 1]} for place in range(images.shape[1])]
