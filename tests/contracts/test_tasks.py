"""The laws of a task, over every entry of the table."""

import random
import string

import pytest
import torch
from torch.func import functional_call

from hpo import config as study_file
from hpo import studyfile
from tests.trials_sample import (
    ALL_TASKS,
    CPU,
    OPTIONS,
    SMALL,
    close,
    program,
    same,
    spec,
    splits,
    task,
)
from trials.checking import check
from trials.noise import noise
from trials.recipe import recipe
from trials.spec import Value
from trials.task import Splits, load_task
from trials.train import load_splits, train

each_task = pytest.mark.parametrize("name", ALL_TASKS)
PARTS = ("train", "val", "test")


def distinct(name, tmp_path):
    """The task, on data in which no example occurs twice."""
    if name != "charlm":
        return task(name)
    text = tmp_path / "text.txt"
    text.write_text("".join(random.Random(0).choices(string.ascii_letters + "\n", k=3000)))
    return load_task(name, {**OPTIONS[name], "text": str(text)})


def examples(split):
    size = len(next(iter(split.values())))
    return [b"".join(part[i].contiguous().numpy().tobytes() for part in split.values()) for i in range(size)]


def floats_of(name, config):
    values = dict(recipe(task(name), config).floats)
    return {key: torch.tensor(value) for key, value in values.items()}


@each_task
def test_every_split_has_examples_and_they_are_in_no_other(name, tmp_path):
    found = load_splits(distinct(name, tmp_path), 0, CPU)
    parts = [examples(getattr(found, part)) for part in PARTS]
    assert all(parts)
    assert len(set().union(*parts)) == sum(map(len, parts))


@each_task
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_equal_split_seeds_give_equal_splits(name, seed):
    first, second = (load_task(name, OPTIONS.get(name)).data(seed) for _ in range(2))
    for part in PARTS:
        one, other = getattr(first, part), getattr(second, part)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@each_task
def test_the_test_split_does_not_depend_on_the_split_seed_beyond_its_scale(name):
    """So that studies with other seeds can be compared on it: the same examples, in the same order."""
    first, second = (load_task(name, OPTIONS.get(name)).data(seed).test for seed in (0, 1))
    for key in first:
        one, other = first[key].to(torch.float64), second[key].to(torch.float64)
        if first[key].is_floating_point():
            # Columns are standardised on the training rows, so they agree up to a line.
            one, other = ((part - part.mean(0)) / part.std(0) for part in (one, other))
        close(one, other, "once")


def poisoned(found):
    test = {
        key: torch.full_like(part, torch.nan)
        if part.is_floating_point()
        else torch.zeros_like(part)[:1].expand_as(part)
        for key, part in found.test.items()
    }
    return Splits(found.train, found.val, test)


@each_task
def test_training_and_validation_never_look_at_the_test_split(name):
    config = {**SMALL[name], "lr": 1e-2}
    clean, dirty = splits(name), poisoned(splits(name))
    assert any(not torch.equal(clean.test[key], dirty.test[key]) for key in clean.test)
    one = spec(config, budget=6, rungs=(3,))
    reports = [list(train(task(name), one, splits=data, device=CPU)) for data in (clean, dirty)]
    assert len(reports[0]) == 2
    assert same(*reports)
    without = Splits(clean.train, clean.val)
    assert same(reports[0], list(train(task(name), one, splits=without, device=CPU)))


@each_task
def test_the_loss_is_a_scalar_and_a_metric_has_a_value_for_each_example(name):
    config = SMALL[name]
    made = program(name, config)
    model = made.task.model(dict(made.structure))
    batch = {key: part[:5] for key, part in made.splits.train.items()}
    hyper = floats_of(name, config)
    with noise(torch.tensor(1), hyper):
        loss = made.task.loss(model, batch, hyper)
    assert loss.shape == ()
    assert loss.is_floating_point()
    with noise(None, hyper):
        metrics = made.task.metrics(model.eval(), batch)
    assert "loss" in metrics
    assert all(values.shape == (5,) for values in metrics.values())


