"""The laws of a runner, over every entry of the table, with real trials, real processes and real signals."""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hpo.errors import RunnerError, UsageError
from hpo.events import Noticed, TrialFinished, TrialReported
from hpo.rows import halfway_name
from hpo.runners import processes
from hpo.runners.base import RUNNERS, Cluster, Scaling, Target, build
from hpo.runners.inline import InlineRunner
from schedules import span_of
from tests.trials_sample import CPU, Line, reports_agree, spec
from trials.rows import Row
from trials.spec import Report
from trials.train import train

HERE = Path(__file__).parents[1]
MOST_SECONDS = 60  # that anything here may take

# runner as tested -> (its name in the table, what a process of it runs)
VARIANTS = {
    "inline": ("inline", "inline"),
    "lanes": ("lanes", "lanes"),
    "processes of lanes": ("processes", "lanes"),
    "processes of functions": ("processes", "inline"),
    "replayed": ("replayed", "inline"),
    "ray of lanes": ("ray", "lanes"),
    "ray of functions": ("ray", "inline"),
}
LANES, WORKERS = 2, 2
SHARE = Cluster(cpus_per_worker=0.25)  # several runners find room on a cluster of two CPUs
GOOD = {"lr": 0.05, "batch_size": 8, "weight_decay": 0.0}


def endless_trial(trial):
    """It would take minutes, and reports every 5 steps."""
    return spec(GOOD, trial, budget=10**5, rungs=range(5, 10**5, 5))


def target(kind, folder, function="line", **changes):
    name = "Line" if kind == "lanes" else function
    settings = {
        "base": str(HERE),
        "folder": str(folder),
        "compile": "never",
        "device": "cpu",
        "threads": 1,
        "kind": kind,
        **changes,
    }
    return Target(f"trials_sample.py:{name}", **settings)


def made(variant, folder, **changes):
    name, kind = VARIANTS[variant]
    return build(name, target(kind, folder, **changes), LANES, WORKERS, SHARE)


# One process of the tests has the cluster.
ON_RAY = pytest.mark.xdist_group("ray")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=ON_RAY if name.startswith("ray") else ()) for name in VARIANTS],
)
def variant(request):
    if request.param.startswith("ray"):
        request.getfixturevalue("joined_cluster")
    return request.param


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def shared(variant, folder):
    """One runner for the tests that leave it whole."""
    runner = made(variant, folder)
    if VARIANTS[variant][0] == "ray":
        # Workers of a cluster begin in their own time.
        until = time.monotonic() + 60
        while runner.busy()[1] < LANES * WORKERS and time.monotonic() < until:
            assert not runner.poll(0.1)
    yield runner
    runner.close()


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


def hear(runner, until, seconds=MOST_SECONDS):
    """Poll until these trials have ended; every event, in order."""
    events, ended, end = [], set(), time.monotonic() + seconds
    while not set(until) <= ended:
        assert time.monotonic() < end, f"trials {set(until) - ended} have no end; so far: {events}"
        found = runner.poll(0.1)
        events.extend(found)
        ended |= {event.trial for event in found if isinstance(event, TrialFinished)}
    return events


def hear_until(runner, events, holds):
    """Poll until it holds, taking in every event."""
    end = time.monotonic() + MOST_SECONDS
    while not holds():
        assert time.monotonic() < end, events
        events.extend(runner.poll(0.1))


def spent_by(events, trial):
    """The steps after which it reported."""
    return [e.report.spent for e in events if isinstance(e, TrialReported) and e.report.trial == trial]


def run(runner, specs):
    """Start trials as places get free, hear of all: reports and ends."""
    events, waiting = [], list(specs)
    running = set()
    end = time.monotonic() + MOST_SECONDS
    while waiting or running:
        assert time.monotonic() < end, f"trials {running} have no end"
        now, waiting = waiting[: runner.free()], waiting[runner.free() :]
        runner.start(now)
        running |= {one.trial for one in now}
        events.extend(found := runner.poll(0.1))
        running -= {event.trial for event in found if isinstance(event, TrialFinished)}
    return told(events)


def told(events):
    """(trial -> reports, trial -> how it ended), each trial ending once and after its reports."""
    reports, ends = {}, {}
    for event in events:
        if isinstance(event, TrialReported):
            assert event.report.trial not in ends
            reports.setdefault(event.report.trial, []).append(event.report)
        elif not isinstance(event, Noticed):
            assert event.trial not in ends
            ends[event.trial] = event
    return reports, ends


def outcomes(ends):
    return {trial: end.outcome for trial, end in ends.items()}


def test_every_runner_of_the_table_is_tested():
    assert {name for name, _ in VARIANTS.values()} == set(RUNNERS)


# -- trials -------------------------------------------------------------------------------------------------


