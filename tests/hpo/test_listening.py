"""Studies whose trials find their learning rate while they are trained."""

import time
from pathlib import Path

import numpy as np
import pytest

from hpo.config import build
from hpo.errors import UsageError
from hpo.events import Noticed, TrialFinished, TrialReported
from hpo.listeners.rates import followed
from hpo.runners.base import Target
from hpo.runners.lanes import LanesRunner
from hpo.traces import trace_name
from tests.trials_sample import SMALL, spec

STUDY = {
    "task": "digits",
    "space": {
        "lr": 0.01,
        "schedule": "auto",
        "weight_decay": {"low": 1e-4, "high": 1e-1, "scale": "log"},
    },
    "trial": {"steps": 300},
    "limits": {"trials": 8},
    "runner": {"workers": 2},
}


def config(**changes):
    return build({**STUDY, **changes}, "study.toml", Path.cwd())


def test_lanes_are_kept_for_probes_where_trials_listen():
    target = config().target(Path())
    assert (target.most_trials, target.most_lanes) == (2, 6)
    plain = {**STUDY["space"], "schedule": {"choice": ["cosine", "rex"]}}
    target = config(space=plain).target(Path())
    assert (target.most_trials, target.most_lanes) == (0, 2)
    mixed = {**STUDY["space"], "schedule": {"choice": ["cosine", "race(k=4)"]}}
    assert config(space=mixed).listens()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"space": {**STUDY["space"], "schedule": "rase"}}, "did you mean"),
        ({"space": {**STUDY["space"], "schedule": "race(k=1)"}}, "k=1"),
        ({"space": {**STUDY["space"], "schedule": "race(low=2.0, high=1.0)"}}, "low=2 must be below high=1"),
        ({"trial": {"steps": 20}}, r"'auto': horizon=20 .* with the probes 60 \(\[trial\] steps = 20\)"),
        ({"trial": {"steps": 40}}, r"'auto': budget=40 .* at least 60 \(\[trial\] steps = 40\)"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(changes, words):
    with pytest.raises(UsageError, match=words):
        config(**changes)


@pytest.fixture
def runner(tmp_path):
    target = Target("digits", folder=str(tmp_path), compile="never", device="cpu", threads=1, most_trials=1)
    made = LanesRunner(target, 8)
    yield made
    made.close()


def finished(runner, trials):
    """Events of these trials until all have ended."""
    events, until = [], time.monotonic() + 60
    while not trials <= {one.trial for one in events if isinstance(one, TrialFinished)}:
        assert time.monotonic() < until
        events += runner.poll(0.1)
    return [one for one in events if not isinstance(one, Noticed)]


def test_a_race_runs_in_lanes_that_no_trial_has_and_leaves_a_trace(runner, tmp_path):
    race = {**SMALL["digits"], "lr": 0.01, "schedule": "race"}
    one = spec(race, budget=300, rungs=(60, 200))
    assert runner.free() == 1
    runner.start([one])
    assert runner.free() == 0
    events = finished(runner, {0})
    reports = [event.report for event in events if isinstance(event, TrialReported)]
    assert (reports[0].spent, reports[0].step) == (60, 0)
    last = reports[-1]
    # 200 kept steps of 300 spent; the six candidates took the time of one.
    assert (last.step, last.spent, last.wall) == (200, 300, 200)
    assert runner.free() == 1
    path = tmp_path / trace_name(0)
    with np.load(path) as file:
        assert len(file["loss"]) == len(file["factor"]) == 200
        assert file["probe_adopted"].sum() == 1
        assert len(file["probe_steps"]) == 6
        assert '"chosen": true' in str(file["facts"])


def test_the_rates_of_a_race_are_there_before_it_ends(runner, tmp_path):
    race = {**SMALL["digits"], "lr": 0.01, "schedule": "race"}
    runner.start([spec(race, budget=300, rungs=(60, 150, 200, 250))])
    lengths, events = [], []
    while not any(isinstance(one, TrialFinished) for one in events):
        events += runner.poll(0.1)
        lengths.append(len(followed(tmp_path, 0, race, points=1000)))
    # Nothing while it probes, more with every report, and all of it in the end.
    assert lengths[0] == 0
    assert 0 < min(filter(None, lengths)) < 200
    assert lengths == sorted(lengths)
    assert lengths[-1] == 200


def test_a_trial_stopped_while_it_probes_frees_every_lane(runner, tmp_path):
    race = {**SMALL["digits"], "lr": 0.01, "schedule": "race"}
    runner.start([spec(race, 3, budget=3000, rungs=(60,))])
    while not any(isinstance(event, TrialReported) for event in runner.poll(0.1)):
        pass
    runner.stop([3])
    events = finished(runner, {3})
    assert events[-1].outcome == "stopped"
    assert runner.free() == 1
    assert (tmp_path / trace_name(3)).is_file()


def test_traces_that_cannot_be_written_are_said_and_fail_no_trial(runner, tmp_path):
    (tmp_path / "traces").write_text("in the way")
    plain = {**SMALL["digits"], "lr": 0.01}
    runner.start([spec(plain, budget=20)])
    events, said = [], []
    while not any(isinstance(event, TrialFinished) for event in events):
        events += runner.poll(0.1)
    said = [event.text for event in events if isinstance(event, Noticed)]
    assert next(one for one in events if isinstance(one, TrialFinished)).outcome == "completed"
    assert any("could not be written" in text for text in said)