# It trains on two views by the sum of their losses, and predicts by one mixture of both.
@pytest.mark.parametrize("name", [name for name in ALL_TASKS if name != "digits-edges"])
def test_the_validation_loss_is_the_training_loss_without_its_noise(name):
    """What is minimised and what is compared are one quantity: the mean over examples, in evaluation mode."""
    made = program(name, SMALL[name])
    model = made.task.model(dict(made.structure)).eval()
    batch = {key: part[:5] for key, part in made.splits.val.items()}
    hyper = floats_of(name, SMALL[name])
    with torch.no_grad(), noise(None, hyper):
        close(made.task.loss(model, batch, hyper), made.task.metrics(model, batch)["loss"].mean(), "once")


@each_task
def test_the_gradient_reaches_every_weight(name):
    made = program(name, SMALL[name])
    torch.manual_seed(0)
    model = made.task.model(dict(made.structure))
    batch = {key: part[:32] for key, part in made.splits.train.items()}
    hyper = floats_of(name, SMALL[name])
    with noise(torch.tensor(1), hyper):
        made.task.loss(model, batch, hyper).backward()
    silent = [
        key
        for key, weight in model.named_parameters()
        if weight.grad is None or not weight.grad.abs().sum() > 0
    ]
    assert silent == []


@each_task
def test_equal_seeds_give_equal_models_and_other_seeds_others(name):
    made = program(name, SMALL[name])
    rows = [made.first_row(spec(SMALL[name], seed=seed)).weights for seed in (1, 1, 2)]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


@each_task
def test_every_hyperparameter_with_a_default_is_read(name):
    defaults = task(name).defaults
    assert check(task(name), splits(name), [{**defaults, **SMALL[name], "lr": 0.01}], CPU)[0] == "train_loss"


OTHER: dict[str, Value] = {
    "width": 6,
    "depth": 2,
    "heads": 3,
    "activation": "tanh",
    "norm": "batch",
    "dropout": 0.5,
    "label_smoothing": 0.3,
    "edge_weight": 0.2,
    "output": 0.9,
    "batch_size": 5,
}


@each_task
def test_every_hyperparameter_with_a_default_changes_training(name):
    """A name that is read and then forgotten would pass `check`."""
    base = {**SMALL[name], "lr": 0.05, **({"width": 6} if name == "charlm" else {})}
    plain = list(train(task(name), spec(base, budget=3), splits=splits(name), device=CPU))
    for key in task(name).defaults:
        value = {"width": 12}.get(key, OTHER[key]) if name == "charlm" else OTHER[key]
        changed = list(
            train(task(name), spec({**base, key: value}, budget=3), splits=splits(name), device=CPU)
        )
        assert not same(plain, changed), key


@each_task
def test_a_hyperparameter_left_out_has_its_default(name):
    defaults = {**task(name).defaults, "batch_size": 8}
    few = {"batch_size": 8, "lr": 0.01}
    found = [
        list(train(task(name), spec(config, budget=1), splits=splits(name), device=CPU))
        for config in (few, {**defaults, **few})
    ]
    assert same(*found)


@each_task
def test_a_float_hyperparameter_may_be_written_as_a_whole_number(name):
    floats = {key: 0 for key, value in task(name).defaults.items() if isinstance(value, float)}
    config = {**SMALL[name], "lr": 0.01, "weight_decay": 0.0}
    assert floats
    assert recipe(task(name), {**config, **floats}).key == recipe(task(name), config).key


@each_task
def test_every_weight_group_names_weights_and_together_they_are_all(name):
    made = program(name, SMALL[name])
    names = [place.name for place in made.layout.weights]
    grouped = {
        group: [one for one in names if one.startswith(tuple(prefixes))]
        for group, prefixes in task(name).groups.items()
    }
    assert all(grouped.values())
    assert sorted(one for group in grouped.values() for one in group) == sorted(names)


