"""Steps in every form that numpy takes."""

import numpy as np
import pytest

from schedules import cosine
from schedules.elementwise import between, geometric, half_cosine, ramp


@pytest.mark.parametrize("step", [3, 3.0, np.int32(3), np.float32(3), np.array(3), np.uint8(3)])
def test_a_single_step_gives_an_array_of_no_dimensions(step):
    factor = cosine(10)(step)
    assert isinstance(factor, np.ndarray)
    assert factor.shape == ()
    assert factor == cosine(10)([3])[0]


def test_no_steps_give_no_factors():
    assert cosine(10)([]).shape == (0,)
    assert cosine(10)(np.empty((2, 0, 3))).shape == (2, 0, 3)


def test_the_first_step_that_is_none_is_named():
    with pytest.raises(ValueError, match=r"step=-2 must be a finite number, at least 0"):
        cosine(10)([1, -2, -3])


@pytest.mark.parametrize("curve", [between, geometric, half_cosine])
def test_curves_are_exact_at_both_ends(curve):
    ends = curve(0.3, 0.7, np.array([0.0, 1.0]))
    assert ends.tolist() == [0.3, 0.7]


def test_a_ramp_without_length_is_a_jump():
    assert ramp(np.arange(4.0), start=2, length=0).tolist() == [0.0, 0.0, 1.0, 1.0]
