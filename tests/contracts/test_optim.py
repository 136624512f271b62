"""The laws of an optimizer, over every entry of the table: torch.optim is the reference, or the textbook."""

import pytest
import torch

from tests.trials_sample import close
from trials.optim import OPTIMIZERS

STEPS = 50
WEIGHTS = 17


class Lion(torch.optim.Optimizer):
    """Algorithm 2 of the paper, weight by weight; torch has no Lion."""

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for weights in group["params"]:
                state = self.state[weights]
                momentum = state.setdefault("momentum", torch.zeros_like(weights))
                for i, gradient in enumerate(weights.grad):
                    blend = beta1 * momentum[i] + (1 - beta1) * gradient
                    sign = 1.0 if blend > 0 else -1.0 if blend < 0 else 0.0
                    weights[i] = weights[i] - group["lr"] * (sign + group["weight_decay"] * weights[i])
                    momentum[i] = beta2 * momentum[i] + (1 - beta2) * gradient


# name -> the optimizer, in torch's form, of these weights and hyperparameters
REFERENCES = {
    "adamw": lambda weights, h: torch.optim.AdamW(
        weights,
        lr=h["lr"],
        betas=(h["beta1"], h["beta2"]),
        eps=h["eps"],
        weight_decay=h["weight_decay"],
    ),
    "sgd": lambda weights, h: torch.optim.SGD(
        weights, lr=h["lr"], momentum=h["momentum"], weight_decay=h["weight_decay"]
    ),
    "nesterov": lambda weights, h: torch.optim.SGD(
        weights, lr=h["lr"], momentum=h["momentum"], weight_decay=h["weight_decay"], nesterov=True
    ),
    "lion": lambda weights, h: Lion(
        weights, {"lr": h["lr"], "betas": (h["beta1"], h["beta2"]), "weight_decay": h["weight_decay"]}
    ),
}

# hyperparameter -> its value in each lane, whatever the optimizer
LANES = {
    "lr": [1e-3, 3e-2, 1e-2, 5e-3],
    "weight_decay": [0.0, 0.5, 1e-2, 1e-4],
    "beta1": [0.9, 0.5, 0.95, 0.0],
    "beta2": [0.999, 0.9, 0.99, 0.95],
    "eps": [1e-8, 1e-3, 1e-8, 1e-6],
    "momentum": [0.9, 0.8, 0.99, 0.5],
}
FIRST_STEPS = [0, 3, 11, 20]  # when each lane begins: lanes are at different steps

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
each_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def factors(step):
    """A rate that changes at every step, and is 0 at some."""
    return [0.0, 1.0, 0.3, 0.7][step % 4]


def hyper_of(name, lane):
    return {key: LANES[key][lane] for key in OPTIMIZERS[name].defaults}


def gradient(weights, lane, step):
    """Of a bowl that is other in every lane, and noisy."""
    made = torch.Generator().manual_seed(1000 * lane + step)
    noise = torch.randn(WEIGHTS, generator=made, dtype=torch.float64)
    steepness = torch.linspace(0.1, 2.0, WEIGHTS, dtype=torch.float64) * (lane + 1)
    return (steepness * (weights.to(torch.float64) - lane) + 0.3 * noise).to(weights.dtype)


def first_weights(lane, dtype):
    return torch.randn(WEIGHTS, generator=torch.Generator().manual_seed(lane), dtype=torch.float64).to(dtype)


def reference(name, lane, dtype, steps):
    weights = torch.nn.Parameter(first_weights(lane, dtype))
    hyper = hyper_of(name, lane)
    optimizer = REFERENCES[name]([weights], hyper)
    path = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = hyper["lr"] * factors(step)
        weights.grad = gradient(weights.detach(), lane, step)
        optimizer.step()
        path.append(weights.detach().clone())
    return path


