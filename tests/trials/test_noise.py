"""Random numbers inside a step: uniform, independent, and a function of key, step, call and position."""

from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn
from torch.func import vmap

from trials.noise import Dropout, mix, noise, replace_dropout, step_key, uniform
from trials.seeding import key


def drawn(lane, step, *shape, calls=1):
    """The numbers of the last of some calls."""
    stream = step_key(torch.tensor(lane), torch.tensor(step))
    with noise(stream, {}):
        found = [uniform(*shape) for _ in range(calls)]
    return found[-1]


LANES = [key(seed, "noise") & 0xFFFFFFFF for seed in range(4)]  # keys as trials have them
STREAMS = {
    "one lane": lambda: drawn(LANES[0], 0, 4096),
    "a later step": lambda: drawn(LANES[0], 499, 4096),
    "a later call": lambda: drawn(LANES[0], 0, 4096, calls=7),
    "first number of every step": lambda: torch.cat([drawn(LANES[0], step, 1) for step in range(4096)]),
    "first number of lanes of near keys": lambda: torch.cat([drawn(lane, 0, 1) for lane in range(4096)]),
    "the extreme keys": lambda: torch.cat([drawn(0, 0, 2048), drawn(2**32 - 1, 0, 2048)]),
}


@cache
def numbers(what):
    return STREAMS[what]().to(torch.float64).numpy()


@pytest.mark.parametrize("what", STREAMS)
def test_numbers_are_uniform(what):
    """4096 of each; a uniform stream fails one at 1e-4 once in 10,000 keys, and keys are fixed here."""
    found = numbers(what)
    assert found.min() >= 0.0
    assert found.max() < 1.0
    assert stats.kstest(found, "uniform").pvalue > 1e-4
    counts = np.histogram(found, bins=64, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("what", STREAMS)
@pytest.mark.parametrize("lag", [1, 2, 8, 64])
def test_numbers_do_not_follow_from_those_before(what, lag):
    found = numbers(what)
    assert abs(np.corrcoef(found[:-lag], found[lag:])[0, 1]) < 4 / np.sqrt(len(found))


def test_every_bit_of_a_number_is_even():
    bits = (drawn(LANES[1], 3, 1 << 14).to(torch.float64) * 2**24).to(torch.int64)
    for place in range(24):
        ones = int(((bits >> place) & 1).sum())
        assert abs(ones - (1 << 13)) < 4 * np.sqrt(1 << 12)


@pytest.mark.parametrize(
    "other",
    [
        lambda: drawn(LANES[1], 0, 4096),
        lambda: drawn(LANES[0] + 1, 0, 4096),
        lambda: drawn(LANES[0], 1, 4096),
        lambda: drawn(LANES[0], 0, 4096, calls=2),
        lambda: drawn(LANES[0] ^ 1, 1, 4096),
    ],
    ids=["lane", "near lane", "step", "call", "lane and step"],
)
def test_streams_of_other_lanes_steps_and_calls_are_independent(other):
    one, two = drawn(LANES[0], 0, 4096), other()
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(4096)
    assert (one == two).float().mean() < 0.01
    # Nor the same numbers in another order.
    assert len(np.intersect1d(one, two)) < 20


def test_the_same_key_gives_the_same_numbers():
    assert torch.equal(drawn(LANES[2], 5, 3, 7), drawn(LANES[2], 5, 3, 7))
    assert torch.equal(drawn(LANES[2], 5, 21), drawn(LANES[2], 5, 3, 7).flatten())


def test_numbers_of_a_lane_do_not_depend_on_how_many_lanes_there_are():
    keys, steps = torch.tensor(LANES), torch.tensor([0, 3, 500, 2**40])

    def one(lane, step):
        with noise(step_key(lane, step), {}):
            return uniform(10)

    together = vmap(one)(keys, steps)
    for row, lane, step in zip(together, LANES, steps.tolist(), strict=True):
        assert torch.equal(row, drawn(lane, step, 10))


def test_mixing_is_one_to_one_and_stays_within_32_bits():
    values = torch.cat([torch.arange(1 << 16), torch.arange((1 << 32) - (1 << 16), 1 << 32)])
    mixed = mix(values)
    assert int(mixed.min()) >= 0
    assert int(mixed.max()) < 1 << 32
    assert len(mixed.unique()) == len(values)


def test_mixing_is_the_published_function():
    """Wells's lowbias32 in the 32-bit arithmetic of numpy, which wraps of itself."""
    values = np.random.default_rng(0).integers(0, 2**32, 1000, dtype=np.uint32)
    found = values.copy()
    found ^= found >> np.uint32(16)
    found *= np.uint32(0x7FEB352D)
    found ^= found >> np.uint32(15)
    found *= np.uint32(0x846CA68B)
    found ^= found >> np.uint32(16)
    np.testing.assert_array_equal(
        mix(torch.from_numpy(values.astype(np.int64))).numpy(), found.astype(np.int64)
    )


def test_flipping_a_bit_of_the_key_flips_half_of_the_bits():
    values = torch.arange(2000) * 977 + 13
    flips = [
        ((mix(values) ^ mix(values ^ (1 << place)))[:, None] >> torch.arange(32)) & 1 for place in range(32)
    ]
    shares = torch.stack([one.to(torch.float64).mean() for one in flips])
    assert ((shares - 0.5).abs() < 0.02).all()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3)])
