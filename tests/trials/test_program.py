"""Config -> program: what picks it, what rides in the row, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from tests.trials_sample import ALL_TASKS, CPU, SMALL, Line, alone, close, program, same, spec, task
from trials.data.order import batches
from trials.drive import Drive
from trials.lanes import Lanes
from trials.noise import Dropout, uniform
from trials.optim import OPTIMIZERS
from trials.recipe import DEFAULTS, recipe
from trials.rows import load_into
from trials.train import build, train


class Net(Line):
    """`Line` with parts to be replaced, one at a time."""

    def __init__(self, **parts):
        for name, part in parts.items():
            setattr(self, name, part)

    def model(self, config):
        return nn.Linear(3, 1)


def built(made, config=None):
    return build(made, made.data(0), recipe(made, config or {}), CPU)


def stepped(made, config=None, steps=1):
    one = spec({"batch_size": 8, **(config or {})}, budget=steps)
    return list(train(made, one, device=CPU))


def names(parts):
    return [name for name, _ in parts.floats], [name for name, _ in parts.structure]


# -- taking a config apart ----------------------------------------------------------------------------------


def test_floats_ride_in_the_row_and_everything_else_picks_the_program():
    config = {"lr": 0.1, "gain": 0.5, "width": 8, "act": "relu", "flag": True}
    floats, structure = names(recipe(Net(), config))
    assert {"lr", "gain", "noise"} <= set(floats)
    assert set(structure) == {"width", "act", "flag", *DEFAULTS}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_hyperparameter_of_the_optimizer_is_in_the_row_with_its_default(name):
    floats = dict(recipe(Net(), {"optimizer": name}).floats)
    assert OPTIMIZERS[name].defaults.items() <= floats.items()
    changed = dict(recipe(Net(), {"optimizer": name, "lr": 0.7}).floats)
    assert changed == {**floats, "lr": 0.7}


def test_other_values_of_floats_share_a_program_and_others_of_choices_do_not():
    base = {"lr": 0.1, "width": 8, "schedule": "cosine"}
    key = recipe(Net(), base).key
    for same_program in (
        {"lr": 0.2},
        {"schedule": "linear"},
        {"warmup_fraction": 0.1},
        {"weight_decay": 0.3},
    ):
        assert recipe(Net(), {**base, **same_program}).key == key
    for other in (
        {"width": 9},
        {"optimizer": "sgd"},
        {"batch_size": 32},
        {"flag": False},
        {"clip_norm": 1.0},
    ):
        assert recipe(Net(), {**base, **other}).key != key


def test_the_order_of_a_config_does_not_matter():
    config = {"lr": 0.1, "width": 8, "gain": 0.5}
    assert recipe(Net(), config) == recipe(Net(), dict(reversed(config.items())))


def test_a_float_that_the_model_needs_picks_the_program_where_the_task_says_so():
    made = Net(
        structure=("slope",),
        model=lambda config: nn.Sequential(nn.Linear(3, 1), nn.LeakyReLU(config["slope"])),
    )
    keys = {recipe(made, {"slope": slope}).key for slope in (0.1, 0.2)}
    assert len(keys) == 2
    stepped(made, {"slope": 0.1})


def test_what_belongs_to_another_optimizer_is_left_out():
    assert recipe(Net(), {"momentum": 0.5}) == recipe(Net(), {})
    assert dict(recipe(Net(), {"momentum": 0.5, "optimizer": "sgd"}).floats)["momentum"] == 0.5


@pytest.mark.parametrize("whole", ["lr", "clip_norm", "weight_decay", "noise"])
def test_a_whole_number_is_a_float_where_a_float_is_meant(whole):
    assert dict(recipe(Net(), {whole: 1}).floats)[whole] == 1.0
    assert recipe(Net(), {whole: 1}).key == recipe(Net(), {whole: 1.0}).key


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"optimizer": "adam"}, r"optimizer='adam' is unknown; did you mean 'adamw'\? known: adamw, sgd"),
        ({"batch_size": 0}, "batch_size=0 must be a whole number of at least 1"),
        ({"batch_size": 8.0}, r"batch_size=8\.0 must be a whole number"),
        ({"batch_size": True}, "batch_size=True must be a whole number"),
        ({"batch_size": "8"}, "batch_size='8' must be a whole number"),
        ({"lr": "high"}, "lr='high' must be a number"),
        ({"weight_decay": True}, "weight_decay=True must be a number"),
        ({"clip_norm": "1"}, "clip_norm='1' must be a number"),
        ({"lr_ratio_tail": 0.5}, "lr_ratio_tail: the task has no such weight group; known: lr_ratio_head"),
        ({"lr_ratio_head": "no"}, "lr_ratio_head='no' must be a number"),
    ],
)
def test_a_config_that_cannot_be_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        recipe(Net(groups={"head": ("weight",)}), config)


def test_a_group_in_a_task_without_groups_says_that_there_are_none():
    with pytest.raises(ValueError, match="no such weight group; known: none"):
        recipe(Net(), {"lr_ratio_head": 0.5})


# -- what a task may get wrong ------------------------------------------------------------------------------


def model_of(make):
    return Net(model=lambda config: make())


def fails(kind, message, made, config=None):
    with pytest.raises(kind, match=message):
        stepped(made, config)


@pytest.mark.parametrize(
    "read",
    [lambda config: config["gain"], lambda config: config.get("gain", 1.0), lambda config: "gain" in config],
    ids=["by name", "with a default", "whether it is there"],
)
def test_a_model_that_reads_a_float_is_told_where_floats_are(read):
    def model(config):
        read(config)
        return nn.Linear(3, 1)

    message = r"hyperparameter 'gain' is a float: .* structure = \('gain',\)"
    fails(ValueError, message, Net(model=model), {"gain": 0.5})


def test_a_model_that_is_no_module_is_refused():
    fails(
        TypeError,
        r"Task\.model returned function, a torch\.nn\.Module is wanted",
        model_of(lambda: lambda x: x),
    )


def test_a_model_without_weights_is_refused():
    fails(ValueError, "ReLU has no weights: there is nothing to train", model_of(nn.ReLU))


def test_a_model_of_complex_weights_is_refused():
    fails(
        ValueError,
        "rows hold real numbers only",
        model_of(lambda: nn.Linear(3, 1, dtype=torch.complex64)),
    )


def test_a_model_whose_shapes_change_from_call_to_call_is_refused():
    sizes = iter(range(1, 100))
    fails(ValueError, "it must depend on its config alone", model_of(lambda: nn.Linear(3, next(sizes))))


@pytest.mark.parametrize(
    ("loss", "got"),
    [
        (
            lambda model, batch, hyper: (model(batch["x"])[:, 0] - batch["y"]).square(),
            r"a tensor of shape \(8,\)",
        ),
        (lambda model, batch, hyper: model(batch["x"]).mean(0), r"a tensor of shape \(1,\)"),
        (lambda model, batch, hyper: 0.5, "float"),
        (lambda model, batch, hyper: None, "NoneType"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(loss, got):
    fails(ValueError, rf"Task\.loss returned {got}; the mean over the batch, a scalar tensor", Net(loss=loss))


@pytest.mark.parametrize(
    ("metric", "got"),
    [
        (lambda model, batch: model(batch["x"]).mean(), r"shape \(\); one value per example, \(10,\)"),
        (lambda model, batch: model(batch["x"]), r"shape \(10, 1\); one value per example"),
        (lambda model, batch: model(batch["x"])[:3, 0], r"shape \(3,\); one value per example"),
        (lambda model, batch: 0.5, "float; one value per example"),
        (lambda model, batch: batch["x"].sum(1)[batch["x"].sum(1) > 0], r"shape \(6,\); one"),
    ],
)
def test_a_metric_without_a_value_for_each_example_is_refused(metric, got):
    made = Net(metrics=lambda model, batch: {"loss": metric(model, batch)})
    fails(ValueError, rf"Task\.metrics\['loss'\] has {got}", made)


def test_a_weight_group_that_names_no_weight_is_refused():
    made = Net(groups={"tail": ("tail.", "end.")})
    fails(
        ValueError,
        r"lr_ratio_tail: no weight's name begins with 'tail\.' or 'end\.'",
        made,
        {"lr_ratio_tail": 0.5},
    )


# -- what a step does ---------------------------------------------------------------------------------------


def by_hand(config, steps, clip=None, ratios=None):
    """`Net` trained by torch alone, on the same batches from the same weights."""
    made = Net()
    one = spec({"batch_size": 8, **config}, budget=steps)
    first = built(made, one.config).first_row(one)
    model, data = nn.Linear(3, 1), made.data(0)
    with torch.no_grad():
        model.weight.copy_(first.weights[:3].view(1, 3))
        model.bias.copy_(first.weights[3:])
    groups = [
        {"params": [weight], "lr": config["lr"] * (ratios or {}).get(name, 1.0)}
        for name, weight in model.named_parameters()
    ]
    optimizer = torch.optim.SGD(groups, lr=config["lr"], momentum=0.9)
    for index in batches(one.seed, 0, steps, 8, 40):
        optimizer.zero_grad()
        loss = made.loss(model, {key: part[torch.from_numpy(index)] for key, part in data.train.items()}, {})
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def by_row(config, steps, groups=None):
    made = Net(groups=groups or {})
    one = spec({"batch_size": 8, **config}, budget=steps)
    drive = Drive(Lanes(built(made, one.config), 1))
    drive.admit(one)
    while True:
        for said in drive.tick():
            if hasattr(said, "row"):
                return said.row.weights


SGD = {"optimizer": "sgd", "lr": 0.05, "schedule": "constant"}


def test_training_is_what_plain_torch_does():
    close(by_row(SGD, 15), by_hand(SGD, 15), "training")


@pytest.mark.parametrize("norm", [0.01, 0.5, 100.0])
def test_clipping_is_torchs_clipping(norm):
    found = by_row({**SGD, "clip_norm": norm}, 15)
    close(found, by_hand(SGD, 15, clip=norm), "training")
    assert torch.allclose(found, by_hand(SGD, 15), rtol=1e-3) is (norm == 100.0)


def test_a_group_has_its_own_rate_and_the_rest_the_plain_one():
    found = by_row({**SGD, "lr_ratio_head": 0.1}, 15, groups={"head": "bias"})
    close(found, by_hand(SGD, 15, ratios={"bias": 0.1}), "training")


def test_a_group_of_rate_0_stands_still():
    config = {**SGD, "lr_ratio_head": 0.0}
    first = built(Net(groups={"head": "bias"}), config).first_row(spec({"batch_size": 8, **config}))
    found = by_row(config, 5, groups={"head": "bias"})
    assert found[3] == first.weights[3]
    assert not torch.equal(found[:3], first.weights[:3])


def test_two_groups_have_two_rates():
    groups = {"head": "bias", "body": ("weight",)}
    found = by_row({**SGD, "lr_ratio_head": 0.2, "lr_ratio_body": 2.0}, 10, groups=groups)
    close(found, by_hand(SGD, 10, ratios={"bias": 0.2, "weight": 2.0}), "training")


def test_float_hyperparameters_reach_the_loss_as_scalars():
    seen = {}

    def loss(model, batch, hyper):
        seen.update({name: value.shape for name, value in hyper.items()})
        return Line.loss(made, model, batch, hyper) * hyper["gain"]

    made = Net(loss=loss)
    one, two = (stepped(made, {"gain": gain, "optimizer": "sgd"}) for gain in (1.0, 2.0))
    assert seen["gain"] == ()
    close(two[0].metrics["train_loss"], 2 * one[0].metrics["train_loss"], "once")


def test_dropout_of_torch_works_in_a_task_and_is_drawn_from_the_lanes_stream():
    made = model_of(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 1)))
    runs = [stepped(made, steps=4) for _ in range(2)]
    assert same(*runs)
    assert not same(
        runs[0], stepped(model_of(lambda: nn.Sequential(nn.Identity(), nn.Linear(3, 1))), steps=4)
    )
    module = built(made)._train.model
    assert isinstance(module[0], Dropout)


def test_every_trial_draws_noise_of_its_own_at_every_step():
    """The loss is the number drawn, so that the losses show the stream of each lane."""
    made = Net(loss=lambda model, batch, hyper: uniform(1)[0] + 0.0 * model(batch["x"]).sum())
    specs = [spec({"batch_size": 8}, trial, seed=seed) for trial, seed in enumerate((1, 2, 1))]
    lanes = Lanes(built(made, specs[0].config), 3)
    for one in specs:
        lanes.admit(one)
    drawn = lanes.run(np.ones((20, 3)))[:, :, 0]
    assert len(np.unique(drawn[:, :2])) == 40
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])


def test_building_a_program_or_a_row_leaves_the_users_random_state_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    built(Net()).first_row(spec({}))
    assert torch.equal(torch.rand(3), wanted)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_optimizer_state_and_step_start_at_zero(name):
    row = program(name, SMALL[name]).first_row(spec(SMALL[name]))
    assert row.step == 0
    assert not row.state.any()
    assert row.weights.any()


def test_evaluation_in_pieces_is_evaluation_whole(monkeypatch):
    made = program("digits", SMALL["digits"])
    one = spec(SMALL["digits"])
    block = Lanes(made, 1)
    block.admit(one)
    whole = block.evaluate("val")
    for chunk in (1000, 359, 7, 1):
        monkeypatch.setattr("trials.lanes.CHUNK", chunk)
        found = block.evaluate("val")
        for key, values in whole.items():
            close(found[key], values, "once")


def test_evaluation_changes_nothing():
    config = {**SMALL["digits"], "norm": "batch", "lr": 0.01}
    lanes = Lanes(program("digits", config), 2)
    for trial in (0, 1):
        lanes.admit(spec(config, trial))
    before = [tensor.clone() for tensor in lanes._block.tensors()]
    first, second = lanes.evaluate("val"), lanes.evaluate("val")
    assert all(torch.equal(*pair) for pair in zip(before, lanes._block.tensors(), strict=True))
    assert all((first[key] == second[key]).all() for key in first)


def test_batch_normalisation_is_torchs_with_the_running_mean_in_the_row():
    config = {**SMALL["digits"], "norm": "batch", "lr": 0.0}
    made = program("digits", config)
    one = spec(config, budget=3)
    lanes = Lanes(made, 1)
    lanes.admit(one)
    lanes.run(np.zeros((3, 1)))
    model = load_into(task("digits").model(dict(made.structure)), made.first_row(one)).train()
    for index in batches(one.seed, 0, 3, 8, 1077):
        images = made.splits.train["image"][torch.from_numpy(index)]
        model(images.to(torch.float32) / 16.0 - 0.3)
    found = load_into(task("digits").model(dict(made.structure)), lanes.read(0))
    for (name, wanted), (_, buffer) in zip(model.named_buffers(), found.named_buffers(), strict=True):
        close(buffer, wanted, "once")
        if name.endswith("num_batches_tracked"):
            assert buffer == 3


def test_a_seed_and_a_config_are_all_a_trial_depends_on():
    config = {**SMALL["tabular"], "lr": 0.01}
    found = alone("tabular", spec(config, trial=3, seed=8))
    other = alone("tabular", spec(config, trial=4, seed=8))
    assert [one.metrics for one in found] == [one.metrics for one in other]


# -- where hyperparameters are found ------------------------------------------------------------------------


def test_hyperparameters_may_be_taken_as_keywords():
    def loss(model, batch, hyper):
        settings = dict(**hyper)
        return ((model(batch["x"]) - batch["y"]) ** 2).mean() * settings["gain"]

    assert stepped(Net(loss=loss), {"gain": 2.0})[0].metrics["val_loss"] > 0


def test_a_whole_number_asked_for_among_the_floats_says_where_it_is():
    def loss(model, batch, hyper):
        return ((model(batch["x"]) - batch["y"]) ** 2).mean() * hyper["gain"]

    with pytest.raises(ValueError, match=r"'gain' is 2, no float.*Task\.model, not Task\.loss.*write 2\.0"):
        stepped(Net(loss=loss), {"gain": 2})


def test_other_kinds_of_dropout_are_refused_by_name():
    with pytest.raises(ValueError, match="Dropout2d cannot follow a lane"):
        built(Net(model=lambda config: nn.Sequential(nn.Linear(3, 1), nn.Dropout2d(0.1))))


def test_a_metric_beside_the_objective_may_be_undefined():
    def metrics(model, batch):
        error = ((model(batch["x"]) - batch["y"]) ** 2).mean(-1)
        return {"loss": error, "rank": error * float("nan")}

    report = stepped(Net(metrics=metrics))[-1]
    assert np.isfinite(report.metrics["val_loss"])
    assert np.isnan(report.metrics["val_rank"])
