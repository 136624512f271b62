"""The laws of lanes, over every task and optimizer.

A trial does not notice its lane, its neighbours or the moment at which it was admitted.
"""

import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.trials_sample import (
    ALL_TASKS,
    CPU,
    SMALL,
    alone,
    close,
    finish,
    lanes_of,
    program,
    reports_agree,
    same,
    spec,
    task,
)
from trials.compiling import Compiler, Origin
from trials.drive import Drive
from trials.lanes import Lanes
from trials.optim import OPTIMIZERS
from trials.recipe import recipe
from trials.rows import Row
from trials.spec import Report
from trials.task import load_task
from trials.train import build, load_splits

# Each example is run for every task and optimizer, so a few of them are many. Nothing is shrunk: made
# smaller, a failure of rounding is another failure, and it takes minutes.
law = settings(derandomize=True, deadline=None, max_examples=4, phases=(Phase.explicit, Phase.generate))

each_task = pytest.mark.parametrize("name", ALL_TASKS)
each_pair = pytest.mark.parametrize(
    ("name", "optimizer"), [(name, optimizer) for name in ALL_TASKS for optimizer in OPTIMIZERS]
)

BUDGET = 20

# float hyperparameter -> what neighbours may have; those of the optimizer are always in the row
_RANGES = {
    "lr": (1e-4, 2e-2),
    "weight_decay": (0.0, 0.3),
    "momentum": (0.5, 0.95),
    "beta1": (0.5, 0.95),
    "beta2": (0.9, 0.999),
    "clip_norm": (0.05, 2.0),
    "dropout": (0.0, 0.6),
    "label_smoothing": (0.0, 0.4),
    "shift": (0.0, 1.0),
    "mixup": (0.0, 2.0),
    "lr_ratio_head": (0.0, 3.0),
    "lr_ratio_backbone": (0.1, 2.0),
}
_OF_DIGITS = ("shift", "mixup")
_MORE = (
    "clip_norm",
    *_OF_DIGITS,
    "lr_ratio_head",
    "lr_ratio_backbone",
)  # part of the program only where given
_SCHEDULES = ("cosine", "linear", "rex", "wsd", "constant")


@st.composite
def gatherings(draw, name, optimizer, neighbours=3):
    """Configs of one program: the first is the trial that is watched."""
    structure = {**SMALL[name], "optimizer": optimizer}
    if name == "digits":
        structure["norm"] = draw(st.sampled_from(["none", "batch"]))
    more = [one for one in _MORE if (one not in _OF_DIGITS or name == "digits") and draw(st.booleans())]
    floats = [one for one in (*OPTIMIZERS[optimizer].defaults, *task(name).defaults, *more) if one in _RANGES]

    def config():
        values = {one: draw(st.floats(*_RANGES[one])) for one in floats}
        return {**structure, **values, "schedule": draw(st.sampled_from(_SCHEDULES))}

    return [config() for _ in range(1 + draw(st.integers(1, neighbours)))]


def drive_of(name, config, capacity, tick=10):
    return Drive(lanes_of(name, config, capacity), tick)


def gather(drive, specs, moments):
    """Admit each trial at its moment (in ticks), run until all have ended: the reports of each."""
    waiting = sorted(zip(moments, specs, strict=True), key=lambda one: one[0])
    reports, now = {one.trial: [] for one in specs}, 0
    while waiting or len(drive):
        while waiting and waiting[0][0] <= now and len(drive) < drive.lanes.capacity:
            drive.admit(waiting.pop(0)[1])
        for said in drive.tick():
            if isinstance(said, Report):
                reports[said.trial].append(said)
        now += 1
    return reports


@each_pair
@given(data=st.data())
@law
def test_a_trial_among_any_neighbours_admitted_at_any_tick_is_the_trial_alone(name, optimizer, data):
    configs = data.draw(gatherings(name, optimizer))
    rungs = st.sets(st.integers(1, BUDGET), max_size=3)
    specs = [
        spec(
            config,
            trial,
            budget=BUDGET if trial == 0 else data.draw(st.integers(1, BUDGET)),
            rungs=data.draw(rungs) if trial == 0 else (),
            horizon=30,
        )
        for trial, config in enumerate(configs)
    ]
    moments = [data.draw(st.integers(0, 3)) for _ in specs]
    drive = drive_of(
        name, configs[0], capacity=data.draw(st.integers(1, len(specs))), tick=data.draw(st.integers(1, 12))
    )
    found = gather(drive, specs, moments)
    reports_agree(found[0], alone(name, specs[0]))


