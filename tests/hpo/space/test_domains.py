import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.errors import UsageError
from hpo.space import Choice, Float, Int
from hpo.space.domains import LARGEST_INT
from tests.hpo_strategies import choices, domains, floats, ints, unit
from tests.strategies import law


@law
@given(domain=domains, point=unit)
def test_every_point_decodes_to_a_value_of_the_domain(domain, point):
    assert domain.contains(domain.decode(point))


@law
@given(domain=domains, seed=st.integers(0, 99))
def test_samples_lie_in_the_domain(domain, seed):
    assert domain.contains(domain.sample(np.random.default_rng(seed)))


@law
@given(domain=st.one_of(ints(), choices()), point=unit)
def test_whole_numbers_and_choices_survive_encoding(domain, point):
    value = domain.decode(point)
    found = domain.decode(domain.encode(value))
    assert found == value
    assert type(found) is type(value)


@law
@given(domain=floats(), point=unit)
def test_floats_survive_encoding_up_to_rounding(domain, point):
    value = domain.decode(point)
    assert 0 <= domain.encode(value) <= 1
    assert domain.decode(domain.encode(value)) == pytest.approx(
        value, rel=1e-9, abs=1e-9 * (domain.high - domain.low)
    )


@law
@given(domain=floats())
def test_the_ends_of_a_range_are_exact(domain):
    assert (domain.decode(0), domain.decode(1)) == (domain.low, domain.high)
    assert (domain.encode(domain.low), domain.encode(domain.high)) == (0, 1)


@law
@given(domain=st.one_of(floats(), ints()), a=unit, b=unit)
def test_decoding_keeps_the_order(domain, a, b):
    a, b = sorted((a, b))
    slack = 1e-12 * (abs(domain.high) + abs(domain.low))
    assert domain.decode(a) <= domain.decode(b) + slack


@pytest.mark.parametrize("low", [1, 7, 2**39])
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_neighbouring_integers_are_told_apart_up_to_the_largest(low, scale):
    domain = Int(low, LARGEST_INT, scale)
    for value in (low, low + 1, (low + LARGEST_INT) // 2, LARGEST_INT - 1, LARGEST_INT):
        assert domain.decode(domain.encode(value)) == value


def test_a_uniform_number_decodes_to_uniform_integers():
    points = (np.arange(7000) + 0.5) / 7000
    counts = np.bincount([Int(-3, 3).decode(point) + 3 for point in points])
    assert counts.tolist() == [1000] * 7


def test_a_log_scale_gives_each_factor_of_ten_its_share():
    points = (np.arange(3000) + 0.5) / 3000
    drawn = np.array([Float(1e-4, 1e-1, "log").decode(point) for point in points])
    assert np.histogram(drawn, [1e-4, 1e-3, 1e-2, 1e-1])[0].tolist() == [1000] * 3


def test_a_log_scale_of_integers_starts_at_one_half_below_the_first():
    domain = Int(1, 100, "log")
    share = np.mean([domain.decode(point) == 1 for point in np.linspace(0, 1, 10001)])
    assert share == pytest.approx(math.log(1.5 / 0.5) / math.log(100.5 / 0.5), abs=1e-3)


def test_levels_are_every_value_or_evenly_spaced():
    assert list(Int(2, 4).levels(99)) == [2, 3, 4]
    assert Choice(("a", "b")).levels(99) == ("a", "b")
    assert Float(1, 100, "log").levels(3) == pytest.approx((1, 10, 100))
    assert Float(0, 4).levels(1) == (2.0,)
    assert Float(1.0, math.nextafter(1.0, 2.0)).levels(5) == (1.0, math.nextafter(1.0, 2.0))


def test_true_is_not_one():
    assert not Choice((1, 2)).contains(True)
    assert not Choice((True, False)).contains(1)
    assert not Int(0, 5).contains(True)
    assert not Float(0, 5).contains(True)


def test_numpy_numbers_are_refused_where_json_would_refuse_them():
    assert not Int(0, 5).contains(np.int64(3))
    assert type(Int(0, 5).decode(np.float64(0.5))) is int
    assert type(Float(0, 5).decode(float(np.float64(0.5)))) is float


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Float(2, 1), "low=2.0 must be less than high=1.0"),
        (lambda: Float(1, 1), "low=1.0 must be less than high=1.0"),
        (lambda: Int(5, 5), "low=5 must be less than high=5"),
        (lambda: Float(0, 1, "log"), "low=0.0 must be greater than 0 on a log scale"),
        (lambda: Int(0, 8, "log"), "low=0 must be greater than 0 on a log scale"),
        (lambda: Float(math.nan, 1), "low=nan must be a finite number"),
        (lambda: Float(0, math.inf), "high=inf must be a finite number"),
        (lambda: Float(-1.7e308, 1.7e308), "low=-1.7e+308 to high=1.7e+308 is too wide a range"),
        (
            lambda: Float(1e9 - 1e-7, 1e9, "log"),
            "low=999999999.9999999 to high=1000000000.0 is too narrow a range on a log scale",
        ),
        (lambda: Float("1", 2), "low='1' must be a finite number"),  # type: ignore[arg-type]
        (lambda: Int(1, 2.5), "high=2.5 must be an integer"),  # type: ignore[arg-type]
        (lambda: Int(True, 2), "low=True must be an integer"),
        (lambda: Int(0, 2**41), f"high={2**41} must lie within {-(2**40)} and {2**40}"),
        (lambda: Float(1, 2, "lgo"), "unknown scale 'lgo'; did you mean 'log'? known: linear, log"),  # type: ignore[arg-type]
        (lambda: Choice(()), "choice=[] must list at least one value"),
        (lambda: Choice(("a", "b", "a")), "choice lists 'a' twice"),
        (lambda: Choice((1, True)), "choice lists True twice"),
        (lambda: Choice((math.nan,)), "choice lists nan: booleans, finite numbers and texts are possible"),
        (lambda: Choice(([1],)), "choice lists [1]: booleans, finite numbers and texts are possible"),  # type: ignore[arg-type]
    ],
)
def test_what_a_domain_cannot_be_is_said(make, message):
    with pytest.raises(UsageError) as raised:
        make()
    assert str(raised.value) == message
