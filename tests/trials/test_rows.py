"""A module as a row of numbers, and a row on disk."""

import json
import pickle
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.strategies import law
from tests.trials_sample import CPU, SMALL, Line, program, spec
from trials import rows
from trials.rows import Row
from trials.task import Splits
from trials.train import train


class Everything(nn.Module):
    """Buffers of several kinds, a shared weight, a scalar, a frozen weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.tied = nn.Linear(3, 4)
        self.tied.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.fixed = nn.Parameter(torch.arange(3.0), requires_grad=False)
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("count", torch.tensor(2**24, dtype=torch.int64))

    def forward(self, x):
        return (self.norm(self.first(x)) + self.tied(x)) * self.scale


def stirred(module):
    with torch.no_grad():
        for number, tensor in enumerate(module.parameters()):
            tensor.copy_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)))
    module.norm.num_batches_tracked.fill_(7)
    return module


def test_flattened_and_unflattened_is_what_it_was():
    module = stirred(Everything())
    layout, (weights, buffers) = rows.layout(module), rows.flatten(module)
    found = {**rows.unflatten(layout.weights, weights), **rows.unflatten(layout.buffers, buffers)}
    wanted = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@given(shapes=st.lists(st.lists(st.integers(0, 4), max_size=3), min_size=1, max_size=5))
@law
def test_join_is_the_inverse_of_unflatten(shapes):
    module = nn.Module()
    for number, shape in enumerate(shapes):
        module.register_parameter(f"w{number}", nn.Parameter(torch.randn(shape)))
    places, (weights, _) = rows.layout(module).weights, rows.flatten(module)
    assert torch.equal(rows.join(places, rows.unflatten(places, weights)), weights)
    assert sum(place.size for place in places) == weights.numel() == rows.layout(module).weight_count


def test_unflattened_weights_are_views_so_that_nothing_is_copied():
    places, (weights, _) = rows.layout(nn.Linear(2, 2)).weights, rows.flatten(nn.Linear(2, 2))
    rows.unflatten(places, weights)["weight"].zero_()
    assert weights[:4].tolist() == [0.0] * 4


def test_flattening_copies():
    module = nn.Linear(2, 2)
    weights, _ = rows.flatten(module)
    weights.zero_()
    assert not torch.equal(module.weight, torch.zeros(2, 2))


def test_a_shared_weight_lies_in_the_row_once():
    layout = rows.layout(Everything())
    assert [place.name for place in layout.weights].count("first.weight") == 1
    assert "tied.weight" not in [place.name for place in layout.weights]


def test_a_frozen_weight_is_carried_but_not_trained():
    layout = rows.layout(Everything())
    assert "fixed" not in [place.name for place in layout.weights]
    assert "fixed" in [place.name for place in layout.buffers]


def test_a_row_loaded_into_a_fresh_module_gives_the_same_output():
    module, other = stirred(Everything()), Everything()
    weights, buffers = rows.flatten(module)
    row = Row(weights, buffers, torch.zeros(1, len(weights)), {}, 0, 0, {})
    assert rows.load_into(other, row) is other
    x = torch.randn(5, 3)
    assert torch.equal(module.eval()(x), other.eval()(x))
    assert other.tied.weight is other.first.weight
    assert other.norm.num_batches_tracked == 7


def test_a_row_of_another_structure_is_not_loaded():
    row = Row(torch.zeros(3), torch.zeros(0), torch.zeros(1, 3), {}, 0, 0, {})
    module = nn.Linear(2, 2)
    before = module.weight.clone()
    with pytest.raises(ValueError, match="the row has 3 weights and 0 buffers, the model 6 and 0"):
        rows.load_into(module, row)
    assert torch.equal(module.weight, before)


def turning():
    module = nn.Linear(1, 1)
    module.register_buffer("turn", torch.ones(2, dtype=torch.complex64))
    return module


def whole():
    return nn.ParameterList([nn.Parameter(torch.ones(3, dtype=torch.int8), requires_grad=False)])


def counting_from(start):
    module = nn.Linear(1, 1)
    module.register_buffer("count", torch.tensor([0, start]))
    return module


@pytest.mark.parametrize("start", [2**24 + 1, -(2**24) - 1, 2**62])
def test_whole_numbers_that_a_row_would_round_are_refused(start):
    with pytest.raises(ValueError, match=r"buffer 'count' holds whole numbers beyond 2\*\*24"):
        rows.flatten(counting_from(start))


@pytest.mark.parametrize("start", [2**24, -(2**24), 0])
def test_whole_numbers_that_a_row_holds_come_back(start):
    module = counting_from(start)
    _, buffers = rows.flatten(module)
    assert torch.equal(rows.unflatten(rows.layout(module).buffers, buffers)["count"], module.count)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (nn.ReLU(), "ReLU has no weights: there is nothing to train"),
        (nn.Linear(1, 1).requires_grad_(False), "Linear has only frozen weights: there is nothing to train"),
        (
            nn.Linear(1, 1, dtype=torch.complex64),
            r"weight 'weight' is torch\.complex64: .*real one \(torch\.view_as_real\)",
        ),
        (turning(), r"buffer 'turn' is torch\.complex64: .*real one \(torch\.view_as_real\)"),
        (whole(), "ParameterList has only frozen weights: .*'0' holds whole numbers, make it floating-point"),
    ],
    ids=["none", "frozen", "complex", "complex buffer", "whole numbers"],
)
def test_a_model_that_cannot_be_a_row_is_refused(module, message):
    with pytest.raises(ValueError, match=message):
        rows.layout(module)


class WithModel(Line):
    """`Line`, with a model of the test's choice."""

    def __init__(self, make):
        self.make = make

    def model(self, config):
        return self.make()

    def metrics(self, model, batch):
        found = {"loss": (model(batch["x"])[:, 0] - batch["y"]).square()}
        return {
            **found,
            **{
                name: part.reshape(1).expand(len(batch["y"])).to(torch.float32)
                for name, part in model.named_buffers()
                if part.dim() == 0
            },
        }


