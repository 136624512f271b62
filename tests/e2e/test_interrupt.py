"""How a search ends: Ctrl-C once and twice, SIGTERM, every limit, and the exit code that tells."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo.codec import decode
from hpo.events import StudyFinished, TrialFinished, TrialReported, TrialStarted, TrialStopped
from hpo.history import History
from hpo.store import Journal

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"


class Running:
    """`hpo search` of a sample objective in a process of its own."""

    def __init__(self, folder: Path, *words: object) -> None:
        self.journal = folder / "studies" / "study" / "journal.jsonl"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hpo", *map(str, words)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            # A shell starts what runs in its background with Ctrl-C ignored, these tests too.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_for(self, words: bytes) -> None:
        """Until the journal says it."""
        deadline = time.monotonic() + 60
        while not (self.journal.exists() and words in self.journal.read_bytes()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def end(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """(exit code, output, errors) after a signal."""
        if number is not None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture
def running(tmp_path: Path) -> Iterator[list[Running]]:
    """Processes that must not outlive the test."""
    started: list[Running] = []
    yield started
    for one in started:
        one.process.kill()
        if one.process.stdout is not None and not one.process.stdout.closed:
            one.process.communicate()  # a test that failed must not leave pipes for others to trip over


def search(folder: Path, running: list[Running], name: str, *words: object) -> Running:
    running.append(Running(folder, "search", f"{SAMPLE}:{name}", "--name", "study", "--steps", 20, *words))
    return running[-1]


def parents(store: Path) -> list[str]:
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as opened:
        found = opened.execute(
            "select status from runs where run_uuid not in"
            " (select run_uuid from tags where key = 'mlflow.parentRunId')"
        ).fetchall()
    return [status for (status,) in found]


def test_one_ctrl_c_drains_and_prints_how_to_go_on(tmp_path: Path, running: list[Running], command) -> None:
    one = search(tmp_path, running, "waiting", "--trials", 3)
    one.wait_for(b'"TrialReported"')
    code, out, err = one.end(signal.SIGINT)
    assert code == 3, err
    assert "interrupted: ending at the next tick; once more stops at once" in out
    assert out.splitlines()[-1] == "to continue: hpo resume study"
    assert "Traceback" not in err
    assert parents(tmp_path / "mlflow.db") == ["KILLED"]
    killed = one.journal.read_bytes()
    said = command("resume", "study")
    assert said.code == 0, said.err
    assert one.journal.read_bytes().startswith(killed)
    history = History(events=Journal(one.journal))
    assert history.finish is not None
    assert len(history.trials) == 3
    assert not history.running
    assert parents(tmp_path / "mlflow.db") == ["FINISHED"]


def test_two_ctrl_c_stop_a_search_that_does_not_drain(tmp_path: Path, running: list[Running]) -> None:
    one = search(tmp_path, running, "stuck", "--trials", 3, "--tracking", "none")
    one.wait_for(b'"TrialReported"')
    deadline = time.monotonic() + 60
    while not (tmp_path / "asleep").exists():  # between its report and its sleep it would be drained
        assert time.monotonic() < deadline
        time.sleep(0.02)
    one.process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert one.process.poll() is None, "the trial sleeps for a minute: there is nothing to drain"
    began = time.monotonic()
    code, out, err = one.end(signal.SIGINT)
    assert time.monotonic() - began < 10
    assert code == 3
    assert out.splitlines()[-1] == "to continue: hpo resume study"
    assert "Traceback" not in err
    assert len(History(events=Journal(one.journal)).running) == 1


def test_sigterm_is_as_ctrl_c_and_json_stays_json(tmp_path: Path, running: list[Running]) -> None:
    one = search(tmp_path, running, "waiting", "--trials", 20, "--tracking", "none", "--json", "--workers", 2)
    one.wait_for(b'"TrialReported"')
    code, out, err = one.end(signal.SIGTERM)
    assert code == 3, err
    assert [decode(line) for line in out.splitlines()] == list(Journal(one.journal))
    assert "to continue: hpo resume study" in err
    assert "Traceback" not in err


def test_ctrl_c_before_the_search_begins_writes_nothing(tmp_path: Path, running: list[Running]) -> None:
    slow = tmp_path / "slow.py"
    slow.write_text("import time\nopen('importing', 'w').close()\ntime.sleep(60)\ndef f(spec): return 1.0\n")
    one = Running(tmp_path, "search", "slow.py:f", "--name", "study")
    running.append(one)
    deadline = time.monotonic() + 60
    while not (tmp_path / "importing").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    code, out, err = one.end(signal.SIGINT)
    assert (code, out, err) == (3, "", "hpo: stopped\n")
    assert not (tmp_path / "studies").exists()


# -- limits -----------------------------------------------------------------------------------------------


def searched(
    command, sample, tmp_path: Path, name: str, *words: object
) -> tuple[int, History, StudyFinished]:
    """Exit code, history and last event of a search in this process."""
    said = command(*("search", sample(name), "--name", "study", "--steps", 20, "--tracking", "none"), *words)
    events = list(Journal(tmp_path / "studies" / "study" / "journal.jsonl"))
    assert isinstance(events[-1], StudyFinished)
    assert f"ended: {events[-1].reason}" in said.out
    return said.code, History(events=events), events[-1]


def test_seconds_end_a_study_and_stop_what_runs(command, sample, tmp_path: Path) -> None:
    code, history, end = searched(command, sample, tmp_path, "waiting", "--seconds", 0.6, "--lanes", 2)
    assert code == 0
    assert end.reason == "time is up (0.6 s)"
    assert 0.6 <= history.elapsed() < 3
    stopped = [trial for trial in history.trials.values() if trial.stop_reason == end.reason]
    assert stopped
    assert {trial.state for trial in stopped} == {"stopped"}
    # Taken up with more time, it goes on; a session's time is added to those before it.
    assert command("resume", "study").out.startswith("study 'study' is finished (time is up (0.6 s))")
    before = len(history.trials)
    assert command("resume", "study", "--seconds", 1.2).code == 0
    events = list(Journal(tmp_path / "studies" / "study" / "journal.jsonl"))
    after = History(events=events)
    assert after.sessions == 2
    assert len(after.trials) > before
    assert 1.2 <= after.elapsed() < 4


def test_a_target_ends_a_study(command, sample, tmp_path: Path) -> None:
    words = ("--set", "limits.target=1.8", "--trials", 200, "--pruner", "never", "--lanes", 3)
    code, history, end = searched(command, sample, tmp_path, "curve", *words)
    assert code == 0
    assert end.reason.startswith("target reached (val_loss 1.")
    assert history.best is not None
    assert history.value(history.best) <= 1.8
    assert len(history.trials) < 200
    assert end.best == history.best.spec.trial
    # No trial before it was good enough, or the search would have ended there.
    assert all(incumbent.value > 1.8 for incumbent in history.incumbents[:-1])


def test_a_target_of_a_maximised_metric_ends_a_study(command, sample, tmp_path: Path) -> None:
    words = ("--set", 'metric={name="val_accuracy", goal="max"}', "--set", "limits.target=0.04")
    _, history, end = searched(command, sample, tmp_path, "curve", *words, "--pruner", "never")
    assert end.reason == "target reached (val_accuracy 0.047619)"
    assert len(history.trials) == 1


def test_trials_without_improvement_end_a_study(command, sample, tmp_path: Path) -> None:
    words = ("--set", "limits.no_improvement=4")
    _, history, end = searched(command, sample, tmp_path, "flat", *words, "--pruner", "never")
    assert end.reason == "no improvement in 4 trials"
    assert len(history.trials) == 1 + 4


@pytest.mark.parametrize("pruner", ["never", "asha"])
def test_total_steps_end_a_study_and_are_not_exceeded(pruner: str, command, sample, tmp_path: Path) -> None:
    words = ("--set", "limits.total_steps=130", "--pruner", pruner, "--lanes", 3)
    _, history, end = searched(command, sample, tmp_path, "curve", *words)
    assert end.reason == "130 steps"
    assert 130 - 20 < history.spent <= 130
    # What a stopped trial did not spend is spent on others.
    assert (len(history.trials) > 6) == (pruner == "asha")


def test_a_limit_ends_each_running_trial_with_one_stop(command, sample, tmp_path: Path) -> None:
    searched(command, sample, tmp_path, "waiting", "--seconds", 0.5, "--workers", 2, "--lanes", 4)
    events = list(Journal(tmp_path / "studies" / "study" / "journal.jsonl"))
    stops = [event.trial for event in events if isinstance(event, TrialStopped)]
    assert len(stops) == len(set(stops))
    started = [event.spec.trial for event in events if isinstance(event, TrialStarted)]
    assert sorted(event.trial for event in events if isinstance(event, TrialFinished)) == started


# -- exit codes -------------------------------------------------------------------------------------------


def test_a_study_whose_every_trial_failed_exits_with_1(command, sample, tmp_path: Path) -> None:
    said = command(
        *("search", sample("raising"), "--name", "study", "--trials", 3, "--steps", 20, "--tracking", "none")
    )
    assert said.code == 1
    assert "every trial failed" in said.out + said.err
    assert "RuntimeError: no luck with trial 2" in said.out + said.err
    trials = History(events=Journal(tmp_path / "studies" / "study" / "journal.jsonl")).trials
    assert [trial.state for trial in trials.values()] == ["failed"] * 3
    assert all("Traceback" in trial.error for trial in trials.values())


def test_a_study_with_some_failed_and_diverged_trials_goes_on_and_exits_with_0(
    command, sample, tmp_path: Path
) -> None:
    code, history, _ = searched(command, sample, tmp_path, "sometimes", "--trials", 7, "--pruner", "never")
    assert code == 0
    assert [trial.state for trial in history.trials.values()] == [
        *("completed", "failed", "diverged"),
        *("completed", "failed", "diverged"),
        "completed",
    ]


def test_a_study_whose_metric_nobody_reports_ends_with_the_first_trial_that_did(command, sample) -> None:
    said = command(*("search", sample("other_metric"), "--trials", 9, "--steps", 20, "--tracking", "none"))
    assert said.code == 2
    assert said.err == (
        "hpo: unknown metric 'val_loss'; did you mean 'loss'? known: loss: no trial reports it, so that none "
        "can be compared\n"
    )
    assert "[1/9]" in said.out
    assert "[3/9]" not in said.out


def test_events_of_a_search_are_printed_as_the_journal_has_them(command, sample, tmp_path: Path) -> None:
    said = command(
        *("search", sample("curve"), "--name", "study", "--trials", 2, "--steps", 20),
        *("--tracking", "none", "--json"),
    )
    assert said.code == 0
    journal = (tmp_path / "studies" / "study" / "journal.jsonl").read_text()
    assert said.out == journal
    assert any(isinstance(decode(line), TrialReported) for line in said.out.splitlines())
    assert all(json.loads(line)["event"] for line in said.out.splitlines())
