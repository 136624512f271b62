"""Running studies paused, resumed and scaled from another process, killed meanwhile, and taken up."""

import os
import resource
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hpo import control, study
from hpo.events import (
    Event,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    TrialFinished,
    TrialReported,
    TrialStarted,
)
from hpo.history import History
from hpo.store import Journal
from tests.e2e.test_interrupt import SAMPLE, Running
from tests.sleeping_sample import value

SLEEPING = SAMPLE.with_name("sleeping_sample.py")
COMMON = ("--name", "study", "--tracking", "none", "--sampler", "random", "--pruner", "never")
# How a study is run -> words of the search. Each takes some seconds, and reports ten times a trial.
RUNS: dict[str, tuple[object, ...]] = {
    "inline": (f"{SLEEPING}:waiting", "--steps", 20, "--lanes", 2, "--trials", 6),
    "processes": (f"{SLEEPING}:waiting", "--steps", 20, "--workers", 2, "--trials", 10),
    "lanes": (
        *(f"{SAMPLE}:SlowLine", "--steps", 300, "--lanes", 2, "--trials", 4),
        *("--runner", "lanes", "--set", "runner.compile=never", "--device", "cpu"),
    ),
}


class Study(Running):
    """A study that a process of its own searches."""

    def __init__(self, folder: Path, *words: object) -> None:
        super().__init__(folder, *words)
        self.folder = self.journal.parent

    def events(self) -> list[Event]:
        return list(Journal(self.journal))

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events()) if self.journal.exists() else 0

    def wait_until(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, self.journal.read_text()[-2000:]
            time.sleep(0.02)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Callable[..., Study]]:
    """Begins `hpo` with these words; no process outlives the test."""
    started: list[Study] = []

    def begin(*words: object) -> Study:
        started.append(Study(tmp_path, *words))
        return started[-1]

    yield begin
    for one in started:
        one.process.kill()
        if one.process.stdout is not None and not one.process.stdout.closed:
            one.process.communicate()


def assert_whole(events: list[Event]) -> History:
    """Every trial started and ended once, each of its reports told once."""
    starts = Counter(event.spec.trial for event in events if isinstance(event, TrialStarted))
    ends = Counter(event.trial for event in events if isinstance(event, TrialFinished))
    reports = Counter(
        (event.report.trial, event.report.spent) for event in events if isinstance(event, TrialReported)
    )
    assert set(starts.values()) == set(ends.values()) == set(reports.values()) == {1}
    assert starts == ends
    assert len(reports) == 10 * len(starts)
    history = History(events=events)
    assert history.finish is not None
    return history


@pytest.mark.parametrize("run", RUNS)
def test_a_running_study_is_paused_and_goes_on_as_if_nothing_had_been(
    run: str, begun: Callable[..., Study], command: Any
) -> None:
    one = begun("search", *RUNS[run], *COMMON)
    one.wait_until(lambda: one.count(TrialReported) > 2)
    said = command("pause", "study")
    assert (said.code, said.out) == (0, "study 'study' is paused: `hpo resume study` lets it go on\n"), said
    time.sleep(0.5)  # whatever was under way
    before = one.events()
    assert "  paused  " in command("list").out
    assert command("show", "study").out.startswith("study 'study' is paused\n")
    assert command("pause", "study").out == "study 'study' is paused already\n"
    refused = command("resume", "study", "--trials", 20)
    assert refused.code == 2
    assert "It is paused, and still has its process: `hpo resume` alone lets it go on" in refused.err
    time.sleep(1.0)
    assert one.events() == before
    rows = list(one.folder.glob("running/trial-*.npz"))
    assert bool(rows) == (run == "lanes")
    assert command("resume", "study").out == "study 'study' goes on\n"
    refused = command("resume", "study")
    assert refused.code == 2
    assert "is being written by another process. It is not paused: wait for that search to end" in refused.err
    code, out, err = one.end()
    assert code == 0, err
    assert "paused: `hpo resume study` lets it go on\n" in out
    history = assert_whole(one.events())
    (paused,) = (event for event in one.events() if isinstance(event, StudyPaused))
    (resumed,) = (event for event in one.events() if isinstance(event, StudyResumed))
    assert history.study is not None
    passed = one.events()[-1].time - history.study.time
    assert history.elapsed() == pytest.approx(passed - (resumed.time - paused.time), abs=0.01)
    left = {path.name for path in one.folder.iterdir()} - {"rows", "traces", "running"}
    assert left == {"journal.jsonl", "study.toml", "report.html"}