def last(make, **config):
    return list(train(WithModel(make), spec({"batch_size": 8, "lr": 0.05, **config}, budget=6), device=CPU))[
        -1
    ]


class Counting(nn.Module):
    """Counts its training steps: in place, or by putting another tensor in the buffer's place."""

    def __init__(self, replaces):
        super().__init__()
        self.line, self.replaces = nn.Linear(3, 1), replaces
        self.register_buffer("steps", torch.tensor(0, dtype=torch.int64))

    def forward(self, x):
        if self.training:
            if self.replaces:
                self.steps = self.steps + 1
            else:
                self.steps += 1
        return self.line(x)


@pytest.mark.parametrize("replaces", [False, True])
def test_a_buffer_that_training_changes_rides_in_the_row(replaces):
    assert last(lambda: Counting(replaces)).metrics["val_steps"] == 6.0


class Tied(nn.Module):
    def __init__(self, tied):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.head = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), nn.Linear(3, 1)
        with torch.no_grad():
            self.b.weight.copy_(self.a.weight)
        if tied:
            self.b.weight = self.a.weight

    def forward(self, x):
        return self.head(self.b(torch.tanh(self.a(x))))


def test_tied_weights_are_trained_as_one():
    """As torch trains them: the gradient is the sum over both uses."""
    config = {"optimizer": "sgd", "momentum": 0.0, "batch_size": 40, "lr": 0.1, "schedule": "constant"}
    found = {tied: last(lambda tied=tied: Tied(tied), **config).metrics["val_loss"] for tied in (True, False)}
    model, data = Tied(True), Line().data(0)
    for _ in range(6):
        model.zero_grad()
        (model(data.train["x"])[:, 0] - data.train["y"]).square().mean().backward()
        with torch.no_grad():
            for weight in model.parameters():
                weight -= 0.1 * weight.grad
    with torch.no_grad():
        wanted = (model(data.val["x"])[:, 0] - data.val["y"]).square().mean()
    assert found[True] == pytest.approx(float(wanted), rel=1e-4)
    assert found[False] != pytest.approx(float(wanted), rel=1e-2)


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(3, 3), nn.Linear(3, 1)
        self.body.requires_grad_(False)

    def forward(self, x):
        return self.head(self.body(x))


def test_a_frozen_weight_stays_as_it_was_whatever_the_decay():
    from trials.drive import Drive
    from trials.lanes import Lanes
    from trials.recipe import recipe
    from trials.train import build

    task = WithModel(Frozen)
    one = spec({"batch_size": 8, "lr": 0.1, "weight_decay": 0.5}, budget=5)
    made = build(task, task.data(0), recipe(task, one.config), CPU)
    before = made.first_row(one)
    drive = Drive(Lanes(made, 1))
    drive.admit(one)
    (_, end) = drive.tick()
    assert torch.equal(end.row.buffers, before.buffers)
    assert len(before.buffers) == 12
    assert not torch.isclose(end.row.weights, before.weights).any()


# -- on disk -------------------------------------------------------------------------------------------------


