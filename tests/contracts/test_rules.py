"""The laws of a rule, over every entry of the table, and what it hears in a program."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from schedules.hypergradient import RULES, SIGNALS
from tests.strategies import law
from tests.trials_sample import (
    CPU,
    SMALL,
    alone,
    finish,
    lanes_of,
    program,
    reports_agree,
    same,
    spec,
    splits,
)
from trials.checking import check
from trials.data.order import batches
from trials.drive import Drive
from trials.optim import OPTIMIZERS
from trials.recipe import recipe
from trials.rows import load_into
from trials.signals import FACTOR, LOSS
from trials.train import build

each_rule = pytest.mark.parametrize("name", RULES)
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)

SMALL_DIGITS = {**SMALL["digits"], "label_smoothing": 0.0}
GAIN = 0.2  # large enough that rounding of the factor, in single precision, does not matter
RATES = {"adamw": 0.01, "lion": 0.003}

# A signal is a product or a cosine of finite vectors: of any size, but finite.
heard = st.fixed_dictionaries({name: st.floats(-1e6, 1e6, width=32) for name in SIGNALS})
knobs = st.fixed_dictionaries(
    {"rule_rate": st.floats(0, 10, width=32), "rule_bound": st.floats(1, 1000, width=32)}
)


@each_rule
@given(signals=heard, hyper=knobs, share=st.floats(0, 1))
@law
def test_a_rule_gives_the_same_on_floats_and_on_tensors_and_stays_in_its_bounds(name, signals, hyper, share):
    bound = hyper["rule_bound"]
    factor = float(np.float32(bound ** (2 * share - 1)))
    plain = RULES[name].update(factor, signals, hyper)
    as_tensors = [{key: torch.tensor([[value]]) for key, value in one.items()} for one in (signals, hyper)]
    tensor = RULES[name].update(torch.tensor([[factor]]), *as_tensors)
    np.testing.assert_allclose(float(tensor), plain, rtol=1e-4, atol=1e-4)
    assert 1 / bound * (1 - 1e-6) <= float(tensor) <= bound * (1 + 1e-6)


@each_rule
def test_a_rule_that_hears_nothing_leaves_the_factor(name):
    rule = RULES[name]
    assert rule.update(1.5, dict.fromkeys(SIGNALS, 0.0), rule.defaults) == 1.5


@each_rule
def test_a_rate_of_zero_is_the_schedule_alone(name):
    config = {**SMALL_DIGITS, "lr": 0.01, "schedule": "linear"}
    ruled = {**config, "rule": name, "rule_rate": 0.0}
    one = spec(config, budget=12, rungs=(5,))
    assert same(alone("digits", spec(ruled, budget=12, rungs=(5,))), alone("digits", one))


@each_rule
def test_lanes_with_rules_of_their_own_rate_do_not_notice_each_other(name):
    configs = [{**SMALL_DIGITS, "lr": 0.01, "rule": name, "rule_rate": rate} for rate in (0.0, 0.3, 1.0)]
    drive = Drive(lanes_of("digits", configs[0], 3), 4)
    specs = [spec(config, trial, budget=9 + trial) for trial, config in enumerate(configs)]
    for one in specs:
        drive.admit(one)
    together, _ = finish(drive)
    for one in specs:
        reports_agree(together[one.trial], alone("digits", one))


# -- what a rule hears --------------------------------------------------------------------------------------


def loss_of(made, row, weights, index):
    """Loss of the batch at these weights, in double precision."""
    model = made.task.model({"width": SMALL["digits"]["width"]}).double()
    load_into(model, row)
    vector = torch.as_tensor(weights, dtype=torch.float64)
    torch.nn.utils.vector_to_parameters(vector, model.parameters())
    train = made.splits.train
    pixels = train["image"][index].double() / 16.0 - 0.3
    with torch.no_grad():
        return float(F.cross_entropy(model(pixels), train["label"][index]))


def ruled_steps(config, count):
    """The program, the rows before each step and after the last, and the signals (T, S)."""
    lanes = lanes_of("digits", config, 1)
    one = spec(config)
    lanes.admit(one)
    rows, signals = [lanes.read(0)], []
    for _ in range(count):
        signals.append(lanes.run(np.ones((1, 1)))[0, 0])
        rows.append(lanes.read(0))
    size = lanes.program.batch_size
    index = batches(one.seed, 0, count, size, len(lanes.program.splits.train["image"]))
    return lanes.program, rows, np.array(signals), index


@each_optimizer
def test_the_hypergradient_is_minus_the_derivative_of_the_loss_by_the_last_factor(optimizer):
    config = {**SMALL_DIGITS, "optimizer": optimizer, "lr": RATES.get(optimizer, 0.05)}
    config |= {"rule": "hypergradient_additive", "rule_rate": GAIN, "rule_bound": 1000.0}
    made, rows, signals, index = ruled_steps(config, 4)
    for t in (1, 2, 3):
        factor = float(signals[t - 1, FACTOR])
        before, after = rows[t - 1].weights.double(), rows[t].weights.double()
        epsilon = 1e-5

        def loss_at(last, t=t, before=before, after=after, factor=factor):
            weights = before + (after - before) * last / float(factor)
            return loss_of(made, rows[t], weights, index[t])

        wanted = -(loss_at(factor + epsilon) - loss_at(factor - epsilon)) / (2 * epsilon)
        found = float(signals[t, FACTOR] - factor) / GAIN
        # The factor is held in single precision, and so is what is read off it.
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-6)


@each_optimizer
def test_every_optimizer_moves_weights_in_proportion_to_the_factor(optimizer):
    config = {**SMALL_DIGITS, "optimizer": optimizer, "lr": RATES.get(optimizer, 0.05), "weight_decay": 0.1}
    lanes = lanes_of("digits", config, 1)
    lanes.admit(spec(config))
    lanes.run(np.ones((3, 1)))
    mark, changes = lanes.read(0), []
    for factor in (0.5, 1.0, 2.0):
        lanes.write(0, mark)
        lanes.run(np.full((1, 1), factor))
        changes.append((lanes.read(0).weights - mark.weights) / factor)
    for change in changes:
        torch.testing.assert_close(change, changes[1], rtol=1e-3, atol=2e-7)


def test_each_weight_group_has_a_factor_of_its_own():
    config = {**SMALL_DIGITS, "optimizer": "sgd", "lr": 0.05, "rule": "hypergradient_additive"}
    config |= {"rule_scope": "groups", "rule_rate": GAIN, "rule_bound": 1000.0}
    made, rows, _, index = ruled_steps(config, 3)
    assert made.ruled.names == ("backbone", "head")
    width, epsilon = made.layout.weight_count, 1e-5
    factors = [row.memory[width : width + 2].double() for row in rows]
    t = 2
    before, after = rows[t - 1].weights.double(), rows[t].weights.double()
    for group, name in enumerate(("backbone", "head")):
        mine = torch.zeros(width, dtype=torch.bool)
        for place in made.layout.weights:
            mine[place.start : place.start + place.size] = place.name.startswith(name)
        assert mine.any()
        last = float(factors[t][group])

        def loss_at(factor, mine=mine, last=last):
            moved = torch.where(mine, before + (after - before) * factor / last, after)
            return loss_of(made, rows[t], moved, index[t])

        wanted = -(loss_at(last + epsilon) - loss_at(last - epsilon)) / (2 * epsilon)
        found = float(factors[t + 1][group] - last) / GAIN
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-6)


def test_the_product_of_updates_is_that_of_the_last_two():
    config = {**SMALL_DIGITS, "optimizer": "sgd", "lr": 0.05, "rule": "fedhyper", "rule_bound": 1000.0}
    _, rows, signals, _ = ruled_steps(config, 4)
    changes = [(b.weights - a.weights).double() for a, b in itertools.pairwise(rows)]
    wanted = float(changes[2] @ changes[1])
    np.testing.assert_allclose(signals[3, FACTOR], 1.0 + float(changes[1] @ changes[0]) + wanted, rtol=1e-5)
    config |= {"rule": "fedhyper_normalised", "rule_rate": 0.1}
    _, rows, signals, _ = ruled_steps(config, 3)
    changes = [(b.weights - a.weights).double() for a, b in itertools.pairwise(rows)]
    cosine = float(changes[1] @ changes[0] / (changes[1].norm() * changes[0].norm()))
    np.testing.assert_allclose(signals[2, FACTOR], 1.0 + 0.1 * cosine, rtol=1e-5)


def test_a_bad_constant_rate_is_repaired_from_below():
    config = {
        **SMALL_DIGITS,
        "optimizer": "sgd",
        "lr": 0.002,
        "schedule": "constant",
        "batch_size": 32,
        "width": 4,
    }
    plain = alone("digits", spec(config, budget=300))[-1].metrics["val_loss"]
    ruled = alone("digits", spec({**config, "rule": "hypergradient"}, budget=300))[-1].metrics["val_loss"]
    assert ruled < 0.9 * plain


def test_signals_are_what_they_say():
    """Norms against the row itself: with plain SGD the change is the rate times the gradient."""
    config = {**SMALL_DIGITS, "optimizer": "sgd", "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}
    lanes = lanes_of("digits", config, 1)
    lanes.admit(spec(config))
    for factor in (1.0, 0.3):
        before = lanes.read(0).weights
        loss, said, size, norm, moved = lanes.run(np.full((1, 1), factor))[0, 0]
        change = before - lanes.read(0).weights
        gradient = change.double() / (0.05 * factor)
        np.testing.assert_allclose(
            [said, size, norm, moved],
            [factor, float(gradient.abs().sum()), float(gradient.norm()), float(change.norm())],
            rtol=1e-3,
        )
        assert loss > 0
    # Before clipping: what the clip leaves is the update's.
    clipped = {**config, "clip_norm": 0.01}
    lanes = lanes_of("digits", clipped, 1)
    lanes.admit(spec(clipped))
    signals = lanes.run(np.ones((1, 1)))[0, 0]
    assert signals[3] > 0.1
    np.testing.assert_allclose(signals[4], 0.05 * 0.01, rtol=1e-3)
    assert np.isfinite(signals[LOSS])


# -- bad input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"rule": "hypergradiant"}, "did you mean 'hypergradient'"),
        (
            {"rule": "hypergradient", "rule_scope": "layers"},
            "rule_scope='layers' is unknown; known: all, groups",
        ),
        ({"rule_rate": 0.1}, "rule_rate"),
    ],
)
def test_a_rule_that_is_not_there_is_named(config, words):
    with pytest.raises(ValueError, match=words):
        check(program("digits", SMALL_DIGITS).task, splits("digits"), [{**SMALL_DIGITS, **config}], CPU)


def test_groups_are_wanted_where_a_rule_is_to_have_them():
    made = program("digits", SMALL_DIGITS)

    class Plain:
        defaults = made.task.defaults
        data, model, loss, metrics = (
            getattr(made.task, verb) for verb in ("data", "model", "loss", "metrics")
        )

    config = {**SMALL_DIGITS, "rule": "fedhyper", "rule_scope": "groups"}
    with pytest.raises(ValueError, match="names no weight groups"):
        build(Plain(), splits("digits"), recipe(Plain(), config), CPU)
