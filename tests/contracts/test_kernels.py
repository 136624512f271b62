"""Every kernel agrees with its reference and touches nothing else.

On a CUDA device the kernels are compiled; elsewhere Triton's interpreter runs them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tests.trials_sample import close
from trials.kernels import dispatch, reference, verdicts
from trials.kernels.verdicts import Machine, Row
from trials.optim import OPTIMIZERS, Optimizer

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# Triton looks when it is first imported, when a kernel is defined and when one runs. Other tests, and the
# processes that they start, are not to see it.
INTERPRETED = {"TRITON_INTERPRET": "1"} if DEVICE.type == "cpu" else {}
with patch.dict(os.environ, INTERPRETED):
    pytest.importorskip("triton", reason="triton is not installed: the extra 'dev' brings it, on Linux only")
    from trials.kernels import measure
    from trials.kernels.augment import augment
    from trials.kernels.signals import signals
    from trials.kernels.update import update

pytestmark = [
    # The interpreter is numpy, which warns of what a device does silently: dividing by 0, numbers too large.
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    *([pytest.mark.gpu] if DEVICE.type == "cuda" else []),
]


@pytest.fixture(autouse=True)
def interpreted():
    """Each test runs as the kernels were defined."""
    with patch.dict(os.environ, INTERPRETED):
        yield


# (K, P): a program takes 1024 weights.
SHAPES = [(1, 1), (3, 1), (1, 7), (2, 1024), (3, 1025), (2, 2500)]
# More than one chunk of the two-stage sum.
LONG = (2, 16 * 1024 + 5)

each_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)
each_shape = pytest.mark.parametrize(("lanes", "width"), SHAPES)
# What lies around the numbers: NaN shows what is read, a number what is written.
each_fill = pytest.mark.parametrize("fill", [torch.nan, 7.0])


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


class Guarded:
    """A tensor amid others' memory: between its rows, and around as far as a program without a mask gets."""

    REACH = 4096

    def __init__(self, values, fill, flat=False):
        sizes = [values.numel() + 2] if flat else [size + 2 for size in values.shape]
        room = torch.Size(sizes).numel() + 2 * self.REACH
        self.memory = torch.full((room,), fill, dtype=values.dtype, device=DEVICE)
        amid = self.memory[self.REACH : -self.REACH].view(sizes)[(slice(1, -1),) * len(sizes)]
        self.tensor = amid.view(values.shape) if flat else amid
        self.before, self.fill = self.memory.clone(), fill
        self.tensor.copy_(values)

    def assert_margin_is_untouched(self):
        values = self.tensor.clone()
        self.tensor.fill_(self.fill)
        torch.testing.assert_close(self.memory, self.before, rtol=0, atol=0, equal_nan=True)
        self.tensor.copy_(values)


# -- update -------------------------------------------------------------------------------------------------

# hyperparameter -> its value in lane 0, 1, 2
HYPER = {
    "lr": [1e-2, 3e-2, 1e-3],
    "weight_decay": [0.1, 0.0, 0.5],
    "momentum": [0.9, 0.0, 0.99],
    "beta1": [0.9, 0.0, 0.95],
    "beta2": [0.999, 0.95, 0.99],
    "eps": [1e-8, 1e-6, 1e-3],
}
FIRST_STEPS = [0, 1, 1_000_000]


def beginning(optimizer, lanes, width, step=None):
    """Weights, gradients, state, rates, step and hyperparameters; the state is zero where the step is."""
    step = torch.tensor(FIRST_STEPS[:lanes] if step is None else [step] * lanes, device=DEVICE)[:, None]
    state = 0.3 * random(lanes, optimizer.slots, width, seed=2)
    state[:, 1:].square_()
    hyper = {name: torch.tensor(HYPER[name][:lanes], device=DEVICE)[:, None] for name in optimizer.defaults}
    return {
        "weights": random(lanes, width),
        "grads": random(lanes, width, seed=1),
        "state": torch.where(step[:, :, None] == 0, 0.0, state),
        "lr": hyper["lr"],
        "step": step,
        "hyper": hyper,
        "scale": None,
    }


def both(optimizer, given, fill=torch.nan, times=1):
    """Weights and state that the kernel leaves, and those that the reference does."""
    guards = {name: Guarded(given[name], fill) for name in ("weights", "grads", "state")}
    found = {**given, **{name: guard.tensor for name, guard in guards.items()}}
    wanted = {**given, "weights": given["weights"].clone(), "state": given["state"].clone()}
    for now in range(times):
        update(optimizer, **{**found, "step": given["step"] + now})
        reference.update(
            optimizer, **{**wanted, "step": given["step"] + now, "grads": given["grads"].clone()}
        )
    for guard in guards.values():
        guard.assert_margin_is_untouched()
    torch.testing.assert_close(found["grads"], given["grads"], rtol=0, atol=0, equal_nan=True)
    return [(one["weights"], one["state"]) for one in (found, wanted)]