def test_every_trial_ends_once_and_reports_each_rung_in_order(shared):
    specs = [
        spec({**GOOD, "lr": 0.01 * (1 + trial)}, trial, budget=20 + trial, rungs=(3, 11))
        for trial in range(7)
    ]
    reports, ends = run(shared, specs)
    assert outcomes(ends) == dict.fromkeys(range(7), "completed")
    for one in specs:
        assert [report.spent for report in reports[one.trial]] == list(one.rungs)
        assert all({"train_loss", "val_loss"} <= report.metrics.keys() for report in reports[one.trial])
        assert all(
            a.seconds <= b.seconds for a, b in zip(reports[one.trial], reports[one.trial][1:], strict=False)
        )
    assert shared.busy()[0] == 0
    assert shared.free() == shared.busy()[1]


def test_every_runner_gives_the_reports_of_the_trial_alone(shared):
    specs = [spec({**GOOD, "noise": 0.1 * trial}, 10 + trial, budget=15, rungs=(4,)) for trial in range(4)]
    reports, _ = run(shared, specs)
    for one in specs:
        reports_agree(reports[one.trial], list(train(Line(), one, device=CPU)))


def test_exploring_says_what_a_tuner_found_and_leaves_nothing_behind(shared, variant, folder):
    one = spec({**GOOD, "schedule": "range_test(sweep_steps=20)"}, 9, budget=80)
    before = sorted(folder.rglob("*")), shared.busy()[0], shared.free()
    if VARIANTS[variant][1] == "inline":
        with pytest.raises(UsageError, match="only a task's rates can be tried"):
            shared.explore(one)
        return
    facts = shared.explore(one)
    assert [row["steps"] for row in facts] == [20, 23, 27]
    low, high = span_of(facts)
    assert 0 < low < high
    assert span_of(shared.explore(one)) == (low, high)
    assert (sorted(folder.rglob("*")), shared.busy()[0], shared.free()) == before


def test_exploring_a_trial_that_cannot_be_says_why(shared, variant):
    if VARIANTS[variant][1] == "inline":
        return
    with pytest.raises(UsageError, match="this model cannot be built"):
        shared.explore(spec({**GOOD, "schedule": "range_test(sweep_steps=20)", "fail": True}, budget=80))
    with pytest.raises(UsageError, match="diverged at once"):
        shared.explore(spec({**GOOD, "schedule": "range_test(sweep_steps=20)", "lr": 1e30}, budget=80))


def test_a_trial_that_made_room_and_goes_on_gives_the_reports_of_the_trial_alone(shared):
    watched = spec(GOOD, 30, budget=20, rungs=(4, 9, 15))
    events, room = [], shared.free()
    for place, spent in ((4, 4), (8, 9)):  # the second is passed
        shared.start([watched], {30: place})
        assert shared.free() == room - 1
        hear_until(shared, events, lambda spent=spent: max(spent_by(events, 30), default=0) >= spent)
        assert shared.free() == room
        # Others have its lane meanwhile.
        _, ends = run(shared, [spec({**GOOD, "lr": 0.02}, 10 * place + n, budget=20) for n in range(room)])
        assert set(outcomes(ends).values()) == {"completed"}
    assert not [event for event in shared.poll(0.3) if not isinstance(event, Noticed)], "nobody trains it"
    shared.start([watched])
    events += hear(shared, [30])
    reports, ends = told(events)
    assert outcomes(ends) == {30: "completed"}
    # What it says again is dropped by who has heard it.
    first = {report.spent: report for report in reversed(reports[30])}
    for report in reports[30]:
        reports_agree([report], [first[report.spent]])
    alone = list(train(Line(), watched, device=CPU))
    reports_agree([first[one.spent] for one in alone], alone)


@linux
def test_a_trial_that_made_room_outlives_its_workers(variant, tmp_path):
    """A task's goes on from its row; a function begins again and says the same."""
    name, kind = VARIANTS[variant]
    if name not in ("processes", "ray"):
        return
    runner = made(variant, tmp_path)
    one, events = spec(GOOD, 38, budget=20, rungs=(4, 9)), []
    try:
        runner.start([one], {38: 4})
        while not any(isinstance(event, TrialReported) for event in events):
            events += runner.poll(0.1)
        assert (tmp_path / halfway_name(38)).is_file() == (kind == "lanes")

        def processes():
            if name == "processes":
                return {pid for nursery in runner._nurseries for pid in children(nursery.process.pid)}
            return {worker.place.process for worker in runner._crew.workers if worker.place is not None}

        killed = processes()
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        assert gone(killed, 10)
        end = time.monotonic() + MOST_SECONDS
        while killed & processes() or len(processes()) < WORKERS or not runner.free():
            assert time.monotonic() < end
            events += runner.poll(0.1)
        runner.start([one])
        while not any(isinstance(event, TrialFinished) for event in events):
            assert time.monotonic() < end, events
            events += runner.poll(0.1)
        reports, ends = told(events)
        assert outcomes(ends) == {38: "completed"}
        reports_agree([reports[38][0], *reports[38][-2:]], list(train(Line(), one, device=CPU)))
    finally:
        runner.close()


