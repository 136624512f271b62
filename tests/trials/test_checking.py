"""Whether a task and a study's configs fit together, before anything runs."""

import pytest
import torch

from tests.trials_sample import ALL_TASKS, CPU, SMALL, Line, splits, task
from trials.checking import check


def checked(name, *configs):
    return check(task(name), splits(name), [{**SMALL[name], **config} for config in configs], CPU)


@pytest.mark.parametrize("name", ALL_TASKS)
def test_the_names_of_the_metrics_are_found_out(name):
    found = checked(name, {"lr": 0.1})
    assert found[0] == "train_loss"
    assert "val_loss" in found


def test_everything_that_can_be_searched_is_known():
    config = {
        "lr": 0.1,
        "weight_decay": 0.1,
        "beta1": 0.5,
        "clip_norm": 1.0,
        "lr_ratio_head": 0.1,
        "schedule": "wsd",
        "warmup_fraction": 0.1,
        "cooldown_fraction": 0.2,
        "dropout": 0.1,
    }
    checked("tabular", config)


@pytest.mark.parametrize("name", ALL_TASKS)
@pytest.mark.parametrize("value", [0.5, 5, "five", True], ids=repr)
def test_a_hyperparameter_that_nobody_reads_is_named(name, value):
    with pytest.raises(ValueError, match=r"unknown hyperparameter 'nonsense'.*known: .*lr"):
        checked(name, {"nonsense": value})


@pytest.mark.parametrize(
    ("misspelt", "value", "meant"),
    [
        ("widht", 8, "width"),
        ("wieght_decay", 0.1, "weight_decay"),
        ("warmup_fracton", 0.1, "warmup_fraction"),
        ("drop_out", 0.1, "dropout"),
        ("learning_rate_ratio_head", 0.1, "lr_ratio_head"),
        ("activaton", "relu", "activation"),
        ("beta_1", 0.9, "beta1"),
        ("clipnorm", 0.9, "clip_norm"),
    ],
)
def test_the_nearest_name_is_suggested(misspelt, value, meant):
    with pytest.raises(ValueError, match=f"unknown hyperparameter '{misspelt}'.*did you mean '{meant}'"):
        checked("tabular", {misspelt: value})


@pytest.mark.parametrize("name", ALL_TASKS)
def test_a_misspelt_choice_is_found_out_in_every_task(name):
    with pytest.raises(ValueError, match="did you mean 'activation'"):
        checked(name, {"activaton": "relu"})


def test_momentum_without_an_optimizer_that_has_it_is_named():
    with pytest.raises(
        ValueError, match="'momentum' belongs to optimizer 'sgd' or 'nesterov', which this study never"
    ):
        checked("tabular", {"momentum": 0.9})
    with pytest.raises(ValueError, match="'beta2' belongs to optimizer 'adamw'"):
        checked("tabular", {"beta2": 0.9, "optimizer": "sgd"})


def test_momentum_is_fine_where_one_of_the_configs_uses_it():
    checked("tabular", {"momentum": 0.9, "optimizer": "sgd"}, {"optimizer": "adamw"})
    checked("tabular", {"momentum": 0.9, "optimizer": "adamw"}, {"optimizer": "nesterov"})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"width": 0}, "width=0 must be a whole number of at least 1"),
        ({"width": 8.5}, "hyperparameter 'width' is a float"),
        ({"activation": "rellu"}, "activation='rellu' is unknown; did you mean 'relu'"),
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"schedule": "cosin"}, "cosine"),
        ({"lr_ratio_haed": 0.1}, "lr_ratio_haed: the task has no such weight group"),
    ],
)
def test_every_config_is_tried_so_a_bad_one_is_found_wherever_it_is(config, message):
    with pytest.raises(ValueError, match=message):
        checked("tabular", {"lr": 0.1}, config)


def test_metrics_that_change_from_config_to_config_are_refused():
    class Moody(Line):
        def model(self, config):
            model = super().model({})
            model.names = ["loss", "extra"] if config.get("more", False) else ["loss"]
            return model

        def metrics(self, model, batch):
            return dict.fromkeys(model.names, super().metrics(model, batch)["loss"])

    made = Moody()
    with pytest.raises(
        ValueError, match=r"returns \('val_loss', 'val_extra'\) for one config and \('val_loss',\)"
    ):
        check(made, made.data(0), [{"more": False}, {"more": True}], CPU)


def test_a_metric_that_is_right_for_one_example_only_is_found_out():
    class Mean(Line):
        def metrics(self, model, batch):
            return {"loss": super().metrics(model, batch)["loss"].mean()}

    made = Mean()
    with pytest.raises(ValueError, match=r"has shape \(\); one value per example"):
        check(made, made.data(0), [{}], CPU)


def test_a_loss_with_a_value_for_each_example_is_found_out_with_what_is_wanted():
    class Each(Line):
        def loss(self, model, batch, hyper):
            return (model(batch["x"])[:, 0] - batch["y"]).square()

    made = Each()
    message = (
        r"Task\.loss returned a tensor of shape \(64,\); the mean over the batch, a scalar tensor, is wanted"
    )
    with pytest.raises(ValueError, match=message):
        check(made, made.data(0), [{}], CPU)


def test_checking_leaves_the_data_and_the_random_state_alone():
    before = {key: part.clone() for key, part in splits("tabular").train.items()}
    torch.manual_seed(3)
    wanted = torch.rand(2)
    torch.manual_seed(3)
    checked("tabular", {"lr": 1e9})
    assert torch.equal(torch.rand(2), wanted)
    assert all(torch.equal(part, splits("tabular").train[key]) for key, part in before.items())