@each_pair
def test_equal_specs_report_equally_to_the_last_bit(name, optimizer):
    config = {**SMALL[name], "optimizer": optimizer, "lr": 0.01, "clip_norm": 1.0}
    one = spec(config, budget=12, rungs=(5,))
    assert same(alone(name, one), alone(name, one))


@each_task
def test_the_length_of_a_tick_changes_nothing(name):
    one = spec({**SMALL[name], "lr": 0.01}, budget=12, rungs=(5,))
    wanted = alone(name, one, tick=10)
    assert all(same(alone(name, one, tick=tick), wanted) for tick in (1, 3, 12, 100))


@each_task
def test_other_seeds_report_otherwise(name):
    config = {**SMALL[name], "lr": 0.01}
    assert not same(alone(name, spec(config, seed=1)), alone(name, spec(config, seed=2)))


@each_pair
@pytest.mark.parametrize("neighbour", ["diverges", "has other values"])
def test_what_a_neighbour_does_changes_no_bit_of_a_lane(name, optimizer, neighbour):
    """Side by side for the same steps, so that not even rounding may differ."""
    config = {**SMALL[name], "optimizer": optimizer, "lr": 0.01}
    changed = {**config, **({"lr": 1e30} if neighbour == "diverges" else {"lr": 0.3, "weight_decay": 0.1})}
    seen = []
    for other in (config, changed):
        lanes = lanes_of(name, config, 3)
        for trial, chosen in enumerate([config, other, config]):
            lanes.admit(spec(chosen, trial))
        losses = lanes.run(np.ones((12, 3)))[:, :, 0]
        val = lanes.evaluate("val")["loss"]
        seen.append((losses, val, lanes.read(0), lanes.read(2)))
    quiet, loud = seen
    np.testing.assert_array_equal(quiet[0][:, [0, 2]], loud[0][:, [0, 2]])
    np.testing.assert_array_equal(quiet[1][[0, 2]], loud[1][[0, 2]])
    for before, after in zip(quiet[2:], loud[2:], strict=True):
        assert torch.equal(before.weights, after.weights)
        assert torch.equal(before.state, after.state)
    if neighbour == "diverges":
        assert not np.isfinite(loud[0][:, 1]).all()
    assert not np.array_equal(quiet[0][:, 1], loud[0][:, 1])


@each_task
def test_a_lane_that_diverges_ends_alone_and_where_it_would_have_ended_alone(name):
    config = {**SMALL[name], "optimizer": "sgd", "lr": 0.01}
    broken = spec({**config, "lr": 1e30}, 1, budget=BUDGET)
    specs = [spec(config, 0, budget=BUDGET, rungs=(3,)), broken, spec(config, 2, budget=BUDGET)]
    drive = drive_of(name, config, 3, tick=7)
    for one in specs:
        drive.admit(one)
    reports, ends = finish(drive)
    assert [ends[trial].outcome for trial in range(3)] == ["completed", "diverged", "completed"]
    assert "loss" in ends[1].reason
    assert ends[1].row is None
    for one in (specs[0], specs[2]):
        reports_agree(reports[one.trial], alone(name, one))
    # A neighbour's rung at 3 cuts the tick; the report of the trial that diverged must not show it.
    (found,), (wanted,) = reports[1], alone(name, broken, tick=10)
    assert (found.step, found.spent) == (wanted.step, wanted.spent)
    assert not all(map(np.isfinite, found.metrics.values()))