@each_optimizer
@each_shape
@each_fill
def test_an_update_agrees_with_the_optimizer_and_touches_nothing_else(name, lanes, width, fill):
    for found, wanted in zip(
        *both(OPTIMIZERS[name], beginning(OPTIMIZERS[name], lanes, width), fill), strict=True
    ):
        close(found, wanted, "update")
        assert not found.isnan().any()


@each_optimizer
def test_updates_after_each_other_agree_with_the_optimizer(name):
    for found, wanted in zip(
        *both(OPTIMIZERS[name], beginning(OPTIMIZERS[name], 3, 40), times=50), strict=True
    ):
        close(found, wanted, "update")


@each_optimizer
@pytest.mark.parametrize("step", [0, 1, 9, 123_456_789])
@pytest.mark.parametrize("per_weight", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_rates_of_weight_groups_and_clipping_agree_at_every_step(name, step, per_weight, scaled):
    given = beginning(OPTIMIZERS[name], 3, 1025, step)
    if per_weight:
        given["lr"] = given["lr"] * random(3, 1025, seed=4).abs()
    if scaled:
        given["scale"] = torch.tensor([[0.01], [1.0], [0.0]], device=DEVICE)
    for found, wanted in zip(*both(OPTIMIZERS[name], given), strict=True):
        close(found, wanted, "update")


@each_optimizer
def test_hyperparameters_may_be_columns_of_one_matrix(name):
    given = beginning(OPTIMIZERS[name], 3, 5)
    matrix = torch.cat(list(given["hyper"].values()), 1)
    given["hyper"] = {key: matrix[:, i : i + 1] for i, key in enumerate(given["hyper"])}
    given["lr"] = given["hyper"]["lr"]
    for found, wanted in zip(*both(OPTIMIZERS[name], given), strict=True):
        close(found, wanted, "update")


@each_optimizer
def test_without_a_gradient_or_momentum_weights_only_decay(name):
    given = beginning(OPTIMIZERS[name], 2, 9, step=0)
    given["grads"].zero_()
    (found, _), (wanted, _) = both(OPTIMIZERS[name], given)
    close(found, wanted, "update")
    assert torch.equal(found[1], given["weights"][1])  # the lane whose decay is 0
    assert bool((found[0].abs() < given["weights"][0].abs()).all())


@each_optimizer
def test_an_update_of_a_lane_of_nan_changes_no_other(name):
    given = beginning(OPTIMIZERS[name], 3, 1025)
    (clean, clean_state), _ = both(OPTIMIZERS[name], given)
    given["grads"][1] = torch.nan
    (weights, state), (wanted, _) = both(OPTIMIZERS[name], given)
    for lane in (0, 2):
        assert torch.equal(weights[lane], clean[lane])
        assert torch.equal(state[lane], clean_state[lane])
    assert bool(weights[1].isnan().all())
    assert bool(wanted[1].isnan().all())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": random(2, 8).double()}, r"weights has shape \(2, 8\).* float64; .*float32"),
        ({"grads": random(2, 7)}, r"grads has shape \(2, 7\)"),
        ({"grads": random(8, 2).T}, r"grads has .* strides \(1, 2\)"),
        ({"state": random(2, 1, 8)}, r"state has shape \(2, 1, 8\).*\(2, 2, 8\)"),
        ({"lr": random(2, 3)}, r"lr has shape \(2, 3\)"),
        ({"step": torch.zeros(2, 1, device=DEVICE)}, r"step has .* float32; .*int64"),
        ({"scale": random(2)}, r"scale has shape \(2,\)"),
    ],
)
def test_an_update_refuses_what_it_would_misread(change, message):
    given = {**beginning(OPTIMIZERS["adamw"], 2, 8), **change}
    with pytest.raises(ValueError, match=message):
        update(OPTIMIZERS["adamw"], **given)


def test_an_optimizer_without_a_fused_rule_is_refused():
    stranger = Optimizer("stranger", 1, OPTIMIZERS["sgd"].update, OPTIMIZERS["sgd"].defaults)
    with pytest.raises(ValueError, match="optimizer 'stranger' has no fused update; those that have: sgd"):
        update(stranger, **beginning(stranger, 2, 8))