def example(seed=0):
    made = torch.Generator().manual_seed(seed)
    hyper = {"lr": 0.1, "tiny": 1e-300, "third": 1 / 3}
    names = {"trial": 3, "config": {"width": 8, "act": "relu", "flag": True, "π": "ü"}}
    weights = torch.randn(2000, generator=made)
    weights[:4] = torch.tensor([torch.nan, torch.inf, -0.0, 1e-45])
    state = torch.randn(2, 2000, generator=made)
    return Row(weights, torch.randn(5, generator=made), state, hyper, 123, 2**32 - 1, names)


def equal(one, other):
    tensors = all(
        torch.equal(getattr(one, part).view(torch.int32), getattr(other, part).view(torch.int32))
        for part in ("weights", "buffers", "state")
    )
    return tensors and [one.hyper, one.step, one.key, one.names] == [
        other.hyper,
        other.step,
        other.key,
        other.names,
    ]


def test_what_was_saved_is_what_is_loaded_to_the_last_bit(tmp_path):
    row = example()
    row.save(tmp_path / "rows" / "deep" / "row.safetensors")
    assert equal(Row.load(tmp_path / "rows" / "deep" / "row.safetensors"), row)


def test_a_row_without_buffers_is_saved_too(tmp_path):
    row = program("tabular", SMALL["tabular"]).first_row(spec(SMALL["tabular"]))
    assert row.buffers.numel() == 0
    assert not row.state.any()
    row.save(tmp_path / "row")
    assert equal(Row.load(tmp_path / "row"), row)


def test_saving_leaves_nothing_else_behind_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "row.safetensors"
    for seed in (0, 1):
        example(seed).save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert equal(Row.load(path), example(1))


def test_whoever_looks_while_a_row_is_saved_sees_a_whole_one(tmp_path):
    path = tmp_path / "row.safetensors"
    example(0).save(path)
    done = threading.Event()

    def write():
        for seed in range(40):
            example(seed % 2).save(path)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set() or looks == 0:
        found = Row.load(path)
        assert equal(found, example(0)) or equal(found, example(1))
        looks += 1
    writer.join()


def test_a_save_that_fails_leaves_the_old_row_and_no_other_file(tmp_path):
    path = tmp_path / "row.safetensors"
    example(0).save(path)
    with pytest.raises(TypeError):
        Row(*[torch.zeros(1)] * 3, {}, 0, 0, {"not": object()}).save(path)
    assert list(tmp_path.iterdir()) == [path]
    assert equal(Row.load(path), example(0))


def facts_only(text):
    from safetensors.torch import save

    return save({name: torch.zeros(1) for name in ("weights", "buffers", "state")}, metadata={"row": text})


def damaged():
    from safetensors.torch import save

    whole = json.dumps({"hyper": {}, "step": 0, "key": 0, "names": {}})
    return {
        "empty": b"",
        "torn": facts_only(whole)[:-3],
        "torn head": facts_only(whole)[:40],
        "noise": bytes(range(256)) * 4,
        "no facts": save({"weights": torch.zeros(1)}),
        "no state": save({"weights": torch.zeros(1), "buffers": torch.zeros(1)}, metadata={"row": whole}),
        "facts not JSON": facts_only("{"),
        "facts of something else": facts_only('{"step": 0}'),
        "facts not a table": facts_only("[1]"),
        "a pickle": pickle.dumps({"weights": [1.0]}),
    }


@pytest.mark.parametrize("what", damaged())
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, what):
    path = tmp_path / "row.safetensors"
    path.write_bytes(damaged()[what])
    with pytest.raises(ValueError, match=r"row\.safetensors is not a saved row"):
        Row.load(path)


def test_a_missing_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match=r"none\.safetensors is not a saved row"):
        Row.load(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="is not a saved row"):
        Row.load(tmp_path)


class Trap:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_no_pickle_is_ever_loaded(tmp_path, protocol):
    path = tmp_path / "row.safetensors"
    path.write_bytes(pickle.dumps(Trap(), protocol))
    with pytest.raises(ValueError, match="is not a saved row"):
        Row.load(path)
    torch.save({"weights": Trap()}, path)
    with pytest.raises(ValueError, match="is not a saved row"):
        Row.load(path)


def test_splits_are_checked_when_they_are_made():
    part = {"x": torch.zeros(2)}
    with pytest.raises(ValueError, match="tensors of different lengths"):
        Splits(part, {"x": torch.zeros(2), "y": torch.zeros(3)})
    with pytest.raises(ValueError, match="split 'val' is empty"):
        Splits(part, {})
    with pytest.raises(ValueError, match="split 'train' has no examples"):
        Splits({"x": torch.zeros(0)}, part)
    with pytest.raises(TypeError, match="split 'train' must be a mapping"):
        Splits([1], part)
    assert Splits(part, part).test == {}