@each_task
def test_stopping_and_refilling_lanes_changes_no_other(name):
    config = {**SMALL[name], "lr": 0.01}
    watched = [spec(config, trial, budget=BUDGET) for trial in (0, 9)]
    drive = drive_of(name, config, 3, tick=4)
    drive.admit(watched[0])
    drive.admit(spec(config, 1, budget=BUDGET))
    drive.admit(spec(config, 2, budget=BUDGET))
    drive.tick()
    drive.stop(1)
    drive.tick()
    # In the lane that was freed; the trial's number is another.
    drive.admit(watched[1])
    drive.tick()
    drive.stop(2)
    drive.admit(spec({**config, "lr": 1e30}, 4, budget=BUDGET))
    reports, ends = finish(drive)
    assert set(ends) == {0, 9, 4}
    for one in watched:
        reports_agree(reports[one.trial], alone(name, one))


@each_task
def test_a_paused_trial_goes_on_as_if_it_had_not_been(name):
    config = {**SMALL[name], "lr": 0.01}
    watched = spec(config, 0, budget=BUDGET, rungs=(6, 13))
    drive = drive_of(name, config, 2, tick=3)
    drive.admit(spec(config, 1, budget=BUDGET))
    drive.admit(watched)
    said = [*drive.tick(), *drive.tick()]
    held = drive.pause(0)
    assert (0 in drive, drive.used(), len(drive.lanes)) == (False, 1, 1)
    # Others have its lane meanwhile, and leave it.
    drive.admit(spec({**config, "lr": 0.02}, 2, budget=BUDGET))
    drive.tick()
    drive.stop(2)
    drive.resume(held)
    reports, ends = finish(drive)
    assert set(ends) == {0, 1}
    reports_agree([*(one for one in said if isinstance(one, Report)), *reports[0]], alone(name, watched))


@each_pair
def test_copy_then_run_is_run_on_the_source(name, optimizer):
    config = {**SMALL[name], "optimizer": optimizer, "lr": 0.01}
    lanes = lanes_of(name, config, 3)
    # Equal seeds: the streams belong to the lane, and are equal here.
    lanes.admit(spec(config, 0, seed=7))
    lanes.run(np.ones((4, 1)))
    lanes.admit(spec({**config, "lr": 1e-4}, 1, seed=3))
    lanes.admit(spec(config, 2, seed=7))
    lanes.run(np.ones((3, 3)))
    lanes.copy(0, 2)
    losses = lanes.run(np.linspace(0, 1, 8)[:, None].repeat(3, 1))[:, :, 0]
    np.testing.assert_array_equal(losses[:, 0], losses[:, 2])
    assert torch.equal(lanes.read(0).weights, lanes.read(2).weights)
    assert lanes.read(0).step == lanes.read(2).step == 15
    assert not torch.equal(lanes.read(0).weights, lanes.read(1).weights)


@each_task
def test_a_copy_keeps_its_own_hyperparameters_and_streams(name):
    config = {**SMALL[name], "lr": 0.01}
    lanes = lanes_of(name, config, 2)
    lanes.admit(spec(config, 0, seed=7))
    lanes.admit(spec({**config, "lr": 0.002}, 1, seed=8))
    lanes.run(np.ones((3, 2)))
    lanes.copy(0, 1)
    copy, source = lanes.read(1), lanes.read(0)
    assert torch.equal(copy.weights, source.weights)
    assert copy.hyper["lr"] == 0.002
    assert copy.key != source.key
    losses = lanes.run(np.ones((3, 2)))[:, :, 0]
    assert not np.array_equal(losses[:, 0], losses[:, 1])


@each_pair
def test_a_row_saved_loaded_and_admitted_elsewhere_continues_exactly(name, optimizer, tmp_path):
    config = {**SMALL[name], "optimizer": optimizer, "lr": 0.01, "clip_norm": 0.5}
    if name == "digits":
        config["norm"] = "batch"
    if "dropout" in task(name).defaults:
        config["dropout"] = 0.3
    one = spec(config)
    here, elsewhere = lanes_of(name, config, 1), lanes_of(name, config, 2)
    here.admit(one)
    here.run(np.ones((5, 1)))
    here.read(0).save(tmp_path / "row.safetensors")
    elsewhere.admit(one, Row.load(tmp_path / "row.safetensors"))
    factors = np.linspace(1, 0, 7)[:, None]
    np.testing.assert_array_equal(here.run(factors), elsewhere.run(factors))
    for key, values in here.evaluate("val").items():
        np.testing.assert_array_equal(values, elsewhere.evaluate("val")[key])
    for part in ("weights", "buffers", "state"):
        assert torch.equal(getattr(here.read(0), part), getattr(elsewhere.read(0), part))


