"""Text and tables as users write them, right and wrong."""

import numpy as np
import pytest

from schedules import build, cosine, format, from_config, knots, parse, rex, table_of, warmup, wsd

STEPS = np.arange(1001)


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("cosine", {"name": "cosine"}),
        ("cosine(floor=0.1)", {"name": "cosine", "floor": 0.1}),
        (
            ' wsd( cooldown_fraction = 2e-1, cooldown="sqrt", warmup_fraction=.05 ) ',
            {"name": "wsd", "cooldown_fraction": 0.2, "cooldown": "sqrt", "warmup_fraction": 0.05},
        ),
        ("knots(factors=(0.1, 1, 0))", {"name": "knots", "factors": [0.1, 1, 0]}),
        ("rex(read_every=50)", {"name": "rex", "read_every": 50}),
    ],
)
def test_text_is_a_table(text, table):
    assert parse(text) == table
    assert parse(format(table)) == table


def test_text_table_and_functions_build_the_same_schedule():
    by_hand = warmup(50, then=wsd(950, cooldown_fraction=0.2, cooldown="sqrt"))(STEPS)
    table = {"name": "wsd", "cooldown_fraction": 0.2, "cooldown": "sqrt", "warmup_fraction": 0.05}
    np.testing.assert_array_equal(build(table, 1000)(STEPS), by_hand)
    np.testing.assert_array_equal(build(format(table), 1000)(STEPS), by_hand)


def test_format_writes_plain_numbers():
    table = {"name": "knots", "factors": (np.float64(0.5), np.float32(0.25), np.int64(1)), "scale": "log"}
    assert format(table) == 'knots(factors=[0.5, 0.25, 1], scale="log")'


def test_warm_up_is_rounded_to_steps_and_leaves_one_to_the_shape():
    assert build("linear(warmup_fraction=0.24)", 10)([0, 1, 2, 10]).tolist() == [0.5, 1.0, 1.0, 0.0]
    assert build("linear(warmup_fraction=0.99)", 2)([0, 1, 2]).tolist() == [1.0, 1.0, 0.0]
    assert build("linear(warmup_fraction=0.99)", 1)([0, 1]).tolist() == [1.0, 0.0]


def test_the_shape_is_read_at_fractions_of_what_the_warm_up_leaves():
    schedule = build("linear(warmup_fraction=0.2, read_fractions=[0.5, 0.75])", 100)
    assert schedule([19, 20, 59, 60, 80, 100]).tolist() == [1.0, 1.0, 1.0, 0.5, 0.25, 0.25]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cosin", "unknown schedule 'cosin'; did you mean 'cosine'? known: constant, linear, cosine, "),
        ("Cosine", "unknown schedule 'Cosine'; did you mean 'cosine'?"),
        ("polynomial(power=2)", "unknown schedule 'polynomial'; did you mean 'power'?"),
        ("trapezoid", "unknown schedule 'trapezoid'; did you mean 'wsd'?"),
        ("zzz", "unknown schedule 'zzz'; known: constant, "),
        (
            "cosine(flor=0.1)",
            "schedule 'cosine': unknown argument 'flor'; did you mean 'floor'? "
            "known: floor, warmup_fraction, read_every, read_fractions",
        ),
        ("wsd(horizon=5)", "schedule 'wsd': unknown argument 'horizon'; known: cooldown_fraction, "),
        ("cosine(floor=2)", "schedule 'cosine': floor=2 must be a number at least 0 and at most 1"),
        ("cosine(floor='a')", "schedule 'cosine': floor='a' must be a number"),
        ("cosine(floor=True)", "schedule 'cosine': floor=True must be a number"),
        ("cosine(floor=None)", "schedule 'cosine': floor=None must be a number"),
        (
            "cosine(floor=nan)",
            "schedule 'cosine(floor=nan)': floor must be a number, a quoted text or a list",
        ),
        (
            "cosine(floor=1+1)",
            "schedule 'cosine(floor=1+1)': floor must be a number, a quoted text or a list",
        ),
        (
            "wsd(cooldown=sqrt)",
            "schedule 'wsd(cooldown=sqrt)': cooldown=sqrt is written in quotes: cooldown=\"sqrt\"",
        ),
        ("wsd(cooldown='sin')", "schedule 'wsd': cooldown='sin' must be one of \"linear\", "),
        (
            "cosine(warmup_fraction=1)",
            "schedule 'cosine': warmup_fraction=1 must be a number at least 0 and below 1",
        ),
        ("cosine(read_every=2.0)", "schedule 'cosine': read_every=2.0 must be a whole number at least 1"),
        (
            "cosine(read_every=2, read_fractions=[0.5])",
            "schedule 'cosine': read_every and read_fractions exclude",
        ),
        ("cosine(0.1)", "schedule 'cosine(0.1)': arguments are written with their names"),
        (
            "cosine(**{'floor': 1})",
            "schedule \"cosine(**{'floor': 1})\": arguments are written with their names",
        ),
        ("cosine(floor=0, floor=1)", "schedule 'cosine(floor=0, floor=1)': floor is given twice"),
        ("knots", "schedule 'knots' needs factors, or knot_1, knot_2, … in a config"),
        ("", "schedule '' must be a name with arguments, as in wsd(cooldown_fraction=0.2)"),
        ("found.csv", "schedule 'found.csv' is a file, a text is wanted: `hpo export STUDY --what schedule"),
        ("cosine(", "schedule 'cosine(' must be a name with arguments"),
        ("a.b()", "schedule 'a.b()' must be a name with arguments"),
        ("cosine()()", "schedule 'cosine()()' must be a name with arguments"),
        ("[cosine]", "schedule '[cosine]' must be a name with arguments"),
        ("cosine; rex", "schedule 'cosine; rex' must be a name with arguments"),
        ("co\0sine", "schedule 'co\\x00sine' must be a name with arguments"),
        ("(" * 500, "schedule '(((("),
        ("cosine(floor=" + "-" * 3000 + "1)", "schedule 'cosine(floor=----"),
    ],
)
def test_wrong_text_is_refused_with_what_would_be_right(text, message):
    with pytest.raises(ValueError) as raised:
        parse(text)
    assert str(raised.value).startswith(message)