def test_shapes_without_extent_are_fine(shape):
    assert drawn(1, 0, *shape).shape == shape


def test_a_draw_outside_a_training_step_is_refused():
    with pytest.raises(RuntimeError, match=r"call it inside Task\.loss"):
        uniform(3)
    with noise(None, {}), pytest.raises(RuntimeError, match=r"call it inside Task\.loss"):
        uniform(3)


def test_a_stream_ends_where_its_step_ends():
    with noise(torch.tensor(1), {}):
        with noise(torch.tensor(2), {}):
            inner = uniform(4)
        outer = uniform(4)
    with noise(torch.tensor(1), {}):
        assert torch.equal(uniform(4), outer)
    assert not torch.equal(inner, outer)
    with pytest.raises(RuntimeError):
        uniform(1)


# -- dropout ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("named", [False, True])
def test_dropout_drops_its_rate_and_keeps_the_mean(rate, named):
    size = 40_000
    with noise(torch.tensor(11), {"rate": torch.tensor(rate)}):
        found = Dropout("rate" if named else rate)(torch.full((size,), 3.0))
    dropped = (found == 0).to(torch.float64).mean()
    assert abs(dropped - rate) < 4 * np.sqrt(rate * (1 - rate) / size)
    np.testing.assert_allclose(found[found != 0], 3.0 / (1 - rate), rtol=1e-5)


def test_dropout_by_name_reads_the_rate_of_its_lane():
    layer = Dropout("rate")

    def one(rate):
        with noise(torch.tensor(3), {"rate": rate}):
            return layer(torch.ones(2000))

    found = vmap(one)(torch.tensor([0.0, 0.2, 0.7]))
    shares = (found == 0).to(torch.float64).mean(1)
    np.testing.assert_allclose(shares, [0.0, 0.2, 0.7], atol=0.05)
    assert torch.equal(found[0], torch.ones(2000))


def test_every_dropout_of_a_step_drops_others():
    layer = Dropout(0.5)
    with noise(torch.tensor(3), {}):
        assert not torch.equal(layer(torch.ones(100)), layer(torch.ones(100)))


def test_dropout_passes_gradients_only_where_it_kept():
    x = torch.ones(1000, requires_grad=True)
    with noise(torch.tensor(5), {}):
        out = Dropout(0.25)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, out.detach())


def test_dropout_is_the_identity_in_evaluation_and_at_rate_0():
    x = torch.randn(20)
    assert torch.equal(Dropout(0.9).eval()(x), x)
    assert torch.equal(Dropout("rate").eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_dropout_in_training_outside_of_a_step_is_refused():
    with pytest.raises(RuntimeError, match=r"inside Task\.loss"):
        Dropout(0.5)(torch.ones(3))
    with pytest.raises(ValueError, match=r"Dropout\('rate'\) needs a float hyperparameter of that name"):
        Dropout("rate")(torch.ones(3))
    with noise(torch.tensor(1), {"other": torch.tensor(0.1)}), pytest.raises(ValueError, match="'rate'"):
        Dropout("rate")(torch.ones(3))


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_that_cannot_be_is_refused(rate):
    with pytest.raises(ValueError, match="must be in"):
        Dropout(rate)


def test_every_dropout_of_torch_is_replaced_also_one_used_twice_and_one_deep_inside():
    shared = nn.Dropout(0.3)
    inner = nn.Sequential(nn.Linear(1, 1), nn.Dropout(0.1))
    model = nn.Sequential(shared, nn.Linear(1, 1), shared, inner)
    model.missing = None
    assert replace_dropout(model) is model
    rates = [module.rate for module in model.modules() if isinstance(module, Dropout)]
    assert sorted(rates) == [0.1, 0.3, 0.3]
    assert not any(isinstance(module, nn.Dropout) for module in model.modules())