def test_a_function_waits_for_the_worker_that_keeps_it_and_no_lane_waits_with_it(tmp_path):
    runner = build("processes", target("inline", tmp_path), 1, 2)
    events = []

    spent = partial(spent_by, events)
    try:
        kept = spec(GOOD, 0, budget=20, rungs=(4, 9))
        runner.start([kept], {0: 4})
        hear_until(runner, events, lambda: spent(0))
        runner.start([endless_trial(1), endless_trial(2)])
        hear_until(runner, events, lambda: spent(1) and spent(2))
        keeper, other = runner._bound[0], None
        mine = next(iter(keeper.trials))
        other = 3 - mine
        runner.stop([other])
        hear_until(runner, events, lambda: any(isinstance(one, TrialFinished) for one in events))
        assert runner.free() == 1
        runner.start([kept])
        # Its worker has another trial: the free lane is for whoever else comes.
        assert runner.free() == 1
        runner.start([spec(GOOD, 3, budget=10)])
        hear_until(runner, events, lambda: spent(3))
        assert spent(0) == [4]
        runner.stop([mine])
        hear_until(runner, events, lambda: 20 in spent(0))
        assert spent(0) == [4, 9, 20], "it went on, and said nothing again"
        reports_agree(told(events)[0][0], list(train(Line(), kept, device=CPU)))
    finally:
        runner.close()


def test_a_trial_that_made_room_and_is_stopped_is_forgotten_without_a_word(shared):
    one = spec(GOOD, 36, budget=20, rungs=(4,))
    shared.start([one], {36: 1})
    events = []
    while not any(isinstance(event, TrialReported) for event in events):
        events += shared.poll(0.1)
    shared.stop([36])
    assert not [event for event in shared.poll(0.3) if not isinstance(event, Noticed)]
    # It is not known any more: started again, it begins anew.
    reports, ends = run(shared, [one])
    assert [report.spent for report in reports[36]] == [4, 20]
    assert outcomes(ends) == {36: "completed"}


def test_an_order_to_stop_that_crosses_a_trial_that_makes_room_has_an_end(shared):
    """It is told before the report is heard, after which the trial has no lane."""
    one = spec(GOOD, 37, budget=10**5, rungs=(4,))
    shared.start([one], {37: 1})
    time.sleep(1.0)  # long enough for a worker to come there
    shared.stop([37])
    _, ends = told(hear(shared, [37]))
    assert outcomes(ends) == {37: "stopped"}
    assert shared.busy()[0] == 0


