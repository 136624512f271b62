import json
import tomllib

import pytest
from hypothesis import given

from hpo.errors import UsageError
from hpo.space import Choice, Float, Int, Space, read, write
from tests.hpo_strategies import spaces
from tests.strategies import law

STUDY = """
lr = {low = 1e-4, high = 1e-1, scale = "log"}
layers = {low = 2, high = 8}
dropout = {low = 0, high = 1, type = "float"}
heads = {low = 2.0, high = 4.0, type = "int"}
optimizer = {choice = ["adamw", "sgd", "lion"]}
momentum = {low = 0.8, high = 0.99, when = {optimizer = "sgd"}}
beta = {low = 0.8, high = 1, when = {optimizer = ["adamw", "lion"], layers = 3}}
batch_size = 64
nesterov = true
"""


def test_the_syntax_of_the_study_file():
    assert read(tomllib.loads(STUDY), "[space]") == Space(
        {
            "lr": Float(1e-4, 1e-1, "log"),
            "layers": Int(2, 8),
            "dropout": Float(0, 1),
            "heads": Int(2, 4),
            "optimizer": Choice(("adamw", "sgd", "lion")),
            "momentum": Float(0.8, 0.99),
            "beta": Float(0.8, 1.0),
        },
        {"batch_size": 64, "nesterov": True},
        {"momentum": {"optimizer": ("sgd",)}, "beta": {"optimizer": ("adamw", "lion"), "layers": (3,)}},
    )


@law
@given(space=spaces())
def test_a_space_survives_its_table_and_the_journal(space):
    table = json.loads(json.dumps(write(space)))
    found = read(table, "[space]")
    assert found == space
    assert found.names == space.names
    assert write(found) == table


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"low": 1.0, "high": 0.1}, "low=1.0 must be less than high=0.1"),
        ({"low": 0, "high": 8, "scale": "log"}, "low=0 must be greater than 0 on a log scale"),
        (
            {"low": 1, "high": 8, "scale": "logg"},
            "unknown scale 'logg'; did you mean 'log'? known: linear, log",
        ),
        ({"low": 1, "high": 8, "scale": 3}, "scale=3 must be 'linear' or 'log'"),
        ({"low": 1, "high": 8, "type": "integer"}, "type='integer' must be 'int' or 'float'"),
        ({"low": 1.5, "high": 8, "type": "int"}, "low=1.5 must be an integer"),
        ({"low": "1", "high": 8}, "low='1' must be a finite number"),
        (
            {"low": 1},
            "high is missing: write a value, {low = ..., high = ...} or {choice = [...]}",
        ),
        ({}, "neither a range nor a choice: write a value, {low = ..., high = ...} or {choice = [...]}"),
        (
            {"lo": 1, "high": 8},
            "unknown key 'lo'; did you mean 'low'? known: choice, high, low, prior, scale, type, when",
        ),
        ({"choice": []}, "choice=[] must list at least one value"),
        ({"choice": "adamw"}, "choice='adamw' must be a list"),
        ({"choice": [1], "low": 3}, "low does not go with choice: write a value"),
        ({"choice": ["a", ["b"]]}, "choice lists ['b']: booleans, finite numbers and texts are possible"),
        ({"low": 1, "high": 8, "when": "sgd"}, "when='sgd' must be a table such as {optimizer = 'sgd'}"),
        ([1, 2], "[1, 2] is a list: write {choice = [1, 2]} to choose from it"),
        (None, "None is no value: write a value"),
        (float("nan"), "nan is no value: write a value"),
        (
            {"low": 1, "high": 8, "when": {"optimizr": "sgd"}},
            "when: unknown hyperparameter 'optimizr'; did you",
        ),
        ({"low": 1, "high": 8, "when": {"optimizer": "rmsprop"}}, "when optimizer='rmsprop' never holds: "),
    ],
)
def test_what_is_wrong_with_a_table_is_said_in_one_line_that_names_the_place(entry, message):
    with pytest.raises(UsageError) as raised:
        read({"optimizer": {"choice": ["adamw", "sgd"]}, "lr": entry}, "study.toml [space]")
    assert str(raised.value).startswith(f"study.toml [space] lr: {message}")
    assert "\n" not in str(raised.value)


def test_a_choice_with_a_float_is_a_choice_of_floats():
    space = read({"mix": {"choice": [0, 0.5]}}, "[space]")
    assert [type(value) for value in space.domains["mix"].choices] == [float, float]
