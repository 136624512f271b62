import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from torch.optim import lr_scheduler

from schedules import combine, constant, cosine, linear, multistep, replay, thin, to_csv, to_toml
from tests.strategies import law, schedules
from trials.scheduler import ScheduleLR


def sgd(*rates):
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": rate} for rate in rates]
    return torch.optim.SGD(groups, lr=0.1)


def rates_of(scheduler, steps):
    """(steps, groups): the rate with which each update is made."""
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in scheduler.optimizer.param_groups])
        assert scheduler.get_last_lr() == found[-1]
        scheduler.optimizer.step()
        scheduler.step()
    return np.array(found, dtype=float)


THEIRS = {
    "cosine": (
        cosine(100, floor=0.0),
        lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=100),
    ),
    "linear": (
        linear(100, floor=0.2),
        lambda optimizer: lr_scheduler.LinearLR(optimizer, 1.0, 0.2, total_iters=100),
    ),
    "constant": (constant(0.3), lambda optimizer: lr_scheduler.ConstantLR(optimizer, 0.3, total_iters=1000)),
    "multistep": (
        multistep(100, milestones=[0.3, 0.8], drop=0.1),
        lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [30, 80], gamma=0.1),
    ),
    "join": (
        combine.join([constant(0.1), linear(60)], [40]),
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [
                lr_scheduler.ConstantLR(optimizer, 0.1, total_iters=1000),
                lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=60),
            ],
            milestones=[40],
        ),
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_the_rates_are_those_of_the_scheduler_of_torch(name):
    schedule, make = THEIRS[name]
    ours = rates_of(ScheduleLR(sgd(0.1, 3.0), schedule), 100)
    np.testing.assert_allclose(ours, rates_of(make(sgd(0.1, 3.0)), 100), rtol=1e-9, atol=1e-12)


@given(schedule=schedules())
@law
def test_each_group_follows_the_schedule_from_its_own_rate(schedule):
    rates = rates_of(ScheduleLR(sgd(0.1, 2.0), schedule), 30)
    np.testing.assert_allclose(rates, schedule(np.arange(30))[:, None] * [0.1, 2.0], rtol=1e-15)


def test_it_is_a_scheduler_of_torch():
    scheduler = ScheduleLR(sgd(0.1), constant())
    assert isinstance(scheduler, lr_scheduler.LRScheduler)
    assert scheduler.get_lr() == scheduler.get_last_lr()


def saved(state, folder):
    torch.save(state, folder / "state.pt")
    return torch.load(folder / "state.pt", weights_only=True)


@pytest.mark.parametrize("rates", [(0.1,), (0.1, 2.0), (np.float64(0.1), 2)])
def test_a_state_goes_on_where_it_was_taken(rates, tmp_path):
    schedule = cosine(50)
    whole = rates_of(ScheduleLR(sgd(*rates), schedule), 50)
    first = ScheduleLR(sgd(*rates), schedule)
    rates_of(first, 20)
    second = ScheduleLR(sgd(*rates), schedule)
    second.load_state_dict(saved(first.state_dict(), tmp_path))
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    np.testing.assert_array_equal(rates_of(second, 30), whole[20:])


def test_the_state_of_a_loaded_state_is_that_state():
    first = ScheduleLR(sgd(0.1, 1.0), cosine(50))
    rates_of(first, 7)
    state = first.state_dict()
    assert not any(callable(value) for value in state.values())
    assert pickle.loads(pickle.dumps(state)) == state
    second = ScheduleLR(sgd(0.1, 1.0), cosine(50))
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert second.schedule(3) == cosine(50)(3)


def test_it_goes_on_after_the_last_step_that_was_done():
    schedule = linear(50)
    whole = rates_of(ScheduleLR(sgd(0.4, 1.0), schedule), 50)
    optimizer = sgd(0.4, 1.0)
    rates_of(ScheduleLR(optimizer, schedule), 20)
    np.testing.assert_array_equal(rates_of(ScheduleLR(optimizer, schedule, last_epoch=19), 30), whole[20:])


def test_a_rate_that_is_a_tensor_stays_one(tmp_path):
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.Adam([weight], lr=torch.tensor(0.5))
    scheduler = ScheduleLR(optimizer, linear(10))
    tensor = optimizer.param_groups[0]["lr"]
    rates_of(scheduler, 5)
    assert optimizer.param_groups[0]["lr"] is tensor
    assert tensor == pytest.approx(0.25)
    scheduler.load_state_dict(saved(scheduler.state_dict(), tmp_path))


def test_it_takes_part_in_a_sequence():
    optimizer = sgd(1.0)
    parts = [ScheduleLR(optimizer, "linear", horizon=10), ScheduleLR(optimizer, constant(0.5))]
    rates = rates_of(lr_scheduler.SequentialLR(optimizer, parts, milestones=[5]), 8)
    np.testing.assert_allclose(rates[:, 0], [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.5, 0.5])


@pytest.mark.parametrize("written", ["text", "toml", "csv", "path"])
def test_a_schedule_may_be_a_text_or_a_file(written, tmp_path):
    steps = np.arange(50)
    factors = cosine(50)(steps)
    knots = thin(factors, 1e-6)
    (tmp_path / "found.toml").write_text(to_toml(knots))
    (tmp_path / "found.csv").write_text(to_csv(knots))
    given, options = {
        "text": ("cosine", {"horizon": 50}),
        "toml": (f"{tmp_path}/found.toml", {}),
        "csv": (f"{tmp_path}/found.csv", {}),
        "path": (Path(tmp_path / "found.toml"), {}),
    }[written]
    rates = rates_of(ScheduleLR(sgd(2.0), given, **options), 50)[:, 0]
    np.testing.assert_allclose(rates, 2.0 * factors, atol=1e-5)


@pytest.mark.parametrize(
    ("schedule", "horizon", "message"),
    [
        ("cosin", 10, "did you mean 'cosine'?"),
        ("cosine", None, "needs horizon="),
        ("cosine", 0, "horizon=0"),
        ("missing.toml", None, "missing.toml cannot be read"),
        ("missing.toml", 10, "steps of its own"),
        (Path("missing.json"), None, "must end in .toml or .csv"),
        (replay(thin([1.0])), 10, "steps of its own"),
        (3, None, "schedule=3 must be"),
        (lambda step: -1.0, None, "gives -1.0 at step 0"),
        (lambda step: np.ones(2), None, "one number"),
    ],
)
def test_a_schedule_that_is_none_is_refused(schedule, horizon, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        ScheduleLR(sgd(0.1), schedule, horizon=horizon)


def test_a_group_too_many_is_refused():
    scheduler = ScheduleLR(sgd(0.1), constant())
    with pytest.raises(ValueError, match="for 1 groups of parameters, the optimizer has 2"):
        ScheduleLR(sgd(0.1, 0.2), constant()).load_state_dict(scheduler.state_dict())
    scheduler.optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    scheduler.optimizer.step()
    with pytest.raises(ValueError, match="make it after the last group is added"):
        scheduler.step()