def test_while_a_runner_rests_nothing_is_reported_and_then_what_would_have_been(shared, variant, folder):
    first, second = endless_trial(140), endless_trial(141)
    shared.start([first])
    events = []

    spent = partial(spent_by, events)

    def listen(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            events.extend(shared.poll(0.1))

    hear_until(shared, events, lambda: spent(140))
    shared.rest()
    shared.rest()
    listen(1.0)  # what a worker is in the middle of, and what is on its way
    before = spent(140)
    shared.start([second])
    listen(0.6)
    assert len(spent(140)) - len(before) <= 2, "it would report more than a hundred times"
    assert spent(141) == []
    if VARIANTS[variant][1] == "lanes":
        # A search that is killed now loses nothing.
        assert (folder / halfway_name(140)).is_file()
    shared.wake()
    hear_until(shared, events, lambda: len(spent(140)) > len(before) + 2 and spent(141))
    shared.stop([140, 141])
    events += hear(shared, [140, 141])
    reports, ends = told(events)
    assert outcomes(ends) == {140: "stopped", 141: "stopped"}
    for one in (first, second):
        assert spent(one.trial) == list(range(5, 5 * len(spent(one.trial)) + 1, 5))
        alone = train(Line(), one, device=CPU)
        count = min(len(before) + 2, len(spent(one.trial)))
        reports_agree(reports[one.trial][:count], [next(alone) for _ in range(count)])


def test_a_runner_of_several_workers_has_more_or_fewer_while_it_runs(variant, folder):
    if variant in ("processes of functions", "ray of lanes"):
        return  # the other kind of each is enough
    runner = made(variant, folder)
    try:
        assert isinstance(runner, Scaling) == (VARIANTS[variant][0] in ("processes", "ray"))
        if not isinstance(runner, Scaling):
            return
        events = []
        hear_until(runner, events, lambda: runner.free() == 4)
        runner.start([endless_trial(trial) for trial in range(4)])
        runner.scale(3)
        hear_until(runner, events, lambda: runner.free() == 2)
        runner.start([endless_trial(4), endless_trial(5)])
        runner.scale(1)
        assert runner.free() == 0
        runner.stop([5])
        hear_until(runner, events, lambda: any(isinstance(one, TrialFinished) for one in events))
        assert runner.free() == 0  # of a worker that is to leave, or of the one that stays and is full
        runner.stop(range(5))
        hear_until(runner, events, lambda: runner.busy() == (0, LANES))
        _, ends = told(events)
        assert outcomes(ends) == dict.fromkeys(range(6), "stopped")
        if VARIANTS[variant][0] == "ray":
            assert re.match("the cluster has room for [0-9]+ now, with ", runner.scale(1000))
        assert runner.scale(2) == ""
        runner.rest()
        hear_until(runner, events, lambda: runner.free() == 4)
        runner.wake()
        _, ends = run(runner, [spec(GOOD, trial, budget=15) for trial in range(10, 16)])
        assert outcomes(ends) == dict.fromkeys(range(10, 16), "completed")
    finally:
        runner.close()


def test_a_trial_that_raises_fails_with_its_traceback_and_others_go_on(shared):
    specs = [spec(GOOD, 20), spec({**GOOD, "fail": True}, 21), spec(GOOD, 22)]
    reports, ends = run(shared, specs)
    assert outcomes(ends) == {20: "completed", 21: "failed", 22: "completed"}
    assert "Traceback" in ends[21].error
    assert "RuntimeError: this model cannot be built" in ends[21].error
    assert "in model" in ends[21].error
    assert set(reports) == {20, 22}


def test_a_trial_without_memory_ends_as_out_of_memory_and_others_go_on(shared):
    """It asks for more than any machine has, in the middle of a step."""
    specs = [spec(GOOD, 25), spec({**GOOD, "huge": True}, 26), spec(GOOD, 27)]
    reports, ends = run(shared, specs)
    assert outcomes(ends) == {25: "completed", 26: "out_of_memory", 27: "completed"}
    assert "memory" in ends[26].error
    assert set(reports) == {25, 27}


def test_busy_seconds_grow_with_trials_and_are_no_more_than_there_were(shared):
    before = shared.busy_seconds()
    run(shared, [spec(GOOD, trial, budget=40) for trial in (28, 29)])
    busy, every = shared.busy_seconds()
    assert busy > before[0]
    assert every - before[1] >= busy - before[0]


def test_a_trial_that_diverges_ends_as_diverged_and_others_go_on(shared):
    rates = {30: 0.01, 31: 1e30}
    specs = [spec({**GOOD, "optimizer": "sgd", "lr": lr}, trial, budget=40) for trial, lr in rates.items()]
    reports, ends = run(shared, specs)
    assert outcomes(ends) == {30: "completed", 31: "diverged"}
    assert "loss" in ends[31].error
    assert reports[31][-1].spent < 40


def test_stopping_ends_a_trial_once_however_often_it_is_asked(shared):
    """Some trials that would take minutes, stopped twice, one of them not there at all."""
    long = [endless_trial(trial) for trial in (40, 41)]
    shared.start(long)
    events = []
    until = time.monotonic() + MOST_SECONDS
    while len({event.report.trial for event in events}) < 2:
        assert time.monotonic() < until
        events.extend(shared.poll(0.1))
    shared.stop([40, 99])
    shared.stop([40])
    shared.stop([])
    events.extend(hear(shared, [40]))
    shared.stop([40, 41])
    events.extend(hear(shared, [41]))
    shared.stop([40, 41])
    events.extend(shared.poll(0.2))
    reports, ends = told(events)
    assert outcomes(ends) == {40: "stopped", 41: "stopped"}
    for said in reports.values():
        assert [report.spent for report in said] == [5 * (i + 1) for i in range(len(said))]
    assert shared.busy()[0] == 0


def test_a_trial_stopped_before_it_ran_is_stopped(shared):
    shared.start([endless_trial(50)])
    shared.stop([50])
    _, ends = told(hear(shared, [50]))
    assert outcomes(ends) == {50: "stopped"}


def test_free_counts_down_and_up_again(shared):
    before = shared.free()
    shared.start([endless_trial(60)])
    assert shared.free() == before - 1
    assert shared.busy() == (1, shared.busy()[1])
    shared.stop([60])
    hear(shared, [60])
    # A cluster may replace a worker meanwhile, which takes its time to begin.
    until = time.monotonic() + 30
    while shared.free() != before and time.monotonic() < until:
        shared.poll(0.1)
    assert shared.free() == before


def test_polling_an_idle_runner_says_nothing_and_returns_soon(shared):
    began = time.monotonic()
    assert shared.poll(0.05) == []
    assert time.monotonic() - began < 2


def test_close_twice_is_safe_and_trials_may_be_running(variant, folder):
    runner = made(variant, folder)
    runner.start([endless_trial(0)])
    runner.poll(0.0)
    runner.close()
    runner.close()


def test_the_rows_of_completed_trials_are_saved_and_can_be_tested(shared, variant, folder):
    kind = VARIANTS[variant][1]
    one = spec(GOOD, 70, budget=30)
    reports, ends = run(shared, [one])
    if variant == "replayed":
        assert ends[70].row  # where on its curve it is
        assert shared.test(one, ends[70].row) == {}
        return
    if kind == "inline":
        assert ends[70].row == ""
        assert shared.test(one, "") == {}
        return
    row = Row.load(folder / ends[70].row)
    assert row.step == 30
    assert row.names["trial"] == 70
    found = shared.test(one, ends[70].row)
    assert set(found) == {"test_loss"}
    # Ten other examples of the same line, so alike but not the same number.
    assert 0 < found["test_loss"] < 1
    assert found["test_loss"] != reports[70][-1].metrics["val_loss"]


def test_a_trial_may_begin_where_another_ended(shared, variant, folder):
    if VARIANTS[variant][1] == "inline":
        pytest.skip("an objective sees to its own parent")
    _, ends = run(shared, [spec(GOOD, 80, budget=60)])
    child = replace(spec({**GOOD, "lr": 1e-6}, 81, budget=5), parent=ends[80].row)
    fresh = spec({**GOOD, "lr": 1e-6}, 82, budget=5)
    lost = replace(spec(GOOD, 83), parent="rows/none.safetensors")
    reports, ends = run(shared, [child, fresh, lost])
    assert reports[81][0].metrics["val_loss"] < 0.5 * reports[82][0].metrics["val_loss"]
    assert (reports[81][0].step, reports[81][0].spent) == (65, 5)
    assert ends[83].outcome == "failed"
    assert "none.safetensors" in ends[83].error


def test_a_row_of_another_optimizer_fails_the_trial_and_no_other(shared, variant, folder):
    if VARIANTS[variant][1] == "inline":
        pytest.skip("an objective sees to its own parent")
    _, ends = run(shared, [spec({**GOOD, "optimizer": "sgd"}, 90)])
    wrong = replace(spec({**GOOD, "optimizer": "adamw"}, 91), parent=ends[90].row)
    _, ends = run(shared, [wrong, spec({**GOOD, "optimizer": "adamw"}, 92)])
    assert outcomes(ends) == {91: "failed", 92: "completed"}
    assert "does not fit" in ends[91].error


def test_a_row_that_cannot_be_saved_is_a_failed_trial(tmp_path):
    (tmp_path / "rows").write_text("in the way")
    runner = made("lanes", tmp_path)
    _, ends = run(runner, [spec(GOOD, 0)])
    assert ends[0].outcome == "failed"
    assert "could not be saved" in ends[0].error
    runner.close()


def test_rows_are_not_saved_where_that_is_not_wanted(tmp_path):
    runner = made("lanes", tmp_path, save=False)
    _, ends = run(runner, [spec(GOOD, 0)])
    assert (ends[0].outcome, ends[0].row) == ("completed", "")
    assert list(tmp_path.iterdir()) == []
    runner.close()


# -- before trials -------------------------------------------------------------------------------------------


def test_check_names_the_metrics_of_a_task_and_nothing_of_a_function(shared, variant):
    found = shared.check([GOOD])
    assert found == (("train_loss", "val_loss") if VARIANTS[variant][1] == "lanes" else ())


def test_check_tells_what_is_wrong_in_one_line(variant, folder):
    name, kind = VARIANTS[variant]
    lime = Target("trials_sample.py:Lime", base=str(HERE), kind=kind, device="cpu")
    runner = build(name, lime, 1, 1, SHARE)
    with pytest.raises(UsageError, match="has no 'Lime'") as caught:
        runner.check([GOOD])
    assert "\n" not in str(caught.value)
    runner.close()


@pytest.mark.parametrize(
    ("name", "lanes", "workers", "message"),
    [
        ("line", 1, 1, "unknown runner 'line'; did you mean"),
        ("lanes", 0, 1, "lanes=0 must be at least 1"),
        ("processes", 1, 0, "workers=0 must be at least 1"),
    ],
)
def test_a_runner_that_cannot_be_is_refused(folder, name, lanes, workers, message):
    with pytest.raises(UsageError, match=message):
        build(name, target("lanes", folder), lanes, workers)


def test_a_device_that_cannot_be_used_is_refused(folder):
    for name in ("meat", "cude", "cuda:99", "cuda:", "cpu:7", "meta"):
        with pytest.raises(UsageError, match=f"device='{name}' is not there: this machine has cpu"):
            made("lanes", folder, device=name)


def test_a_device_that_is_not_there_is_refused_by_processes_before_a_trial(folder):
    runner = made("processes of lanes", folder, device="cuda:99")
    with pytest.raises(UsageError, match="device='cuda:99' is not there"):
        runner.check([GOOD])
    runner.close()


# -- lanes ---------------------------------------------------------------------------------------------------

BROKEN = """
import torch
from tests.trials_sample import Line

class Fragile(Line):
    def metrics(self, model, batch):
        raise OSError("the metrics cannot be read")
"""


def test_a_task_that_raises_while_it_runs_fails_its_trials_each_once(tmp_path):
    """One of them diverges in the tick in which the others' metrics raise."""
    (tmp_path / "fragile.py").write_text(BROKEN)
    runner = build(
        "lanes", Target("fragile.py:Fragile", base=str(tmp_path), device="cpu", compile="never"), 3, 1
    )
    sgd = {**GOOD, "optimizer": "sgd"}
    specs = [spec(sgd, 0, budget=10), spec({**sgd, "lr": 1e38}, 1, budget=12), spec(sgd, 2, budget=30)]
    _, ends = run(runner, specs)
    assert ends.keys() == {0, 1, 2}
    assert ends[0].outcome == ends[2].outcome == "failed"
    assert "OSError: the metrics cannot be read" in ends[0].error
    assert runner.free() == 3
    runner.close()


def test_a_trial_that_finds_no_lane_waits_for_one_or_is_given_back(tmp_path):
    """A program may have fewer lanes than there are: memory was short, or it runs one trial at a time."""
    runner = made("lanes", tmp_path)
    runner.start([endless_trial(0)])
    (drive,) = runner._drives.values()
    drive.lanes.capacity = 1
    runner.start([spec(GOOD, trial) for trial in (1, 2, 3)])
    assert runner.free() == 0
    assert runner.busy() == (1, 1)
    runner.stop([3])
    runner.stop([0])
    _, ends = told(hear(runner, [0, 1, 2, 3]))
    assert outcomes(ends) == {0: "stopped", 1: "completed", 2: "completed", 3: "stopped"}
    runner.start([endless_trial(4), spec(GOOD, 5)])
    assert runner.take_back() == (5,)
    assert 5 not in runner._where
    runner.close()


def test_trials_that_a_worker_gives_back_are_run_when_there_is_a_lane(tmp_path):
    runner = build("processes", target("lanes", tmp_path), 3, 2)
    for worker in runner._workers:
        runner._send(worker, "resize", 1)  # fewer than the search knows of
    runner.start([spec(GOOD, trial, budget=30) for trial in range(6)])
    _, ends = told(hear(runner, range(6)))
    assert outcomes(ends) == dict.fromkeys(range(6), "completed")
    assert runner.busy() == (0, 2)
    runner.close()


def test_a_trial_stopped_on_its_way_back_is_stopped(tmp_path):
    runner = build("processes", target("lanes", tmp_path), 2, 1)
    runner._send(runner._workers[0], "resize", 1)
    runner.start([endless_trial(0), endless_trial(1)])
    runner.stop([0, 1])
    _, ends = told(hear(runner, [0, 1]))
    assert outcomes(ends) == {0: "stopped", 1: "stopped"}
    assert runner.busy()[0] == 0
    runner.close()


def test_a_worker_that_waits_while_another_trains_counts_as_idle(tmp_path):
    runner = build("processes", target("lanes", tmp_path), 2, 2)
    assert runner.busy_seconds() == (0.0, 0.0)
    run(runner, [spec(GOOD, 0, budget=3000)])
    busy, every = runner.busy_seconds()
    # One of two lanes of one of two workers.
    assert 0 < busy < 0.35 * every
    runner.close()


def test_programs_take_turns_tick_by_tick(tmp_path):
    """So that a lane that comes free in one is filled before the others go round again."""
    runner = made("lanes", tmp_path)
    runner.start(
        [endless_trial(0), spec({**GOOD, "batch_size": 4}, 1, budget=10**5, rungs=range(5, 10**5, 5))]
    )
    heard = [[event.report.trial for event in runner.poll(0)] for _ in range(4)]
    assert heard == [[0], [1], [0], [1]]
    runner.close()


# -- inline objectives ---------------------------------------------------------------------------------------

OBJECTIVES = """
import math, sys
import numpy as np
from trials.spec import Report

closed = []

def reports(spec):
    try:
        for rung in spec.rungs:
            yield Report(spec.trial, rung, rung, 0.5, {"val_loss": 1 / rung})
    finally:
        closed.append(spec.trial)

def mappings(spec):
    for rung in spec.rungs:
        yield {"val_loss": 1 / rung}

def own_steps(spec):
    yield {"val_loss": 2.0, "step": 2}
    yield {"val_loss": 1.0, "step": 9}

def number(spec): return spec.config["x"] ** 2
def numpy_number(spec): return np.float32(0.25)
def tensor(spec):
    import torch
    return torch.tensor(0.25)
def mapping(spec): return {"val_loss": 3, "size": np.int64(4)}
def word(spec): return "0.25"
def truth(spec): return True
def nothing(spec): return None
def nan(spec): return math.nan
def infinite(spec): return {"val_loss": math.inf}
def raises(spec): raise KeyError("no such thing")
def leaves(spec): sys.exit("done here")

def late(spec):
    yield {"val_loss": 1.0}
    raise RuntimeError("after a report")

def back(spec):
    yield Report(spec.trial, 5, 5, 0.0, {"val_loss": 1.0})
    yield Report(spec.trial, 5, 5, 0.0, {"val_loss": 1.0})

def other(spec):
    yield Report(spec.trial + 1, 5, 5, 0.0, {"val_loss": 1.0})

def silent(spec):
    return
    yield

def breaks(spec):
    yield {"val_loss": 1.0}
    yield {"val_loss": math.nan}
    closed.append("went on")

def stubborn(spec):
    try:
        yield {"val_loss": math.nan}
        yield {"val_loss": 1.0}
    finally:
        raise RuntimeError("cannot clean up")

def two_arguments(spec, more): return 1.0
value = 3
"""


@pytest.fixture(scope="module")
def objectives(tmp_path_factory):
    path = tmp_path_factory.mktemp("objectives")
    (path / "objectives.py").write_text(OBJECTIVES)
    return path


def inline(objectives, name, metric="val_loss"):
    return InlineRunner(Target(f"objectives.py:{name}", base=str(objectives), metric=metric, kind="inline"))


def tried(objectives, name, config=None, **options):
    runner = inline(objectives, name, **options)
    reports, ends = run(runner, [spec(config or {"x": 3.0}, 4, budget=9, rungs=(2, 5))])
    runner.close()
    return reports.get(4, []), ends[4]


@pytest.mark.parametrize("name", ["reports", "mappings"])
def test_a_generator_reports_at_every_rung(objectives, name):
    reports, end = tried(objectives, name)
    assert end.outcome == "completed"
    assert [(one.step, one.spent, one.metrics) for one in reports] == [
        (rung, rung, {"val_loss": 1 / rung}) for rung in (2, 5, 9)
    ]


def test_a_mapping_may_give_its_own_step(objectives):
    reports, _ = tried(objectives, "own_steps")
    assert [(one.spent, one.metrics) for one in reports] == [(2, {"val_loss": 2.0}), (9, {"val_loss": 1.0})]


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("number", {"val_loss": 9.0}),
        ("numpy_number", {"val_loss": 0.25}),
        ("tensor", {"val_loss": 0.25}),
        ("mapping", {"val_loss": 3.0, "size": 4.0}),
    ],
)
def test_a_plain_function_reports_once_for_its_whole_budget(objectives, name, metrics):
    (report,), end = tried(objectives, name)
    assert end.outcome == "completed"
    assert (report.step, report.spent, report.metrics) == (9, 9, metrics)
    assert all(type(value) is float for value in report.metrics.values())


