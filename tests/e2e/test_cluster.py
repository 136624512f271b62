"""A study on a Ray cluster as a user runs it: found, refused, killed, resumed.

HPO_KILLS sets how often a search is killed (default 2).
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.runners.cluster import here
from tests.driven import SECONDS, Driven, wait, workers
from tests.mirrored import rows
from tests.sleeping_sample import value

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sleeping_sample.py"
WORDS = ("--tracking", "none", "--runner", "ray")
KILLS = int(os.environ.get("HPO_KILLS", "2"))

linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nowhere", "address = 'nowhere' must be auto, local, HOST:PORT or ray://HOST:PORT"),
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1: is it running"),
        ("ray://127.0.0.1:1", "no Ray cluster answers at ray://127.0.0.1:1: is it running"),
    ],
)
def test_where_there_is_no_cluster_one_line_says_so_and_nothing_is_written(
    address: str, message: str, command: Any, tmp_path: Path
) -> None:
    began = time.monotonic()
    said = command("search", f"{SAMPLE}:waiting", *WORDS, "--address", address)
    assert said.code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def latest(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with the address of the cluster that was started here last: one that is gone."""
    place = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    (place / "ray").mkdir()
    path = place / "ray" / "ray_current_cluster"
    path.write_text("127.0.0.1:1")
    return path


