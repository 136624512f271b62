"""A study on a Ray cluster as a user runs it: found, refused, killed, resumed."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.store import Journal
from tests.sleeping_sample import value

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sleeping_sample.py"
WORDS = ("--tracking", "none", "--runner", "ray")
SECONDS = 90.0  # that anything here may take


def workers() -> set[int]:
    """Processes on this machine that are a worker of ours; Ray writes what an actor is into its title."""
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                title = (process / "cmdline").read_bytes()
            except OSError:
                continue  # it has ended
            if title.startswith(b"ray::Actor"):
                found.add(int(process.name))
    return found


def wait(holds: Any, what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


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


def test_a_cluster_that_ran_here_once_is_not_waited_for(
    command: Any, tmp_path: Path, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would try to reach it for a minute."""
    place = tmp_path_factory.mktemp("temporary")
    monkeypatch.setenv("RAY_TMPDIR", str(place))
    (place / "ray").mkdir()
    (place / "ray" / "ray_current_cluster").write_text("127.0.0.1:1")
    began = time.monotonic()
    said = command("search", f"{SAMPLE}:waiting", *WORDS)
    assert said.code == 2
    assert "no Ray cluster runs on this machine: start one with `ray start --head`" in said.err
    assert "(the latest, 127.0.0.1:1, answers no more)" in said.err
    assert time.monotonic() - began < 20
    assert list(tmp_path.iterdir()) == []


def test_what_only_a_cluster_has_is_refused_elsewhere(command: Any, tmp_path: Path) -> None:
    said = command("search", f"{SAMPLE}:waiting", "--address", "auto", "--cpus-per-worker", 2)
    assert said.code == 2
    assert "[runner] cpus_per_worker = 2.0 is of runner 'ray': add --runner ray" in said.err
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


class Study:
    """One study on the cluster, in a folder of its own."""

    def __init__(self, folder: Path, address: str, trials: int) -> None:
        self.folder, self.trials = folder, trials
        self.journal = Journal(folder / "studies" / "shaken" / "journal.jsonl")
        self._search = [
            *("search", f"{SAMPLE}:waiting", *WORDS, "--address", address, "--name", "shaken"),
            *("--trials", str(trials), "--sampler", "random", "--pruner", "never", "--steps", "20"),
            *("--lanes", "2", "--workers", "2", "--cpus-per-worker", "0.5"),
        ]

    def begin(self) -> "subprocess.Popen[str]":
        words = ["resume", "shaken"] if self.journal.path.exists() else self._search
        with (self.folder / "output.txt").open("a") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "hpo", *words],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def count(self, kind: type) -> int:
        if not self.journal.path.exists():
            return 0
        return sum(isinstance(event, kind) for event in self.journal.read()[0])

    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def assert_whole(self) -> None:
        """Every trial has ended once, and what it reported is what it would have undisturbed."""
        events = list(self.journal)
        specs = {event.spec.trial: event.spec for event in events if isinstance(event, TrialStarted)}
        assert set(specs) == set(range(self.trials))
        ends = {event.trial: event for event in events if isinstance(event, TrialFinished)}
        assert Counter(event.trial for event in events if isinstance(event, TrialFinished)) == dict.fromkeys(
            specs, 1
        )
        said: dict[int, list[tuple[int, float]]] = {}
        for event in events:
            if isinstance(event, TrialReported):
                pair = (event.report.spent, event.report.metrics["val_loss"])
                said.setdefault(event.report.trial, []).append(pair)
        for trial, one in specs.items():
            wanted = [(rung, value(one.config, rung)) for rung in one.rungs]
            if ends[trial].outcome == "failed":
                # It happened to be alone on a worker that was killed, twice.
                assert "its worker died" in ends[trial].error
                assert said.get(trial, []) == wanted[: len(said.get(trial, []))]
            else:
                assert ends[trial].outcome == "completed"
                assert said[trial] == wanted


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_workers_killed_and_the_search_killed_and_resumed_every_trial_ends_once(
    ray_cluster: Any, tmp_path: Path
) -> None:
    """SIGKILL for a worker again and again, once for the search itself."""
    study = Study(tmp_path, ray_cluster.address, trials=16)
    before = workers()
    search = study.begin()
    wait(lambda: study.count(TrialReported) > 5 or search.poll() is not None, "no trial reported")
    assert search.poll() is None, study.output()
    victim = min(workers() - before)
    os.kill(victim, signal.SIGKILL)
    wait(lambda: study.count(TrialFinished) > 2, "no trial ended")
    search.send_signal(signal.SIGKILL)
    search.wait()
    began = time.monotonic()
    wait(lambda: not workers() - before, "workers outlive their search")
    assert time.monotonic() - began < 60
    assert study.count(TrialFinished) < study.trials, "it was done before it was killed"
    # While somebody writes the journal, another search is refused.
    study.journal.open()
    assert study.begin().wait(SECONDS) == 2, study.output()
    assert "is being written by another process" in study.output()
    study.journal.close()

    search = study.begin()
    killed = 0
    deadline = time.monotonic() + SECONDS
    while search.poll() is None:
        assert time.monotonic() < deadline, study.output()
        there = sorted(workers() - before)
        if len(there) == 2 and killed < 2:
            os.kill(there[killed % 2], signal.SIGKILL)
            killed += 1
        time.sleep(1.0)
    assert search.returncode == 0, study.output()
    study.assert_whole()
    wait(lambda: not workers() - before, "workers are left behind")
    assert (tmp_path / "studies" / "shaken" / "report.html").is_file()
