import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.objective import Objective
from hpo.samplers.base import build
from hpo.samplers.grid import shuffled
from hpo.space import Choice, Float, Int, Space
from tests.hpo_strategies import EXAMPLE, Play, seeds, spaces
from tests.strategies import law

SQUARE = Space({"a": Float(0, 1), "b": Float(0, 1)})


def drawn(name, space, n, seed=0, **options):
    return [suggestion.config for suggestion in build(name, space, Objective(), seed, options).ask(n)]


def test_random_configs_are_uniform_on_the_scale():
    rates = [config["lr"] for config in drawn("random", EXAMPLE, 3000)]
    shares = np.histogram(rates, [1e-4, 1e-3, 1e-2, 1e-1])[0] / 3000
    assert shares == pytest.approx([1 / 3] * 3, abs=0.03)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_sobol_sequence_puts_one_point_into_every_cell(dimensions):
    """64 scrambled points are a net: one in every cell of 1/64, and of 1/8 by 1/8 in two dimensions."""
    points = SQUARE.encode(drawn("sobol", SQUARE, 64))
    if dimensions == 1:
        assert all(len(set((points[:, column] * 64).astype(int))) == 64 for column in (0, 1))
    else:
        assert len({tuple(cell) for cell in (points * 8).astype(int).tolist()}) == 64


def test_a_sobol_point_belongs_to_the_number_of_its_trial():
    sampler = build("sobol", SQUARE, Objective(), 3)
    ahead = [suggestion.config for suggestion in sampler.ask(6)]
    play = Play(SQUARE, lambda n: [suggestion.config for suggestion in sampler.ask(n)], sampler.tell)
    play.run([("start", 0.0), ("enqueue", 0.0), ("batch", 0.0)])
    assert [suggestion.config for suggestion in sampler.ask(1)] == ahead[5:]


@law
@given(space=spaces(most=4, small=True), seed=seeds, shuffle=st.booleans())
def test_a_grid_gives_every_config_once_and_then_nothing(space, seed, shuffle):
    size = space.grid_size(2)
    if size > 200:
        return
    sampler = build("grid", space, Objective(), seed, {"points": 2, "shuffle": shuffle})
    play = Play(space, lambda n: [suggestion.config for suggestion in sampler.ask(n)], sampler.tell)
    play.run([("batch", 0.0), ("start", 0.0)] * size)
    assert play.started == size
    assert sampler.ask(5) == []


def test_a_grid_leaves_out_what_was_tried_by_hand():
    space = Space({"width": Choice((8, 16, 32))})
    for seed in range(5):
        sampler = build("grid", space, Objective(), seed)
        play = Play(space, lambda n: [{"width": 16}], sampler.tell)
        play.run([("start", 0.0)])
        assert {suggestion.config["width"] for suggestion in sampler.ask(9)} == {8, 32}


def test_a_grid_in_order_changes_the_last_name_fastest():
    space = Space({"a": Int(1, 2), "b": Float(0, 1)})
    configs = drawn("grid", space, 9, points=2, shuffle=False)
    assert [(config["a"], config["b"]) for config in configs] == [(1, 0.0), (1, 1.0), (2, 0.0), (2, 1.0)]


def test_a_grid_without_end_is_asked_in_no_time():
    space = Space({f"h{index}": Int(0, 2**30) for index in range(20)})
    configs = drawn("grid", space, 100)
    assert len({tuple(config.values()) for config in configs}) == 100


@law
@given(size=st.integers(1, 300), seed=seeds)
def test_shuffling_is_a_permutation(size, seed):
    assert sorted(shuffled(index, size, seed) for index in range(size)) == list(range(size))
