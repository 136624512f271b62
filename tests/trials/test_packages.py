"""Compiled steps on disk, in the form for a CPU and in the form for a CUDA device."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from trials.compiling import compile_package, load_package
from trials.kernels.convolution import FasterConvolution


def step(weights, factor):
    weights.mul_(factor[:, None])
    return weights.sum(1)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_package_does_what_the_step_does_and_changes_rows_in_place(device, tmp_path):
    # The form for a CUDA device compiles for wherever the tensors are, so that it can be tried here too.
    arguments = torch.arange(6.0).reshape(2, 3), torch.tensor([2.0, 3.0])
    path = tmp_path / "step.pt2"
    compile_package(make_fx(step)(*arguments), arguments, path, torch.device(device))
    rows, factor = torch.arange(6.0).reshape(2, 3) + 1, torch.tensor([2.0, 10.0])
    with torch.no_grad():
        found = load_package(path, torch.device(device))(rows, factor)
    wanted = torch.tensor([[2.0, 4.0, 6.0], [40.0, 50.0, 60.0]])
    assert torch.equal(rows, wanted)
    assert torch.equal(found, wanted.sum(1))


def test_another_process_goes_by_the_forms_of_convolutions_that_were_measured():
    mine, other = FasterConvolution(torch.device("cpu")), FasterConvolution(torch.device("cpu"))
    image, kernel = torch.randn(2, 1, 6, 6), torch.randn(3, 1, 3, 3)
    with mine:
        torch.conv2d(image, kernel, stride=2, padding=1)
    mine.settle()
    other.hear(mine.told())
    assert other.verdicts == mine.verdicts != {}
    with other:
        torch.conv2d(image, kernel, stride=2, padding=1)
    assert not other.unseen
