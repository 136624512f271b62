"""The laws of a schedule, over every family of the table and every combination of them."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import HYPERPARAMETERS, SCHEDULES, build, format, from_config, parse
from schedules.check import Interval
from schedules.spec import COMMON
from tests.strategies import ARGUMENTS, horizons, law, schedules, step_arrays, tables

each_family = pytest.mark.parametrize("name", SCHEDULES)
each_hyperparameter = pytest.mark.parametrize(
    "flat", [name for name in HYPERPARAMETERS if name != "schedule"]
)


def families_of(flat):
    return HYPERPARAMETERS[flat].families or tuple(SCHEDULES)


def config_of(family, **more):
    """The smallest config of a family."""
    needed = {"knot_1": 1.0, "knot_2": 0.5} if family == "knots" else {}
    return {"schedule": family, **needed, **more}


def without_gaps(flat, value):
    """A numbered hyperparameter with those before it."""
    stem, _, number = flat.rpartition("_")
    is_numbered = HYPERPARAMETERS[flat].place is not None
    return {f"{stem}_{i}": value for i in range(1, int(number) + 1)} if is_numbered else {flat: value}


def floor_of(table):
    default = inspect.signature(SCHEDULES[table["name"]].shape).parameters["floor"].default
    if default is None:
        default = 0.1 if table.get("cooldown") == "exponential" else 0.0
    return table.get("floor", default)


def warmup_steps_of(table, horizon):
    return min(round(table.get("warmup_fraction", 0.0) * horizon), horizon - 1)


@each_family
def test_every_argument_has_a_strategy(name):
    parameters = list(inspect.signature(SCHEDULES[name].shape).parameters)
    assert parameters == ["horizon", *SCHEDULES[name].arguments]
    assert set(ARGUMENTS[name]) == set(SCHEDULES[name].arguments)


def test_every_strategy_has_a_family():
    assert set(ARGUMENTS) == set(SCHEDULES)


@each_family
@given(data=st.data(), horizon=horizons, steps=step_arrays())
@law
def test_a_family_is_pure_elementwise_finite_and_not_negative(name, data, horizon, steps):
    schedule = build(data.draw(tables(name)), horizon)
    before = steps.copy()
    factors = schedule(steps)
    assert factors.dtype == np.float64
    assert factors.shape == steps.shape
    assert np.isfinite(factors).all()
    assert (factors >= 0).all()
    np.testing.assert_array_equal(steps, before)
    np.testing.assert_array_equal(schedule(steps), factors)
    one_by_one = [schedule(step) for step in steps.reshape(-1)]
    np.testing.assert_array_equal(factors.reshape(-1), one_by_one)


@given(schedule=schedules(), steps=step_arrays())
@law
def test_a_combination_is_pure_elementwise_finite_and_not_negative(schedule, steps):
    factors = schedule(steps)
    assert factors.shape == steps.shape
    assert np.isfinite(factors).all()
    assert (factors >= 0).all()
    np.testing.assert_array_equal(schedule(steps), factors)
    np.testing.assert_array_equal(factors.reshape(-1), [schedule(step) for step in steps.reshape(-1)])


@given(schedule=schedules(), steps=step_arrays())
@law
def test_a_view_of_steps_gives_a_view_of_factors(schedule, steps):
    np.testing.assert_array_equal(schedule(steps.T), schedule(steps).T)
    np.testing.assert_array_equal(schedule(steps.reshape(-1)[::-2]), schedule(steps).reshape(-1)[::-2])


@each_family
@pytest.mark.parametrize("step", [-1, math.nan, math.inf])
def test_a_step_that_is_none_is_refused(name, step):
    schedule = from_config(config_of(name), horizon=10)
    with pytest.raises(ValueError, match="step="):
        schedule(step)
    with pytest.raises(ValueError, match="step="):
        schedule([0, step])


@each_family
@given(data=st.data(), horizon=horizons)
@law
def test_the_last_value_holds_past_the_horizon(name, data, horizon):
    schedule = build(data.draw(tables(name)), horizon)
    later = horizon + np.array([0, 1, 2, 10, 1000, 10**6])
    np.testing.assert_array_equal(schedule(later), np.full(6, schedule(horizon)))


@pytest.mark.parametrize("name", [name for name in SCHEDULES if "floor" in SCHEDULES[name].arguments])
@given(data=st.data(), horizon=horizons)
@law
def test_the_floor_is_reached_at_the_horizon(name, data, horizon):
    table = data.draw(tables(name, common=["warmup_fraction"]))
    assert build(table, horizon)(horizon) == floor_of(table)


@each_family
@given(data=st.data(), horizon=horizons)
@law
def test_warm_up_rises_to_the_first_factor_and_leaves_the_rest_to_the_shape(name, data, horizon):
    table = data.draw(tables(name, common=COMMON))
    schedule = build(table, horizon)
    warmup_steps = warmup_steps_of(table, horizon)
    shape = build({key: table[key] for key in table if key != "warmup_fraction"}, horizon - warmup_steps)
    rising = np.arange(warmup_steps)
    np.testing.assert_allclose(schedule(rising), (rising + 1) / max(warmup_steps, 1) * shape(0), rtol=1e-15)
    local = np.arange(horizon - warmup_steps + 2)
    np.testing.assert_array_equal(schedule(warmup_steps + local), shape(local))
    if warmup_steps:
        assert schedule(warmup_steps - 1) == shape(0)


@each_family
@given(data=st.data(), horizon=horizons, steps=st.integers(1, 100))
@law
def test_reading_every_n_steps_holds_the_shape_in_between(name, data, horizon, steps):
    table = data.draw(tables(name, common=[]))
    shape, read = build(table, horizon), build({**table, "read_every": steps}, horizon)
    local = np.arange(horizon + 1)
    np.testing.assert_array_equal(read(local), shape(local // steps * steps))


@each_family
@given(data=st.data())
@law
def test_parse_undoes_format(name, data):
    table = data.draw(tables(name))
    text = format(table)
    assert parse(text) == table
    assert format(parse(text)) == text


@each_family
def test_a_family_is_known_by_its_name_alone(name):
    if not SCHEDULES[name].needs:
        assert parse(name) == parse(f" {name}() ") == {"name": name}
        assert format({"name": name}) == name


@each_family
@given(data=st.data(), horizon=horizons)
@law
def test_a_config_of_flat_names_is_the_table(name, data, horizon):
    table = data.draw(tables(name, common=["warmup_fraction", "read_every"]))
    config = {"schedule": name, "lr": 0.1, "width": 16}
    for flat, hyperparameter in HYPERPARAMETERS.items():
        if name not in families_of(flat) or hyperparameter.argument not in table:
            continue
        value = table[hyperparameter.argument]
        if hyperparameter.place is None:
            config[flat] = value
        elif hyperparameter.place < len(value):
            config[flat] = value[hyperparameter.place]
    if name == "knots" and "fractions" in table:
        config["schedule"] = f"knots(fractions={table['fractions']})"
    if name == "multistep" and "milestones" in table:
        table["milestones"] = table["milestones"][:4]
    if name == "constant" and "factor" in table:
        config["schedule"] = f"constant(factor={table['factor']!r})"
    steps = np.arange(horizon + 2)
    np.testing.assert_array_equal(from_config(config, horizon)(steps), build(table, horizon)(steps))


def test_hyperparameters_name_arguments_of_their_families():
    for flat, hyperparameter in HYPERPARAMETERS.items():
        for family in families_of(flat) if flat != "schedule" else ():
            assert hyperparameter.argument in (*SCHEDULES[family].arguments, *COMMON), (flat, family)
        assert hyperparameter.meaning


def test_every_argument_can_be_searched_but_those_that_are_places_or_sizes():
    reached = {
        (family, entry.argument) for flat, entry in HYPERPARAMETERS.items() for family in families_of(flat)
    }
    every = {(family, argument) for family in SCHEDULES for argument in SCHEDULES[family].arguments}
    assert every - reached == {("constant", "factor"), ("knots", "fractions")}


@each_hyperparameter
@given(data=st.data())
@law
def test_legal_values_of_a_hyperparameter_are_accepted_by_all_its_families(flat, data):
    hyperparameter = HYPERPARAMETERS[flat]
    if isinstance(hyperparameter.legal, tuple):
        value = data.draw(st.sampled_from(hyperparameter.legal))
    else:
        low, high = hyperparameter.legal.low, min(hyperparameter.legal.high, 1e9)
        inside = st.integers(math.ceil(low), int(high)) if hyperparameter.is_whole else st.floats(low, high)
        value = data.draw(inside.filter(lambda number: low < number < high))
    for family in families_of(flat):
        config = {**config_of(family), **without_gaps(flat, value)}
        assert from_config(config, horizon=100)(50) >= 0


@each_hyperparameter
@given(data=st.data())
@law
def test_other_values_of_a_hyperparameter_are_refused_by_all_its_families(flat, data):
    legal = HYPERPARAMETERS[flat].legal
    wrong = [st.booleans(), st.just("sideways"), st.just(math.nan), st.just(math.inf)]
    if isinstance(legal, Interval):
        wrong += [st.floats().filter(lambda number: number not in legal)]
    if HYPERPARAMETERS[flat].is_whole:
        wrong += [st.floats(1, 10)]
    value = data.draw(st.one_of(wrong))
    for family in families_of(flat):
        config = {**config_of(family), **without_gaps(flat, value)}
        with pytest.raises(ValueError, match=HYPERPARAMETERS[flat].argument):
            from_config(config, horizon=100)


@each_hyperparameter
def test_a_hyperparameter_of_another_family_is_refused_by_name(flat):
    for family in set(SCHEDULES) - set(families_of(flat)):
        with pytest.raises(
            ValueError, match=rf"{flat} belongs to .*, not '{family}': add when = {{schedule = "
        ):
            from_config({**config_of(family), flat: 0.5}, horizon=100)