@each_task
def test_a_task_is_a_pure_function_of_model_and_batch(name):
    """Called twice with the same weights and noise it gives the same loss."""
    made = program(name, {**SMALL[name]})
    model = made.task.model(dict(made.structure))
    weights = {key: part.detach() for key, part in model.named_parameters()}
    batch = {key: part[:5] for key, part in made.splits.train.items()}
    hyper = floats_of(name, SMALL[name])

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self):
            return made.task.loss(self.model, batch, hyper)

    losses = []
    for _ in range(2):
        with noise(torch.tensor(7), hyper):
            losses.append(
                functional_call(Whole(), {f"model.{key}": part for key, part in weights.items()}, ())
            )
    assert torch.equal(*losses)


# -- study files ------------------------------------------------------------------------------------------


@each_task
def test_a_study_file_lies_beside_every_task_and_its_examples_pass_the_check(name):
    table, where, base = studyfile.find(name)
    assert where == f"{name}.toml"
    study = study_file.build(table, where, base)
    examples_of_study = study.examples()
    assert examples_of_study
    made = load_task(study.reference, study.options)
    names = check(made, load_splits(made, 0, CPU, study.validation), examples_of_study, CPU)
    assert {study.objective.metric, study.objective.final.metric} <= set(names)


@each_task
def test_the_study_file_means_the_task_of_its_name(name):
    study = study_file.build(*studyfile.find(name))
    named, built = load_task(study.reference, study.options), load_task(name)
    assert type(named) is type(built)
    for key, part in named.data(0).val.items():
        assert torch.equal(part, built.data(0).val[key])


# -- what is particular to one ----------------------------------------------------------------------------


def test_the_text_is_split_by_position_so_that_no_character_is_in_two_splits(tmp_path):
    text = tmp_path / "count.txt"
    text.write_text("".join(chr(1000 + i) for i in range(2000)), encoding="utf-8")
    found = load_task("charlm", {"text": str(text), "context": 8, "characters": 2000}).data(0)
    seen = [set(getattr(found, part)["text"].flatten().tolist()) for part in PARTS]
    assert max(seen[0]) < min(seen[1])
    assert max(seen[1]) < min(seen[2])


def test_text_of_many_symbols_is_kept_whole(tmp_path):
    text = tmp_path / "wide.txt"
    text.write_text("".join(chr(1000 + i % 700) for i in range(3000)), encoding="utf-8")
    made = load_task("charlm", {"text": str(text), "context": 8, "characters": 3000})
    assert made.vocabulary == 700
    assert made.data(0).train["text"].max() == 699


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"text": "no-such-file.txt"}, "there is no such file"),
        ({"context": 1}, "context=1 must be at least 2"),
        ({"context": 400, "characters": 3000}, "needs at least"),
    ],
)
def test_a_text_that_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        load_task("charlm", options)


def test_an_unknown_table_is_refused_with_the_nearest_name():
    with pytest.raises(ValueError, match="did you mean 'wine'"):
        load_task("tabular", {"data": "wines"})


@pytest.mark.parametrize("data", ["wine", "iris", "digits", "linnerud"])
def test_every_other_table_trains_too(data):
    made = load_task("tabular", {"data": data})
    config = {"width": 4, "depth": 1, "batch_size": 8, "lr": 0.01}
    (report,) = train(made, spec(config, budget=2), device=CPU)
    assert report.spent == 2


def test_digits_are_moved_by_at_most_a_pixel_and_only_the_share_asked_for():
    from trials.data.augment import shifted

    images = torch.randint(1, 17, (400, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    with noise(torch.tensor(3), {}):
        moved = shifted(images, torch.tensor(0.9))
    with noise(torch.tensor(3), {}):
        assert torch.equal(shifted(images, torch.tensor(0.0)), images)
    assert moved.dtype == images.dtype
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    moves = torch.stack(
        [padded[:, :, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    )  # (9, B, 1, 8, 8)
    fits = (moves == moved).flatten(2).all(-1)  # (9, B)
    assert (fits.sum(0) == 1).all()
    # 0.9 drawn to be moved, a ninth of those to where they are: 0.8 of 400, give or take four deviations.
    assert 288 <= int((~fits[4]).sum()) <= 352
    assert (fits.sum(1) > 0).all()
