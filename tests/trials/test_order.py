"""Which example a lane sees at a step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.strategies import law
from trials.data.order import batches
from trials.seeding import key, stream

sizes = st.integers(1, 30)
batch_sizes = st.integers(1, 40)
seeds = st.integers(0, 2**62)


@given(seed=seeds, size=sizes, batch_size=batch_sizes, epochs=st.integers(1, 4))
@law
def test_every_epoch_has_every_example_once(seed, size, batch_size, epochs):
    """Also where a batch spans two epochs, or is larger than the data set."""
    steps = -(-epochs * size // batch_size)
    seen = batches(seed, 0, steps, batch_size, size).reshape(-1)
    for epoch in range(epochs):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == list(range(size))


@given(seed=seeds, size=sizes, batch_size=batch_sizes, first=st.integers(0, 500), steps=st.integers(1, 20))
@law
def test_any_step_read_alone_is_what_it_is_in_sequence(seed, size, batch_size, first, steps):
    whole = batches(seed, first, steps, batch_size, size)
    assert whole.shape == (steps, batch_size)
    for offset in range(steps):
        np.testing.assert_array_equal(batches(seed, first + offset, 1, batch_size, size)[0], whole[offset])


def test_a_step_far_out_needs_nothing_before_it():
    assert batches(3, 10**9, 2, 7, 50).shape == (2, 7)


def test_epochs_and_seeds_have_orders_of_their_own():
    epochs = [tuple(row) for row in batches(0, 0, 5, 40, 40)]
    seeds = [tuple(batches(seed, 0, 1, 40, 40)[0]) for seed in range(5)]
    assert len({*epochs, *seeds}) == 9  # epoch 0 of seed 0 is in both


def test_changing_what_was_returned_changes_nothing_later():
    first = batches(1, 0, 1, 10, 10)
    wanted = first.copy()
    first[:] = 0
    np.testing.assert_array_equal(batches(1, 0, 1, 10, 10), wanted)


@pytest.mark.parametrize("place", [0, 7])
def test_every_example_is_equally_likely_at_any_place(place):
    """600 seeds of 6 examples, 100 of each expected, within 4.5 standard deviations."""
    seen = np.array([batches(seed, 0, 8, 1, 6)[place, 0] for seed in range(600)])
    assert (abs(np.bincount(seen, minlength=6) - 100) < 4.5 * np.sqrt(600 * 5 / 36)).all()


# -- streams -------------------------------------------------------------------------------------------------


def test_keys_depend_on_every_name_its_kind_and_its_place():
    keys = {
        key(0, "a", 1),
        key(0, "a", "1"),
        key(1, "a", 1),
        key(0, 1, "a"),
        key(0, "a/1"),
        key(0, "a"),
        key(0),
    }
    assert len(keys) == 7
    assert all(0 <= one < 2**63 for one in keys)


def test_a_stream_does_not_notice_what_others_drew():
    wanted = stream(5, "order").random(4)
    stream(5, "init").random(100)
    np.testing.assert_array_equal(stream(5, "order").random(4), wanted)
    assert abs(np.corrcoef(stream(5, "order").random(2000), stream(5, "init").random(2000))[0, 1]) < 0.1