# -- signals ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lanes", "width"), [*SHAPES, LONG])
@each_fill
def test_signals_agree_with_the_reference_and_touch_nothing_else(lanes, width, fill):
    # Of length about 1, so that the tolerance is one of the sum and not of its terms.
    grads, previous = (Guarded(random(lanes, width, seed=seed) / width**0.5, fill) for seed in (0, 1))
    out, wanted = Guarded(torch.full((lanes, 3), torch.nan), fill), torch.empty(lanes, 3, device=DEVICE)
    signals(grads.tensor, previous.tensor, out.tensor)
    reference.signals(grads.tensor, previous.tensor, wanted)
    close(out.tensor, wanted, "once")
    for one in (grads, previous, out):
        one.assert_margin_is_untouched()


def test_signals_of_zero_and_of_nan_stay_in_their_lane():
    grads, previous = random(3, 1025), random(3, 1025, seed=1)
    clean, out = (torch.full((3, 3), torch.nan, device=DEVICE) for _ in range(2))
    signals(grads, previous, clean)
    grads[1, 7], grads[2] = torch.nan, 0.0
    signals(grads, previous, out)
    assert torch.equal(out[0], clean[0])
    assert bool(out[1].isnan().all())
    assert out[2].tolist() == [0.0, 0.0, 0.0]


def test_signals_are_the_same_bits_again_and_whatever_the_neighbours():
    grads, previous = random(*LONG), random(*LONG, seed=1)
    first, again, alone = (torch.empty(lanes, 3, device=DEVICE) for lanes in (2, 2, 1))
    signals(grads, previous, first)
    signals(grads, previous, again)
    signals(grads[1:], previous[1:], alone)
    assert torch.equal(first, again)
    assert torch.equal(first[1:], alone)


def test_signals_refuse_what_they_would_misread():
    good, out = random(2, 8), torch.empty(2, 3, device=DEVICE)
    for grads, previous, into, message in (
        (good.double(), good, out, "grads has .* float64"),
        (good, good[:, :7], out, r"previous has shape \(2, 7\)"),
        (good, good, out[:1], r"out has shape \(1, 3\)"),
    ):
        with pytest.raises(ValueError, match=message):
            signals(grads, previous, into)


# -- augment ------------------------------------------------------------------------------------------------


def pictures(shape, lanes, batch, padding):
    """Arguments of `augment` but the last."""
    made = torch.Generator().manual_seed(3)
    count, channels = shape[:2]
    arguments = (
        torch.randint(256, shape, generator=made).to(torch.uint8),
        torch.randint(count, (lanes, batch), generator=made),
        torch.randint(2 * padding + 1, (lanes, batch, 2), generator=made),
        torch.rand(lanes, batch, generator=made) < 0.5,
        torch.rand(channels, generator=made),
        0.1 + torch.rand(channels, generator=made),
    )
    return (*(one.to(DEVICE) for one in arguments), padding)


