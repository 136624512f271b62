"""AdamW: I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, algorithm 2."""

from collections.abc import Mapping

from torch import Tensor

from trials.optim.base import Optimizer


def _update(
    weights: Tensor,  # (K, P)
    grads: Tensor,  # (K, P)
    state: Tensor,  # (K, 2, P): first and second moment
    lr: Tensor,  # (K, 1) or (K, P)
    step: Tensor,  # (K, 1)
    hyper: Mapping[str, Tensor],
) -> None:
    first, second = state[:, 0], state[:, 1]
    beta1, beta2 = hyper["beta1"], hyper["beta2"]
    count = (step + 1).to(weights.dtype)
    weights.mul_(1.0 - lr * hyper["weight_decay"])
    first.mul_(beta1).add_(grads * (1.0 - beta1))
    second.mul_(beta2).add_(grads * grads * (1.0 - beta2))
    # The powers are taken per lane, on (K, 1): lanes are at different steps.
    size = lr / (1.0 - beta1**count)
    scale = (1.0 - beta2**count).rsqrt()
    weights.sub_(size * first / (second.sqrt() * scale + hyper["eps"]))


adamw = Optimizer(
    "adamw",
    slots=2,
    update=_update,
    defaults={"lr": 1e-3, "weight_decay": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
)