def test_the_number_of_a_plain_function_is_the_metric_of_the_study(objectives):
    (report,), _ = tried(objectives, "number", metric="cost")
    assert report.metrics == {"cost": 9.0}


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("raises", 0, "KeyError: 'no such thing'"),
        ("leaves", 0, "SystemExit: done here"),
        ("late", 1, "RuntimeError: after a report"),
        ("back", 1, "reports must increase in spent steps: 5 after 5"),
        ("other", 0, "the objective reported for trial 5, it runs trial 4"),
        ("silent", 0, "the objective ended without a report"),
        ("word", 0, "the objective gave str; a Report, a mapping of metrics or a number is wanted"),
        ("truth", 0, "the objective gave bool"),
        ("nothing", 0, "the objective gave NoneType"),
    ],
)
def test_an_objective_that_does_not_keep_to_its_form_is_a_failed_trial(objectives, name, count, message):
    reports, end = tried(objectives, name)
    assert end.outcome == "failed"
    assert message in end.error
    assert len(reports) == count


@pytest.mark.parametrize(("name", "count"), [("nan", 1), ("infinite", 1), ("breaks", 2)])
def test_a_report_that_is_not_finite_ends_the_trial_as_diverged(objectives, name, count):
    reports, end = tried(objectives, name)
    assert end.outcome == "diverged"
    assert "val_loss is" in end.error
    assert len(reports) == count


