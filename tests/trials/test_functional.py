"""Functions of torch in the form that is each lane's own."""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import vmap

from tests.trials_sample import CPU, Line, close, same, spec
from trials.functional import Functions, InLanes
from trials.lanes import Lanes
from trials.noise import Dropout, noise, step_key, uniform
from trials.program import recipe
from trials.train import build, train


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inside(function, *args):
    with noise(torch.tensor(3), {}):
        return function(*args)


def in_lanes(function, *batched):
    """The function of three lanes together, and of each alone."""

    def one(key, *args):
        with noise(step_key(key, torch.tensor(4)), {}):
            return function(*args)

    keys = torch.tensor([11, 12, 13])
    together = vmap(one)(keys, *batched)
    return together, [one(keys[lane], *(part[lane] for part in batched)) for lane in range(3)]


# -- dropout ------------------------------------------------------------------------------------------------

DROPS = {
    "functional": lambda x: F.dropout(x, 0.3),
    "torch": lambda x: torch.dropout(x, 0.3, True),
    "in place": lambda x: F.dropout(x.clone(), 0.3, inplace=True),
    "a rate of the lane": lambda x: F.dropout(x, torch.tensor(0.3)),
}


@pytest.mark.parametrize("name", DROPS)
def test_dropout_as_a_function_drops_its_share_from_the_lanes_stream(name):
    together, apart = in_lanes(DROPS[name], torch.full((3, 20_000), 2.0))
    for lane in range(3):
        assert torch.equal(together[lane], apart[lane])
        kept = together[lane][together[lane] != 0]
        assert abs(len(kept) / 20_000 - 0.7) < 4 * np.sqrt(0.21 / 20_000)
        np.testing.assert_allclose(kept, 2 / 0.7, rtol=1e-6)
    assert not torch.equal(together[0], together[1])


def test_dropout_is_off_in_evaluation_and_at_rate_0_and_drops_all_at_rate_1():
    x = random(50)
    assert torch.equal(inside(lambda: F.dropout(x, 0.5, training=False)), x)
    assert torch.equal(inside(lambda: F.dropout(x, 0.0)), x)
    assert not inside(lambda: F.dropout(x, 1.0)).any()


def test_a_rate_of_each_lane_may_be_given_to_torchs_own_function():
    rates = torch.tensor([0.0, 0.3, 0.8])
    together, _ = in_lanes(lambda x, rate: F.dropout(x, rate), torch.ones(3, 20_000), rates)
    np.testing.assert_allclose((together == 0).float().mean(1), rates, atol=0.02)


def test_a_dropout_layer_tells_its_rate_as_torchs_does():
    assert Dropout(0.3).p == 0.3
    with noise(torch.tensor(1), {"rate": torch.tensor(0.25)}):
        assert Dropout("rate").p == 0.25


# -- attention ----------------------------------------------------------------------------------------------


def attention_inputs(heads=4, groups=4):
    return [random(3, 2, size, 5, 6, seed=seed) for seed, size in enumerate((heads, groups, groups))]


def masks():
    lower = torch.ones(5, 5, dtype=torch.bool).tril()
    nothing_seen = lower.clone()
    nothing_seen[2] = False
    return {"none": None, "bool": lower, "a row that sees nothing": nothing_seen, "float": random(5, 5)}


@pytest.mark.parametrize(
    ("mask", "is_causal", "scale"),
    [
        *product(["none", "bool", "a row that sees nothing", "float"], [False], [None, 0.7]),
        ("none", True, None),
    ],
)
def test_attention_is_torchs_and_so_are_its_gradients(mask, is_causal, scale):
    hidden = masks()[mask]

    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, hidden, is_causal=is_causal, scale=scale)

    batched = [part.requires_grad_() for part in attention_inputs()]
    together, _ = in_lanes(attend, *batched)
    wanted = torch.stack([attend(*(part[lane] for part in batched)) for lane in range(3)])
    close(together.detach(), wanted.detach(), "once")
    weight = random(*wanted.shape, seed=9)
    found = torch.autograd.grad((together * weight).sum(), batched)
    for one, other in zip(found, torch.autograd.grad((wanted * weight).sum(), batched), strict=True):
        close(one, other, "convolution")