@pytest.mark.parametrize("run", ["processes", "lanes"])
def test_what_is_killed_while_it_is_paused_is_taken_up_as_ever(
    run: str, begun: Callable[..., Study], command: Any
) -> None:
    one = begun("search", *RUNS[run], *COMMON)
    one.wait_until(lambda: one.count(TrialReported) > 2)
    assert command("pause", "study").code == 0
    if run == "processes":
        assert command("scale", "study", 3).code == 0
    one.wait_until(lambda: run != "lanes" or bool(list(one.folder.glob("running/trial-*.npz"))))
    one.kill()
    assert "  paused or interrupted  " in command("list").out
    refused = command("pause", "study")
    assert refused.code == 2
    assert refused.err == "hpo: study 'study' is not being searched now: `hpo resume study` takes it up\n"
    refused = command("scale", "study", 4)
    assert "`hpo resume study --workers 4` takes it up" in refused.err
    again = begun("resume", "study")
    code, out, err = again.end()
    assert code == 0, err
    history = assert_whole(again.events())
    assert history.sessions == 2
    assert history.study is not None
    if run == "processes":
        assert history.study.study["runner"]["workers"] == 3  # which it had been scaled to
    else:
        assert "note: trials under way go on: " in out


def test_more_and_fewer_workers_while_a_study_runs(begun: Callable[..., Study], command: Any) -> None:
    words = (f"{SLEEPING}:waiting", "--steps", 20, "--workers", 1, "--trials", 24, "--runner", "processes")
    one = begun("search", *words, *COMMON)

    def running() -> int:
        return len(History(events=one.events()).running)

    one.wait_until(lambda: one.count(TrialReported) > 0)
    assert running() == 1
    said = command("scale", "study", 4)
    assert (said.code, said.out) == (0, "study 'study' has 4 workers from now on, as trials end\n"), said
    one.wait_until(lambda: running() == 4)
    said = command("scale", "study", 1)
    assert (said.code, said.out) == (0, "study 'study' has 1 worker from now on, as trials end\n"), said
    one.wait_until(lambda: running() == 1)
    assert command("scale", "study", 3).code == 0
    code, out, err = one.end()
    assert code == 0, err
    assert "workers: 4 from now on" in out
    events = one.events()
    assert_whole(events)
    assert [event.workers for event in events if isinstance(event, StudyScaled)] == [4, 1, 3]
    # While there is one worker, no more than those at work then end, and one trial at a time begins.
    first, down = (
        n for n, event in enumerate(events) if isinstance(event, StudyScaled) and event.workers < 4
    )
    least = History(events=events[:first])
    assert 2 <= len(least.running) <= 4  # one may have ended just then
    assert study.latest(one.folder).start.study["runner"]["workers"] == 3
    for event in events[first:down]:
        least.tell(event)
        assert len(least.running) <= 4
    for event in events:
        if isinstance(event, TrialReported):
            spec = next(
                e.spec for e in events if isinstance(e, TrialStarted) and e.spec.trial == event.report.trial
            )
            assert event.report.metrics["val_loss"] == value(spec.config, event.report.spent)