def rows(name, dtype, lanes=(0, 1, 2, 3), firsts=FIRST_STEPS):
    """Weights of each lane after each of its own steps, all lanes updated together."""
    entry, lanes = OPTIMIZERS[name], list(lanes)
    weights = torch.zeros(len(lanes), WEIGHTS, dtype=dtype)
    state = torch.zeros(len(lanes), entry.slots, WEIGHTS, dtype=dtype)
    step = torch.zeros(len(lanes), 1, dtype=torch.int64)
    hyper = {
        key: torch.tensor([[hyper_of(name, lane)[key]] for lane in lanes], dtype=dtype)
        for key in entry.defaults
    }
    paths = {lane: [] for lane in lanes}
    for now in range(STEPS + max(firsts)):
        for row, lane in enumerate(lanes):
            if now == firsts[lane]:
                weights[row], state[row], step[row] = first_weights(lane, dtype), 0.0, 0
        grads = torch.stack([gradient(weights[row], lane, int(step[row])) for row, lane in enumerate(lanes)])
        factor = torch.tensor([[factors(int(one))] for one in step], dtype=dtype)
        entry.update(weights, grads, state, hyper["lr"] * factor, step, hyper)
        step += 1
        for row, lane in enumerate(lanes):
            if firsts[lane] <= now < firsts[lane] + STEPS:
                paths[lane].append(weights[row].clone())
    return paths


def test_every_optimizer_has_a_reference_and_every_hyperparameter_a_value():
    assert set(REFERENCES) == set(OPTIMIZERS)
    assert {key for entry in OPTIMIZERS.values() for key in entry.defaults} == set(LANES)


@each_optimizer
def test_an_entry_is_named_as_in_the_table(name):
    assert OPTIMIZERS[name].name == name
    assert "lr" in OPTIMIZERS[name].defaults


@each_optimizer
@each_dtype
def test_every_lane_agrees_with_torch_in_the_same_precision(name, dtype):
    for lane, path in rows(name, dtype).items():
        for found, wanted in zip(path, reference(name, lane, dtype, STEPS), strict=True):
            close(found, wanted, "update", str(dtype).removeprefix("torch."))


@each_optimizer
def test_every_lane_agrees_with_torch_in_double_precision(name):
    for lane, path in rows(name, torch.float32).items():
        for found, wanted in zip(path, reference(name, lane, torch.float64, STEPS), strict=True):
            close(found, wanted, "update")


@each_optimizer
@pytest.mark.parametrize("lane", range(len(FIRST_STEPS)))
def test_lanes_do_not_affect_each_other(name, lane):
    together, alone = rows(name, torch.float32)[lane], rows(name, torch.float32, [lane])[lane]
    for found, wanted in zip(together, alone, strict=True):
        close(found, wanted, "update")


@each_optimizer
def test_a_lane_of_nan_stays_by_itself(name):
    entry = OPTIMIZERS[name]
    made = torch.Generator().manual_seed(0)
    hyper = {key: torch.tensor(values[:2])[:, None] for key, values in LANES.items() if key in entry.defaults}
    results = []
    for broken in (False, True):
        weights, grads = torch.ones(2, 5), torch.randn(2, 5, generator=made.manual_seed(0))
        state = torch.zeros(2, entry.slots, 5)
        if broken:
            grads[1] = torch.nan
        entry.update(weights, grads, state, hyper["lr"], torch.zeros(2, 1, dtype=torch.int64), hyper)
        results.append((weights[0], state[0]))
        assert bool(weights[1].isnan().all()) is broken
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


@each_optimizer
def test_a_rate_may_differ_from_weight_to_weight(name):
    """Weight groups: (K, P) rates. A weight of rate 0 stays where it is, the others do not notice."""
    entry = OPTIMIZERS[name]
    hyper = {key: torch.tensor([[LANES[key][0]]]) for key in entry.defaults}
    grads, step = (
        torch.randn(1, 4, generator=torch.Generator().manual_seed(1)),
        torch.zeros(1, 1, dtype=torch.int64),
    )
    weights, plain = torch.ones(1, 4), torch.ones(1, 4)
    ratios = torch.tensor([[0.0, 1.0, 1.0, 0.0]])
    entry.update(weights, grads.clone(), torch.zeros(1, entry.slots, 4), hyper["lr"] * ratios, step, hyper)
    entry.update(plain, grads.clone(), torch.zeros(1, entry.slots, 4), hyper["lr"], step, hyper)
    assert weights[0, [0, 3]].tolist() == [1.0, 1.0]
    assert torch.equal(weights[0, 1:3], plain[0, 1:3])
    assert not torch.equal(plain, torch.ones(1, 4))
