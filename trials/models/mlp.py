"""A multilayer perceptron."""

from torch import Tensor, nn

from trials.models.activations import activation, at_least_one
from trials.noise import Dropout
from trials.spec import Value


class MLP(nn.Module):
    """`depth` hidden layers of `width`, each with an activation and optional dropout."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        width: Value = 64,
        depth: Value = 2,
        act: str = "relu",
        dropout: float | str = 0.0,
    ) -> None:
        super().__init__()
        width, depth = at_least_one("width", width), at_least_one("depth", depth)
        layers: list[nn.Module] = []
        size = inputs
        for _ in range(depth):
            layers += [nn.Linear(size, width), activation(act)]
            if dropout != 0.0:
                layers.append(Dropout(dropout))
            size = width
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Linear(size, outputs)

    def forward(self, features: Tensor) -> Tensor:
        """(B, inputs) -> (B, outputs)."""
        return self.head(self.backbone(features))
