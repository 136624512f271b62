"""The name of what a step computes: equal for equal work, another for any other."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from tests.trials_sample import CPU
from trials.recipe import recipe
from trials.signature import signature
from trials.task import load_task
from trials.train import build, load_splits

CONFIG = {"width": 4, "batch_size": 8, "lr": 0.01}


def named(config=CONFIG, lanes=3, change=None):
    """Signature of the step of digits."""
    task = load_task("digits", {})
    splits = load_splits(task, 0, CPU)
    if change is not None:
        splits = dataclasses.replace(splits, train=change(splits.train))
    return build(task, splits, recipe(task, config), CPU).signature(lanes)


def test_rates_examples_and_the_process_make_no_difference():
    def darker(train):
        return {**train, "image": train["image"] // 2}

    first = named()
    assert named({**CONFIG, "lr": 0.5}) == first
    assert named(change=darker) == first
    program = "from tests.trials.test_signature import named; print(named())"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == first


@pytest.mark.parametrize(
    "change",
    [
        {"width": 8},
        {"batch_size": 16},
        {"norm": "batch"},
        {"optimizer": "sgd"},
        {"clip_norm": 1.0},
        {"gradient_accumulation_steps": 2},
        {"activation": "gelu"},
    ],
    ids=str,
)
def test_another_structure_has_another_name(change):
    assert named({**CONFIG, **change}) != named()


def test_the_number_of_lanes_and_of_examples_count():
    def fewer(train):
        return {name: part[:-1] for name, part in train.items()}

    assert len({named(), named(lanes=4), named(change=fewer)}) == 3


def test_which_result_an_operation_is_given_counts():
    """Names and shapes alone would not do: here all are equal, and only what is added to what differs."""

    def left(x):
        a, b = x.sin(), x.cos()
        return a - b

    def right(x):
        a, b = x.sin(), x.cos()
        return b - a

    one = [torch.ones(3)]
    assert signature(left, one) != signature(right, one)
    assert signature(left, one) != signature(lambda x: (x.sin() - x.cos()).neg(), one)
    assert signature(lambda x: (x.sin(), x.cos())[0], one) != signature(lambda x: (x.sin(), x.cos())[1], one)


def test_a_tensor_from_elsewhere_counts_with_its_values():
    def scaled(constant):
        return signature(lambda x: x * constant, [torch.ones(3)])

    assert scaled(torch.tensor([1.0, 2.0, 3.0])) == scaled(torch.tensor([1.0, 2.0, 3.0]))
    assert scaled(torch.tensor([1.0, 2.0, 3.0])) != scaled(torch.tensor([1.0, 2.0, 3.1]))
    assert scaled(torch.tensor(2.0)) != scaled(torch.tensor(2))
    # The same numbers as an argument are no constant: they may be others the next time.
    two = torch.full((3,), 2.0)
    assert scaled(two) != signature(lambda x, y: x * y, [torch.ones(3), two])


def test_an_operation_in_place_is_another_than_one_that_makes_a_tensor():
    assert signature(lambda x: x.mul_(2.0), [torch.ones(3)]) != signature(
        lambda x: x.mul(2.0), [torch.ones(3)]
    )


def test_what_is_let_go_of_is_not_taken_for_what_comes_after():
    """Memory is used again at once: a name by address would take the second sine for the first."""

    def once(x):
        kept = x.sin()
        x.cos()
        return kept + x.sin()

    def again(x):
        kept = x.sin()
        x.cos()
        return kept + kept + 0 * x.sin()

    one = [torch.rand(5)]
    assert signature(once, one) == signature(once, [torch.rand(5)])
    assert signature(once, one) != signature(again, one)


def test_looking_for_a_package_loads_nothing_of_the_compiler():
    """A start with a package in the cache is as quick as loading it: the compiler's front takes a second."""
    program = (
        "import sys; from tests.trials.test_signature import named; named(); "
        "print([name for name in ('torch._dynamo', 'torch._inductor.graph', 'sympy') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert said.stdout.strip() == "[]"
