"""What an optimizer is: how many vectors of state it needs, its float hyperparameters, and one update."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

# K lanes, P weights per lane
Update = Callable[
    [
        Tensor,  # weights (K, P) float32, changed in place
        Tensor,  # grads (K, P) float32, may be changed in place
        Tensor,  # state (K, slots, P) float32, changed in place
        Tensor,  # lr (K, 1) or (K, P) float32, rate of this update, factor and group ratio applied
        Tensor,  # step (K, 1) int64, 0-based, of the update about to be applied
        Mapping[str, Tensor],  # the optimizer's hyperparameters, each (K, 1) float32
    ],
    None,
]


@dataclass(frozen=True)
class Optimizer:
    """One update rule for K lanes at once; state starts at zero."""

    name: str
    slots: int  # vectors of P floats kept per lane
    update: Update
    defaults: Mapping[str, float] = field(default_factory=dict[str, float])  # float hyperparameters