def test_a_generator_whose_clean_up_raises_is_a_failed_trial_and_no_more(objectives):
    reports, end = tried(objectives, "stubborn")
    assert end.outcome == "failed"
    assert "cannot clean up" in end.error
    assert len(reports) == 1


def test_stopping_closes_the_generator_so_that_its_finally_runs(objectives):
    runner = inline(objectives, "reports")
    runner.start([spec({}, 77, budget=9, rungs=(2, 5))])
    (first,) = runner.poll(0)
    runner.stop([77])
    assert [event.outcome for event in runner.poll(0)] == ["stopped"]
    assert isinstance(first, TrialReported)
    assert sys.modules[runner._function._loaded.__module__].closed[-1] == 77


def test_inline_trials_take_turns(objectives):
    runner = InlineRunner(Target("objectives.py:reports", base=str(objectives)), lanes=2)
    runner.start([spec({}, trial, budget=9, rungs=(2,)) for trial in (0, 1)])
    assert [event.report.trial for event in runner.poll(0)] == [0, 1]
    runner.close()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("two_arguments", "missing a required argument: 'more'"),
        ("value", "is not a function"),
        ("reprots", "did you mean 'reports'"),
    ],
)
def test_an_objective_that_cannot_be_called_is_refused_before_anything_runs(objectives, name, message):
    with pytest.raises(UsageError, match=message):
        inline(objectives, name).check([{}])


