"""The largest eigenvalue of the Hessian, against matrices written out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev

from tests.trials_sample import CPU, SMALL, finish, lanes_of, spec
from trials.drive import Drive
from trials.program import Program
from trials.recipe import recipe
from trials.rows import layout
from trials.sharpness import largest_eigenvalue
from trials.spec import TrialSpec
from trials.task import Splits


@pytest.mark.parametrize("width", [1, 2, 5, 60])
def test_it_is_the_largest_eigenvalue_also_where_another_is_larger_in_size(width):
    made = torch.Generator().manual_seed(width)
    raw = torch.randn(3, width, width, generator=made)
    matrices = (raw + raw.mT) / 2
    matrices[1] -= 30 * torch.eye(width)  # all below zero
    found = largest_eigenvalue(lambda v: torch.einsum("kij,kj->ki", matrices, v), 3, width, CPU)
    torch.testing.assert_close(found, torch.linalg.eigvalsh(matrices)[:, -1], rtol=1e-3, atol=1e-4)


def test_a_matrix_of_zeros_and_one_that_is_not_finite():
    matrices = torch.stack([torch.zeros(4, 4), torch.full((4, 4), torch.inf), torch.eye(4)])
    found = largest_eigenvalue(lambda v: torch.einsum("kij,kj->ki", matrices, v), 3, 4, CPU)
    assert found[0] == 0
    assert torch.isnan(found[1])
    assert found[2] == pytest.approx(1.0)


class Small:
    """A net of 200 weights on made-up data."""

    def data(self, split_seed):
        made = torch.Generator().manual_seed(split_seed)
        part = {"x": torch.randn(64, 9, generator=made), "y": torch.randint(4, (64,), generator=made)}
        return Splits(part, part)

    def model(self, config):
        return nn.Sequential(nn.Linear(9, 14), nn.Tanh(), nn.Linear(14, 4))

    def loss(self, model, batch, hyper):
        return F.cross_entropy(model(batch["x"]), batch["y"])

    def metrics(self, model, batch):
        return {"loss": F.cross_entropy(model(batch["x"]), batch["y"], reduction="none")}


def test_it_agrees_with_the_exact_eigenvalue_of_a_small_net_in_every_lane():
    small = Small()
    config = {"lr": 0.1, "optimizer": "sgd", "batch_size": 16}
    parts = recipe(small, config)
    names = tuple(name for name, _ in parts.floats)
    made = Program(small, small.data(0), parts.structure, names, CPU)
    assert made.layout.weight_count == 200
    block, wanted = made.block(3), []
    for lane in range(3):
        row = made.first_row(TrialSpec(lane, config, lane, 1, (1,), 1, 0))
        block.weights[lane] = row.weights * (1 + lane)
        block.hyper[lane] = torch.tensor([row.hyper[name] for name in made.float_names])
        model = small.model({})

        def loss_at(vector, model=model):
            named = {
                place.name: vector[place.start : place.start + place.size].view(place.shape)
                for place in layout(model).weights
            }
            train = made.splits.train
            return F.cross_entropy(functional_call(model, named, (train["x"],)), train["y"])

        wanted.append(torch.linalg.eigvalsh(jacrev(jacrev(loss_at))(block.weights[lane]).double())[-1])
    torch.testing.assert_close(made.sharpness(block).double(), torch.stack(wanted), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["digits", "charlm"])
def test_reports_say_it_on_request(name):
    config = {**SMALL[name], "lr": 0.01}
    one = spec(config, budget=8, rungs=(3,))
    drive = Drive(lanes_of(name, config, 2), sharpness=True)
    drive.admit(one)
    reports, _ = finish(drive)
    found = [report.metrics["sharpness"] for report in reports[one.trial]]
    assert len(found) == 2
    assert np.isfinite(found).all()
