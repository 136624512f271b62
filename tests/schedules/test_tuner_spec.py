"""Tuners as text, as tables and as part of a config."""

import pytest

from schedules import (
    TUNER_FAMILIES,
    Keep,
    Probe,
    build_tuner,
    format_tuner,
    from_config,
    is_tuner,
    parse,
    parse_tuner,
    tuner_from_config,
    tuner_table_of,
)
from schedules.text import TUNER_NAMES


def test_the_names_that_schedules_know_tuners_by_are_those_of_the_table():
    assert tuple(TUNER_FAMILIES) == TUNER_NAMES


@pytest.mark.parametrize(
    "text",
    [
        "auto",
        'race(k=4, ratio=3.0, base="wsd(cooldown_fraction=0.2)", centre="range_test", guarded=true)',
        "lean(start_factor=0.125, low=0.01, high=2.0, probe_share=0.5)",
        'autolrs(low=0.1, high=5.0, published=true, rounds=[4, 2], score="last", adopt=false)',
        "autolrs(weight_decay=[0.01, 0.1], momentum=[0.8, 0.99], guarded=false)",
        'plateau(factor=0.5, patience=3, mode="absolute")',
        "accelat(threshold=0.01, guarded=true)",
        "range_test(sweeps=2)",
    ],
)
def test_text_and_table_go_back_and_forth(text):
    table = parse_tuner(text)
    assert format_tuner(table) == text
    assert parse_tuner(format_tuner(table)) == table


@pytest.mark.parametrize("literal", ["true", "True"])
def test_truth_is_written_as_in_study_files_or_as_in_python(literal):
    assert parse_tuner(f"race(guarded={literal})") == {"name": "race", "guarded": True}
    assert (
        parse_tuner(f"race(guarded={literal.replace('rue', 'alse').replace('t', 'f').replace('T', 'F')})")[
            "guarded"
        ]
        is False
    )


def test_guarded_wraps_the_tuner():
    assert isinstance(build_tuner("plateau(warmup_fraction=0)", 1000, 1000).ask(), Keep)
    assert isinstance(build_tuner("plateau(warmup_fraction=0, guarded=true)", 1000, 1000).ask(), Probe)
    assert isinstance(build_tuner("autolrs", 1000, 2000).ask(), Probe)
    assert isinstance(build_tuner("autolrs(guarded=false)", 1000, 2000).ask(), Keep)


def test_a_config_asks_for_a_schedule_or_for_a_tuner():
    assert is_tuner({"schedule": "auto"})
    assert not is_tuner({"schedule": "rex(beta=0.3)"})
    assert not is_tuner({"schedule": "rex(("})
    assert not is_tuner({"lr": 0.1})
    assert tuner_from_config({"schedule": "cosine"}, 1000, 1500) is None
    assert tuner_from_config({}, 1000, 1500) is None
    tuner = tuner_from_config({"lr": 0.1, "schedule": "race(k=3)", "warmup_fraction": 0.1}, 1000, 1500)
    assert [segment.steps for segment in tuner.ask().segments] == [200] * 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_tuner("rase"), "unknown tuner 'rase'; did you mean 'race'"),
        (lambda: parse_tuner("rex"), "'rex' is a schedule, not a tuner"),
        (lambda: parse_tuner("race(n=4)"), "schedule 'race': unknown argument 'n'"),
        (lambda: parse_tuner("race(rations=4)"), "did you mean 'ratio'"),
        (lambda: parse_tuner("race(k=1)"), "schedule 'race': k=1 must be a whole number at least 2"),
        (lambda: parse_tuner("race(k=true)"), "schedule 'race': k=True must be a whole number"),
        (lambda: parse_tuner("race(guarded=1)"), "guarded=1 must be true or false"),
        (lambda: parse_tuner("autolrs(published=1)"), "published=1 must be true or false"),
        (lambda: parse_tuner('race(base="rx")'), "unknown schedule 'rx'; did you mean 'rex'"),
        (lambda: parse_tuner('race(base="race")'), "'race' is a tuner, not a schedule"),
        (lambda: parse_tuner("race(base=rex)"), 'base=rex is written in quotes: base="rex"'),
        (lambda: parse_tuner("race(base=5)"), "base=5 must be a schedule in quotes"),
        (lambda: parse_tuner("race(4)"), "arguments are written with their names"),
        (lambda: parse_tuner("autolrs(rounds=4)"), "rounds=4 must be"),
        (lambda: parse_tuner("autolrs(weight_decay=0.1)"), "weight_decay=0.1 must be"),
        (lambda: from_config({"schedule": "race(k=4)"}, 100), "'race' is a tuner, not a schedule"),
        (lambda: parse("rce"), "unknown schedule 'rce'; did you mean 'race'"),
        (lambda: parse("cosine(floor=true)"), "floor=True must be a number"),
        (lambda: tuner_table_of({"schedule": "race", "rex_beta": 0.3}), "rex_beta belongs to schedules"),
        (
            lambda: tuner_table_of({"schedule": "race(warmup_fraction=0.1)", "warmup_fraction": 0.1}),
            "warmup_fraction=0.1 is given twice",
        ),
        (
            lambda: tuner_from_config({"schedule": "race"}, 20, 40),
            "schedule 'race': horizon=20 is too short to race",
        ),
    ],
)
def test_a_wrong_text_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()