def test_more_workers_than_can_be_are_refused_and_nothing_is_lost(
    begun: Callable[..., Study], command: Any
) -> None:
    words = (f"{SLEEPING}:waiting", "--steps", 20, "--workers", 1, "--trials", 20, "--runner", "processes")
    one = begun("search", *words, *COMMON)
    one.wait_until(lambda: one.count(TrialReported) > 0)
    resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE, (80, 80))
    for verb in ("pause", "resume"):  # a search that rests is no different
        said = command("scale", "study", 60)
        assert said.code == 2
        message = (
            "study 'study' cannot be scaled: 59 workers more cannot begin on this machine (Too many open"
        )
        assert message in said.err
        assert said.err.count("\n") == 1
        assert command(verb, "study").code == 0
    assert command("scale", "study", 2).code == 0
    code, _, err = one.end()
    assert code == 0, err
    assert_whole(one.events())
    assert study.latest(one.folder).start.study["runner"]["workers"] == 2


def test_more_workers_than_can_begin_are_refused_with_what_would_help(tmp_path: Path) -> None:
    words = (f"{SLEEPING}:waiting", "--trials", "9", "--workers", "60", "--runner", "processes", *COMMON)
    search = " ".join(map(shlex.quote, (sys.executable, "-m", "hpo", "search", *words)))
    said = subprocess.run(
        ["bash", "-c", f"ulimit -n 80; exec {search}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert said.returncode == 2, said
    assert said.stderr == (
        "hpo: 60 workers cannot begin on this machine (Too many open files): have fewer with --workers, or "
        "let it have more open files and processes (`ulimit -n`, `ulimit -u`)\n"
    )
    assert not (tmp_path / "studies").exists()


def test_a_head_says_how_whoever_asked_from_elsewhere_lets_the_study_go_on(
    begun: Callable[..., Study],
) -> None:
    one = begun("search", f"{SLEEPING}:waiting", "--steps", 20, "--trials", 60, *COMMON)
    one.wait_until(lambda: one.count(TrialReported) > 0)
    words = ("hpo.control", "pause", str(one.folder), "0", "http://10.0.0.9:8265")
    said = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    assert said.stdout == (
        "study 'study' is paused: `hpo resume study --address http://10.0.0.9:8265` lets it go on\n"
    )


def test_orders_that_cannot_be_are_refused_in_one_line(
    begun: Callable[..., Study], command: Any, tmp_path: Path
) -> None:
    one = begun("search", f"{SLEEPING}:waiting", "--steps", 20, "--trials", 60, *COMMON)
    one.wait_until(lambda: one.count(TrialReported) > 0)
    for words, message in (
        (("pause", "stud"), "unknown study 'stud'; did you mean 'study'?"),
        (("scale", "study", 0), "Invalid value for 'N'"),
        (("scale", "study", "many"), "Invalid value for 'N'"),
        (("scale", "study", 2), "study 'study' cannot be scaled: its trials train in the process of the"),
        (("resume", "study", "--address", "http://h:1", "--trials", 9), "lets a paused study go on as it is"),
        (("pause", "study", "--address", "here"), "must be that of the head's dashboard"),
    ):
        said = command(*words)
        assert said.code == 2, said
        assert message in said.err
        assert said.err.count("\n") == 1
        assert said.out == ""
    assert "`hpo resume study --runner processes --workers 2`" in command("scale", "study", 2).err
    if os.getuid():
        one.folder.chmod(0o555)
        assert "cannot be written, so no order can be left there" in command("pause", "study").err
        one.folder.chmod(0o755)
    assert one.end(signal.SIGINT)[0] == 3
    assert command("resume", "study", "--trials", one.count(TrialStarted)).code == 0
    for verb in (("pause", "study"), ("scale", "study", 2)):
        said = command(*verb)
        assert said.code == 2
        assert "study 'study' is finished: nothing runs that could be" in said.err
    assert not [path for path in one.folder.iterdir() if path.name.startswith(".order")]


def test_a_search_that_does_not_answer_is_said_to_and_obeys_later(
    begun: Callable[..., Study], command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.control._PATIENCE", 1.5)
    (tmp_path / "long.py").write_text(
        "import time\n"
        "def objective(spec):\n"
        "    open('asleep', 'w').close()\n"
        "    time.sleep(5.0)\n"
        "    return 1.0\n"
        "objective.space = {'x': {'low': 0.0, 'high': 1.0}}\n"
    )
    one = begun("search", "long.py:objective", "--trials", 2, *COMMON)
    one.wait_until(lambda: (tmp_path / "asleep").exists() and one.count(TrialStarted) > 0)
    said = command("pause", "study")
    assert said.code == 1
    assert "the search of 'study' has not answered in 2 seconds; it will be paused as soon as" in said.err
    one.wait_until(lambda: one.count(StudyPaused) > 0)

    # One that is not waited for is not given.
    def interrupted(*_: object) -> None:
        assert list(one.folder.glob(".order-*"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hpo.control._since", interrupted)
        with pytest.raises(KeyboardInterrupt):
            control.tell(one.folder, "resume")
    assert not list(one.folder.glob(".order-*"))
    time.sleep(1.5)
    assert one.count(StudyResumed) == 0
    # Orders of a search that ends without having looked are taken back.
    assert one.end(signal.SIGINT)[0] == 3


def test_a_study_without_its_folder_of_rows_goes_on_from_a_url(
    begun: Callable[..., Study], command: Any, tmp_path: Path
) -> None:
    rows = tmp_path / "elsewhere"
    words = (*RUNS["lanes"], "--save-every", 1, "--save-to", rows.as_uri(), *COMMON)
    one = begun("search", *words)
    one.wait_until(lambda: len(list(rows.glob("study-*/trial-*.npz"))) > 1)
    one.kill()
    assert not (one.folder / "running").exists()
    (place,) = rows.iterdir()
    assert tomllib.loads((one.folder / "study.toml").read_text())["runner"]["save_to"] == place.as_uri()
    again = begun("resume", "study")
    code, out, err = again.end()
    assert code == 0, err
    assert "note: trials under way go on: " in out
    assert_whole(again.events())
    assert list(rows.iterdir()) == []
    # The next of this name has a place of its own; what cannot be is refused and nothing is written.
    for url, message in (
        ("memry://rows", "protocol 'memry' is not known"),
        (f"{tmp_path}/studies/study/journal.jsonl/rows", "cannot be used: "),
        (f"{tmp_path}/studies/study::rows", "which is no folder of this study's own"),
    ):
        words = ("search", *RUNS["lanes"], "--save-to", url, "--name", "other", "--tracking", "none")
        said = command(*words)
        assert said.code == 2
        assert message in said.err
        assert said.err.count("\n") == 1
    assert {path.name for path in (tmp_path / "studies").iterdir()} == {"study"}


@pytest.mark.slow
@pytest.mark.xdist_group("ray")
def test_a_study_on_a_cluster_is_paused_and_scaled_and_goes_on(
    ray_cluster: Any, begun: Callable[..., Study], command: Any
) -> None:
    words = (f"{SLEEPING}:waiting", "--steps", 20, "--trials", 16, "--workers", 1, "--cpus-per-worker", 0.5)
    one = begun("search", *words, "--runner", "ray", "--address", ray_cluster.address, *COMMON)
    one.wait_until(lambda: one.count(TrialReported) > 2)
    assert command("pause", "study").code == 0
    assert command("scale", "study", 3).code == 0
    time.sleep(3.0)  # what was under way, and what is on its way
    before = one.count(TrialReported)
    time.sleep(2.0)
    assert one.count(TrialReported) == before
    assert command("resume", "study").code == 0
    one.wait_until(lambda: len(History(events=one.events()).running) == 3)
    assert command("scale", "study", 1).code == 0
    code, _, err = one.end()
    assert code == 0, err
    assert_whole(one.events())
