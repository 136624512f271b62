"""The laws of a tuner, over every entry of the table."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedules import TUNER_FAMILIES, TUNERS, Keep, Probe, TunerError, build_tuner
from tests.strategies import TUNER_MAKERS, law, traces

MOST_ASKS = 200  # of the tuners made here

each_tuner = pytest.mark.parametrize("name", TUNERS)


def segments_of(wish):
    return wish.segments if isinstance(wish, Probe) else (wish.segment,)


def described(wish):
    """A wish as plain values, so that two of them can be compared."""
    if wish is None:
        return None
    segments = [
        (one.steps, one.evals, one.lr(np.arange(one.steps)).tolist(), dict(one.hyper), one.is_mark)
        for one in segments_of(wish)
    ]
    return type(wish).__name__, segments, wish.adopt if isinstance(wish, Keep) else wish.starts


def obey(tuner, data):
    """What was asked and told until there was nothing more."""
    asked, told, is_finite = [], [], data.draw(st.booleans())
    while (wish := tuner.ask()) is not None:
        assert len(asked) < MOST_ASKS
        asked.append(wish)
        told.append([data.draw(traces(segment, is_finite)) for segment in segments_of(wish)])
        if not heard(tuner, told[-1]):
            break
    return asked, told


def heard(tuner, some_traces):
    """Whether the tuner goes on. It may stop only where every candidate diverged; then it asks no more."""
    said = ""
    try:
        tuner.tell(some_traces)
    except TunerError as error:
        said = str(error)
    if said:
        assert "diverged" in said
        assert any(not np.isfinite([*one.losses, *one.val_losses]).all() for one in some_traces)
        assert tuner.ask() is None
    return not said


def test_every_tuner_has_a_strategy():
    assert set(TUNER_MAKERS) == set(TUNERS)


@pytest.mark.parametrize("name", TUNER_FAMILIES)
def test_every_written_tuner_is_one_that_the_laws_are_held_to(name):
    family = TUNER_FAMILIES[name]
    assert family.make in TUNERS.values()
    signature = inspect.signature(family.make).parameters
    taken = [one for one in signature if one not in ("horizon", "budget", "guarded")]
    assert list(family.arguments) == taken
    assert described(build_tuner(name, 10_000, 50_000).ask()) == described(family.make(10_000, 50_000).ask())


@each_tuner
@given(data=st.data())
@law
def test_same_traces_same_asks(name, data):
    make = data.draw(TUNER_MAKERS[name])
    asked, told = obey(make(), data)
    again = make()
    for wish, some_traces in zip(asked, told, strict=True):
        assert described(again.ask()) == described(wish)
        heard(again, some_traces)
    assert again.ask() is None


@each_tuner
@given(data=st.data())
@law
def test_ask_twice_is_ask_once(name, data):
    tuner = data.draw(TUNER_MAKERS[name])()
    while (wish := tuner.ask()) is not None:
        assert described(tuner.ask()) == described(wish)
        heard(tuner, [data.draw(traces(segment)) for segment in segments_of(wish)])
    assert tuner.ask() is None


@each_tuner
@given(data=st.data())
@law
def test_adopt_and_starts_name_a_probed_segment_since_the_last_keep_that_is_a_mark(name, data):
    asked, _ = obey(data.draw(TUNER_MAKERS[name])(), data)
    probed = []
    for wish in asked:
        named = wish.starts if isinstance(wish, Probe) else [wish.adopt] * (wish.adopt is not None)
        for number in named:
            assert 0 <= number < len(probed)
            assert probed[number].is_mark
        probed = [*probed, *wish.segments] if isinstance(wish, Probe) else []


@each_tuner
@given(data=st.data())
@law
def test_a_trace_of_nan_is_survived(name, data):
    tuner = data.draw(TUNER_MAKERS[name])()
    for _ in range(MOST_ASKS):
        wish = tuner.ask()
        if wish is None:
            break
        told = [data.draw(traces(segment)) for segment in segments_of(wish)]
        for trace in told:
            trace.losses.fill(np.nan)
            trace.val_losses.fill(np.nan)
        heard(tuner, told)
    assert tuner.ask() is None


@each_tuner
@given(data=st.data())
@law
def test_factors_asked_for_are_finite_and_not_negative(name, data):
    asked, _ = obey(data.draw(TUNER_MAKERS[name])(), data)
    for wish in asked:
        for segment in segments_of(wish):
            factors = segment.lr(np.arange(segment.steps))
            assert np.isfinite(factors).all()
            assert (factors >= 0).all()
