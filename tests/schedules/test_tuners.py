"""What each tuner asks for."""

import numpy as np
import pytest

from schedules import Keep, Probe, Segment, Trace, after, bounded, constant, linear, open_loop
from tests.strategies import Race


def traces_of(wish, last_losses=(1.0,)):
    segments = wish.segments if isinstance(wish, Probe) else (wish.segment,)
    return [
        Trace(segment, np.full(segment.steps, loss), np.full(segment.evals, loss))
        for segment, loss in zip(segments, last_losses, strict=True)
    ]


def test_open_loop_asks_for_one_segment():
    schedule = linear(10)
    tuner = open_loop(schedule, steps=10, evals=2)
    assert tuner.ask() == Keep(Segment(schedule, 10, 2))
    tuner.tell(traces_of(tuner.ask()))
    assert tuner.ask() is None


def test_open_loop_refuses_traces_it_did_not_ask_for():
    tuner = open_loop(linear(10), steps=10)
    one = traces_of(tuner.ask())
    with pytest.raises(ValueError, match="2 traces told, 1 asked for"):
        tuner.tell(one * 2)
    tuner.tell(one)
    with pytest.raises(ValueError, match="1 traces told, 0 asked for"):
        tuner.tell(one)


def test_after_runs_the_schedule_first_and_hands_the_rest_to_the_tuner():
    tuner = after(constant(0.1), 5, Race([0.3, 0.6], steps=4))
    assert [tuner.ask().segment.steps, float(tuner.ask().segment.lr(0))] == [5, 0.1]
    tuner.tell(traces_of(tuner.ask()))
    assert [float(segment.lr(0)) for segment in tuner.ask().segments] == [0.3, 0.6]
    tuner.tell(traces_of(tuner.ask(), last_losses=(2.0, 1.0)))
    assert tuner.ask().adopt == 1
    tuner.tell(traces_of(tuner.ask()))
    assert tuner.ask() is None


def test_bounded_clips_every_segment_of_every_wish():
    tuner = bounded(Race([0.1, 0.5, 2.0], steps=4), low=0.2, high=1.0)
    assert [float(segment.lr(0)) for segment in tuner.ask().segments] == [0.2, 0.5, 1.0]
    tuner.tell(traces_of(tuner.ask(), last_losses=(3.0, 2.0, 1.0)))
    assert tuner.ask().adopt == 2
    assert tuner.ask().segment.lr([0, 3]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: open_loop(linear(10), steps=0), "steps=0 must be at least 1"),
        (lambda: open_loop(linear(10), steps=1, evals=-1), "evals=-1 must be at least 0"),
        (lambda: after(linear(10), 0, open_loop(linear(10), 1)), "steps=0 must be at least 1"),
        (lambda: bounded(open_loop(linear(10), 1), 0.5, 0.1), "low=0.5 must not be above high=0.1"),
        (lambda: bounded(open_loop(linear(10), 1), -1, 0.1), "low=-1 must be a number at least 0"),
        (lambda: Probe(()), "a probe needs at least one segment"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()
