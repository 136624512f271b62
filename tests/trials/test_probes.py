"""Probes side by side in spare lanes: the same numbers as in turn, in fewer steps of waiting."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schedules import Keep, Probe, Segment, TunerError, constant, linear
from tests.strategies import law
from tests.trials_sample import CPU, SMALL, Line, Script, close, finish, lanes_of, reports_agree, spec
from trials.drive import Drive
from trials.lanes import Lanes
from trials.recipe import recipe
from trials.train import build, load_splits

CONFIG = {**SMALL["tabular"], "lr": 0.01, "dropout": 0.2}


def segment(steps, factor=1.0, **words):
    return Segment(constant(factor), steps, **words)


def driven(one, lanes, *wishes, tick=10):
    tuner = Script(*wishes)
    drive = Drive(lanes_of("tabular", one.config, lanes), tick, lambda *_: tuner)
    drive.admit(one)
    reports, ends = finish(drive)
    assert drive.used() == 0
    return reports[one.trial], ends[one.trial], tuner.told


def traces_agree(found, wanted):
    for ours, theirs in zip(found, wanted, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            close(one.losses, other.losses, "training")
            close(one.val_losses, other.val_losses, "training")
            close(one.example_losses, other.example_losses, "training")


@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    lanes=st.integers(2, 7),
    tick=st.integers(1, 6),
    rungs=st.sets(st.integers(1, 60), max_size=4),
)
@law
def test_probes_at_once_and_in_turn_are_the_same(lengths, lanes, tick, rungs):
    probe = Probe(tuple(segment(steps, 0.3 * n, evals=2) for n, steps in enumerate(lengths, 1)))
    wishes = (Keep(segment(3)), probe, Keep(segment(5), adopt=len(lengths) - 1), Keep(segment(99)))
    one = spec(CONFIG, budget=70, rungs=rungs)
    together, end, told = driven(one, lanes, *wishes, tick=tick)
    in_turn, end_in_turn, told_in_turn = driven(one, 1, *wishes, tick=tick)
    traces_agree(told, told_in_turn)
    reports_agree(together, in_turn)
    assert end.row.step == end_in_turn.row.step
    close(end.row.weights, end_in_turn.row.weights, "training")


def test_three_counters_kept_spent_and_what_passed_on_the_clock():
    wishes = (Probe(tuple(segment(10, factor, evals=1) for factor in (1.0, 0.3, 0.1))), Keep(segment(90), 0))
    one = spec(CONFIG, budget=60)
    for lanes, wall in ((3, 10 + 30), (2, 20 + 30), (1, 30 + 30)):
        reports, end, _ = driven(one, lanes, *wishes)
        assert (reports[-1].spent, reports[-1].step, reports[-1].wall) == (60, 40, wall)
        assert end.row.step == 40


def test_trials_come_before_the_probes_of_others():
    drive = Drive(lanes_of("tabular", CONFIG, 3), 5, lambda *_: Script(Probe((segment(10),) * 4)))
    for trial in range(3):
        drive.admit(spec(CONFIG, trial, budget=40))
    assert drive.room() == 0
    drive.tick()
    assert set(drive.lanes.numbers) == {0, 1, 2}
    drive.stop(1)
    assert drive.room() == 1
    drive.tick()
    assert (drive.used(), drive.room()) == (3, 0)
    drive.stop(0)
    drive.stop(2)
    assert (drive.used(), drive.room(), len(drive.lanes)) == (0, 3, 0)


@pytest.mark.parametrize("lanes", [1, 4])
def test_a_chain_of_probes_goes_on_from_where_the_first_ended(lanes):
    first = Probe((segment(4, 1.0), segment(4, 0.2)))
    second = Probe((segment(3, 0.5), segment(3, 0.1), segment(3, 1.0)), starts=(1, 0, 1))
    one = spec(CONFIG, budget=4 * 2 + 3 * 3 + 6)
    _, end, told = driven(one, lanes, first, second, Keep(segment(6), adopt=4))
    straight = (Keep(segment(4, 0.2)), Keep(segment(3, 1.0)), Keep(segment(6)))
    _, wanted, told_straight = driven(spec(CONFIG, budget=13), 1, *straight)
    close(told[1][2].losses, told_straight[1][0].losses, "training")
    close(end.row.weights, wanted.row.weights, "training")
    assert end.row.step == 13
    # Without an adoption the trial is where the first probe began.
    _, end, _ = driven(one, lanes, first, second, Keep(segment(6)))
    assert end.row.step == 6


def test_the_record_holds_kept_steps_and_every_probe_and_survives_the_disk(tmp_path):
    wishes = (
        Keep(segment(3)),
        Probe((segment(4, 0.5, evals=2), segment(4, 2.0, evals=2))),
        Probe((segment(2, 0.1, is_mark=False),), starts=(1,)),
        Keep(Segment(linear(10), 10), adopt=1),
    )
    _, end, told = driven(spec(CONFIG, budget=3 + 8 + 2 + 10), 2, *wishes)
    path = tmp_path / "traces" / "trial.npz"
    end.record.save(path, end.facts)
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in file.files}
    np.testing.assert_allclose(
        found["factor"], [1.0] * 3 + [2.0] * 4 + list(1 - np.arange(10) / 10), rtol=1e-6
    )
    np.testing.assert_array_equal(found["loss"][3:7], told[1][1].losses)
    assert found["probe_step"].tolist() == [3, 3, 7]
    assert found["probe_start"].tolist() == [-1, -1, 1]
    assert found["probe_adopted"].tolist() == [False, True, False]
    assert found["probe_steps"].tolist() == [4, 4, 2]
    assert found["probe_evals"].tolist() == [2, 2, 0]
    np.testing.assert_allclose(found["probe_factor"], [0.5] * 4 + [2.0] * 4 + [0.1] * 2, rtol=1e-6)
    np.testing.assert_allclose(found["probe_val_losses"][:2], told[1][0].val_losses)
    assert (found["grad_l2"] > 0).all()
    assert (found["grad_l1"] >= found["grad_l2"]).all()
    assert str(found["facts"]) == '[{"told": 3}]'


def test_hyperparameters_of_a_segment_belong_to_its_row():
    decayed = {"weight_decay": 5.0}
    plain, *_ = driven(spec(CONFIG, budget=8), 1, Keep(segment(8)))
    wishes = (Probe((segment(4, hyper=decayed), segment(4))), Keep(segment(8)))
    probed, _, told = driven(spec(CONFIG, budget=16), 2, *wishes)
    assert not np.allclose(told[0][0].losses, told[0][1].losses)
    # Back at the mark the old value holds again.
    close(probed[-1].metrics["val_loss"], plain[-1].metrics["val_loss"], "training")
    adopted = (wishes[0], Keep(segment(4), adopt=0))
    _, end, _ = driven(spec(CONFIG, budget=12), 2, *adopted)
    _, wanted, _ = driven(spec({**CONFIG, **decayed}, budget=8), 1, Keep(segment(8)))
    close(end.row.weights, wanted.row.weights, "training")
    assert end.row.hyper["weight_decay"] == 5.0


def test_a_tuner_that_cannot_go_on_fails_its_trial_and_no_other():
    class Lost(Script):
        def tell(self, traces):
            raise TunerError("every rate diverged: lower lr")

    make = {0: lambda: Lost(Probe((segment(4),) * 2)), 1: lambda: Script(Keep(segment(20)))}
    drive = Drive(lanes_of("tabular", CONFIG, 4), 4, lambda one, _: make[one.trial]())
    for trial in (0, 1):
        drive.admit(spec(CONFIG, trial, budget=20))
    _, ends = finish(drive)
    assert (ends[0].outcome, ends[0].reason) == ("failed", "every rate diverged: lower lr")
    assert ends[1].outcome == "completed"


def test_a_segment_may_not_set_what_the_program_does_not_read():
    wish = Keep(segment(4, hyper={"momentum": 0.5}))
    tuner = Script(Keep(segment(2)), wish)
    drive = Drive(lanes_of("tabular", CONFIG, 1), 4, lambda *_: tuner)
    drive.admit(spec(CONFIG, budget=20))
    _, ends = finish(drive)
    assert ends[0].outcome == "failed"
    assert "'momentum' is no float hyperparameter of this trial" in ends[0].reason


def test_a_diverged_probe_is_a_bad_candidate_and_nothing_more():
    wild = Segment(lambda step: np.full(np.shape(step), 1e30), 6, evals=1)
    wishes = (Probe((wild, segment(6, evals=1))), Keep(segment(6), adopt=1))
    reports, end, told = driven(spec(CONFIG, budget=18), 2, *wishes)
    assert not np.isfinite(told[0][0].val_losses[-1])
    assert np.isfinite(reports[-1].metrics["val_loss"])
    assert end.outcome == "completed"
    assert torch.isfinite(end.row.weights).all()


class Nameless(Line):
    """A task whose metrics have no loss."""

    def metrics(self, model, batch):
        return {"error": super().metrics(model, batch)["loss"]}


def test_a_task_without_a_loss_fails_those_that_compare_by_it_and_no_other():
    nameless = Nameless()
    config = {"lr": 0.01, "batch_size": 8, "weight_decay": 0.0}
    make = {0: lambda: Script(Keep(segment(4, evals=1))), 1: lambda: Script(Keep(segment(20)))}
    program = build(nameless, load_splits(nameless, 0, CPU), recipe(nameless, config), CPU)
    drive = Drive(Lanes(program, 2), 4, lambda one, _: make[one.trial]())
    for trial in (0, 1):
        drive.admit(spec(config, trial, budget=20, rungs=(4,)))
    reports, ends = finish(drive)
    assert ends[0].outcome == "failed"
    assert "Task.metrics does not return; it returns error" in ends[0].reason
    assert (ends[1].outcome, len(reports[1])) == ("completed", 2)
