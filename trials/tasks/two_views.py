"""Image tasks trained on two views of every image: the image and its edge map, through one model.

Edges keep the shape of a thing where colour, contrast and texture shift. From N. Efthymiadis, G. Tolias,
O. Chum, "Crafting Distribution Shifts for Validation and Training in Single Source Domain Generalization",
WACV 2025: both views go through the model in one batch, so that statistics of normalisation are shared, and
the loss is the sum of both over the number of rows, that of the edges weighed by `edge_weight` in [0, 1].

What is predicted is the geometric mixture p(image)^a p(edges)^(1 - a) with a = `output`: 1 is the image
alone, 0 the edges alone. It changes nothing in training, and is chosen as every hyperparameter is, best by
scores on shifted copies: output = {choice = [0.0, 0.25, 0.5, 0.75, 1.0]}.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.data.edges import evaluation_edges, training_edges
from trials.losses import smoothed_cross_entropy
from trials.noise import lane_value
from trials.spec import Value
from trials.task import Batch, Hyper

WEIGHT, OUTPUT = "edge_weight", "output"
DEFAULTS: Mapping[str, Value] = {WEIGHT: 1.0, OUTPUT: 1.0}


class TwoViews:
    """To be named before an image task that has `seen` and `logits`, as `trials.tasks.digits` does.

    class EdgeDigits(TwoViews, Digits):
        defaults = {**DEFAULTS, **Digits.defaults}
        high = 16
    """

    high: ClassVar[int] = 255  # value of white
    seen: Any  # (batch, hyper) -> images as they are trained on, and targets
    logits: Any  # (model, images) -> (B, classes)

    def _with_edges(self, images: Tensor, is_training: bool) -> Tensor:
        """(B, C, H, W) -> (2 B, C, H, W) floats: the images, then their edge maps, dark on white."""
        images = images.to(torch.float32)
        shown = (images / self.high).clamp(0.0, 1.0)
        edges = training_edges(shown) if is_training else evaluation_edges(shown)
        return torch.cat([images, (edges * self.high).expand_as(images)])

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Cross-entropy of both views, the edges' weighed, over the rows of both."""
        images, targets = self.seen(batch, hyper)
        first, second = self.logits(model, self._with_edges(images, True)).chunk(2)
        smoothing = hyper["label_smoothing"]
        plain = smoothed_cross_entropy(first, targets, smoothing)
        return 0.5 * (plain + hyper[WEIGHT] * smoothed_cross_entropy(second, targets, smoothing))

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Cross-entropy and accuracy of each image, by the mixture of the two views."""
        first, second = self.logits(model, self._with_edges(batch["image"], False)).chunk(2)
        share = lane_value(OUTPUT)
        mixed = share * F.log_softmax(first, -1) + (1 - share) * F.log_softmax(second, -1)
        logs, labels = F.log_softmax(mixed, -1), batch["label"]
        return {
            "loss": -logs.gather(-1, labels[:, None])[:, 0],
            "accuracy": (logs.argmax(-1) == labels).to(torch.float32),
        }
