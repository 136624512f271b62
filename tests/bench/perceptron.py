"""Records the curves of the problem `perceptron`: short runs flatter large rates, all the way to a quarter.

python -m tests.bench.perceptron [FILE]

A perceptron (64-64-64-10) on the digits of scikit-learn, a third of whose training labels are drawn anew;
AdamW under a cosine schedule of 2,000 steps, batches of 64. Large rates learn what holds for all first, and
the wrong labels later. 48 configs x 6 seeds (labels, first weights, batches), all configs of a seed at once.
"""

import math
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from hpo.problems import perceptron
from trials.tasks.digits import Digits

CONFIGS, SEEDS = 48, 6
STEPS, BATCH, WIDTH = 2000, 64, 64
WRONG = 0.3  # share of training labels that are drawn anew
BETA1, BETA2, EPSILON = 0.9, 0.99, 1e-8


def _split(split: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    images = split["image"].to(torch.float32).flatten(1) / 16 - 0.3
    return images, split["label"].long()


def _logits(weights: list[torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    """(configs, n, 10)."""
    hidden = images.expand(len(weights[0]), -1, -1)
    for layer in range(3):
        hidden = hidden @ weights[2 * layer] + weights[2 * layer + 1]
        if layer < 2:
            hidden = torch.relu(hidden)
    return hidden


def _losses(weights: list[torch.Tensor], images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(configs,)."""
    logits = _logits(weights, images)
    each = F.cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return each.view(len(logits), -1).mean(1)


def curves(rates: np.ndarray, decays: np.ndarray, seed: int) -> np.ndarray:
    """(configs, 50) validation losses."""
    splits = Digits().data(0)
    (images, labels), (val_images, val_labels) = _split(splits.train), _split(splits.val)
    generator = torch.Generator().manual_seed(seed)
    wrong = torch.rand(len(labels), generator=generator) < WRONG
    drawn = torch.randint(0, 10, (len(labels),), generator=generator)
    labels = torch.where(wrong, drawn, labels)
    weights: list[torch.Tensor] = []
    for inputs, outputs in ((64, WIDTH), (WIDTH, WIDTH), (WIDTH, 10)):
        first = (2 * torch.rand(1, inputs, outputs, generator=generator) - 1) / math.sqrt(inputs)
        weights += [first.repeat(len(rates), 1, 1), torch.zeros(len(rates), 1, outputs)]
    for weight in weights:
        weight.requires_grad_(True)
    means = [torch.zeros_like(weight) for weight in weights]
    squares = [torch.zeros_like(weight) for weight in weights]
    rate, decay = (torch.tensor(some, dtype=torch.float32).view(-1, 1, 1) for some in (rates, decays))
    found: list[np.ndarray] = []
    for step in range(STEPS):
        batch = torch.randint(0, len(images), (BATCH,), generator=generator)
        gradients = torch.autograd.grad(_losses(weights, images[batch], labels[batch]).sum(), weights)
        now = rate * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        with torch.no_grad():
            for weight, gradient, mean, square in zip(weights, gradients, means, squares, strict=True):
                mean.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
                square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
                width = (square / (1 - BETA2 ** (step + 1))).sqrt() + EPSILON
                weight.mul_(1 - now * decay).sub_(now * mean / (1 - BETA1 ** (step + 1)) / width)
            if (step + 1) % (STEPS // perceptron.STEPS) == 0:
                found.append(_losses(weights, val_images, val_labels).numpy())
    return np.array(found).T


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else perceptron.RECORDED
    rng = np.random.default_rng(0)
    configs = [perceptron.SPACE.sample(rng) for _ in range(CONFIGS)]
    rates, decays = (np.array([config[name] for config in configs]) for name in perceptron.SPACE.names)
    losses = np.stack([curves(rates, decays, seed) for seed in range(SEEDS)], 1)
    np.savez_compressed(path, lr=rates, weight_decay=decays, losses=losses.astype(np.float16))


if __name__ == "__main__":
    main()
