import contextlib
import fcntl
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time

import mlflow
import mlflow.tracking
import pytest

from hpo.events import (
    DataLoaded,
    DataSet,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialReported,
    TrialStarted,
)
from hpo.listeners.mirror import Mirror, MirrorError, rebuild
from hpo.listeners.mlflow import Store
from hpo.listeners.rates import rate_curve
from hpo.listeners.runs import Runs, valid_name
from hpo.store import Journal
from tests import events_sample as sample
from trials.spec import Report

# MLflow asks SQLAlchemy for what that no longer recommends.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    """One empty store for all tests of this file, none of it in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study").mkdir()
    return tmp_path / "study"


URI = "sqlite:///mlflow.db"


def query(text, file="mlflow.db"):
    with contextlib.closing(sqlite3.connect(file, timeout=20)) as connection:
        return connection.execute(text).fetchall()


def contents(file="mlflow.db"):
    """What a store holds, without the identifiers it makes up itself."""
    of = "JOIN runs USING (run_uuid)"
    own = "WHERE key NOT LIKE 'mlflow.%'"
    return {
        "runs": sorted(query("SELECT name, status, start_time, end_time FROM runs", file)),
        "metrics": sorted(query(f"SELECT name, key, step, value, is_nan, timestamp FROM metrics {of}", file)),
        "params": sorted(query(f"SELECT name, key, value FROM params {of}", file)),
        "tags": sorted(query(f"SELECT name, key, value FROM tags {of} {own}", file)),
    }


def assert_nothing_twice(file="mlflow.db"):
    assert query("SELECT name FROM runs GROUP BY name HAVING count(*) > 1", file) == []
    assert query("SELECT run_uuid, key, step FROM metrics GROUP BY 1, 2, 3 HAVING count(*) > 1", file) == []