@each_task
def test_writing_a_row_back_rewinds(name):
    config = {**SMALL[name], "lr": 0.01}
    lanes = lanes_of(name, config, 1)
    lanes.admit(spec(config))
    lanes.run(np.ones((3, 1)))
    mark = lanes.read(0)
    first = lanes.run(np.ones((6, 1)))
    lanes.write(0, mark)
    np.testing.assert_array_equal(lanes.run(np.ones((6, 1))), first)


@pytest.mark.parametrize("lanes_wide", [1, 3, 5])
def test_batch_normalisation_of_any_number_of_lanes_is_that_of_each_alone(lanes_wide):
    """Statistics and their count are in the row: lanes that are refilled or rewound change no other's."""
    config = {**SMALL["digits"], "norm": "batch", "optimizer": "sgd", "shift": 0.5}
    one_each = [spec({**config, "lr": 0.003 * (trial + 1)}, trial, budget=12) for trial in range(lanes_wide)]
    lanes, late = lanes_of("digits", config, lanes_wide), spec({**config, "lr": 0.02}, 99, budget=12)
    for one in one_each:
        lanes.admit(one)
    lanes.run(np.ones((4, lanes_wide)))
    mark = lanes.read(0)
    lanes.run(np.ones((3, lanes_wide)))
    lanes.write(0, mark)
    if lanes_wide > 1:
        lanes.retire(1)
        lanes.admit(late)
    lanes.run(np.ones((4, lanes_wide)))
    for one in [late if one.trial == 1 else one for one in one_each]:
        lonely = lanes_of("digits", config, 1)
        lonely.admit(one)
        steps = {0: 8, 99: 4}.get(one.trial, 11)
        lonely.run(np.ones((steps, 1)))
        found, wanted = lanes.read(one.trial), lonely.read(one.trial)
        assert found.step == wanted.step == steps
        close(found.buffers, wanted.buffers, "training")
        counts = [
            place for place in lanes.program.layout.buffers if place.name.endswith("num_batches_tracked")
        ]
        assert len(counts) == 2
        assert all(found.buffers[place.start] == steps for place in counts)


def test_rewinding_brings_batch_statistics_back():
    config = {**SMALL["digits"], "norm": "batch", "lr": 0.01}
    lanes = lanes_of("digits", config, 3)
    for trial in range(3):
        lanes.admit(spec(config, trial))
    lanes.run(np.ones((3, 3)))
    mark = lanes.read(1)
    first, end = lanes.run(np.ones((6, 3))), lanes.read(1)
    assert not torch.equal(mark.buffers, end.buffers)
    lanes.write(1, mark)
    assert torch.equal(lanes.read(1).buffers, mark.buffers)
    np.testing.assert_array_equal(lanes.run(np.ones((6, 3)))[:, 1], first[:, 1])
    assert torch.equal(lanes.read(1).buffers, end.buffers)


def test_a_row_that_was_written_is_what_is_read():
    config = {**SMALL["tabular"], "lr": 0.01}
    lanes = lanes_of("tabular", config, 2)
    lanes.admit(spec(config, 0))
    lanes.admit(spec({**config, "lr": 0.5}, 1))
    lanes.run(np.ones((2, 2)))
    lanes.write(0, lanes.read(1))
    found, wanted = lanes.read(0), lanes.read(1)
    assert (found.hyper, found.key, found.step) == (wanted.hyper, wanted.key, wanted.step)
    assert torch.equal(found.weights, wanted.weights)


# -- what is refused -----------------------------------------------------------------------------------------


def lanes_with(config, capacity=2):
    return lanes_of("tabular", {**SMALL["tabular"], **config}, capacity)


def refuses(lanes, message, *admitted):
    with pytest.raises(ValueError, match=message):
        lanes.admit(*admitted)


def test_lanes_take_no_more_trials_than_there_are_lanes():
    lanes = lanes_with({}, capacity=1)
    lanes.admit(spec(SMALL["tabular"], 0))
    refuses(lanes, "all 1 lanes are taken", spec(SMALL["tabular"], 1))
    with pytest.raises(ValueError, match="lanes=0 must be at least 1"):
        Lanes(lanes.program, 0)


