"""The models of the benchmarks can be built and have a loss: those for a GPU too, where there is none."""

import subprocess
import sys

import pytest
import torch

from tests.bench.gpu import LARGE, SMALL

SIZES = {"mlp": 26_122, "convnet": 9_930, "resnet": 11_173_962, "gpt": 91_500_000}  # weights


@pytest.mark.parametrize("case", [*SMALL, *LARGE], ids=lambda case: case.model)
def test_a_case_has_a_loss(case):
    task = case.task()
    few = {name: part[:2].to("meta") for name, part in task.data(0).train.items()}
    with torch.device("meta"):
        model = task.model(case.config())
    hyper = {"dropout": torch.tensor(0.1, device="meta")}
    if case.dropout == 0:
        assert task.loss(model, few, hyper).shape == ()
    count = sum(weight.numel() for weight in model.parameters())
    assert count == pytest.approx(SIZES.get(case.model, count), rel=0.02)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_the_benchmark_says_so():
    said = subprocess.run([sys.executable, "-m", "tests.bench.gpu"], capture_output=True, text=True)
    assert said.returncode == 1
    assert said.stderr.strip().startswith("no CUDA device here")