def told(folder, events, uri=URI, status=None, **options):
    """A mirror that was told these events, and closed."""
    path = folder / "journal.jsonl"
    journal = Journal(path)
    mirror = Mirror(uri, path, **options)
    for event in events:
        journal.append([event])
        mirror.tell(event)
    journal.close()
    assert mirror.close(status)
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study of 12 trials in a store, for the tests that only look."""
    root = tmp_path_factory.mktemp("finished")
    folder = root / "study"
    (folder / "rows").mkdir(parents=True)
    events = list(sample.events(12, rungs=4))
    best = events[-1].best
    (folder / "report.html").write_text("<title>report</title>")
    for trial in range(12):
        (folder / "rows" / f"{trial}.safetensors").write_bytes(bytes([trial]))
    with contextlib.chdir(root):
        told(folder, events, status="FINISHED")
        yield root, events, best


def test_the_children_of_a_study_are_found_by_their_parent(finished):
    root, _, best = finished
    client = mlflow.tracking.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("hpo").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`hpo.state` = 'finished'")
    mlflow.set_tracking_uri(f"sqlite:///{root}/mlflow.db")
    children = mlflow.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert sorted(children["tags.hpo.trial"].astype(int)) == list(range(12))
    assert set(children["tags.hpo.study"]) == {"digits"}
    assert children[children["tags.hpo.is_best"] == "true"]["tags.hpo.trial"].tolist() == [str(best)]
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["hpo.best_trial"] == str(best)
    assert parent.data.metrics["test_accuracy"] == 0.9778
    assert parent.data.metrics["spent"] == children["metrics.seconds"].sum() / 2e-3


def test_a_child_holds_config_reports_schedule_and_outcome(finished):
    root, events, _ = finished
    client = mlflow.tracking.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("hpo").experiment_id
    outcomes = {event.trial: event.outcome for event in events if isinstance(event, TrialFinished)}
    assert set(outcomes.values()) == {"completed", "stopped", "diverged", "failed"}
    statuses = {"completed": "FINISHED", "stopped": "KILLED", "diverged": "FAILED", "failed": "FAILED"}
    for started in (event for event in events if isinstance(event, TrialStarted)):
        spec = started.spec
        (run,) = client.search_runs([experiment], f"tags.`hpo.trial` = '{spec.trial}'")
        assert run.data.params == {name: str(value) for name, value in spec.config.items()}
        assert run.data.tags["hpo.state"] == outcomes[spec.trial]
        assert run.info.status == statuses[outcomes[spec.trial]]
        reports = [
            event.report
            for event in events
            if isinstance(event, TrialReported) and event.report.trial == spec.trial
        ]
        kept = client.get_metric_history(run.info.run_id, "val_accuracy")
        assert [(one.step, one.value) for one in kept] == [
            (report.step, report.metrics["val_accuracy"]) for report in reports
        ]
        rates = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "lr")}
        spent = reports[-1].spent if reports else -1
        curve = rate_curve(spec.config, spec.horizon)
        assert len(curve) == 50
        # What was trained with, not what was planned.
        assert rates == {step: rate for step, rate in curve if step <= spent}
        assert max(rates.values(), default=0.0) <= spec.config["lr"] * (1 + 1e-12)


def test_the_parent_keeps_the_report_and_the_best_row(finished):
    root, _, best = finished
    client = mlflow.tracking.MlflowClient(f"sqlite:///{root}/mlflow.db")
    experiment = client.get_experiment_by_name("hpo").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`hpo.state` = 'finished'")
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "report.html",
        f"{best}.safetensors",
    }
    (failed,) = client.search_runs([experiment], "tags.`hpo.state` = 'failed'")
    assert "<script>alert('trial')</script>" in failed.data.tags["hpo.error"]
    assert [file.path for file in client.list_artifacts(failed.info.run_id)] == ["error.txt"]


class Killed(BaseException):
    pass


class Mortal:
    """A client whose process is killed after so many calls to the store."""

    def __init__(self, client, calls):
        self.client, self.calls = client, calls

    def __getattr__(self, name):
        method = getattr(self.client, name)

        def call(*arguments, **options):
            self.calls -= 1
            if self.calls < 0:
                raise Killed
            return method(*arguments, **options)

        return call


def folded(events, ending=None):
    runs = Runs("journal.jsonl")
    for event in events:
        runs.tell(event)
    runs.close(ending)
    return runs


def write(runs, file="mlflow.db", calls=10**9):
    """What the mirror's process does, in this one; how many calls to the store it took."""
    store = Store(f"sqlite:///{os.path.abspath(file)}", "hpo")  # MLflow keeps stores by name
    store._client = mortal = Mortal(store._client, calls)
    with contextlib.suppress(Killed):
        store.take_up(runs)
        for key in sorted(runs.runs):
            store.write(key, runs.runs[key])
    return calls - mortal.calls


def test_a_mirror_killed_after_any_call_is_completed_without_repeating_anything(folder):
    runs = folded(sample.events(3, rungs=2, lanes=2))
    calls = write(runs, "whole.db")
    wanted = contents("whole.db")
    assert len(wanted["runs"]) == 4
    assert calls >= 4 * 3
    for survived in range(1, calls):
        file = f"killed-{survived}.db"
        write(runs, file, survived)
        write(runs, file, survived)
        write(runs, file)
        assert_nothing_twice(file)
        assert contents(file) == wanted


def test_a_process_killed_in_the_middle_is_completed_by_a_rebuild(folder):
    path = sample.journal(folder, sample.events(12, rungs=4))
    said = []
    mirror = Mirror(URI, path, warn=said.append)
    mirror.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(sqlite3.Error):
            if query("SELECT count(*) FROM runs")[0][0] >= 3:
                break
        time.sleep(0.002)
    os.kill(mirror._process.pid, signal.SIGKILL)
    assert not mirror.close("FINISHED")
    assert len(said) == 1
    assert len(contents()["runs"]) < 13
    rebuild(path, URI)
    assert_nothing_twice()
    write(folded(sample.events(12, rungs=4)), "whole.db")
    wanted = contents("whole.db")
    wanted["tags"] = [row if row[1] != "hpo.journal" else (*row[:2], str(path)) for row in wanted["tags"]]
    assert contents() == wanted


