"""Lion: X. Chen et al., "Symbolic Discovery of Optimization Algorithms", NeurIPS 2023, algorithm 2.

Every weight moves by the rate itself, whatever the size of its gradient, so rates are 3 to 10 times smaller
than AdamW's and decays as many times larger (section 5 of the paper); the defaults are ten times apart.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from trials.optim.base import Optimizer


def _update(
    weights: Tensor,  # (K, P)
    grads: Tensor,  # (K, P)
    state: Tensor,  # (K, 1, P): momentum
    lr: Tensor,  # (K, 1) or (K, P)
    step: Tensor,
    hyper: Mapping[str, Tensor],
) -> None:
    momentum = state[:, 0]
    beta1, beta2 = hyper["beta1"], hyper["beta2"]
    blend = momentum * beta1 + grads * (1.0 - beta1)
    # torch.sign(NaN) is 0: a lane that diverged would stand still, its weights finite, and look healthy.
    direction = torch.where(blend.isnan(), blend, blend.sign())
    weights.mul_(1.0 - lr * hyper["weight_decay"]).sub_(lr * direction)
    momentum.mul_(beta2).add_(grads * (1.0 - beta2))


lion = Optimizer(
    "lion",
    slots=1,
    update=_update,
    defaults={"lr": 1e-4, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99},
)
