"""A residual network for small images.

K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, with a stem of 3x3
and no pooling before the first block, as is usual for images of 32x32.
"""

import math

import torch.nn.functional as F
from torch import Tensor, nn

from trials.models.activations import at_least_one
from trials.spec import Value


def _norm(kind: str, channels: int) -> nn.Module:
    if kind == "batch":
        return nn.BatchNorm2d(channels)
    # Y. Wu, K. He, "Group Normalization", ECCV 2018: 32 groups, or as many as divide the channels.
    return nn.GroupNorm(math.gcd(32, channels), channels)


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Conv2d:
    # Normalisation takes a bias away again.
    return nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)


class Block(nn.Module):
    """Two 3x3 convolutions, added to what came in."""

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            _convolution(inputs, outputs, 3, stride),
            _norm(norm, outputs),
            nn.ReLU(),
            _convolution(outputs, outputs, 3),
            _norm(norm, outputs),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and inputs == outputs
            else nn.Sequential(_convolution(inputs, outputs, 1, stride), _norm(norm, outputs))
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        return F.relu(self.residual(images) + self.shortcut(images))


class ResNet(nn.Module):
    """Four stages of `depth` blocks, each stage after the first half as large and twice as wide.

    Width 64 and depth 2 are ResNet-18.
    """

    def __init__(
        self, channels: int, classes: int, width: Value = 64, depth: Value = 2, norm: str = "batch"
    ) -> None:
        super().__init__()
        width, depth = at_least_one("width", width), at_least_one("depth", depth)
        if norm not in ("batch", "group"):
            raise ValueError(f"norm={norm!r} must be 'batch' or 'group'")
        widths = [width * 2**stage for stage in range(4)]
        blocks: list[nn.Module] = []
        inputs = width
        for stage, outputs in enumerate(widths):
            for place in range(depth):
                stride = 2 if stage > 0 and place == 0 else 1
                blocks.append(Block(inputs, outputs, stride, norm))
                inputs = outputs
        self.stem = nn.Sequential(_convolution(channels, width, 3), _norm(norm, width), nn.ReLU())
        self.backbone = nn.Sequential(*blocks)
        self.head = nn.Linear(inputs, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes) logits."""
        return self.head(self.backbone(self.stem(images)).mean((-2, -1)))
