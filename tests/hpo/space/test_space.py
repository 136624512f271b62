import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import UsageError
from hpo.space import Choice, Float, Int, Space
from tests.hpo_strategies import EXAMPLE, configs, random_points, seeds, spaces
from tests.strategies import law


def inactive(space, config):
    """Names of the searched hyperparameters that have no value, from the conditions alone."""
    found = set()
    while True:
        more = {
            name
            for name, conditions in space.when.items()
            for parent, wanted in conditions.items()
            if parent in found or ({**space.fixed, **config}.get(parent) not in wanted)
        }
        if more <= found:
            return found
        found |= more


@law
@given(space=spaces(), seed=seeds)
def test_samples_are_whole_configs_without_inactive_hyperparameters(space, seed):
    config = space.sample(np.random.default_rng(seed))
    space.validate(config)
    assert set(config) == {*space.domains, *space.fixed} - inactive(space, config)
    assert space.active(config) == tuple(name for name in space.names if name in config)
    assert space.holds(config)


@law
@given(space=spaces(), data=st.data())
def test_encoding_goes_to_the_unit_cube_and_back(space, data):
    found = data.draw(st.lists(configs(space), max_size=3))
    points = space.encode(found)
    assert points.shape == (len(found), len(space.names))
    assert np.all((points >= 0) & (points <= 1))
    for config, point in zip(found, points, strict=True):
        back = space.decode(point)
        assert back.keys() == config.keys()
        for name, value in config.items():
            domain = space.domains.get(name)
            if isinstance(domain, Float):
                assert back[name] == pytest.approx(value, rel=1e-9, abs=1e-9 * (domain.high - domain.low))
            else:
                assert back[name] == value
        for name, coordinate in zip(space.names, point, strict=True):
            assert name in config or coordinate == 0.5


@law
@given(space=spaces())
def test_those_depended_on_come_first(space):
    for position, name in enumerate(space.names):
        for parent in space.when.get(name, {}):
            assert parent in space.fixed or parent in space.names[:position]
    assert set(space.names) == set(space.domains)


@law
@given(space=spaces(most=4, small=True))
def test_the_grid_lists_every_config_once(space):
    size = space.grid_size(2)
    assert size is not None
    if size > 3000:
        return
    listed = [space.grid_config(index, 2) for index in range(size)]
    for config in listed:
        space.validate(config)
    assert len({tuple(sorted(config.items())) for config in listed}) == size
    # Every config at the levels is among them.
    for point in random_points(space, 20):
        config = {}
        for name, coordinate in zip(space.names, point, strict=True):
            if space.is_active(name, config):
                levels = space.domains[name].levels(2)
                config[name] = levels[int(coordinate * len(levels))]
        assert {**config, **space.fixed} in listed


def test_a_grid_of_floats_has_no_size_until_the_points_are_said():
    assert Space({"lr": Float(0, 1)}).grid_size() is None
    assert Space({"lr": Float(0, 1)}).grid_size(7) == 7
    assert Space({"width": Int(1, 10**9)}).grid_size() == 10**9
    assert Space({}).grid_size() == 1


def test_a_large_integer_with_a_condition_is_counted_without_listing_it():
    space = Space({"layers": Int(1, 2**40), "width": Choice((8, 16))}, when={"width": {"layers": (5, 2**39)}})
    assert space.grid_size() == 2**40 + 2
    assert space.grid_config(4, 1) == {"layers": 5, "width": 8}
    assert space.grid_config(2**40 + 1, 1) == {"layers": 2**40}


def test_a_hyperparameter_of_an_inactive_one_is_inactive():
    space = Space(
        {"a": Choice((0, 1)), "b": Choice((0, 1)), "c": Float(0, 1)},
        when={"b": {"a": (1,)}, "c": {"b": (0, 1)}},
    )
    assert space.decode([0.1, 0.1, 0.1]) == {"a": 0}
    assert space.decode([0.9, 0.1, 0.1]) == {"a": 1, "b": 0, "c": 0.1}


def test_a_condition_on_a_fixed_value_holds_or_does_not():
    domains = {"momentum": Float(0, 1)}
    when = {"momentum": {"optimizer": ("sgd",)}}
    assert Space(domains, {"optimizer": "adamw"}, when).decode([0.5]) == {"optimizer": "adamw"}
    assert Space(domains, {"optimizer": "sgd"}, when).decode([0.5]) == {"momentum": 0.5, "optimizer": "sgd"}


