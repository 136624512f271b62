import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo.errors import UsageError
from hpo.space import Choice, Float, Int, read, write
from hpo.space.prior import Prior
from tests.hpo_strategies import domains, unit

law = settings(max_examples=60, derandomize=True, deadline=None)
confidences = st.sampled_from(["low", "medium", "high"])


@law
@given(domain=domains, at=unit, confidence=confidences, uniform=unit)
def test_what_is_drawn_lies_in_the_domain_and_rises_with_the_uniform_number(domain, at, confidence, uniform):
    prior = Prior(domain, domain.decode(at), confidence)
    drawn = prior.drawn(uniform)
    assert 0 <= drawn <= 1
    assert domain.contains(domain.decode(drawn))
    assert prior.drawn(0.5 * uniform) <= drawn


@settings(law, max_examples=20)
@given(domain=domains, at=unit, confidence=confidences)
def test_the_density_is_that_of_what_is_drawn(domain, at, confidence):
    prior = Prior(domain, domain.decode(at), confidence)
    coordinates = (np.arange(2000) + 0.5) / 2000
    density = np.exp(prior.log_density(coordinates))
    assert density.mean() == pytest.approx(1.0, abs=0.02)
    drawn = np.array([prior.drawn(float(uniform)) for uniform in coordinates[::10]])
    for edge in (0.25, 0.5, 0.75):
        # A choice is drawn as the middle of its cell.
        cells = np.array([domain.encode(domain.decode(float(c))) for c in coordinates])
        below = (cells if isinstance(domain, Choice) else coordinates) < edge
        assert (drawn < edge).mean() == pytest.approx(density[below].sum() / 2000, abs=0.02)


@pytest.mark.parametrize("domain", [Float(1e-4, 1e-1, "log"), Int(1, 100)])
def test_the_surer_the_user_the_nearer_to_the_centre(domain):
    center = domain.decode(0.3)
    spreads = [
        np.std([Prior(domain, center, confidence).drawn(float(u)) for u in np.linspace(0.005, 0.995, 100)])
        for confidence in ("low", "medium", "high")
    ]
    assert spreads[0] > 1.2 * spreads[1] > 1.2 * 1.5 * spreads[2]


def test_a_prior_is_read_and_written():
    table = {
        "lr": {"low": 1e-4, "high": 1e-1, "scale": "log", "prior": {"center": 1e-3, "confidence": "high"}},
        "optimizer": {"choice": ["adamw", "sgd"], "prior": {"center": "sgd"}},
        "width": {"low": 1, "high": 9},
    }
    space = read(table, "[space]")
    assert set(space.priors) == {"lr", "optimizer"}
    assert space.priors["optimizer"].confidence == "medium"
    assert read(write(space), "[space]") == space


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        ({"center": 1.0}, r"\[space\] lr: prior: center=1.0 must be a number from 0.0001 to 0.1"),
        ({"center": "high"}, "prior: center='high' must be a number"),
        ({"center": 1e-3, "confidence": "hihg"}, "unknown confidence 'hihg'; did you mean 'high'"),
        ({"center": 1e-3, "confidence": ["high"]}, r"unknown confidence \['high'\]"),
        ({"centre": 1e-3}, "must be a table such as {center = 1e-3"),
        ({"center": 1e-3, "width": 2}, "prior: unknown key 'width'"),
        (1e-3, "prior=0.001 must be a table"),
    ],
)
def test_a_prior_that_cannot_be_is_refused(prior, message):
    with pytest.raises(UsageError, match=message):
        read({"lr": {"low": 1e-4, "high": 1e-1, "scale": "log", "prior": prior}}, "[space]")
