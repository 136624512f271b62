"""Real searches, killed by SIGKILL at random moments and taken up until they are done.

HPO_KILLS sets how many are killed (default 8).
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hpo.events import StudyStarted, TrialFinished, TrialReported, TrialStarted
from hpo.store import Journal

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
KILLS = int(os.environ.get("HPO_KILLS", "8"))
HPO = [sys.executable, "-m", "hpo"]


def begin(words: list[str], folder: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with (folder / "output.txt").open("a") as output:
        return subprocess.Popen(
            [*HPO, *words], cwd=folder, stdout=output, stderr=subprocess.STDOUT, text=True, env=environment
        )


def workers_of(folder: Path) -> list[int]:
    """Processes that still work for searches in this folder: workers, nurseries and mirrors."""
    found: list[int] = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            here = (process / "cwd").readlink()
        except OSError:
            continue  # it has ended
        if here == folder and any(word.startswith(b"hpo") for word in words):
            found.append(int(process.name))
    return found


def wait_for_no_worker(folder: Path, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while (left := workers_of(folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"processes {left} are left behind"


class Killing:
    """One study in a folder of its own: killed, looked at, and taken up."""

    def __init__(self, folder: Path, name: str, search: list[str]) -> None:
        self.folder, self.name, self._search = folder, name, search
        self.path = folder / "studies" / name / "journal.jsonl"
        self.kept = b""  # whole lines that the last look found
        self.finished: dict[int, TrialFinished] = {}

    def words(self) -> list[str]:
        return ["resume", self.name] if self.kept else self._search

    def kill(self, after_seconds: float, amid: bool = False) -> bool:
        """Search for so long, from its first word if amid, and die; whether it lived that long."""
        process = begin(self.words(), self.folder)
        before = len(self.kept)
        while amid and process.poll() is None:
            if self.path.exists() and self.path.stat().st_size > before:
                break
            time.sleep(0.005)
        try:
            process.wait(after_seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.look()
        return process.returncode == -signal.SIGKILL

    def look(self) -> None:
        """What is on the disk now goes on from what was there."""
        data = self.path.read_bytes() if self.path.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        assert whole.startswith(self.kept)
        self.kept = whole
        events = Journal(self.path).read()[0] if whole else []
        finished = {event.trial: event for event in events if isinstance(event, TrialFinished)}
        assert self.finished.items() <= finished.items(), "a trial that had ended has another end now"
        self.finished = finished

    def finish(self) -> None:
        process = begin(self.words(), self.folder)
        assert process.wait(120) == 0, (self.folder / "output.txt").read_text()
        self.look()

    def assert_whole(self, trials: int) -> None:
        events, torn = Journal(self.path).read()
        assert torn == ""
        started = Counter(event.spec.trial for event in events if isinstance(event, TrialStarted))
        assert started == dict.fromkeys(range(trials), 1)
        assert Counter(event.trial for event in events if isinstance(event, TrialFinished)) == started
        reports = Counter(
            (event.report.trial, event.report.spent) for event in events if isinstance(event, TrialReported)
        )
        assert max(reports.values()) == 1
        assert (self.path.parent / "study.toml").is_file()
        assert (self.path.parent / "report.html").is_file()
        left = {path.name for path in self.path.parent.iterdir()}
        assert left <= {"journal.jsonl", "study.toml", "report.html", "rows", "traces", ".mirror.lock"}
        wait_for_no_worker(self.folder)

    def assert_mirrored(self, trials: int) -> None:
        """One run for the study, one below it for each trial, each value once."""
        reports = Counter(
            event.report.trial for event in Journal(self.path) if isinstance(event, TrialReported)
        )
        with sqlite3.connect(f"file:{self.folder / 'mlflow.db'}?mode=ro", uri=True) as store:
            parents = store.execute(
                "select run_uuid, status from runs where run_uuid not in"
                " (select run_uuid from tags where key = 'mlflow.parentRunId')"
            ).fetchall()
            assert [status for _, status in parents] == ["FINISHED"]
            children = store.execute(
                "select t.value from tags p join tags t using (run_uuid)"
                " where p.key = 'mlflow.parentRunId' and p.value = ? and t.key = 'hpo.trial'",
                (parents[0][0],),
            ).fetchall()
            assert sorted(int(number) for (number,) in children) == list(range(trials))
            assert not store.execute(
                "select run_uuid, key, step from metrics group by run_uuid, key, step having count(*) > 1"
            ).fetchall()
            assert not store.execute("select run_uuid from runs where status = 'RUNNING'").fetchall()
            values = dict(
                store.execute(
                    "select t.value, count(*) from metrics m join tags t using (run_uuid)"
                    " where t.key = 'hpo.trial' and m.key = 'val_loss' group by m.run_uuid"
                ).fetchall()
            )
        assert {int(number): count for number, count in values.items()} == reports
        shutil.rmtree(self.folder / "mlruns", ignore_errors=True)


@pytest.mark.slow
def test_a_search_killed_at_random_moments_gets_done_and_is_mirrored_once(tmp_path: Path) -> None:
    trials = 24
    search = [
        *("search", f"{SAMPLE}:slow_curve", "--name", "killed", "--trials", str(trials)),
        *("--steps", "20", "--sampler", "random"),
    ]
    study = Killing(tmp_path, "killed", search)
    began = time.monotonic()
    assert begin([*search, "--dry-run"], tmp_path).wait(60) == 0
    start_seconds = time.monotonic() - began
    generator = np.random.default_rng(0)
    # Very early, while it starts, and in the second after its first word.
    early = start_seconds * generator.uniform(0.1, 1.0, max(1, KILLS // 4))
    late = generator.uniform(0.0, 1.0, max(0, KILLS - len(early)))
    plans = [*((float(delay), False) for delay in early), *((float(delay), True) for delay in late)]
    amid = 0
    for number in generator.permutation(len(plans)):
        if study.kill(*plans[number]):
            amid += bool(study.kept) and b'"StudyFinished"' not in study.kept
            continue
        # It got done before its time was up: the next one is another study of the same kind.
        study.assert_whole(trials)
        study.assert_mirrored(trials)
        shutil.rmtree(study.path.parent)
        (tmp_path / "mlflow.db").unlink()
        study = Killing(tmp_path, "killed", search)
    study.finish()
    study.assert_whole(trials)
    study.assert_mirrored(trials)
    assert amid >= KILLS // 4, "too few were killed amid their trials for this to show much"


@pytest.mark.slow
def test_digits_in_two_processes_killed_while_they_train_gets_done(tmp_path: Path) -> None:
    trials = 4
    search = [
        *("search", "digits", "--trials", str(trials), "--steps", "60", "--workers", "2"),
        *("--lanes", "2", "--sampler", "random", "--tracking", "none", "--set", "runner.compile=never"),
    ]
    study = Killing(tmp_path, "digits", search)
    process = begin(study.words(), tmp_path)
    # When the first report is there, all of it runs: the workers, their nursery, the search.
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if study.path.exists() and b'"TrialReported"' in study.path.read_bytes():
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    study.look()
    assert b'"TrialReported"' in study.kept
    assert b'"StudyFinished"' not in study.kept
    # Workers find their search gone at the end of a tick.
    wait_for_no_worker(tmp_path)
    study.finish()
    study.assert_whole(trials)
    assert sum(isinstance(event, StudyStarted) for event in Journal(study.path)) == 2
    assert len(list((study.path.parent / "rows").iterdir())) == 1


@pytest.mark.parametrize("left", [b"", b'{"event":"StudyStar'])
def test_a_search_killed_before_its_first_event_is_begun_again_by_the_same_command(
    left: bytes, command, sample, tmp_path: Path
) -> None:
    folder = tmp_path / "studies" / "early"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_bytes(left)
    (folder / ".study.toml.partial").write_text("# Stu")
    said = command("resume", "early")
    assert said.code == 2
    assert "killed before its first trial" in said.err
    assert "begin it again with the same `hpo search`" in said.err
    assert (folder / "journal.jsonl").read_bytes() == left
    assert "killed before its first trial" in command("list").out
    said = command("search", sample("curve"), "--name", "early", "--trials", 2, "--tracking", "none")
    assert said.code == 0
    assert ("torn" in said.err) == bool(left)
    events = list(Journal(folder / "journal.jsonl"))
    assert isinstance(events[0], StudyStarted)
    assert {path.name for path in folder.iterdir()} == {"journal.jsonl", "study.toml", "report.html"}


def test_resuming_a_finished_study_makes_its_views_whole(command, sample, tmp_path: Path) -> None:
    words = ("search", sample("curve"), "--name", "views", "--trials", 2)
    assert command(*words, "--tracking", "none").code == 0
    study = Killing(tmp_path, "views", [])
    (study.path.parent / "report.html").unlink()
    before = study.path.read_bytes()
    said = command("resume", "views")
    assert said.code == 0
    assert "is finished (2 trials)" in said.out
    assert "hpo resume views --trials 4" in said.out
    assert study.path.read_bytes() == before
    assert (study.path.parent / "report.html").is_file()
    assert not (tmp_path / "mlflow.db").exists()
    # As if the computer had failed before the mirror's process was done.
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    said = command("resume", "views", "--tracking", uri)
    assert said.code == 0
    assert study.path.read_bytes() == before
    study.assert_mirrored(2)