def test_the_order_of_the_study_file_is_kept_where_conditions_allow():
    space = Space({"c": Float(0, 1), "b": Float(0, 1), "a": Choice(("x", "y"))}, when={"c": {"a": ("x",)}})
    assert space.names == ("a", "c", "b")


def test_a_space_keeps_its_own_copy():
    domains = {"lr": Float(0, 1)}
    space = Space(domains)
    domains["more"] = Float(0, 1)
    assert space.names == tuple(space.domains) == ("lr",)


def test_completing_fills_in_what_is_fixed_and_turns_whole_numbers_into_floats():
    found = EXAMPLE.complete({"lr": 0.01, "optimizer": "adamw", "layers": 1, "task": "only"})
    assert found == {"lr": 0.01, "optimizer": "adamw", "layers": 1, "task": "only", "batch_size": 64}
    assert type(Space({"x": Float(0, 5)}).complete({"x": 3})["x"]) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 1.0}, "lr=1.0 must be a number from 0.0001 to 0.1"),
        ({"lr": "fast"}, "lr='fast' must be a number from 0.0001 to 0.1"),
        ({"layers": 9}, "layers=9 must be an integer from 1 to 4"),
        ({"optimizer": "adam"}, "optimizer='adam' must be one of 'adamw', 'sgd'"),
        ({"momentum": 0.9}, "momentum=0.9 must be left out: it is active when optimizer is one of 'sgd'"),
        ({"lr": None}, "lr is missing: it must be a number from 0.0001 to 0.1"),
        ({"batch_size": 32}, "batch_size=32 must be 64: it is fixed"),
        (
            {"weight_decay": 0.1},
            "unknown hyperparameter 'weight_decay'; known: "
            "batch_size, layers, lr, momentum, nesterov, optimizer, task, width",
        ),
        ({"momentun": 0.9}, "unknown hyperparameter 'momentun'; did you mean 'momentum'? known: "),
    ],
)
def test_what_is_wrong_with_a_config_is_said(change, message):
    config = {"lr": 0.01, "optimizer": "adamw", "layers": 1, "task": "only", "batch_size": 64, **change}
    config = {name: value for name, value in config.items() if value is not None}
    with pytest.raises(UsageError) as raised:
        EXAMPLE.validate(config)
    assert str(raised.value).startswith(message)


def test_a_whole_config_names_the_fixed_values_too():
    with pytest.raises(UsageError, match="batch_size is missing: it must be 64"):
        EXAMPLE.validate({"lr": 0.01, "optimizer": "adamw", "layers": 1, "task": "only"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({"a": Int(1, 2)}, {"a": 1}), "a: both fixed at 1 and searched over an integer from 1 to 2"),
        (({}, {"a": [1]}), "a: [1] must be a boolean, a finite number or a text"),
        (({"a": Int(1, 2)}, {}, {"b": {"a": (1,)}}), "when: unknown hyperparameter 'b'; known: a"),
        (
            ({"lr": Float(0, 1), "optimizer": Choice(("a", "b"))}, {}, {"lr": {"optimiser": ("a",)}}),
            "lr: when: unknown hyperparameter 'optimiser'; did you mean 'optimizer'? known: lr, optimizer",
        ),
        (
            ({"a": Choice((1, 2)), "b": Choice((1, 2))}, {}, {"a": {"b": (1,)}, "b": {"a": (1,)}}),
            "a: conditions go round in a circle: a -> b -> a",
        ),
        (({"a": Choice((1, 2))}, {}, {"a": {"a": (1,)}}), "a: conditions go round in a circle: a -> a"),
        (
            ({"a": Float(0, 1), "b": Int(0, 1)}, {}, {"b": {"a": (0.5,)}}),
            "b: when a: a condition needs a choice or an integer, not a number from 0 to 1",
        ),
        (
            ({"a": Choice(("x", "y")), "b": Int(0, 1)}, {}, {"b": {"a": ("z",)}}),
            "b: when a='z' never holds: a is one of 'x', 'y'",
        ),
        (
            ({"a": Choice((1, 2)), "b": Int(0, 1)}, {}, {"b": {"a": ()}}),
            "b: when a must name at least one value",
        ),
        (
            ({"a": Choice((1, 2))}, {"b": 0.9}, {"b": {"a": (1,)}}),
            "b: a fixed value takes no `when`; give it a choice of one value, 0.9",
        ),
    ],
)
def test_what_a_space_cannot_be_is_said(arguments, message):
    with pytest.raises(UsageError) as raised:
        Space(*arguments)
    assert str(raised.value) == message
