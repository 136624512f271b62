"""SGD with (Nesterov) momentum and coupled weight decay, in the form of `torch.optim.SGD`.

I. Sutskever et al., "On the importance of initialization and momentum in deep learning", ICML 2013.
"""

from collections.abc import Mapping

from torch import Tensor

from trials.optim.base import Optimizer


def _decayed_momentum(weights: Tensor, grads: Tensor, state: Tensor, hyper: Mapping[str, Tensor]) -> Tensor:
    grads.add_(weights * hyper["weight_decay"])
    momentum = state[:, 0]
    # Starting from zero, the first update adds the bare gradient: torch's dampening of 0.
    return momentum.mul_(hyper["momentum"]).add_(grads)


def _sgd(
    weights: Tensor,  # (K, P)
    grads: Tensor,  # (K, P)
    state: Tensor,  # (K, 1, P)
    lr: Tensor,  # (K, 1) or (K, P)
    step: Tensor,
    hyper: Mapping[str, Tensor],
) -> None:
    weights.sub_(lr * _decayed_momentum(weights, grads, state, hyper))


def _nesterov(
    weights: Tensor, grads: Tensor, state: Tensor, lr: Tensor, step: Tensor, hyper: Mapping[str, Tensor]
) -> None:
    momentum = _decayed_momentum(weights, grads, state, hyper)
    weights.sub_(lr * (grads + hyper["momentum"] * momentum))


_DEFAULTS = {"lr": 1e-2, "weight_decay": 0.0, "momentum": 0.9}

sgd = Optimizer("sgd", slots=1, update=_sgd, defaults=_DEFAULTS)
nesterov = Optimizer("nesterov", slots=1, update=_nesterov, defaults=_DEFAULTS)