def test_a_report_of_the_right_trial_is_passed_on_as_it_is(objectives):
    reports, _ = tried(objectives, "reports")
    assert reports[0] == Report(4, 2, 2, 0.5, {"val_loss": 0.5})


# -- processes that die --------------------------------------------------------------------------------------


def children(pid):
    """Processes whose parent, or parent's parent, is this one."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found, more = set(), {pid}
    while more:
        more = {child for child, parent in parents.items() if parent in more} - found
        found |= more
    return found


def parent(pid):
    return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def is_running(pid):
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pids, seconds):
    end = time.monotonic() + seconds
    while any(map(is_running, pids)):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def workers_of(runner, count, seconds=MOST_SECONDS):
    """Process ids of the workers, once they are there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = [pid for nursery in runner._nurseries for pid in sorted(children(nursery.process.pid))]
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError("the workers did not come")


@linux
@pytest.mark.parametrize("kind", ["lanes", "inline"])
def test_a_killed_worker_gives_failed_trials_and_the_next_ones_run(kind, tmp_path):
    others = children(os.getpid())
    runner = build("processes", target(kind, tmp_path), 2, 2)
    long = [endless_trial(trial) for trial in range(4)]
    runner.start(long)
    heard, until = [], time.monotonic() + MOST_SECONDS
    while len({event.report.trial for event in heard}) < 4:
        assert time.monotonic() < until
        heard.extend(runner.poll(0.1))
    victim = workers_of(runner, 2)[0]
    os.kill(victim, signal.SIGKILL)
    deaths = set()
    while len(deaths) < 2:
        assert time.monotonic() < until
        found = runner.poll(0.1)
        heard.extend(found)
        deaths |= {event.trial for event in found if isinstance(event, TrialFinished)}
    _, ends = told(heard)
    assert set(outcomes(ends).values()) == {"failed"}
    assert all("killed by signal SIGKILL" in end.error for end in ends.values())
    # The other worker's trials never noticed, and the lanes that were lost are there again.
    assert runner.free() == 2
    survivors = {0, 1, 2, 3} - deaths
    runner.stop(survivors)
    assert outcomes(told(hear(runner, survivors))[1]) == dict.fromkeys(survivors, "stopped")
    _, ends = run(runner, [spec(GOOD, trial) for trial in range(10, 14)])
    assert outcomes(ends) == dict.fromkeys(range(10, 14), "completed")
    own = children(os.getpid()) - others
    assert len(own) >= 4  # two nurseries and their workers
    runner.close()
    assert gone(own, 5)


