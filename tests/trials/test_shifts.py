"""Copies of a task's data, to validate and to train on."""

import hashlib
from dataclasses import replace

import pytest
import torch

from tests.trials_sample import CPU, SMALL, Line, spec, task
from trials.data.families.kinds import Image, Table
from trials.data.families.table import FAMILIES
from trials.data.shifts import with_copies
from trials.data.stream import Stream
from trials.names import TASKS
from trials.task import Splits
from trials.train import load_splits, to_device, train
from trials.validation import PLAIN, Validation

SOME = tuple(FAMILIES["image"])[:3]
SHIFTED = Validation("shifted", SOME, seed=3)
TRAINED = Validation("shifted-kfold", SOME, seed=3, trained=(SOME[0], f"{SOME[0]}+{SOME[2]}"))


def digits(validation: Validation) -> Splits:
    return load_splits(task("digits"), 0, CPU, validation)


def digest(part: torch.Tensor) -> str:
    return hashlib.sha256(part.numpy().tobytes()).hexdigest()


def test_a_copy_of_the_validation_split_changes_its_images_and_shares_the_rest():
    plain, found = digits(PLAIN), digits(SHIFTED)
    assert tuple(found.shifted) == SOME
    assert digest(found.val["image"]) == digest(plain.val["image"])
    for copy in found.shifted.values():
        assert copy["label"] is found.val["label"]
        image = copy["image"]
        assert (image.dtype, image.shape) == (plain.val["image"].dtype, plain.val["image"].shape)
        changed = (image != plain.val["image"]).flatten(1).any(1).float().mean()
        assert changed > 0.9
    assert len({digest(copy["image"]) for copy in found.shifted.values()}) == len(SOME)
    assert found.views == ()
    assert found.train_size == len(found.train["image"])


def test_copies_are_those_of_the_seed_and_of_nothing_else():
    one, again, other = digits(SHIFTED), digits(SHIFTED), digits(Validation("shifted", SOME, seed=4))
    alone = digits(Validation("shifted", SOME[1:2], seed=3))
    for family in SOME:
        assert digest(one.shifted[family]["image"]) == digest(again.shifted[family]["image"])
        assert digest(one.shifted[family]["image"]) != digest(other.shifted[family]["image"])
    assert digest(alone.shifted[SOME[1]]["image"]) == digest(one.shifted[SOME[1]]["image"])


def test_the_mixed_copy_has_every_example_once_and_families_equally_often():
    found = digits(SHIFTED)
    assert found.mixed is not None
    counts = torch.bincount(found.mixed.family)
    assert counts.sum() == len(found.val["image"])
    assert counts.max() - counts.min() <= 1
    for number, family in enumerate(SOME):
        here = found.mixed.family == number
        assert torch.equal(found.mixed.batch["image"][here], found.shifted[family]["image"][here])


def test_training_copies_lie_behind_the_originals_family_by_family():
    plain, found = digits(PLAIN), digits(TRAINED)
    size = len(plain.train["image"])
    assert found.views == (SOME[0], SOME[2])  # those that a config may name, no others
    assert found.viewed == ("image",)
    assert found.train_size == size
    assert len(found.train["image"]) == 3 * size
    assert len(found.train["label"]) == size
    assert torch.equal(found.train["image"][:size], plain.train["image"])
    assert torch.equal(found.originals()["image"], plain.train["image"])
    whole = digits(Validation("shifted-kfold", SOME, seed=3, trained=("all",)))
    assert torch.equal(whole.train["image"][3 * size :], found.train["image"][2 * size :])


def test_no_training_copy_has_the_draws_of_a_validation_copy():
    # The same image in both splits becomes another picture in each.
    image = torch.arange(64).reshape(1, 1, 8, 8).to(torch.uint8).clamp(max=16).expand(40, 1, 8, 8)
    part = {"image": image, "label": torch.zeros(40, dtype=torch.int64)}
    found = with_copies(task("digits"), Splits(part, part), TRAINED)
    val, train = found.shifted[SOME[0]]["image"], found.train["image"][40:80]
    same = (val == train).flatten(1).all(1).float().mean()
    assert same < 0.2


def test_on_a_device_what_copies_share_stays_shared():
    found = digits(TRAINED)
    moved = to_device(found, CPU)
    assert moved.views == found.views
    assert moved.shifted[SOME[0]]["label"] is moved.val["label"]
    assert moved.tune is moved.val


class Parts(Line):
    """`Line` with parts that can be shifted."""

    def __init__(self, shifts) -> None:
        self.shifts = shifts


@pytest.mark.parametrize(
    ("shifts", "said"),
    [
        ({}, "does not say what of its data can be shifted"),
        ({"z": Table()}, "shifts names 'z', no part of its data"),
        ({"x": Image(), "y": Table()}, "parts of different kinds have no families in common"),
        ({"x": Image()}, r"images have shape \(10, 3\)"),
    ],
)
def test_a_task_whose_data_cannot_be_shifted_is_refused(shifts, said):
    with pytest.raises(ValueError, match=said):
        load_splits(Parts(shifts), 0, CPU, Validation("shifted", SOME[:2]))


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        (Validation("shifted", ("blurr",)), "unknown family 'blurr'; did you mean 'blur'"),
        (Validation("shifted-kfold", SOME, folds=4, trained=("all",)), "folds = 4 must be at most .* 3: "),
        (Validation("shifted-kfold", SOME, trained=("all", "weathr")), "unknown family 'weathr'"),
        (Validation(trained=("blurr",)), "unknown family 'blurr'; did you mean 'blur'"),
    ],
)
def test_families_and_folds_that_cannot_be_are_refused(validation, said):
    with pytest.raises(ValueError, match=said):
        digits(validation)


def test_images_out_of_range_are_refused():
    part = {"image": torch.full((20, 1, 8, 8), 17, dtype=torch.uint8), "label": torch.zeros(20)}
    with pytest.raises(ValueError, match=r"0\.\.16"):
        with_copies(task("digits"), Splits(part, part), SHIFTED)


def test_a_stream_has_no_copies():
    stream = Stream([{"image": torch.zeros(1, 8, 8), "label": 0} for _ in range(10)], readers=1)
    with pytest.raises(ValueError, match="split 'train' is a stream"):
        with_copies(task("digits"), Splits(stream, stream), SHIFTED)


def test_fewer_examples_than_families_are_refused():
    part = {"image": torch.zeros(2, 1, 8, 8, dtype=torch.uint8), "label": torch.zeros(2)}
    with pytest.raises(ValueError, match="3 families need as many validation examples at least, not 2"):
        with_copies(task("digits"), Splits(part, part), SHIFTED)


@pytest.mark.parametrize("name", TASKS)
def test_every_built_in_task_can_be_shifted_and_trained_on_shifts(name):
    made = load_splits(task(name), 0, CPU, Validation("shifted-kfold", folds_for="all", trained=("all",)))
    assert len(made.shifted) >= 4
    config = {**SMALL[name], "train_families": "all"}
    one = replace(spec(config, budget=4), folds="beside")
    (told,) = train(task(name), one, splits=made, device=CPU, lanes=3)
    for family in made.shifted:
        assert f"shifted_loss_{family}" in told.metrics
    assert told.metrics["fold_steps"] == 8