def test_a_trial_has_one_lane():
    lanes = lanes_with({})
    lanes.admit(spec(SMALL["tabular"], 0))
    refuses(lanes, "trial 0 has a lane already", spec(SMALL["tabular"], 0))


@pytest.mark.parametrize(
    ("part", "changed"),
    [
        ("weights", lambda row: replace(row, weights=row.weights[:1])),
        ("weights", lambda row: replace(row, weights=row.weights.repeat(2))),
        ("buffers", lambda row: replace(row, buffers=torch.ones(1))),
        ("state", lambda row: replace(row, state=row.state[:1])),
        ("lr", lambda row: replace(row, hyper={})),
    ],
)
def test_a_row_of_another_structure_is_refused_and_takes_no_lane(part, changed):
    """A copy alone would stretch a single weight, or one slot of optimizer state, over all of them."""
    lanes = lanes_with({}, capacity=1)
    row = lanes.program.first_row(spec(SMALL["tabular"]))
    refuses(lanes, f"the row does not fit the program: .*{part}", spec(SMALL["tabular"]), changed(row))
    assert len(lanes) == 0
    lanes.admit(spec(SMALL["tabular"]), row)
    with pytest.raises(ValueError, match="the row does not fit the program"):
        lanes.write(0, changed(row))


def test_a_drive_that_refused_a_trial_runs_on_without_it():
    drive = drive_of("tabular", SMALL["tabular"], 2)
    good = spec(SMALL["tabular"], 0)
    row = drive.lanes.program.first_row(good)
    with pytest.raises(ValueError, match="does not fit"):
        drive.admit(spec(SMALL["tabular"], 1), replace(row, hyper={}))
    drive.admit(good)
    reports, ends = finish(drive)
    assert set(ends) == {0}
    reports_agree(reports[0], alone("tabular", good))


# -- compiled ------------------------------------------------------------------------------------------------

_IRIS = {"width": 4, "depth": 1, "batch_size": 8, "lr": 0.01}


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
def test_compiled_agrees_with_eager_and_nothing_is_compiled_after_the_first_tick(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    made = load_task("tabular", {"data": "iris"})
    data = load_splits(made, 0, CPU)
    built = build(made, data, recipe(made, _IRIS), CPU)
    compiler = Compiler("always", Origin("tabular", {"data": "iris"}))
    # Wider than the capacity, and narrower: a compiled step has a width of its own.
    lanes = Lanes(built, 6, compiler)
    drive = Drive(lanes, tick=5)
    specs = [
        spec(
            {**_IRIS, "lr": 0.002 * (trial + 1), "dropout": 0.1 * trial}, trial, budget=15 + trial, horizon=30
        )
        for trial in range(9)
    ]
    drive.admit(specs[0])
    said = drive.tick()
    assert compiler.loaded == 1
    packages = sorted(tmp_path.rglob("*.pt2"))
    assert len(packages) == 1
    stamp = packages[0].stat().st_mtime_ns
    # From here on lanes are refilled, rates change, one diverges: nothing of it may compile or load.
    waiting = [*specs[1:], spec({**_IRIS, "lr": 1e30}, 99, budget=20)]
    reports = {}
    while waiting or len(drive):
        while waiting and len(drive) < 6:
            drive.admit(waiting.pop(0))
        said.extend(drive.tick())
    for one in said:
        if isinstance(one, Report):
            reports.setdefault(one.trial, []).append(one)
    assert compiler.loaded == 1
    assert sorted(tmp_path.rglob("*.pt2")) == packages
    assert packages[0].stat().st_mtime_ns == stamp

    eager = Drive(Lanes(built, 1), tick=5)
    for one in specs:
        eager.admit(one)
        wanted, _ = finish(eager)
        reports_agree(reports[one.trial], wanted[one.trial])

    # Another process, as far as it can tell: the package is found, not built again.
    again = Compiler("always", Origin("tabular", {"data": "iris"}))
    second = Drive(Lanes(build(made, data, recipe(made, _IRIS), CPU), 4, again), tick=5)
    second.admit(specs[3])
    found, _ = finish(second)
    assert again.loaded == 1
    assert sorted(tmp_path.rglob("*.pt2")) == packages
    reports_agree(found[3], reports[3])

    # Damaged machine code would end the process that loads it.
    damaged = bytearray(packages[0].read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    packages[0].write_bytes(damaged)
    notices = []
    wary = Compiler("auto", Origin("tabular", {"data": "iris"}), notice=notices.append)
    program_again = build(made, data, recipe(made, _IRIS), CPU)
    step, _ = wary.step(program_again, 4, 4)
    assert step == program_again.step
    assert "damaged" in notices[0]
    assert not packages[0].exists()
    wary.close()
    compiler.close()
    again.close()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
def test_a_lane_that_is_left_alone_gets_a_step_of_one_row(tmp_path, monkeypatch):
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path))
    folder = tmp_path / "programs"
    folder.mkdir(mode=0o700)
    (folder / "cost.json").write_text('{"seconds": 0.0}')  # so that it pays at once
    made = load_task("tabular", {"data": "iris"})
    program = build(made, load_splits(made, 0, CPU), recipe(made, _IRIS), CPU)
    compiler = Compiler("auto", Origin("tabular", {"data": "iris"}), expected_steps=10**9)
    lanes = Lanes(program, 4, compiler)
    lanes.admit(spec(_IRIS, 0, budget=10**6, horizon=10**6))
    while compiler.loaded == 0:
        began = time.perf_counter()
        lanes.run(np.ones((50, 1)))
        time.sleep(compiler.courtesy(time.perf_counter() - began))
    assert compiler.step(program, 1, 4)[1] == 1
    # With company it is no help: four rows are one call.
    assert compiler.step(program, 3, 4) == (program.step, 3)
    before = lanes.read(0)
    lanes.run(np.ones((20, 1)))
    plain = Lanes(program, 1)
    plain.admit(spec(_IRIS, 0, budget=10**6, horizon=10**6), before)
    plain.run(np.ones((20, 1)))
    torch.testing.assert_close(lanes.read(0).weights, plain.read(0).weights, rtol=1e-4, atol=1e-6)
    compiler.close()


