"""The laws of lanes for the models that people train: residual networks, decoders, and four of transformers.

As in tests/contracts/test_lanes.py, on tasks as a user would write them.
"""

import importlib.util
import os
import shutil
from functools import cache

import numpy as np
import pytest
import torch

from tests.models_sample import MODELS, OF_TRANSFORMERS
from tests.trials_sample import CPU, close, finish, reports_agree, spec
from trials.compiling import compile_package, example_arguments, load_package
from trials.drive import Drive
from trials.lanes import Lanes
from trials.program import recipe
from trials.train import build, load_splits, train

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="needs transformers: install the extra hf"
)
each_model = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs_transformers if task in OF_TRANSFORMERS else ())
        for name, (task, _) in MODELS.items()
    ],
)


def config_of(name, **more):
    return {"batch_size": 4, "lr": 0.003, **MODELS[name][1], **more}


@cache
def built(name):
    task = MODELS[name][0]()
    return build(task, load_splits(task, 0, CPU), recipe(task, config_of(name)), CPU)


def alone(name, one):
    made = built(name)
    return list(train(made.task, one, splits=made.splits, device=CPU))


@each_model
def test_a_trial_in_any_lane_with_any_neighbours_is_the_trial_alone(name):
    """Three lanes and five trials, each with a rate of its own: lanes end, move and are refilled."""
    rates, budgets = (0.003, 0.0, 0.01, 0.001, 0.02), (9, 3, 12, 7, 5)
    specs = [
        spec(config_of(name, lr=rate), trial, budget=budget, horizon=20)
        for trial, (rate, budget) in enumerate(zip(rates, budgets, strict=True))
    ]
    drive = Drive(Lanes(built(name), 3), tick=5)
    waiting, reports = list(specs), {}
    while waiting or len(drive):
        while waiting and len(drive) < 3:
            drive.admit(waiting.pop(0))
        for said in drive.tick():
            if hasattr(said, "metrics"):
                reports.setdefault(said.trial, []).append(said)
    for one in specs:
        reports_agree(reports[one.trial], alone(name, one))


@each_model
def test_every_weight_is_trained_and_the_loss_falls(name):
    one = spec(config_of(name, lr=0.01, batch_size=4), budget=40, rungs=(1,))
    made = Lanes(built(name), 1)
    made.admit(one)
    before = made.read(0)
    drive = Drive(Lanes(built(name), 1))
    drive.admit(one)
    (reports, ends) = finish(drive)
    first, last = reports[0]
    assert last.metrics["val_loss"] < first.metrics["val_loss"]
    after = ends[0].row
    for place in built(name).layout.weights:
        part = slice(place.start, place.start + place.size)
        assert not torch.equal(before.weights[part], after.weights[part]), place.name


@each_model
def test_writing_a_row_back_rewinds_weights_and_buffers(name):
    lanes = Lanes(built(name), 3)
    for trial in range(3):
        lanes.admit(spec(config_of(name), trial))
    lanes.run(np.ones((2, 3)))
    marks = [lanes.read(trial) for trial in range(3)]
    first = lanes.run(np.ones((4, 3)))[:, :, 0]
    ends = [lanes.read(trial) for trial in range(3)]
    # Only the middle lane goes back: the others are ahead of it now, and must not matter.
    lanes.write(1, marks[1])
    again = lanes.run(np.ones((4, 3)))[:, :, 0]
    np.testing.assert_array_equal(again[:, 1], first[:, 1])
    for part in ("weights", "buffers", "state"):
        assert torch.equal(getattr(lanes.read(1), part), getattr(ends[1], part))


def ran(program, step, lanes=4):
    """Losses of five steps, and the rows after them; every lane at a step and a rate of its own."""
    block = program.block(lanes)
    for lane in range(lanes):
        row = program.first_row(spec(dict(program.structure), lane))
        block.weights[lane], block.buffers[lane], block.key[lane] = row.weights, row.buffers, row.key
        block.hyper[lane] = torch.tensor([row.hyper[name] for name in program.float_names])
    block.hyper[:, program.float_names.index("lr")] = torch.tensor([0.001, 0.003, 0.01, 0.0])
    block.step[:] = torch.tensor([0, 5, 900, 7])
    index = torch.arange(lanes * program.batch_size).reshape(lanes, -1)
    factor = torch.tensor([1.0, 0.5, 1.0, 1.0])
    with torch.no_grad():
        losses = [step(*block.tensors(), factor, index, *program.data(len(factor))) for _ in range(5)]
    return torch.stack(losses), block


def ran_the_same(found, wanted):
    close(found[0], wanted[0], "training")
    close(found[1].buffers, wanted[1].buffers, "training")
    assert torch.equal(found[1].step, wanted[1].step)


@each_model
def test_the_traced_step_says_the_same(name):
    program = built(name)
    ran_the_same(ran(program, program.traced(4)), ran(program, program.step))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
@pytest.mark.skipif("HPO_COMPILED" not in os.environ, reason="takes minutes: HPO_COMPILED=1 runs it")
@pytest.mark.parametrize(
    "name",
    ["resnet with batch normalisation", pytest.param("llama, sdpa", marks=needs_transformers)],
)
def test_the_compiled_step_says_the_same(name, tmp_path):
    program = built(name)
    path = tmp_path / "step.pt2"
    compile_package(program.traced(4), example_arguments(program, 4), path, CPU)
    ran_the_same(ran(program, load_package(path, CPU)), ran(program, program.step))
