"""Tables that ship with scikit-learn: classification and regression with a perceptron."""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.data.families.kinds import Kind, Table
from trials.data.shipped import table
from trials.models.mlp import MLP
from trials.names import hint
from trials.spec import Config, Value
from trials.task import Batch, Hyper, Splits

# name -> scikit-learn's loader, and whether the target is a class
DATA: dict[str, tuple[str, bool]] = {
    "breast_cancer": ("load_breast_cancer", True),
    "wine": ("load_wine", True),
    "iris": ("load_iris", True),
    "digits": ("load_digits", True),
    "diabetes": ("load_diabetes", False),
    "linnerud": ("load_linnerud", False),
}


class Tabular:
    """A perceptron on one of scikit-learn's shipped tables; columns standardised on the training rows."""

    defaults: ClassVar[Mapping[str, Value]] = {
        "width": 64,
        "depth": 2,
        "activation": "relu",
        "dropout": 0.0,
        "batch_size": 32,
    }
    shifts: ClassVar[Mapping[str, Kind]] = {"x": Table()}
    groups: ClassVar[Mapping[str, tuple[str, ...]]] = {"backbone": ("backbone.",), "head": ("head.",)}

    def __init__(self, data: str = "breast_cancer") -> None:
        if data not in DATA:
            raise ValueError(f"data={data!r} is unknown{hint(data, DATA)}")
        self.name = data
        self.is_classification = DATA[data][1]
        self.inputs = self.outputs = 0

    def data(self, split_seed: int) -> Splits:
        """Features (N, inputs) float32; labels (N,) int64, or standardised targets (N, outputs) float32."""
        found = table(DATA[self.name][0], split_seed, self.is_classification)
        features, target, rows = found.features, found.target, found.train
        scale = features[rows].std(0)
        features = (features - features[rows].mean(0)) / np.where(scale > 0, scale, 1.0)
        x = torch.from_numpy(features).to(torch.float32)
        if self.is_classification:
            y = torch.from_numpy(target).to(torch.int64)
            self.outputs = int(target.max()) + 1
        else:
            values = target.reshape(len(target), -1).astype(np.float64)
            values = (values - values[rows].mean(0)) / values[rows].std(0)
            y = torch.from_numpy(values).to(torch.float32)
            self.outputs = y.shape[1]
        self.inputs = x.shape[1]
        parts = (found.train, found.val, found.test)
        train, val, test = ({"x": x[part], "y": y[part]} for part in map(torch.from_numpy, parts))
        return Splits(train, val, test)

    def model(self, config: Config) -> nn.Module:
        """The perceptron of this width and depth; dropout rides in the row."""
        if not self.inputs:
            self.data(0)
        return MLP(
            self.inputs,
            self.outputs,
            width=config.get("width", 64),
            depth=config.get("depth", 2),
            act=str(config.get("activation", "relu")),
            dropout="dropout",
        )

    def _errors(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        found = model(batch["x"])
        if self.is_classification:
            return found, -F.log_softmax(found, -1).gather(-1, batch["y"][:, None])[:, 0]
        return found, (found - batch["y"]).square().mean(-1)

    def loss(self, model: nn.Module, batch: Batch, hyper: Hyper) -> Tensor:
        """Cross-entropy, or mean squared error in units of the target's variance."""
        return self._errors(model, batch)[1].mean()

    def metrics(self, model: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The loss of each row, and its accuracy or absolute error."""
        found, loss = self._errors(model, batch)
        if self.is_classification:
            return {"loss": loss, "accuracy": (found.argmax(-1) == batch["y"]).to(torch.float32)}
        return {"loss": loss, "absolute_error": (found - batch["y"]).abs().mean(-1)}
