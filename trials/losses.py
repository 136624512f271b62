"""Losses whose strengths are float hyperparameters: tensors of the running lane, one value per trial.

`torch.nn.functional.cross_entropy` takes its label smoothing as a Python number, which would be the same for
all trials that share a program.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(
    labels: Tensor,  # (…) whole numbers from 0 to classes - 1
    classes: int,
) -> Tensor:  # (…, classes) float32
    """Labels as probabilities: 1 for the class named, 0 for the others."""
    return (labels.unsqueeze(-1) == torch.arange(classes, device=labels.device)).to(torch.float32)


def smoothed_cross_entropy(
    logits: Tensor,  # (…, C), finite
    targets: Tensor,  # (…) whole numbers, the classes; or (…, C) floats, their probabilities
    smoothing: Tensor,  # () in [0, 1]
) -> Tensor:  # ()
    """Mean cross-entropy in nats, with a share `smoothing` of every target spread evenly over the C classes.

    Equal to `torch.nn.functional.cross_entropy` with this `label_smoothing`, classes on the last axis. From
    C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, section 7.

    Raises:
        ValueError: logits and targets do not belong together.
    """
    is_probability = targets.is_floating_point()
    wanted = logits.shape if is_probability else logits.shape[:-1]
    if targets.shape != wanted:
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} do not fit logits of shape {tuple(logits.shape)}: "
            f"{tuple(wanted)} is wanted, with the classes on the last axis of the logits"
        )
    logs = F.log_softmax(logits, -1)
    if is_probability:
        right = -(targets * logs).sum(-1).mean()
    else:
        right = -logs.gather(-1, targets.to(torch.int64).unsqueeze(-1)).mean()
    return (1 - smoothing) * right - smoothing * logs.mean()
