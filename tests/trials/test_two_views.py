"""Two views of an image: one batch, one loss, and predictions mixed as a hyperparameter says."""

import pytest
import torch
import torch.nn.functional as F

from tests.trials_sample import CPU, SMALL, spec
from trials.data.edges import evaluation_edges
from trials.noise import lane_value, noise
from trials.program import Program
from trials.recipe import recipe
from trials.tasks.digits_shift import DigitsEdges, DigitsShift
from trials.train import load_splits, train


class Watched(torch.nn.Module):
    """A model that remembers what it was given."""

    def __init__(self):
        super().__init__()
        self.head, self.seen = torch.nn.Linear(64, 10), []

    def forward(self, images):
        self.seen.append(images.detach())
        return self.head(images.flatten(1))


@pytest.fixture(scope="module")
def batch():
    return {name: part[:6] for name, part in DigitsEdges().data(0).val.items()}


def with_values(**values):
    return {name: torch.tensor(value) for name, value in {"label_smoothing": 0.0, **values}.items()}


def logs(task, model, images):
    return F.log_softmax(task.logits(model, images), -1)


def test_both_views_pass_the_model_in_one_batch(batch):
    task, model = DigitsEdges(), Watched()
    with noise(torch.tensor(3), with_values()):
        task.loss(model, batch, with_values(edge_weight=1.0))
    (seen,) = model.seen
    assert seen.shape == (12, 1, 8, 8)
    torch.testing.assert_close(seen[:6], batch["image"] / 16.0 - 0.3)
    assert len(seen[6:].unique()) == 2


def test_the_loss_of_the_edges_is_weighed_and_rows_of_both_are_counted(batch):
    task, model = DigitsEdges(), Watched()
    found = {}
    for weight in (0.0, 0.5, 1.0):
        with noise(torch.tensor(3), with_values()):
            found[weight] = task.loss(model, batch, with_values(edge_weight=weight))
    plain = DigitsShift().loss(model, batch, with_values())
    torch.testing.assert_close(found[0.0], plain / 2)
    torch.testing.assert_close(found[0.5], (found[0.0] + found[1.0]) / 2)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75, 1.0])
def test_predictions_are_the_geometric_mixture_of_the_views(batch, share):
    task, model = DigitsEdges(), Watched()
    with noise(None, with_values(output=share)):
        found = task.metrics(model, batch)
    edges = evaluation_edges(batch["image"] / 16.0) * 16
    first, second = logs(task, model, batch["image"]).exp(), logs(task, model, edges).exp()
    mixed = first**share * second ** (1 - share)
    mixed /= mixed.sum(1, keepdim=True)
    torch.testing.assert_close(found["loss"], F.nll_loss(mixed.log(), batch["label"], reduction="none"))
    torch.testing.assert_close(found["accuracy"], (mixed.argmax(1) == batch["label"]).float())


def test_the_image_alone_is_what_the_plain_task_measures(batch):
    model = Watched()
    with noise(None, with_values(output=1.0)):
        found = DigitsEdges().metrics(model, batch)
    wanted = DigitsShift().metrics(model, batch)
    torch.testing.assert_close(found, dict(wanted))


def test_outputs_of_one_training_share_a_program_and_differ_in_what_they_predict():
    task = DigitsEdges()
    splits = load_splits(task, 0, CPU)
    configs = [{**SMALL["digits-edges"], "lr": 0.01, "output": share} for share in (0.0, 1.0)]
    assert recipe(task, configs[0]).key == recipe(task, configs[1]).key
    found = [list(train(task, spec(one, seed=1), splits=splits, device=CPU))[-1] for one in configs]
    assert found[0].metrics["train_loss"] == found[1].metrics["train_loss"]
    assert found[0].metrics["val_loss"] != found[1].metrics["val_loss"]


def test_lanes_are_mapped():
    task = DigitsEdges()
    parts = recipe(task, {**SMALL["digits-edges"], "lr": 0.01})
    notices = []
    names = tuple(name for name, _ in parts.floats)
    program = Program(task, load_splits(task, 0, CPU), parts.structure, names, CPU, notices.append)
    program.traced(2)
    program.evaluate(program.block(2), {name: part[:3] for name, part in program.splits.val.items()})
    assert notices == []


def test_a_value_of_the_lane_is_read_where_a_lane_runs():
    with pytest.raises(RuntimeError, match="lane_value\\('output'\\) reads the running lane"):
        lane_value("output")
