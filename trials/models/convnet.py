"""A small convnet for small images."""

from torch import Tensor, nn

from trials.models.activations import activation, at_least_one
from trials.spec import Value


class ConvNet(nn.Module):
    """3x3 convolution to `width` channels, 3x3 convolution of stride 2 to twice as many, linear head."""

    def __init__(
        self, channels: int, size: int, classes: int, width: Value = 16, act: str = "relu", norm: str = "none"
    ) -> None:
        super().__init__()
        width = at_least_one("width", width)
        if norm not in ("none", "batch"):
            raise ValueError(f"norm={norm!r} must be 'none' or 'batch'")
        half = (size + 1) // 2

        def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
            # Normalisation takes a bias away again: its gradient is rounding noise, which AdamW turns
            # into steps of full size.
            bias = norm == "none"
            layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)]
            if norm == "batch":
                layers.append(nn.BatchNorm2d(outputs))
            return [*layers, activation(act)]

        self.backbone = nn.Sequential(*block(channels, width, 1), *block(width, 2 * width, 2))
        self.head = nn.Linear(2 * width * half * half, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, classes) logits."""
        return self.head(self.backbone(images).flatten(1))