def only(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Of the clusters that run here, see these alone: the machine may have others."""
    found = here()
    for place in ("cluster", "joining"):
        monkeypatch.setattr(
            f"hpo.runners.{place}.here", lambda: [one for one in addresses if one in (found or [])]
        )


def test_a_cluster_that_ran_here_once_is_not_waited_for(
    command: Any, tmp_path: Path, latest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would try to reach it for a minute."""
    only(monkeypatch)
    began = time.monotonic()
    said = command("search", f"{SAMPLE}:waiting", *WORDS)
    assert said.code == 2
    assert "no Ray cluster runs on this machine: start one with `ray start --head`" in said.err
    assert "(the latest, 127.0.0.1:1, answers no more)" in said.err
    assert said.err.count("\n") == 1
    latest.unlink()
    said = command("search", f"{SAMPLE}:waiting", *WORDS)
    assert said.code == 2
    assert "or have one of its own with --address local\n" in said.err
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


def test_a_cluster_that_runs_here_is_found_where_the_latest_is_gone(
    ray_cluster: Any, command: Any, tmp_path: Path, latest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert latest.is_file()
    only(monkeypatch, ray_cluster.address)
    said = command(
        *("search", f"{SAMPLE}:waiting", *WORDS, "--trials", 2, "--steps", 4, "--cpus-per-worker", 0.5)
    )
    assert said.code == 0, said.err
    assert len(list((tmp_path / "studies").iterdir())) == 1


def test_a_machine_that_is_no_node_searches_through_the_port_for_clients(
    ray_cluster: Any, tmp_path: Path
) -> None:
    address = f"ray://127.0.0.1:{ray_cluster.head_node._ray_params.ray_client_server_port}"
    words = ["search", f"{SAMPLE}:waiting", *WORDS, "--address", address, "--cpus-per-worker", 0.5]
    study = Driven(tmp_path, "far", [*words, "--trials", 2, "--steps", 4, "--pruner", "never"])
    assert study.begin().wait(SECONDS) == 0, study.output()
    assert_whole(study, 2)


def test_of_several_clusters_that_run_here_none_is_taken_by_chance(
    ray_cluster: Any, command: Any, tmp_path: Path, latest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert latest.is_file()
    port = ray_cluster.address.rpartition(":")[2]
    both = [ray_cluster.address, f"localhost:{port}"]
    monkeypatch.setattr("hpo.runners.cluster.here", lambda: both)
    said = command("search", f"{SAMPLE}:waiting", *WORDS)
    assert said.code == 2
    assert f"several Ray clusters run on this machine: name one with --address, of {both[0]} and" in said.err
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", ["cpus_per_worker", "stall_seconds", "memory_per_worker"])
def test_what_only_a_cluster_has_is_refused_elsewhere(option: str, command: Any, tmp_path: Path) -> None:
    flag = f"--{option.replace('_', '-')}"
    said = command("search", f"{SAMPLE}:waiting", "--address", "auto", flag, 2)
    assert said.code == 2
    assert f"[runner] {option} = 2.0 is of runner 'ray': add --runner ray" in said.err
    assert list(tmp_path.iterdir()) == []


HALF_THERE = """
import only_here
def objective(spec):
    return only_here.cost(spec.config["x"])
objective.space = {"x": {"low": 0.0, "high": 1.0}}
"""


def test_a_module_that_is_only_here_is_named_once_and_nothing_is_written(
    ray_cluster: Any, command: Any, tmp_path: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = tmp_path_factory.mktemp("away")
    (away / "only_here.py").write_text("def cost(x): return x")
    monkeypatch.syspath_prepend(away)
    (tmp_path / "half.py").write_text(HALF_THERE)
    said = command(
        "search", "half.py:objective", *WORDS, "--address", ray_cluster.address, "--cpus-per-worker", 0.5
    )
    assert said.code == 2
    assert "No module named 'only_here'" in said.err
    assert said.err.count("only_here") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"half.py", "__pycache__"}
    # A share that no node has, while we are here.
    (away / "other.py").write_text("def f(spec): return 1.0\nf.space = {'x': {'low': 0.0, 'high': 1.0}}")
    said = command(
        "search", f"{away}/other.py:f", *WORDS, "--address", ray_cluster.address, "--gpus-per-worker", 2
    )
    assert said.code == 2
    assert "no node has the 1 CPU and 2 GPUs that each worker is to have: of 1, the one with most" in said.err
    assert "studies" not in {path.name for path in tmp_path.iterdir()}


def test_a_cluster_of_other_versions_or_a_folder_too_large_for_it_is_refused(
    ray_cluster: Any, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    (tmp_path / "task.py").write_text("def f(spec): return 1.0\nf.space = {'x': {'low': 0.0, 'high': 1.0}}")
    (tmp_path / "data.bin").write_bytes(os.urandom(2**21))
    words = ("search", "task.py:f", *WORDS, "--address", ray_cluster.address)
    with monkeypatch.context() as patch:
        patch.setattr("ray._private.runtime_env.packaging.GCS_STORAGE_MAX_SIZE", 2**20)
        said = command(*words)
    assert said.code == 2
    assert f"{tmp_path} is too large to travel to the cluster: " in said.err
    assert ".gitignore" in said.err
    with monkeypatch.context() as patch:
        patch.setattr("ray._private.utils.compute_version_info", lambda: ("2.0.0", "3.8.1"))
        said = command(*words)
    assert said.code == 2
    assert "has other versions: The cluster was started with: Ray: " in said.err
    assert "started with: Ray: 2.0.0 Python: 3.8.1" in said.err
    assert said.err.count("\n") == 1
    assert not ray.is_initialized()
    assert "studies" not in {path.name for path in tmp_path.iterdir()}


def waiting_study(folder: Path, address: str, trials: int) -> Driven:
    """A study of `waiting` for two workers of two places."""
    words = [
        *("search", f"{SAMPLE}:waiting", *WORDS, "--address", address, "--trials", trials),
        *("--sampler", "random", "--pruner", "never", "--steps", 20),
        *("--lanes", 2, "--workers", 2, "--cpus-per-worker", 0.5),
    ]
    return Driven(folder, "shaken", words)


def assert_whole(study: Driven, trials: int) -> None:
    """Every trial has ended once, and what it reported is what it would have undisturbed."""
    specs, ends = study.ended(trials)
    reports = study.reports()
    for trial, one in specs.items():
        said = [(report.spent, report.metrics["val_loss"]) for report in reports.get(trial, [])]
        wanted = [(rung, value(one.config, rung)) for rung in one.rungs]
        if ends[trial].outcome == "failed":
            # It happened to be alone on workers that were killed before it reported anything new.
            assert "its worker died" in ends[trial].error
            assert said == wanted[: len(said)]
        else:
            assert ends[trial].outcome == "completed"
            assert said == wanted


@linux
def test_the_search_and_its_workers_are_killed_again_and_again_and_every_trial_ends_once(
    ray_cluster: Any, tmp_path: Path
) -> None:
    """At moments drawn by a seed: while it starts, joins, checks or resumes, and amid its trials.

    Half of the times a worker is killed just before; what the dead left on the cluster is not waited for.
    """
    draw, trials = np.random.default_rng(7), 12 + 4 * KILLS
    study = waiting_study(tmp_path, ray_cluster.address, trials)
    before = workers(ray_cluster)
    amid = 0
    for number in range(KILLS):
        search = study.begin()
        if number % 3 == 2:
            with contextlib.suppress(subprocess.TimeoutExpired):
                search.wait(draw.uniform(0.5, 5.0))
        else:
            more = study.count(TrialReported) + int(draw.integers(1, 15))
            wait(lambda: study.count(TrialReported) >= more or search.poll() is not None, study.output)  # noqa: B023
            there = sorted(workers(ray_cluster) - before)
            if there and draw.integers(2):
                os.kill(int(draw.choice(there)), signal.SIGKILL)
                time.sleep(draw.uniform(0.0, 1.0))
            amid += 1
        assert search.poll() is None, study.output()
        search.send_signal(signal.SIGKILL)
        search.wait()
    assert amid
    assert study.count(TrialFinished) < trials, "it was done before it was killed"
    assert study.begin().wait(SECONDS) == 0, study.output()
    assert_whole(study, trials)
    wait(lambda: not workers(ray_cluster) - before, lambda: "workers are left behind")
    assert (study.journal.path.parent / "report.html").is_file()


def states(store: Path) -> list[Any]:
    """(status, state, how many runs have them) in an MLflow store, as far as it is there."""
    with contextlib.suppress(sqlite3.OperationalError):  # being made
        return rows(
            store,
            "select status, value, count(*) from runs join tags using (run_uuid)"
            " where key = 'hpo.state' group by status, value",
        )
    return []


@linux
@pytest.mark.parametrize("kind", ["inline", "lanes"])
def test_workers_of_a_search_that_was_killed_are_gone_within_a_minute_and_no_trial_is_left_running(
    kind: str, ray_cluster: Any, command: Any, tmp_path: Path
) -> None:
    """One kind of trial answers nobody, the other trains without end."""
    words = ["search", *WORDS[2:], "--address", ray_cluster.address, "--lanes", 2, "--workers", 1]
    words += ["--cpus-per-worker", 0.5, "--trials", 2, "--sampler", "random", "--pruner", "never"]
    if kind == "inline":
        study = Driven(tmp_path, "orphaned", [*words, f"{SAMPLE}:endless"])
    else:
        words += ["--steps", 10**6, "--set", "runner.compile=never", "--set", "space.width=2"]
        study = Driven(tmp_path, "orphaned", [*words, "digits"])
    before = workers(ray_cluster)
    search = study.begin()
    wait(lambda: study.count(TrialStarted) == 2 or search.poll() is not None, study.output)
    wait(lambda: len(workers(ray_cluster) - before) == 1 or search.poll() is not None, study.output)
    assert search.poll() is None, study.output()
    # While it lives, nobody else writes.
    assert study.begin().wait(SECONDS) == 2, study.output()
    assert "is being written by another process" in study.output()
    assert len(workers(ray_cluster) - before) == 1
    search.send_signal(signal.SIGKILL)
    search.wait()
    began = time.monotonic()
    wait(lambda: not workers(ray_cluster) - before, lambda: "workers outlive their search")
    assert time.monotonic() - began < 60
    # The study's run and those of its trials.
    ended = [("KILLED", "interrupted", 3)]
    wait(lambda: states(tmp_path / "mlflow.db") == ended, lambda: str(states(tmp_path / "mlflow.db")))
    assert "running or interrupted" in command("list").out
