"""The fast convolution, held to torch's."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from tests.trials_sample import close
from trials.kernels.convolution import ConvolutionAsMatmul, conv2d_as_matmul

KERNELS = [(1, 1), (3, 3), (2, 5)]
STRIDES = [1, 2, (1, 3)]
PADDINGS = [0, 1, (2, 1)]
DILATIONS = [1, 2, (1, 2)]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    list(itertools.product(KERNELS, STRIDES, PADDINGS, DILATIONS)),
)
def test_it_agrees_with_torch_and_so_do_its_gradients(kernel, stride, padding, dilation):
    inputs = [random(2, 3, 11, 9), random(4, 3, *kernel, seed=1), random(4, seed=2)]
    found, wanted = [], []
    for results, convolve in ((found, conv2d_as_matmul), (wanted, F.conv2d)):
        leaves = [one.clone().requires_grad_() for one in inputs]
        out = convolve(*leaves, stride=stride, padding=padding, dilation=dilation)
        results += [out, *torch.autograd.grad((out * random(*out.shape, seed=3)).sum(), leaves)]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape
        close(one.detach(), other.detach(), "convolution", "float64")


def test_it_agrees_in_single_precision_and_without_a_bias():
    image, weight = random(2, 3, 8, 8, dtype=torch.float32), random(5, 3, 3, 3, dtype=torch.float32)
    close(conv2d_as_matmul(image, weight, padding=1), F.conv2d(image, weight, padding=1), "convolution")


def calls(function):
    """What a function gives inside the mode, and whether torch's convolution ran."""
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    with Watch(), ConvolutionAsMatmul():
        result = function()
    return result, any("convolution" in name for name in seen)


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ({}, True),
        ({"stride": 2, "padding": 1}, True),
        ({"stride": [2, 1], "padding": (1, 0), "dilation": [1, 2]}, True),
        ({"stride": (2,), "padding": (1,)}, True),
        ({"padding": "same"}, False),
        ({"padding": "valid"}, False),
        ({"padding": "same", "dilation": 2}, False),
        ({"groups": 3}, False),
    ],
    ids=str,
)
def test_the_mode_replaces_what_it_can_and_leaves_the_rest_alone(given, replaced):
    weight = random(6, 1 if "groups" in given else 3, 3, 3, seed=1)
    image, bias = random(2, 3, 9, 9), random(6, seed=2)
    wanted = F.conv2d(image, weight, bias, **given)
    for call in (
        lambda: F.conv2d(image, weight, bias, **given),
        lambda: torch.conv2d(input=image, weight=weight, bias=bias, **given),
        lambda: torch.conv2d(image, weight, **{"bias": bias, **given}),
    ):
        found, was_torch = calls(call)
        close(found, wanted, "convolution", "float64")
        assert was_torch is not replaced


def test_the_mode_takes_positional_arguments():
    image, weight, bias = random(2, 3, 9, 9), random(6, 3, 3, 3, seed=1), random(6, seed=2)
    found, was_torch = calls(lambda: torch.conv2d(image, weight, bias, 2, 1, 1, 1))
    close(found, F.conv2d(image, weight, bias, 2, 1), "convolution", "float64")
    assert not was_torch


@pytest.mark.parametrize(
    "function",
    [
        lambda: F.conv2d(random(3, 9, 9), random(6, 3, 3, 3, seed=1)),
        lambda: F.conv1d(random(2, 3, 9), random(6, 3, 3, seed=1)),
        lambda: F.conv_transpose2d(random(2, 3, 5, 5), random(3, 6, 3, 3, seed=1)),
    ],
    ids=["image without batch", "one dimension", "transposed"],
)
def test_other_convolutions_are_left_alone(function):
    found, was_torch = calls(function)
    close(found, function(), "convolution", "float64")
    assert was_torch


def test_with_a_weight_for_every_lane_it_is_the_convolution_of_each():
    images, weights = random(4, 2, 3, 8, 8), random(4, 5, 3, 3, 3, seed=1)
    with ConvolutionAsMatmul():
        found = vmap(lambda image, weight: F.conv2d(image, weight, stride=2, padding=1))(images, weights)
    for lane in range(4):
        wanted = F.conv2d(images[lane], weights[lane], stride=2, padding=1)
        close(found[lane], wanted, "convolution", "float64")


def test_outside_the_mode_nothing_is_replaced():
    with ConvolutionAsMatmul():
        pass
    module = torch.nn.Conv2d(3, 4, 3)
    assert torch.equal(
        module(torch.ones(1, 3, 5, 5)), F.conv2d(torch.ones(1, 3, 5, 5), module.weight, module.bias)
    )