def test_a_program_says_the_same_in_its_traced_form():
    """What is compiled is this graph: held to the eager step with every lane at a step of its own."""
    config = {**SMALL["digits"], "norm": "batch", "clip_norm": 0.3, "lr": 0.01, "lr_ratio_head": 0.5}
    made = program("digits", config)
    blocks = []
    for step in (made.step, made.traced(3)):
        lanes = Lanes(made, 3)
        for trial in range(3):
            lanes.admit(spec({**config, "lr": 0.01 * (trial + 1)}, trial))
        block = lanes._block
        block.step[:] = torch.tensor([0, 5, 900])
        index = torch.arange(24).reshape(3, 8)
        with torch.no_grad():
            losses = [
                step(*block.tensors(), torch.tensor([1.0, 0.5, 0.0]), index, *made.data(3)) for _ in range(5)
            ]
        blocks.append((torch.stack(losses), block))
    close(blocks[0][0], blocks[1][0], "training")
    assert torch.equal(blocks[0][1].step, blocks[1][1].step)
    close(blocks[0][1].buffers, blocks[1][1].buffers, "training")


# -- ends ----------------------------------------------------------------------------------------------------


def test_ends_agree_in_distribution_over_seeds():
    """Long after rounding has set trials apart: 12 seeds, means within two standard errors."""
    config = {**SMALL["tabular"], "lr": 0.05, "dropout": 0.3, "optimizer": "adamw"}
    specs = [spec(config, seed, budget=150) for seed in range(12)]
    drive = drive_of("tabular", config, 12)
    for one in specs:
        drive.admit(one)
    reports, _ = finish(drive)
    together = np.array([reports[one.trial][-1].metrics["val_loss"] for one in specs])
    apart = np.array([alone("tabular", one)[-1].metrics["val_loss"] for one in specs])
    error = np.sqrt((together.var(ddof=1) + apart.var(ddof=1)) / len(specs))
    assert abs(together.mean() - apart.mean()) < 2 * error
    assert 0.5 < together.std() / apart.std() < 2