@pytest.mark.parametrize(
    ("shape", "lanes", "batch", "padding"),
    [
        ((1, 1, 1, 1), 1, 1, 0),
        ((5, 1, 8, 8), 3, 4, 1),
        ((4, 3, 5, 7), 2, 3, 2),
        ((3, 3, 19, 23), 1, 2, 4),  # more pixels than one program takes
        ((2, 2, 3, 3), 2, 5, 5),  # some crops see nothing of the image
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@each_fill
def test_augmented_batches_agree_with_the_reference_and_nothing_else_is_touched(
    shape, lanes, batch, padding, dtype, fill
):
    arguments = pictures(shape, lanes, batch, padding)
    out = Guarded(torch.full((lanes, batch, *shape[1:]), torch.nan, dtype=dtype), fill, flat=True)
    wanted = torch.empty(lanes, batch, *shape[1:], dtype=dtype, device=DEVICE)
    augment(*arguments, out.tensor)
    reference.augment(*arguments, wanted)
    close(out.tensor, wanted, "once", str(dtype).removeprefix("torch."))
    out.assert_margin_is_untouched()


def test_the_reference_crops_then_mirrors_then_normalises():
    images = torch.arange(1, 7, dtype=torch.uint8).view(1, 1, 2, 3)
    out = torch.empty(1, 1, 1, 2, 3)
    offset, flip = torch.tensor([[[2, 0]]]), torch.tensor([[True]])
    mean, std = torch.tensor([0.0]), torch.tensor([1 / 255])
    reference.augment(images, torch.zeros(1, 1, dtype=torch.int64), offset, flip, mean, std, 1, out)
    # The second row moved up, the first column and the row below are padding; then left and right change.
    close(out[0, 0, 0], torch.tensor([[5.0, 4.0, 0.0], [0.0, 0.0, 0.0]]), "once")


def test_an_image_that_does_not_exist_is_nan():
    arguments = pictures((4, 1, 3, 3), 1, 3, 1)
    arguments[1][0, 0], arguments[1][0, 2] = -1, 4
    out = torch.zeros(1, 3, 1, 3, 3, device=DEVICE)
    augment(*arguments, out)
    assert out.isnan().flatten(2).all(2).tolist() == [[True, False, True]]


def test_augment_refuses_what_it_would_misread():
    images, index, *rest = pictures((4, 1, 3, 3), 2, 3, 1)
    out = torch.empty(2, 3, 1, 3, 3, device=DEVICE)
    for change, message in (
        ((images.float(), index, *rest, out), "images has .* float32; .*uint8"),
        ((images, index.int(), *rest, out), "index has .* int32; .*int64"),
        ((images, index, *rest, out.half()), "out has .* float16; .*float32 or bfloat16"),
        ((images.transpose(2, 3), index, *rest, out), "images has .*contiguous, is wanted"),
    ):
        with pytest.raises(ValueError, match=message):
            augment(*change)


# -- on a device --------------------------------------------------------------------------------------------


def test_every_kernel_compiles_for_devices_that_are_not_here(tmp_path):
    here = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    root = str(Path(__file__).parents[2])
    said = subprocess.run(
        [sys.executable, "-m", "tests.kernels_compiled"],
        cwd=root,
        env={**here, "PYTHONPATH": root, "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (said.returncode, said.stderr) == (0, "")
    built = [json.loads(line) for line in said.stdout.splitlines()]
    assert {(name, architecture) for name, architecture, _ in built} == {
        (name, architecture) for name in dispatch.kernel_names() for architecture in (80, 90)
    }
    for name, _, code in built:
        assert ".entry" in code
        # Sums without a fixed order, and products rounded otherwise than in the reference.
        for instruction in ("atom.global", "red.global", "fma.rn.f32"):
            assert instruction not in code, f"{name} has {instruction}"


# -- in a traced step ---------------------------------------------------------------------------------------


def test_torch_can_trace_every_kernel():
    """Schemas say what is changed in place, and the operators run on tensors without data."""
    given = beginning(OPTIMIZERS["adamw"], 2, 8)
    hyper = [given["hyper"][name] for name in ("weight_decay", "beta1", "beta2", "eps")]
    tensors = (given[name] for name in ("weights", "grads", "state", "lr", "step"))
    rows, out = random(2, 8), torch.empty(2, 3, device=DEVICE)
    batch = (*pictures((4, 1, 3, 3), 2, 3, 1), torch.zeros(2, 3, 1, 3, 3, device=DEVICE))
    for operator, arguments in (
        (torch.ops.trials.lane_update, ("adamw", *tensors, hyper, None)),
        (torch.ops.trials.lane_signals, (rows, rows.clone(), out)),
        (torch.ops.trials.lane_augment, batch),
    ):
        checks = ("test_schema", "test_faketensor")
        found = torch.library.opcheck(operator.default, arguments, test_utils=checks)
        assert set(found.values()) == {"SUCCESS"}


def trace(function, optimizer):
    given = beginning(optimizer, 2, 8)
    scalars = (given["lr"], given["step"], given["hyper"])
    with torch.no_grad():
        return make_fx(lambda *tensors: function(*tensors, *scalars))(
            given["weights"], given["grads"], given["state"]
        ).code


@each_optimizer
def test_on_a_cpu_a_traced_step_holds_the_optimizer_as_it_stands(name):
    entry = OPTIMIZERS[name]
    wanted = trace(entry.update, entry)
    assert trace(dispatch.update(entry, torch.device("cpu")), entry) == wanted
    assert trace(dispatch.compiled(entry.update), entry) == wanted


# -- which variant ------------------------------------------------------------------------------------------


def row(kernel="update/sgd", size="small", reference=3.0, compiled=2.0, triton=1.0):
    return Row(kernel, size, (2, 8), 100, reference, compiled, triton)


@pytest.mark.parametrize(
    ("seconds", "variant"),
    [((3, 2, 1), "triton"), ((3, 1, 2), "compiled"), ((1, 2, 3), "reference"), ((2, 1, 1), "compiled")],
)
def test_a_kernel_is_used_only_where_it_was_faster_than_the_compiler(seconds, variant):
    assert row("signals", "large", *seconds).fastest == variant


def test_without_a_measurement_the_reference_runs_and_says_so():
    for choice in dispatch.choices(torch.device("cpu")):
        assert choice.variant == "reference"
        assert str(choice).endswith("reference (kernels run on CUDA devices, this is 'cpu')")
    assert {choice.kernel for choice in dispatch.choices(DEVICE)} == {
        *(f"update/{name}" for name in OPTIMIZERS),
        *("signals", "augment"),
    }


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A cache folder without measurements, for a device that need not be here."""
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    device = Machine("a device of this test", "2.13", "3.9")
    monkeypatch.setattr(verdicts, "machine", lambda asked: device)
    dispatch._measured.cache_clear()
    yield device
    dispatch._measured.cache_clear()


def test_measurements_are_remembered_for_their_device_and_versions(fresh):
    rows = (row(), row("signals", "large"))
    verdicts.write(fresh, (row("augment"),))
    verdicts.write(fresh, rows)
    assert verdicts.read(fresh) == rows
    for other in (Machine("another", "2.13", "3.9"), Machine(fresh.device, "2.14", "3.9")):
        assert verdicts.read(other) == ()


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{"kernel": "signals"}]}'])
def test_a_file_that_holds_no_measurements_is_named_and_not_used(fresh, text):
    path = verdicts.write(fresh, ())
    path.write_text(text)
    with pytest.warns(UserWarning, match=f"{path} holds no measurements"):
        assert verdicts.read(fresh) == ()


@pytest.mark.parametrize("measured", [False, True])
def test_what_was_measured_fastest_is_what_runs(fresh, measured):
    if measured:
        verdicts.write(fresh, [row()])
    entry, given = OPTIMIZERS["sgd"], beginning(OPTIMIZERS["sgd"], 2, 8)
    wanted = {name: given[name].clone() for name in ("weights", "grads", "state")}
    entry.update(**wanted, **{name: given[name] for name in ("lr", "step", "hyper")})
    grads = given["grads"].clone()
    dispatch.update(entry, torch.device("cuda"))(**given)
    close(given["weights"], wanted["weights"], "update")
    # The kernel leaves the gradients as they are, the optimizer adds the decay to them.
    assert torch.equal(given["grads"], grads) is measured
    choice = dispatch.choose("update/sgd", "small", torch.device("cuda"))
    told = "reference 3 s, compiled 2 s, triton 1 s" if measured else "python -m tests.bench.gpu"
    assert told in choice.reason
    assert dispatch.choose("update/sgd", "large", torch.device("cuda")).variant == "reference"


def test_signals_and_augment_run_what_was_measured_fastest(fresh):
    verdicts.write(fresh, [row("signals"), row("augment")])
    device = torch.device("cuda")
    upright, out = random(8, 2).T, torch.empty(2, 3, device=DEVICE)
    with pytest.raises(ValueError, match="grads has"):  # only the kernel minds the layout
        dispatch.signals(device)(upright, upright, out)
    arguments = pictures((4, 1, 3, 3), 1, 3, 1)
    arguments[1][0, 0] = 4  # only the kernel makes NaN of an image that does not exist
    batch = torch.zeros(1, 3, 1, 3, 3, device=DEVICE)
    dispatch.augment(device)(*arguments, batch)
    assert bool(batch[0, 0].isnan().all())


def test_every_kernel_is_measured_in_every_size():
    sizes = [verdicts.size_class(lanes * width) for lanes, width in measure.ROWS]
    images = [verdicts.size_class(torch.Size(shape).numel()) for shape in measure.IMAGES]
    assert sizes == images == ["small", "medium", "large"]


# torch warns of itself while it loads its compiler.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_all_three_variants_of_a_kernel_are_timed():
    only = ("update/lion", "augment")
    found = measure.compare(DEVICE, rows=((2, 5),), images=((1, 2, 1, 3, 3),), only=only)
    assert [(one.kernel, one.size, one.shape) for one in found] == [
        ("update/lion", "small", (2, 5)),
        ("augment", "small", (1, 2, 1, 3, 3)),
    ]
    assert found[0].moved_bytes == measure.bytes_moved(OPTIMIZERS["lion"], 2, 5) == 200
    for one in found:
        assert min(one.reference_seconds, one.compiled_seconds, one.triton_seconds) > 0
        assert one.bytes_per_second == one.moved_bytes / one.triton_seconds
