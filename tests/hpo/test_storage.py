"""Rows of trials under way at a URL: kept, found by others, refused where that cannot be."""

import importlib.util
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpo import config as configs
from hpo.errors import MissingDependency, UsageError
from hpo.events import Noticed, TrialFinished, TrialReported
from hpo.rows import halfway_name
from hpo.runners.base import Cluster, Heard, Target, build
from hpo.runners.lanes import LanesRunner
from hpo.runners.storage import Storage, place_of
from tests.trials_sample import CPU, Line, reports_agree, spec
from trials.train import train

HERE = Path(__file__).parents[1]
GOOD = {"lr": 0.05, "batch_size": 8, "weight_decay": 0.0}


@pytest.fixture(params=["path", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    places = {
        "path": f"{tmp_path}/rows",
        "file": f"file://{tmp_path}/some rows",
        "memory": f"memory://{tmp_path.name}/rows",
    }
    return place_of(places[request.param], "study", is_fresh=True)


def test_what_was_written_is_what_is_read_until_it_is_removed(url: str) -> None:
    one, other = Storage(url), Storage(url)
    one.check()
    assert other.read("trial-00001.npz") is None
    for data in (b"first", b"second, and longer", b""):
        one.write("trial-00001.npz", data)
        assert other.read("trial-00001.npz") == data
    one.write("trial-00002.npz", b"2")
    other.check()  # takes nothing away
    other.remove("trial-00001.npz")
    other.remove("trial-00001.npz")
    assert (one.read("trial-00001.npz"), one.read("trial-00002.npz")) == (None, b"2")
    one.clear()
    one.clear()
    assert other.read("trial-00002.npz") is None


def test_checking_leaves_nothing(tmp_path: Path) -> None:
    Storage(f"{tmp_path}/study-00000000").check()
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_begins_has_a_place_of_its_own_and_keeps_it_when_it_is_taken_up() -> None:
    first, second = (place_of("gs://bucket", "a-study", is_fresh=True) for _ in range(2))
    assert first != second
    assert place_of(first, "a-study", is_fresh=False) == first
    again = place_of(first, "a-study", is_fresh=True)
    assert again != first
    assert again.rpartition("-")[0] == first.rpartition("-")[0]
    assert place_of(first, "study", is_fresh=False).startswith(f"{first}/study-")


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("memry://rows", UsageError, "protocol 'memry' is not known; did you mean 'memory'"),
        ("s3://bucket/rows", MissingDependency, "save_to = 's3://bucket/rows': Install s3fs"),
        ("zip://x::file:///none.zip", UsageError, r"No such file or directory: '/none\.zip'"),
    ],
)
def test_a_url_that_cannot_be_is_refused(url: str, error: type[Exception], message: str) -> None:
    if url.startswith("s3:") and importlib.util.find_spec("s3fs"):
        pytest.skip("s3fs is installed")
    with pytest.raises(error, match=message):
        Storage(url)