def test_a_trial_that_kills_its_worker_again_and_again_ends_the_search_with_a_reason(tmp_path):
    runner = build("processes", target("inline", tmp_path), 1, 1)
    ends = []

    def go_on():
        for trial in range(9):
            runner.start([spec({**GOOD, "kill": True}, trial)])
            ends.extend(hear(runner, [trial]))

    with pytest.raises(RunnerError, match="workers died without ending a trial, the last: killed by signal"):
        go_on()
    assert 1 <= len(ends) < 9
    assert all(end.outcome == "failed" and "SIGKILL" in end.error for end in ends)
    runner.close()


@linux
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles")
def test_what_a_killed_worker_had_started_ends_with_it(tmp_path, monkeypatch):
    """It waits for a compilation, which would go on for half a minute."""
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "cache"))
    runner = build("processes", target("lanes", tmp_path, compile="always"), 1, 1)
    runner.start([endless_trial(0)])

    def compiling():
        words = {
            pid: (Path("/proc") / str(pid) / "cmdline") for pid in children(runner._nurseries[0].process.pid)
        }
        return [
            pid for pid, line in words.items() if line.exists() and b"trials.compiling" in line.read_bytes()
        ]

    until = time.monotonic() + MOST_SECONDS
    while not (found := compiling()):
        assert time.monotonic() < until
        time.sleep(0.05)
    nursery = runner._nurseries[0].process.pid
    (worker,) = [pid for pid in children(nursery) if parent(pid) == nursery]
    os.kill(worker, signal.SIGKILL)
    assert outcomes(told(hear(runner, [0]))[1]) == {0: "failed"}
    assert gone(found, 5)
    runner.close()


@linux
def test_close_ends_a_worker_that_is_in_the_middle_of_a_long_call(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "_PATIENCE", 0.5)
    runner = build("processes", target("inline", tmp_path, function="endless"), 1, 2)
    runner.start([spec(GOOD, 0), spec(GOOD, 1)])
    workers = workers_of(runner, 2)
    time.sleep(0.5)
    runner.close()
    assert gone(workers, 5)


@linux
@pytest.mark.parametrize(("kind", "function"), [("lanes", "line"), ("inline", "endless")])
def test_no_worker_outlives_a_search_that_was_killed(kind, function, tmp_path):
    """Training, or in a call that never returns."""
    script = textwrap.dedent(
        f"""
        import sys, time
        sys.path.insert(0, {str(HERE.parent)!r})
        from hpo.runners.base import Target, build
        from trials.spec import TrialSpec
        name = {"Line" if kind == "lanes" else function!r}
        target = Target("trials_sample.py:" + name, base={str(HERE)!r}, folder={str(tmp_path)!r},
                        compile="never", device="cpu", threads=1, kind={kind!r})
        runner = build("processes", target, 1, 2)
        runner.start([TrialSpec(t, {GOOD!r}, 0, 10**7, (10**7,), 10**7, 0) for t in range(2)])
        print("started", flush=True)
        while True:
            runner.poll(1.0)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        end = time.monotonic() + MOST_SECONDS
        while len(pids := children(parent.pid)) < 3:  # the nursery and two workers
            assert time.monotonic() < end
            time.sleep(0.05)
        time.sleep(0.5)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert gone(pids, 30)