def test_attention_of_grouped_queries_is_torchs():
    def attend(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

    batched = attention_inputs(heads=4, groups=2)
    together, _ = in_lanes(attend, *batched)
    for lane in range(3):
        close(together[lane], attend(*(part[lane] for part in batched)), "once")


def test_dropout_inside_attention_is_of_the_lanes_stream_and_keeps_the_mean():
    q, k = torch.zeros(3, 1, 1, 1, 4), torch.zeros(3, 1, 1, 8000, 4)
    v = torch.ones(3, 1, 1, 8000, 1)
    together, apart = in_lanes(lambda *qkv: F.scaled_dot_product_attention(*qkv, dropout_p=0.4), q, k, v)
    for lane in range(3):
        close(together[lane], apart[lane], "training")
        assert abs(float(together[lane]) - 1) < 4 * np.sqrt(0.4 / 0.6 / 8000)
    assert len(together.flatten().unique()) == 3


def test_multi_head_attention_trains_in_lanes_without_dropout_and_refuses_a_dropout_of_its_own():
    class Task(Line):
        def model(self, config):
            attention = nn.MultiheadAttention(3, 1, dropout=0.2 * config["dropping"], batch_first=True)
            return nn.ModuleDict({"attention": attention, "head": nn.Linear(3, 1)})

        def loss(self, model, batch, hyper):
            return self.metrics(model, batch)["loss"].mean()

        def metrics(self, model, batch):
            x = batch["x"][:, None]
            mixed, _ = model["attention"](x, x, x, need_weights=True)
            return {"loss": (model["head"](mixed)[:, 0, 0] - batch["y"]).square()}

    one = spec({"batch_size": 8, "lr": 0.01, "dropping": 0}, budget=4)
    assert same(*(list(train(Task(), one, device=CPU)) for _ in range(2)))
    with pytest.raises(ValueError, match=r"MultiheadAttention.*dropout=0\.2.*set it to 0"):
        list(train(Task(), spec({"dropping": 1}), device=CPU))


# -- embeddings and norms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 2, -1])
def test_padding_stands_still_in_every_lane_and_not_in_the_first_alone(padding):
    tables, symbols = random(3, 5, 2).requires_grad_(), torch.arange(5).repeat(3, 2)
    together, _ = in_lanes(lambda table, text: F.embedding(text, table, padding), tables, symbols)
    (found,) = torch.autograd.grad(together.square().sum(), tables)
    for lane in range(3):
        table = tables[lane].detach().requires_grad_()
        (wanted,) = torch.autograd.grad(F.embedding(symbols[lane], table, padding).square().sum(), table)
        assert torch.equal(found[lane], wanted)
        assert not found[lane, padding].any()


def test_an_embedding_with_padding_trains_in_any_lane_as_alone():
    class Task(Line):
        def model(self, config):
            return nn.Embedding(6, 1, padding_idx=0)

        def loss(self, model, batch, hyper):
            return self.metrics(model, batch)["loss"].mean()

        def metrics(self, model, batch):
            symbols = (batch["x"].sign().to(torch.int64) + 1).sum(-1) % 6
            return {"loss": (model(symbols)[:, 0] - batch["y"]).square()}

    made = Task()
    config = {"batch_size": 8, "lr": 0.05, "weight_decay": 0.0}
    lanes = Lanes(build(made, made.data(0), recipe(made, config), CPU), 3)
    for trial in range(3):
        lanes.admit(spec(config, trial))
    before = [lanes.read(trial).weights for trial in range(3)]
    lanes.run(np.ones((5, 3)))
    for trial in range(3):
        after = lanes.read(trial).weights
        assert after[0] == before[trial][0]
        assert (after[1:] != before[trial][1:]).any()


def test_group_normalisation_takes_images_that_lie_channels_last():
    images = random(3, 2, 4, 5, 5).to(memory_format=torch.channels_last_3d)
    together, _ = in_lanes(
        lambda image: F.group_norm(image.permute(0, 2, 3, 1).permute(0, 3, 1, 2), 2), images
    )
    for lane in range(3):
        close(together[lane], F.group_norm(images[lane], 2), "once")


# -- what is left alone -------------------------------------------------------------------------------------


def test_libraries_hear_that_they_are_being_compiled_inside_a_step_only():
    assert not torch.compiler.is_compiling()
    assert inside(torch.compiler.is_compiling)
    with pytest.raises(ZeroDivisionError):
        inside(lambda: 1 / 0)
    assert not torch.compiler.is_compiling()


def watched(functions, function):
    with functions.in_lanes(uniform):
        return function()


@pytest.mark.parametrize(
    ("function", "are_replaced"),
    [
        (lambda: F.linear(random(2, 3), random(4, 3)), False),
        (lambda: F.embedding(torch.arange(3), random(4, 2)), False),
        (lambda: F.dropout(random(3), 0.5, training=False), False),
        (lambda: F.embedding(torch.arange(3), random(4, 2), 0), True),
        (lambda: F.group_norm(random(2, 4, 3), 2), True),
    ],
)
def test_a_program_that_needs_nothing_replaced_is_watched_for_one_step_only(function, are_replaced):
    functions = Functions()
    wanted = function()
    for _ in range(2):
        assert torch.equal(watched(functions, function), wanted)
        assert functions.are_replaced is are_replaced


def test_a_step_that_fails_leaves_the_question_open():
    functions = Functions()
    with pytest.raises(ZeroDivisionError):
        watched(functions, lambda: 1 / 0)
    assert functions.are_replaced


def test_a_draw_of_torchs_own_generator_is_left_to_be_refused():
    with pytest.raises(RuntimeError, match="randomness"), InLanes(uniform):
        vmap(lambda x: torch.rand_like(x))(torch.ones(3))


# -- batch normalisation ------------------------------------------------------------------------------------


def test_batch_normalisation_of_bfloat16_images_is_done_in_float32_and_rounded_once():
    images = random(3, 4, 2, 5, 5).to(torch.bfloat16)
    means, variances = random(3, 2, seed=1), random(3, 2, seed=2).abs() + 0.5
    scale = random(3, 2, seed=3)

    def normalised(images, mean, variance, scale):
        mean, variance = mean.clone(), variance.clone()
        found = F.batch_norm(images, mean, variance, scale, None, True, 0.1)
        return found, mean, variance

    together, apart = in_lanes(normalised, images, means, variances, scale)
    for lane in range(3):
        exact, mean, variance = normalised(
            images[lane].double(), means[lane].double(), variances[lane].double(), scale[lane].double()
        )
        assert together[0][lane].dtype == torch.bfloat16
        # A number of bfloat16 has eight bits: rounded once, it is off by at most half of the last.
        torch.testing.assert_close(together[0][lane].double(), exact, rtol=2**-8, atol=1e-6)
        torch.testing.assert_close(together[1][lane], mean.float(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(together[2][lane], variance.float(), rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(together[0][lane], apart[lane][0], rtol=2**-7, atol=1e-6)
