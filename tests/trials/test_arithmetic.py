"""Gradient accumulation and precision."""

import numpy as np
import pytest
import torch

from tests.trials_sample import SMALL, alone, lanes_of, program, reports_agree, spec, task
from trials.recipe import recipe


def test_two_halves_of_a_batch_are_the_whole() -> None:
    config = {**SMALL["digits"], "lr": 0.01}
    whole = alone("digits", spec({**config, "batch_size": 16}, budget=12, rungs=(4,)))
    halves = alone(
        "digits",
        spec({**config, "batch_size": 8, "gradient_accumulation_steps": 2}, budget=12, rungs=(4,)),
    )
    reports_agree(halves, whole)


def test_every_part_moves_the_running_statistics_and_draws_its_own_noise() -> None:
    config = {**SMALL["digits"], "norm": "batch", "batch_size": 8, "gradient_accumulation_steps": 3}
    lanes = lanes_of("digits", config, 1)
    lanes.admit(spec(config))
    counter = [place for place in lanes.program.layout.buffers if place.name.endswith("num_batches_tracked")]
    lanes.run(np.ones((2, 1)))
    row = lanes.read(0)
    assert counter
    assert all(row.buffers[place.start] == 6 for place in counter)

    # With the rate at nothing and one example repeated, only noise tells the parts apart.
    dropped = {**SMALL["tabular"], "dropout": 0.5, "lr": 0.0, "batch_size": 1}
    one = program("tabular", {**dropped, "gradient_accumulation_steps": 2})
    part = program("tabular", dropped)
    block = one.block(1)
    block.weights[0] = one.first_row(spec(dropped)).weights
    block.hyper[0] = torch.tensor(
        [dict(recipe(task("tabular"), dropped).floats)[name] for name in one.float_names]
    )
    index = torch.zeros(1, 2, dtype=torch.int64)
    with torch.no_grad():
        both = one.step(*block.tensors(), torch.zeros(1), index, *one.data(1))
        block.step.zero_()
        first = part.step(*block.tensors(), torch.zeros(1), index[:, :1], *part.data(1))
    assert not torch.equal(both, first), "both parts dropped the same"


def test_bfloat16_trains_float32_rows_and_stays_near() -> None:
    config = {**SMALL["digits"], "lr": 0.01, "batch_size": 32, "width": 4}
    exact = alone("digits", spec(config, budget=30, rungs=(10, 20)))
    near = alone("digits", spec({**config, "precision": "bfloat16"}, budget=30, rungs=(10, 20)))
    assert near[-1].metrics["train_loss"] < near[0].metrics["train_loss"]
    for one, other in zip(near, exact, strict=True):
        found, wanted = one.metrics["train_loss"], other.metrics["train_loss"]
        assert found != wanted, "nothing was rounded"
        assert abs(found - wanted) < 0.05 * wanted
    lanes = lanes_of("digits", {**config, "precision": "bfloat16"}, 2)
    lanes.admit(spec({**config, "precision": "bfloat16"}))
    lanes.run(np.ones((1, 1)))
    assert lanes.read(0).weights.dtype == torch.float32


def test_lanes_of_bfloat16_do_not_notice_each_other() -> None:
    config = {**SMALL["digits"], "lr": 0.01, "precision": "bfloat16"}
    lanes = lanes_of("digits", config, 3)
    specs = [spec({**config, "lr": 0.01 * (trial + 1)}, trial, budget=5) for trial in range(3)]
    for one in specs:
        lanes.admit(one)
    together = lanes.run(np.ones((5, 3)))[:, :, 0]
    for column, one in enumerate(specs):
        single = lanes_of("digits", config, 1)
        single.admit(one)
        # Rounding to 8 bits turns a difference in the last place into one in the third.
        np.testing.assert_allclose(together[:, column], single.run(np.ones((5, 1)))[:, 0, 0], rtol=1e-2)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"precision": "half"}, "precision='half' is unknown; known: float32, tf32, bfloat16"),
        ({"gradient_accumulation_steps": 0}, "gradient_accumulation_steps=0 must be a whole number"),
        ({"gradient_accumulation_steps": 1.5}, "gradient_accumulation_steps=1.5 must be a whole number"),
    ],
)
def test_what_cannot_be_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recipe(task("digits"), {**SMALL["digits"], **config})  # type: ignore[dict-item]


def test_tf32_wants_a_cuda_device() -> None:
    with pytest.raises(ValueError, match=r"tf32.*CUDA.*'float32' or 'bfloat16'"):
        program("digits", {**SMALL["digits"], "precision": "tf32"})