def test_a_study_taken_up_again_continues_its_runs(folder):
    events = list(sample.events(8, rungs=4))
    half = len(events) // 2
    running = folded(events[:half]).history.running
    assert len(running) > 1
    path = told(folder, events[:half], status="KILLED")
    parent = query("SELECT run_uuid, status FROM runs WHERE name = 'digits'")
    assert parent[0][1] == "KILLED"
    interrupted = query("SELECT count(*) FROM tags WHERE key = 'hpo.state' AND value = 'interrupted'")
    assert interrupted == [(len(running) + 1,)]
    taken_up = sample.start(events[half].time)
    told(folder, [taken_up, *events[half:]], status="FINISHED")
    assert query("SELECT run_uuid, status FROM runs WHERE name = 'digits'") == [(parent[0][0], "FINISHED")]
    assert_nothing_twice()
    runs = folded([*events[:half], taken_up, *events[half:]])
    runs.study.tags["hpo.journal"] = str(path)
    write(runs, "whole.db")
    assert contents() == contents("whole.db")


def test_a_search_that_was_killed_leaves_an_interrupted_run(folder):
    path = sample.journal(folder, list(sample.events(4, rungs=4))[:8])
    mirror = Mirror(URI, path)
    mirror.start()
    mirror._process.stdin.close()  # as the system does when the search is gone
    mirror._look(60.0)
    mirror._look(60.0)
    assert mirror.close()
    assert query("SELECT status FROM runs WHERE name = 'digits'") == [("KILLED",)]


def test_a_store_that_fails_costs_one_warning_and_can_be_filled_later(folder, capfd):
    said = []
    events = list(sample.events(3, rungs=2))
    path = sample.journal(folder, events)
    mirror = Mirror("sqlite:////dev/null/mlflow.db", path, warn=said.append)
    for event in events:
        mirror.tell(event)
    assert not mirror.close("FINISHED")
    assert not mirror.close("FINISHED")
    assert len(said) == 1
    assert said[0].startswith("MLflow: ")
    assert "/dev/null" in said[0]
    write(folded(events))
    assert len(contents()["runs"]) == 4
    assert capfd.readouterr() == ("", "")