def test_text_is_never_executed(tmp_path):
    target = tmp_path / "made"
    for text in (f"open({str(target)!r}, 'w')", f"cosine(floor=open({str(target)!r}, 'w'))"):
        with pytest.raises(ValueError, match="schedule"):
            build(text, 10)
    assert not target.exists()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, 'a schedule needs a name, as in {name = "cosine"}; known: constant, '),
        ({"name": 3}, "unknown schedule 3; known: "),
        ({"name": "rex", "floor": [0.1]}, "schedule 'rex': floor=[0.1] must be a number"),
        ({"name": "multistep", "milestones": 0.5}, "schedule 'multistep': milestones=0.5 must be a list"),
        ({"name": "rex", "read_every": 0}, "schedule 'rex': read_every=0 must be a whole number at least 1"),
    ],
)
def test_a_wrong_table_is_refused_with_what_would_be_right(table, message):
    with pytest.raises(ValueError) as raised:
        format(table)
    assert str(raised.value).startswith(message)


def test_a_horizon_is_at_least_one_step():
    with pytest.raises(ValueError, match="schedule 'rex': horizon=0 must be a whole number at least 1"):
        build("rex", 0)


def test_a_config_without_a_schedule_gives_a_cosine_to_0():
    np.testing.assert_array_equal(from_config({"lr": 0.1}, 1000)(STEPS), cosine(1000)(STEPS))


def test_a_config_says_its_schedule_in_flat_names():
    config = {
        "lr": 0.1,
        "beta": 0.9,
        "schedule": "rex",
        "rex_beta": 0.3,
        "floor": 0.1,
        "warmup_fraction": 0.1,
    }
    by_hand = warmup(100, then=rex(900, beta=0.3, floor=0.1))
    np.testing.assert_array_equal(from_config(config, 1000)(STEPS), by_hand(STEPS))


def test_a_config_may_give_the_schedule_as_text_and_the_rest_in_flat_names():
    config = {"schedule": "wsd(cooldown_fraction=0.3)", "cooldown": "sqrt"}
    assert table_of(config) == {"name": "wsd", "cooldown_fraction": 0.3, "cooldown": "sqrt"}
    config = {"schedule": "knots(fractions=[0, 0.2, 1])", "knot_1": 0.1, "knot_2": 1.0, "knot_3": 0.0}
    by_hand = knots(1000, [0.1, 1.0, 0.0], [0, 0.2, 1])
    np.testing.assert_array_equal(from_config(config, 1000)(STEPS), by_hand(STEPS))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            {"schedule": "cosine", "cooldown_fraction": 0.2},
            "cooldown_fraction belongs to schedule 'wsd', not 'cosine': add when = {schedule = \"wsd\"}",
        ),
        (
            {"rex_beta": 0.2},
            "rex_beta belongs to schedule 'rex', not 'cosine': add when = {schedule = \"rex\"}",
        ),
        (
            {"schedule": "cosine", "decay_power": 2.0},
            "decay_power belongs to schedules 'power', 'slow_start_fast_decay', not 'cosine': "
            "add when = {schedule = [those it is for]}",
        ),
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'?"),
        ({"schedule": 3}, "schedule=3 must be a text; known: constant, "),
        (
            {"schedule": "wsd(cooldown_fraction=0.3)", "cooldown_fraction": 0.2},
            "cooldown_fraction=0.2 is given twice: schedule='wsd(cooldown_fraction=0.3)' sets ",
        ),
        ({"schedule": "knots"}, "schedule 'knots' needs factors, or knot_1, knot_2, … in a config"),
        (
            {"schedule": "knots", "knot_1": 1.0, "knot_3": 1.0},
            "knot_3 is given, knot_2 is not: number them from 1 without gaps",
        ),
        ({"schedule": "rex", "rex_beta": 0.0}, "schedule 'rex': beta=0.0 must be a number above 0"),
    ],
)
def test_a_wrong_config_is_refused_with_what_would_be_right(config, message):
    with pytest.raises(ValueError) as raised:
        from_config(config, 100)
    assert str(raised.value).startswith(message)
