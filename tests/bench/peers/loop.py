"""What the peers train: the digits convnet in a plain loop with fused AdamW, as their users write it."""

import math

import torch
import torch.nn.functional as F

from trials.models.convnet import ConvNet
from trials.tasks.digits import Digits

STEPS = 500
BATCH = 64
WIDTH = 16
LR = (1e-4, 1e-1)
WEIGHT_DECAY = (1e-5, 1e-1)


def load():
    splits = Digits().data(0)
    parts = []
    for split in (splits.train, splits.val):
        parts += [split["image"].to(torch.float32) / 16.0 - 0.3, split["label"]]
    return parts


def train(lr: float, weight_decay: float, seed: int, data) -> float:
    """Loss on the validation split after STEPS steps under a cosine schedule."""
    x, y, val_x, val_y = data
    torch.manual_seed(seed)
    model = ConvNet(1, 8, 10, width=WIDTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    order = torch.randperm(len(x))
    position = 0
    for step in range(STEPS):
        if position + BATCH > len(x):
            order, position = torch.randperm(len(x)), 0
        index = order[position : position + BATCH]
        position += BATCH
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        loss = F.cross_entropy(model(x[index]), y[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        return F.cross_entropy(model(val_x), val_y).item()
