"""Which local step each part hears."""

import numpy as np
import pytest

from schedules import clip, constant, cosine, hold, join, linear, restart, scale, shift, warmup
from schedules.elementwise import elementwise

identity = elementwise(lambda steps: steps)


def test_warm_up_begins_at_one_part_and_ends_at_the_first_factor():
    factors = warmup(200, then=cosine(1800, floor=0.1))(np.arange(2001))
    assert factors[0] == 1 / 200
    assert factors[199] == 1.0
    assert factors[200] == 1.0
    assert factors[2000] == 0.1


def test_warm_up_rises_to_the_first_factor_of_what_follows():
    assert warmup(4, then=constant(0.5))([0, 3, 4]).tolist() == [0.125, 0.5, 0.5]


def test_warm_up_hands_local_steps_on():
    assert warmup(3, then=identity)([3, 4, 10]).tolist() == [0.0, 1.0, 7.0]


def test_no_warm_up_is_the_schedule_itself():
    assert warmup(0, then=identity) is identity


def test_join_hands_each_part_its_local_step():
    parts = join([identity, scale(identity, 10), scale(identity, 100)], boundaries=[2, 5])
    assert parts(range(8)).tolist() == [0.0, 1.0, 0.0, 10.0, 20.0, 0.0, 100.0, 200.0]


def test_join_of_one_is_that_one():
    assert join([identity], boundaries=[])([0, 7]).tolist() == [0.0, 7.0]


def test_restart_begins_again_for_ever_or_for_some_cycles():
    assert restart(identity, 3)(range(8)).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert restart(identity, 3, cycles=2)(range(8)).tolist() == [0, 1, 2, 0, 1, 2, 3, 4]


def test_scale_clip_shift_and_hold_do_what_they_say():
    assert scale(identity, 0.5)([3]).tolist() == [1.5]
    assert clip(identity, 1, 3)(range(5)).tolist() == [1, 1, 2, 3, 3]
    assert shift(identity, 2)(range(3)).tolist() == [2, 3, 4]
    assert shift(identity, -2)(range(5)).tolist() == [0, 0, 0, 1, 2]
    assert hold(identity, 2)(range(5)).tolist() == [0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: warmup(-1, identity), "steps=-1 must be a whole number at least 0"),
        (lambda: warmup(2.5, identity), "steps=2.5 must be a whole number at least 0"),
        (lambda: join([identity], [1]), "1 schedules need 0 boundaries, not 1"),
        (lambda: join([], []), "0 schedules need"),
        (lambda: join([identity] * 3, [5, 5]), r"boundaries=\[5, 5\] must increase"),
        (lambda: join([identity] * 2, [0]), "boundary=0 must be a whole number at least 1"),
        (lambda: restart(identity, 0), "period=0 must be a whole number at least 1"),
        (lambda: restart(identity, 3, cycles=0), "cycles=0 must be a whole number at least 1"),
        (lambda: scale(identity, -1), "factor=-1 must be a number at least 0"),
        (lambda: clip(identity, 2, 1), "low=2.0 must not be above high=1.0"),
        (lambda: shift(linear(10), 0.5), "steps=0.5 must be a whole number of any size"),
        (lambda: hold(identity, -1), "steps=-1 must be a whole number at least 0"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()