def test_a_place_that_cannot_be_written_is_refused_before_a_trial(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for url in (f"{tmp_path}/file/rows", f"file://{tmp_path}/file/rows", "http://127.0.0.1:1/rows"):
        with pytest.raises(UsageError, match=f"save_to = '{url}' cannot be used: "):
            Storage(url).check()


@pytest.mark.parametrize("url", ["{}/some::rows", "{}/some/::"])
def test_a_place_that_is_not_the_study_s_alone_is_refused(url: str, tmp_path: Path) -> None:
    """Letters that chain URLs, in a path, leave the folder before them, which is the user's."""
    (tmp_path / "some").mkdir()
    with pytest.raises(UsageError, match=rf"names '{tmp_path}/some', which is no folder of this study's own"):
        Storage(place_of(url.format(tmp_path), "study", is_fresh=True))
    assert Storage(place_of(f"simplecache::file://{tmp_path}/some", "study", is_fresh=True))


# -- trials that go on -------------------------------------------------------------------------------------


def runner_in(folder: Path, url: str, **changes: Any) -> LanesRunner:
    settings = {"base": str(HERE), "compile": "never", "device": "cpu", "threads": 1, "tick": 5, **changes}
    target = Target("trials_sample.py:Line", folder=str(folder), save_every=1, save_to=url, **settings)
    return LanesRunner(target, 2)


def hear(runner: LanesRunner, until: int) -> list[Heard]:
    """Until a trial reports so many spent steps or ends."""
    events: list[Heard] = []
    while not any(
        isinstance(one, TrialFinished) or (isinstance(one, TrialReported) and one.report.spent >= until)
        for one in events
    ):
        events += runner.poll(0.1)
    return events


def test_a_trial_goes_on_where_no_folder_is_shared(url: str, tmp_path: Path) -> None:
    one = spec(GOOD, 3, budget=60, rungs=(10, 20, 30, 40, 50))
    here, there = tmp_path / "here", tmp_path / "there"
    first = runner_in(here, url)
    assert first.check([GOOD])
    first.start([one])
    told = [event for event in hear(first, 30) if isinstance(event, TrialReported)]
    first.rest()
    assert first.take_saved() == ()  # nothing has to travel with what it says
    assert not (here / halfway_name(3)).exists()
    shutil.rmtree(here, ignore_errors=True)  # its machine is gone

    second = runner_in(there, url)
    second.start([one])
    events = hear(second, 60) + second.poll(0.0)
    (notice,) = [event for event in events if isinstance(event, Noticed) and event.topic == "taken up"]
    assert notice.text == "trials under way go on: 3 from step 30"
    reports = [event.report for event in events if isinstance(event, TrialReported)]
    assert [one.spent for one in reports[:3]] == [event.report.spent for event in told]
    reports_agree(reports, list(train(Line(), one, device=CPU)))
    # It has ended: nobody will go on with it.
    assert Storage(url).read("trial-00003.npz") is None
    # Another trial of this number is another.
    third = runner_in(there, url)
    third.start([spec(GOOD, 3, seed=7, budget=60, rungs=(20,))])
    assert not [
        event for event in hear(third, 20) if isinstance(event, Noticed) and event.topic == "taken up"
    ]


def test_rows_saved_in_the_folder_before_are_gone_on_from_too(url: str, tmp_path: Path) -> None:
    one = spec(GOOD, 4, budget=40, rungs=(10, 20))
    first = runner_in(tmp_path, "")
    first.start([one])
    hear(first, 20)
    first.rest()
    assert first.take_saved() == (4,)
    second = runner_in(tmp_path, url)
    second.start([one])
    assert "trials under way go on: 4 from step 20" in str(second.poll(0.0))
    hear(second, 40)
    assert not (tmp_path / halfway_name(4)).exists()


def test_a_place_that_fails_later_is_told_once_and_costs_no_trial(tmp_path: Path) -> None:
    runner = runner_in(tmp_path / "study", f"{tmp_path}/rows/study-00000000")
    runner.check([GOOD])
    (tmp_path / "rows").rmdir()
    (tmp_path / "rows").touch()
    one = spec(GOOD, 5, budget=60, rungs=(10, 20, 30, 40, 50))
    runner.start([one])
    events = hear(runner, 60) + runner.poll(0.0)
    told = [event.text for event in events if isinstance(event, Noticed)]
    assert len(told) == 1
    assert told[0].startswith("trials under way cannot be saved: ")
    assert [event.outcome for event in events if isinstance(event, TrialFinished)] == ["completed"]


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_trials_of_a_worker_of_a_cluster_go_on_from_a_url(joined_cluster: Any, tmp_path: Path) -> None:
    rows = tmp_path / "rows" / "study-00000000"
    target = Target(
        *("trials_sample.py:Line", {}, str(HERE)),
        folder=str(tmp_path / "study"),
        compile="never",
        device="cpu",
        save_every=1,
        save_to=rows.as_uri(),
    )
    runner = build("ray", target, 2, 1, Cluster(cpus_per_worker=0.5))
    heard: list[Heard] = []

    def until(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < deadline, heard
            heard.extend(runner.poll(0.1))

    try:
        runner.check([GOOD])
        specs = [spec(GOOD, trial, budget=1000, rungs=(10, 500)) for trial in range(2)]
        runner.start(specs)
        until(lambda: len({event.report.trial for event in heard if isinstance(event, TrialReported)}) == 2)
        runner.rest()
        until(lambda: len(list(rows.glob("trial-*.npz"))) == 2)
        (worker,) = runner._crew.workers  # type: ignore[attr-defined]
        os.kill(worker.place.process, signal.SIGKILL)
        until(lambda: runner.busy() == (2, 2) and worker not in runner._crew.workers)  # type: ignore[attr-defined]
        runner.wake()
        until(lambda: sum(isinstance(event, TrialFinished) for event in heard) == 2)
    finally:
        runner.close()
    text = next(event.text for event in heard if isinstance(event, Noticed) and event.topic == "taken up")
    assert all(int(step) > 0 for step in re.findall(r"\d from step (\d+)", text))
    assert text.count("from step") == 2
    for one in specs:
        told = [e.report for e in heard if isinstance(e, TrialReported) and e.report.trial == one.trial]
        reports_agree(told, list(train(Line(), one, device=CPU)))
    assert not (tmp_path / "study" / "running").exists()
    assert list(rows.iterdir()) == []


# -- studies -----------------------------------------------------------------------------------------------


def built(task: str, tmp_path: Path, **runner: object) -> configs.StudyConfig:
    table = {"task": f"{HERE}/objectives_sample.py:{task}", "runner": {"device": "", **runner}}
    return configs.build(table, "study.toml", tmp_path)


def test_where_a_study_saves_is_known_and_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    config = built("Line", tmp_path, save_to="rows", workers=2)
    assert config.table["runner"]["save_to"] == f"{tmp_path}/rows"
    target = config.with_rows_of_its_own(is_fresh=True).target(tmp_path)
    assert target.save_to.startswith(f"{tmp_path}/rows/{config.name}-")
    assert target.save_every == 20
    assert built("Line", tmp_path).with_rows_of_its_own(is_fresh=True).target(tmp_path).save_to == ""
    assert built("Line", tmp_path, save_to="memory://rows", name="lanes").runner_name() == "lanes"
    for task, runner, message in (
        ("curve", {}, "save_to = 'memory://rows' is for rows of tasks; a function has none"),
        ("Line", {"save_every": 0}, "with save_every = 0 nothing is saved"),
        ("Line", {"workers": 2}, "each process of runner 'processes' has a memory of its own"),
    ):
        with pytest.raises(UsageError, match=message):
            built(task, tmp_path, save_to="memory://rows", **runner)