def test_a_mirror_that_waits_for_another_ends_with_its_search(folder):
    path = sample.journal(folder, sample.events(2, rungs=2))
    with (folder / ".mirror.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = []
        mirror = Mirror(URI, path, warn=said.append)
        mirror.start()
        mirror._process.stdin.close()
        mirror._look(60.0)
        mirror._look(60.0)
        assert not mirror.close()
    assert "another mirror of this study is at work" in said[0]
    assert not os.path.exists("mlflow.db")


def test_a_damaged_journal_is_told_by_its_line(folder):
    path = sample.journal(folder, list(sample.events(2, rungs=2)))
    path.write_bytes(path.read_bytes().replace(b'"event":"TrialReported"', b'"event":"Trial', 1))
    with pytest.raises(MirrorError, match=r"journal\.jsonl, line \d+"):
        rebuild(path, URI)


def test_numbers_that_are_not_finite_and_odd_names_are_taken(folder):
    spec = sample.spec(0, {"lr": "fast?", "a/../b": 1, "": True, "π": 0.5}, rungs=3)
    bad = [math.nan, math.inf, -math.inf]
    reports = [
        Report(0, step, step, 0.1, {"loss?": value, "..": 1.0})
        for step, value in zip(spec.rungs, bad, strict=True)
    ]
    events = [
        sample.start(name="odd 'name' <b>", metric={"name": "loss?", "goal": "max"}),
        TrialStarted(spec, 1.0),
        *(TrialReported(report, 2.0) for report in reports),
        TrialFinished(0, "diverged", 3.0, error="x" * 20_000),
        StudyFinished("all trials have ended", 4.0),
    ]
    write(folded(events))
    assert_nothing_twice()
    assert query("SELECT step, is_nan FROM metrics WHERE key = 'loss_' ORDER BY 1") == [
        (167, 1),
        (333, 1),
        (500, 1),
    ]
    assert query("SELECT status FROM runs WHERE name LIKE 'odd%'") == [("FAILED",)]


def test_two_studies_of_one_name_are_kept_apart(folder):
    events = list(sample.events(2, rungs=2))
    write(folded(events))
    write(folded([sample.start(1.0), *events[1:]]))
    assert query("SELECT count(*) FROM runs WHERE name = 'digits'") == [(2,)]
    assert query("SELECT count(*) FROM runs WHERE name = 'trial 1'") == [(2,)]


@pytest.mark.parametrize("text", ["", ".", "..", "/x", "a//b", "a/./b", "x" * 300, "a\nb", "ok"])
def test_every_text_gives_a_name_the_store_takes(text):
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    _validate_metric_name(valid_name(text))
    _validate_param_name(valid_name(text))


def test_data_that_trials_are_judged_on_is_a_dataset_each_and_targets_are_metrics(folder):
    sets = (
        DataSet("shifted: blur", "0123456789abcdef", 360, "validation"),
        DataSet("printed", "fedcba9876543210", 900, "target"),
    )
    events = list(sample.events(4, rungs=2))
    events.insert(1, DataLoaded(sets, events[0].time))
    end = events.pop()
    targets = {"0": {"printed": {"accuracy": 0.5}}, str(end.best): {"printed": {"accuracy": 0.75}}}
    events.append(StudyFinished(end.reason, end.time, end.best, end.test, targets))
    path = told(folder, events, status="FINISHED")
    rebuild(path, URI)  # a store that has them already is not given them twice
    client = mlflow.tracking.MlflowClient(URI)
    experiment = client.get_experiment_by_name("hpo").experiment_id
    (parent,) = client.search_runs([experiment], "tags.`hpo.state` = 'finished'")
    found = {
        (one.dataset.name, one.dataset.digest, one.tags[0].key, one.tags[0].value)
        for one in parent.inputs.dataset_inputs
    }
    assert found == {(one.name, one.digest, "mlflow.data.context", one.role) for one in sets}
    assert len(parent.inputs.dataset_inputs) == 2
    assert parent.data.metrics["target_printed_accuracy"] == 0.75
    (first,) = client.search_runs([experiment], "tags.`hpo.trial` = '0'")
    assert first.data.metrics["target_printed_accuracy"] == (0.75 if end.best == 0 else 0.5)


def test_the_search_does_not_import_mlflow():
    code = "import hpo.listeners.mirror, sys; print('mlflow' in sys.modules, 'sqlalchemy' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False False\n"


def test_a_study_that_is_paused_is_tagged_so_until_it_goes_on():
    runs = Runs()
    for event, state in (
        (sample.start(0.0), "running"),
        (StudyPaused(1.0), "paused"),
        (StudyScaled(3, 2.0), "paused"),
        (StudyResumed(3.0), "running"),
        (StudyPaused(4.0), "paused"),
        (sample.start(5.0), "running"),
    ):
        runs.changed.clear()
        runs.tell(event)
        assert runs.study.tags["hpo.state"] == state
        assert runs.changed or isinstance(event, StudyScaled)


def test_runs_are_a_function_of_the_journal():
    events = list(sample.events(6, rungs=3))
    first, second = Runs(), Runs()
    for event in events:
        first.tell(event)
    for event in [*events[:9], sample.start(2.0), *events[9:]]:
        second.tell(event)
    assert first.runs == second.runs
    assert isinstance(events[0], StudyStarted)
    assert first.identity
