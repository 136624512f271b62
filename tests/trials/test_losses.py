"""Losses with strengths of their own for every lane, held to torch's."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from tests.trials_sample import close
from trials.losses import one_hot, smoothed_cross_entropy

SMOOTHINGS = [0.0, 0.1, 0.7, 1.0]


def made(*shape, classes=5, seed=0):
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(*shape, classes, generator=random, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, classes, shape, generator=random)


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
@pytest.mark.parametrize("shape", [(7,), (3, 4), (2, 3, 4)])
def test_it_is_torchs_cross_entropy_and_so_is_its_gradient(shape, smoothing):
    logits, labels = made(*shape)
    found = smoothed_cross_entropy(logits, labels, torch.tensor(smoothing, dtype=torch.float64))
    wanted = F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=smoothing)
    assert found.shape == ()
    close(found.detach(), wanted.detach(), "update", "float64")
    gradients = [torch.autograd.grad(one, logits)[0] for one in (found, wanted)]
    close(*gradients, "update", "float64")


@pytest.mark.parametrize("smoothing", SMOOTHINGS)
def test_targets_may_be_probabilities(smoothing):
    logits, _ = made(6)
    targets = torch.rand(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    targets = targets / targets.sum(-1, keepdim=True)
    found = smoothed_cross_entropy(logits, targets, torch.tensor(smoothing, dtype=torch.float64))
    close(found.detach(), F.cross_entropy(logits, targets, label_smoothing=smoothing).detach(), "once")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64])
def test_labels_may_be_of_any_whole_type(dtype):
    logits, labels = made(6)
    zero = torch.tensor(0.1)
    wanted = smoothed_cross_entropy(logits, labels, zero)
    assert torch.equal(smoothed_cross_entropy(logits, labels.to(dtype), zero), wanted)
    close(
        smoothed_cross_entropy(logits, one_hot(labels.to(dtype), 5), zero).detach(), wanted.detach(), "once"
    )


def test_every_lane_has_its_own_smoothing():
    logits, labels = made(3, 6)
    found = vmap(smoothed_cross_entropy)(logits, labels, torch.tensor([0.0, 0.2, 0.5]))
    for lane, smoothing in enumerate([0.0, 0.2, 0.5]):
        wanted = F.cross_entropy(logits[lane], labels[lane], label_smoothing=smoothing)
        close(found[lane].detach(), wanted.detach(), "once")


def test_one_hot_is_torchs():
    labels = torch.tensor([[2, 0], [1, 2]])
    assert torch.equal(one_hot(labels, 3), F.one_hot(labels, 3).to(torch.float32))
    assert torch.equal(vmap(lambda one: one_hot(one, 3))(labels), one_hot(labels, 3))


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        ((4, 3), torch.zeros(5, dtype=torch.int64)),
        # torch's own layout, classes in the middle: gathered along the last axis it would give a wrong loss.
        ((4, 9, 3), torch.zeros(4, 3, dtype=torch.int64)),
        ((4, 3), torch.zeros(4, 1, dtype=torch.int64)),
        ((4, 3), torch.zeros(4)),
        ((4, 3), torch.zeros(4, 2)),
    ],
)
def test_targets_that_do_not_fit_are_refused(logits, targets):
    with pytest.raises(
        ValueError, match=r"targets of shape .* do not fit logits .* classes on the last axis"
    ):
        smoothed_cross_entropy(torch.zeros(logits), targets, torch.tensor(0.1))
