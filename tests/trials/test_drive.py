"""Obeying tuners: rungs, probes, position and price."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schedules import constant, cosine, linear, open_loop
from schedules.types import Keep, Probe, Segment
from tests.strategies import Race, law
from tests.trials_sample import (
    CPU,
    SMALL,
    Line,
    Script,
    alone,
    close,
    finish,
    lanes_of,
    reports_agree,
    same,
    spec,
)
from trials.drive import Drive, Ended
from trials.spec import Report, TrialSpec
from trials.train import train

CONFIG = {**SMALL["tabular"], "lr": 0.01, "dropout": 0.2}


def keep(steps: int, factor: float | Callable = 1.0, evals: int = 0, adopt: int | None = None) -> Keep:
    lr = factor if callable(factor) else constant(factor)
    return Keep(Segment(lr, steps, evals), adopt)


def level(factor: float) -> Callable:
    """A constant factor of any size, past what a schedule of ours may be."""
    return lambda step: np.full(np.shape(step), factor)


def probe(steps: int, *factors: float, evals: int = 0) -> Probe:
    return Probe(tuple(Segment(level(factor), steps, evals) for factor in factors))


def driven(one: TrialSpec, *wishes: Keep | Probe, tick: int = 10, tuner=None):
    """One trial under these wishes: its reports, its end, and what the tuner was told."""
    tuner = tuner or Script(*wishes)
    drive = Drive(lanes_of("tabular", one.config, 1), tick, lambda *_: tuner)
    drive.admit(one)
    reports, ends = finish(drive)
    return reports.get(one.trial, []), ends[one.trial], getattr(tuner, "told", None)


def losses(told):
    return np.concatenate([trace.losses for traces in told for trace in traces])


def counted(reports):
    return [(one.step, one.spent) for one in reports]


# -- rungs ------------------------------------------------------------------------------------------------


@given(
    marks=st.sets(st.integers(1, 40), min_size=1, max_size=5),
    lengths=st.lists(st.integers(1, 13), min_size=4, max_size=8),
    evals=st.integers(0, 5),
    tick=st.integers(1, 15),
)
@law
def test_every_rung_is_reported_once_where_it_is_whatever_segments_and_ticks(marks, lengths, evals, tick):
    lengths = [*lengths, 40]
    one = spec(CONFIG, budget=max(marks), rungs=marks)
    reports, end, told = driven(one, *(keep(steps, evals=evals) for steps in lengths), tick=tick)
    assert counted(reports) == [(rung, rung) for rung in sorted(marks)]
    assert end.outcome == "completed"
    assert end.row.step == one.budget
    for (trace,), steps in zip(told, lengths, strict=False):
        assert (len(trace.losses), len(trace.val_losses)) == (steps, evals)


def test_a_schedule_cut_into_segments_trains_as_the_schedule_whole():
    factor = cosine(24)
    parts = [
        keep(steps, lambda step, first=first: factor(np.asarray(step) + first))
        for first, steps in ((0, 7), (7, 1), (8, 16))
    ]
    one = spec(CONFIG, budget=24, rungs=(5, 15))
    cut, _, told = driven(one, *parts)
    whole, _, told_whole = driven(one, keep(24, factor))
    assert same(cut, whole)
    # Of the last segment nothing is told: the budget ended with it, and the trial with the budget.
    assert told_whole == []
    assert len(told) == 2


def test_the_schedule_of_the_config_is_what_is_run():
    config = {**CONFIG, "schedule": "linear", "floor": 0.25}
    one = spec(config, budget=20, rungs=(7,))
    by_hand, _, _ = driven(one, keep(20, linear(20, floor=0.25)))
    assert same(alone("tabular", one), by_hand)
    assert not same(by_hand, alone("tabular", spec(CONFIG, budget=20, rungs=(7,))))


def test_a_trial_with_a_longer_horizon_follows_the_long_schedule():
    short = alone("tabular", spec(CONFIG, budget=10, horizon=40))
    long = alone("tabular", spec(CONFIG, budget=40, rungs=(10,), horizon=40))
    assert same(short, long[:1])
    assert not same(short, alone("tabular", spec(CONFIG, budget=10, horizon=10)))


def test_the_training_loss_is_the_mean_over_the_steps_since_the_last_report():
    reports, _, _ = driven(spec(CONFIG, budget=12, rungs=(5,)), keep(12))
    _, _, told = driven(spec(CONFIG, budget=13), keep(12), keep(1))
    (trace,) = told[0]
    close(reports[0].metrics["train_loss"], trace.losses[:5].mean(), "once")
    close(reports[1].metrics["train_loss"], trace.losses[5:].mean(), "once")


def test_seconds_never_go_back():
    seconds = [one.seconds for one in alone("tabular", spec(CONFIG, budget=12, rungs=(3, 5)))]
    assert 0 < seconds[0] <= seconds[1] <= seconds[2]


def test_a_tuner_with_nothing_more_to_run_completes_the_trial_before_its_budget():
    reports, end, told = driven(spec(CONFIG, budget=30, rungs=(4, 9)), keep(6))
    assert counted(reports) == [(4, 4), (6, 6)]
    assert (end.outcome, end.row.step, len(told)) == ("completed", 6, 1)


# -- what a tuner is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "evals"), [(6, 1), (6, 3), (7, 3), (3, 5), (1, 4), (2, 2)])
def test_a_segment_is_evaluated_as_often_as_asked_the_last_time_at_its_end(steps, evals):
    """Evenly; where there are more evaluations than steps, some fall together."""
    one = spec(CONFIG, budget=20, rungs=range(1, 21))
    reports, _, told = driven(one, keep(steps, evals=evals), keep(20))
    at_step = {report.step: report.metrics["val_loss"] for report in reports}
    marks = [math.ceil(steps * (number + 1) / evals) for number in range(evals)]
    close(told[0][0].val_losses, np.array([at_step[mark] for mark in marks]), "once")


def test_a_trace_names_the_segment_that_was_asked_for():
    wish = keep(4, evals=1)
    _, _, told = driven(spec(CONFIG, budget=20), wish, probe(3, 0.5, 0.1), keep(20))
    assert told[0][0].segment is wish.segment
    assert [trace.segment.steps for trace in told[1]] == [3, 3]


# -- probes -----------------------------------------------------------------------------------------------


def test_step_counts_what_is_kept_and_spent_what_is_paid():
    one = spec(CONFIG, budget=25, rungs=range(1, 26))
    reports, end, _ = driven(one, keep(4), probe(3, 1.0, 0.5), keep(5), probe(2, 1.0, 2.0), keep(9, adopt=1))
    wanted = [*range(1, 5), *[4] * 6, *range(5, 10), *[9] * 4, *range(12, 18)]
    assert [report.step for report in reports] == wanted
    assert [report.spent for report in reports] == list(range(1, 26))
    assert end.row.step == 17


def test_probes_see_the_same_batches_and_the_same_noise():
    """At rate 0 nothing is learned, so the losses are those of the batches; and equal probes are equal."""
    _, _, told = driven(spec(CONFIG, budget=40), keep(3), probe(5, 0.0, 1.0, 0.0, 1.0), keep(20))
    still, moving, still_again, moving_again = (trace.losses for trace in told[1])
    np.testing.assert_array_equal(still, still_again)
    np.testing.assert_array_equal(moving, moving_again)
    assert still[0] == moving[0]
    assert not np.array_equal(still, moving)
    assert len(set(still.tolist())) == 5


def test_after_a_probe_that_is_not_adopted_training_goes_on_as_if_it_had_not_been():
    one = spec(CONFIG, budget=40)
    _, _, told = driven(one, keep(6), probe(4, 3.0, 0.1), keep(8), keep(30))
    _, _, plain = driven(one, keep(6), keep(8), keep(30))
    np.testing.assert_array_equal(told[2][0].losses, plain[1][0].losses)


@pytest.mark.parametrize("adopt", [0, 1])
def test_adopting_goes_on_from_the_end_of_the_probe_exactly(adopt):
    one, factors = spec(CONFIG, budget=40), (0.5, 2.0)
    _, _, told = driven(one, keep(6), probe(5, *factors), keep(7, factors[adopt], adopt=adopt), keep(30))
    _, _, plain = driven(one, keep(6), keep(12, factors[adopt]), keep(30))
    adopted = np.concatenate([told[1][adopt].losses, told[2][0].losses])
    np.testing.assert_array_equal(adopted, plain[1][0].losses)


def test_a_second_round_of_probes_begins_where_the_first_did():
    _, _, told = driven(
        spec(CONFIG, budget=60), keep(3), probe(4, 1.0), probe(4, 1.0, 0.5), keep(9, adopt=1), keep(40)
    )
    np.testing.assert_array_equal(told[1][0].losses, told[2][0].losses)
    assert len(told[2]) == 2


def test_a_race_is_won_by_a_factor_that_learns_and_the_winner_is_not_paid_twice():
    config = {**CONFIG, "dropout": 0.0}
    one = spec(config, budget=60, rungs=(20, 40, 60))
    race = Race([1e-4, 5.0], 20)
    reports, end, _ = driven(one, tuner=race)
    assert counted(reports) == [(0, 20), (0, 40), (40, 60)]
    assert end.row.step == 40
    plain, _, _ = driven(spec(config, budget=40), keep(40, 5.0))
    close(reports[-1].metrics["val_loss"], plain[-1].metrics["val_loss"], "training")


@pytest.mark.parametrize("rungs", [(), (3,), (5,), (8,), (2, 9, 12)])
def test_nan_inside_a_probe_is_survived(rungs):
    config = {**CONFIG, "optimizer": "sgd", "dropout": 0.0}
    one = spec(config, budget=20, rungs=rungs)
    tuner = Script(probe(5, 1e30, 1.0, evals=1), keep(30, adopt=1))
    reports, end, told = driven(one, tuner=tuner)
    assert not np.isfinite(told[0][0].losses).all()
    assert not np.isfinite(told[0][0].val_losses[0])
    assert np.isfinite(told[0][1].losses).all()
    assert end.outcome == "completed"
    assert [report.spent for report in reports] == [*sorted(rungs), 20]
    assert all(math.isfinite(value) for report in reports for value in report.metrics.values())


def test_a_report_inside_a_probe_is_of_the_row_that_is_kept():
    one = spec(CONFIG, budget=30, rungs=(4, 6, 9, 14))
    reports, _, _ = driven(one, keep(4), probe(4, 30.0, 1.0), keep(30))
    at_mark = reports[0].metrics
    for inside in reports[1:3]:
        assert inside.step == 4
        assert inside.metrics["val_loss"] == at_mark["val_loss"]
        assert inside.metrics["val_accuracy"] == at_mark["val_accuracy"]
    # And hearing of it did not disturb the probe.
    quiet, _, told = driven(spec(CONFIG, budget=30), keep(4), probe(4, 30.0, 1.0), keep(5), keep(30))
    loud, _, told_loud = driven(one, keep(4), probe(4, 30.0, 1.0), keep(5), keep(30))
    np.testing.assert_array_equal(losses(told), losses(told_loud))
    assert quiet[-1].metrics["val_loss"] == loud[-1].metrics["val_loss"]


def test_a_budget_that_ends_inside_a_probe_leaves_the_kept_row():
    one = spec(CONFIG, budget=10)
    drive = Drive(lanes_of("tabular", CONFIG, 1), 10, lambda *_: Script(keep(4), probe(20, 1e3)))
    drive.admit(one)
    drive.tick()
    wanted = drive.lanes.read(0)
    _, ends = finish(drive)
    assert ends[0].row.step == wanted.step == 4
    assert torch.equal(ends[0].row.weights, wanted.weights)


# -- many lanes -------------------------------------------------------------------------------------------


def test_trials_under_different_tuners_do_not_notice_each_other():
    make = {
        0: lambda: Script(keep(5), probe(3, 1.0, 0.2), keep(50, adopt=0)),
        1: lambda: open_loop(cosine(23), 23, evals=4),
        2: lambda: Race([0.1, 1.0, 3.0], 4),
        3: lambda: Script(*[keep(1, 0.5)] * 40),
    }
    specs = [spec({**CONFIG, "lr": 0.003 * (n + 1)}, n, budget=16 + n, rungs=(3 + 2 * n,)) for n in range(4)]
    drive = Drive(lanes_of("tabular", CONFIG, 4), 7, lambda one, _: make[one.trial]())
    for one in specs:
        drive.admit(one)
    together, _ = finish(drive)
    for one in specs:
        apart, _, _ = driven(one, tuner=make[one.trial]())
        reports_agree(together[one.trial], apart)


def test_a_tick_runs_every_lane_the_same_number_of_steps_and_no_more_than_its_length():
    drive = Drive(lanes_of("tabular", CONFIG, 3), 4)
    for trial, budget in enumerate((3, 11, 30)):
        drive.admit(spec(CONFIG, trial, budget=budget, horizon=30))
    spent = []
    while len(drive):
        before = {trial: drive.lanes.read(trial).step for trial in drive.lanes.numbers}
        drive.tick()
        moved = {drive.lanes.read(trial).step - before[trial] for trial in drive.lanes.numbers}
        assert len(moved) <= 1
        spent += moved
    assert max(spent) <= 4


def test_a_stopped_trial_is_not_heard_of_again():
    drive = Drive(lanes_of("tabular", CONFIG, 2), 4)
    for trial in (0, 1):
        drive.admit(spec(CONFIG, trial, budget=20, rungs=range(2, 20, 2)))
    drive.tick()
    drive.stop(0)
    assert 0 not in drive
    assert len(drive) == len(drive.lanes) == 1
    reports, ends = finish(drive)
    assert set(reports) == set(ends) == {1}


class Broken(Script):
    def ask(self):
        raise OSError("no idea")


def test_a_trial_whose_tuner_raises_is_not_admitted_and_the_others_go_on():
    good = spec(CONFIG, 1)
    drive = Drive(
        lanes_of("tabular", CONFIG, 2),
        4,
        lambda one, _: Broken() if one.trial == 0 else Script(keep(20, cosine(12))),
    )
    drive.admit(good)
    with pytest.raises(OSError, match="no idea"):
        drive.admit(spec(CONFIG, 0))
    assert len(drive) == len(drive.lanes) == 1
    reports, _ = finish(drive)
    reports_agree(reports[1], alone("tabular", good))


def test_a_config_whose_schedule_cannot_be_takes_no_lane():
    drive = Drive(lanes_of("tabular", CONFIG, 1), 4)
    with pytest.raises(ValueError, match="cosin"):
        drive.admit(spec({**CONFIG, "schedule": "cosin"}))
    assert len(drive.lanes) == 0


@pytest.mark.parametrize("tick", [0, -1])
def test_a_tick_is_at_least_a_step(tick):
    with pytest.raises(ValueError, match="must be at least 1 step"):
        Drive(lanes_of("tabular", CONFIG, 1), tick)


# -- divergence and training alone --------------------------------------------------------------------------


def ended(generator):
    """Reports of a training, and its value."""
    reports = []
    while True:
        try:
            reports.append(next(generator))
        except StopIteration as stop:
            return reports, stop.value


def test_divergence_is_an_outcome_told_where_it_happened_whatever_the_tick():
    one = spec({"optimizer": "sgd", "lr": 1e4, "batch_size": 8}, budget=40, rungs=(2,))
    places = set()
    for tick in (1, 3, 10, 64):
        reports, end = ended(train(Line(), one, device=CPU, tick=tick))
        assert isinstance(end, Ended)
        assert (end.outcome, end.row) == ("diverged", None)
        first, last = reports
        assert math.isfinite(first.metrics["train_loss"])
        assert last.metrics["train_loss"] == math.inf
        assert f"at step {last.step - 1}" in end.reason
        assert first.spent == 2 < last.spent == last.step < 40
        places.add(last.step)
    assert len(places) == 1


class BlindLine(Line):
    """Validation goes wrong while training does not."""

    def metrics(self, model, batch):
        return {"loss": super().metrics(model, batch)["loss"] * math.nan}


def test_a_validation_that_is_not_finite_is_divergence_too():
    reports, end = ended(train(BlindLine(), spec({"batch_size": 8}, budget=9, rungs=(3,)), device=CPU))
    assert end.outcome == "diverged"
    assert end.reason == "val_loss is nan"
    assert counted(reports) == [(3, 3)]


def test_training_alone_is_a_generator_whose_value_is_the_end():
    reports, end = ended(train(Line(), spec({"batch_size": 8, "lr": 0.1}, budget=60, rungs=(1,)), device=CPU))
    assert all(isinstance(report, Report) for report in reports)
    assert end.outcome == "completed"
    assert end.row.step == 60
    assert reports[-1].metrics["val_loss"] < 0.5 * reports[0].metrics["val_loss"]


def test_training_goes_on_from_a_row():
    whole = spec({"batch_size": 8, "lr": 0.1, "schedule": "constant"}, seed=3, budget=20, rungs=(12,))
    first, end = ended(train(Line(), spec(whole.config, seed=3, budget=12), device=CPU))
    rest, _ = ended(train(Line(), spec(whole.config, seed=3, budget=8), device=CPU, start=end.row))
    wanted = list(train(Line(), whole, device=CPU))
    assert first[-1].metrics["val_loss"] == wanted[0].metrics["val_loss"]
    assert rest[-1].metrics["val_loss"] == wanted[1].metrics["val_loss"]
    assert (rest[-1].step, rest[-1].spent) == (20, 8)


def test_data_of_another_kind_than_splits_is_refused():
    class Wrong(Line):
        def data(self, split_seed):
            return {"train": torch.zeros(3)}

    with pytest.raises(TypeError, match=r"Task\.data returned dict, trials\.task\.Splits is wanted"):
        next(train(Wrong(), spec({}), device=CPU))


def test_a_trial_that_begins_from_a_row_goes_on_where_its_schedule_was():
    config = {**CONFIG, "schedule": "linear"}
    whole = TrialSpec(0, config, 0, budget=40, rungs=(20, 40), horizon=40, split_seed=0)
    rest = TrialSpec(0, config, 0, budget=20, rungs=(20,), horizon=40, split_seed=0)
    drive = Drive(lanes_of("tabular", config, 1), 5)
    drive.admit(whole)
    while not any(isinstance(said, Report) for said in drive.tick()):
        continue
    row = drive.lanes.read(0)
    first = finish(drive)[0][0][-1]
    drive.admit(rest, row)
    second = finish(drive)[0][0][-1]
    assert (second.step, second.spent) == (40, 20)
    assert second.metrics["val_loss"] == first.metrics["val_loss"]
