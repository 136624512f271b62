"""A study that a cluster runs by itself, as a user has it: sent, stopped, taken up, fetched."""

import http.server
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hpo.events import StudyFinished, StudyScaled, TrialFinished, TrialReported, TrialStarted
from hpo.store import Journal

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.slow]

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "sleeping_sample.py"
SECONDS = 120.0  # that anything here may take
STUDY = """
task = "work.py:waiting"
trial = { steps = 20, reports = 10 }
search = { sampler = "random", pruner = "never" }
limits = { trials = 400 }
runner = { lanes = 1, cpus_per_worker = 0.5, workers = 2 }
"""


class Started(NamedTuple):
    """A head that was started for these tests."""

    address: str
    home: Path
    environment: dict[str, str]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def head() -> Iterator[Started]:
    """`ray start --head` with ports and a folder of its own; ended by ending what it started."""
    place = Path(tempfile.mkdtemp(prefix="hpo-", dir="/tmp"))  # names of sockets may not be long
    (place / "home").mkdir()
    port = free_port()
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(place / "home"),
        "RAY_TMPDIR": str(place),
    }
    words = (
        *("start", "--head", "--block", "--disable-usage-stats", "--num-cpus", "2"),
        *("--node-ip-address", "127.0.0.1", "--port", str(free_port())),
        *("--ray-client-server-port", str(free_port()), "--dashboard-agent-listen-port", str(free_port())),
        *("--dashboard-host", "127.0.0.1", "--dashboard-port", str(port)),
        *("--object-store-memory", str(100 * 2**20)),
    )
    with (place / "head.txt").open("w") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "ray"), *words],
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + SECONDS
    while "Ray runtime started" not in (place / "head.txt").read_text():
        assert time.monotonic() < deadline, (place / "head.txt").read_text()
        assert process.poll() is None, (place / "head.txt").read_text()
        time.sleep(0.1)
    yield Started(f"http://127.0.0.1:{port}", place / "home", environment)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    shutil.rmtree(place, ignore_errors=True)


def a_folder(place: Path) -> None:
    shutil.copy(SAMPLE, place / "work.py")
    (place / "small.toml").write_text(STUDY)


def test_a_study_is_sent_stopped_taken_up_and_fetched(head: Started, command: Any, tmp_path: Path) -> None:
    a_folder(tmp_path)
    words = [sys.executable, "-m", "hpo", "submit", "small.toml", "--address", head.address]
    environment = {**head.environment, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    ) as followed:
        assert followed.stdout is not None
        said = ""
        for line in followed.stdout:
            said += line
            if "trial 1 completed" in line:
                break
        found = dict(re.findall(r"^(follow|stop|fetch) +(.*)$", said, re.MULTILINE))
        assert set(found) == {"follow", "stop", "fetch"}, said
        stop = shlex.split(found["stop"])
        subprocess.run(stop, env=head.environment, check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
        followed.stdout.read()
        assert followed.wait(SECONDS) == 3
    there = Journal(head.home / "hpo-studies" / "small" / "journal.jsonl")
    before = list(there)
    assert not any(isinstance(event, StudyFinished) for event in before)
    started = sum(isinstance(event, TrialStarted) for event in before)
    trials = started + 2

    limit = f"limits.trials={trials}"
    ended = command("submit", "small.toml", "--resume", "--set", limit, "--address", head.address)
    assert ended.code == 0, ended
    assert f"ended: {trials} trials" in ended.out
    fetched = command(*shlex.split(found["fetch"])[1:])
    assert fetched.code == 0, fetched
    assert f"studies/small: {trials} trials, finished; `hpo show small` shows it" in fetched.out
    here = tmp_path / "studies" / "small"
    assert (here / "journal.jsonl").read_bytes() == there.path.read_bytes()
    events = list(Journal(here / "journal.jsonl"))
    assert events[: len(before)] == before
    ends = Counter(event.trial for event in events if isinstance(event, TrialFinished))
    assert ends == dict.fromkeys(range(trials), 1)
    reports = Counter(
        (event.report.trial, event.report.spent) for event in events if isinstance(event, TrialReported)
    )
    assert len(reports) == 10 * trials
    assert max(reports.values()) == 1
    assert {"report.html", "study.toml"} <= {path.name for path in here.iterdir()}
    assert (tmp_path / "mlflow.db").is_file()  # not on the head, where it would stay
    assert command("best", "small").code == 0
    # What is here may have gone on; then nothing takes its place.
    with (here / "journal.jsonl").open("ab") as file:
        file.write(b'{"event":"Noticed","topic":"x","text":"here","time":0.0}\n')
    kept = (here / "journal.jsonl").read_bytes()
    again = command("fetch", "small", "--address", head.address)
    assert again.code == 2
    assert "has gone on here" in again.err
    assert (here / "journal.jsonl").read_bytes() == kept


def test_a_study_that_runs_there_is_paused_scaled_and_resumed_from_here(
    head: Started, command: Any, tmp_path: Path
) -> None:
    a_folder(tmp_path)
    at = ("--address", head.address)
    sent = command("submit", "small.toml", "--name", "far", "--detach", *at)
    assert sent.code == 0, sent
    there = Journal(head.home / "hpo-studies" / "far" / "journal.jsonl")

    def wait(holds: Any) -> None:
        deadline = time.monotonic() + SECONDS
        while not (there.path.exists() and holds()):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def count(kind: type) -> int:
        return sum(isinstance(event, kind) for event in there)

    wait(lambda: count(TrialReported))
    said = command("pause", "far", *at)
    assert said.code == 0, said
    assert said.out == f"study 'far' is paused: `hpo resume far --address {head.address}` lets it go on\n"
    time.sleep(3.0)
    before = list(there)
    said = command("scale", "far", 1, *at)
    assert said.code == 0, said
    assert [type(event) for event in list(there)[len(before) :]] == [StudyScaled]
    unknown = command("pause", "near", *at)
    assert unknown.code == 2
    assert "no study " in unknown.err
    assert "near on the head; there: " in unknown.err
    said = command("resume", "far", *at)
    assert (said.code, said.out) == (0, "study 'far' goes on\n"), said
    ended = count(TrialFinished)
    wait(lambda: count(TrialFinished) > ended + 1)
    stop = ("job", "stop", *at, re.findall(r"as (hpo-far-\w+)", sent.out)[0])
    ray = str(Path(sys.executable).parent / "ray")
    subprocess.run([ray, *stop], env=head.environment, check=True, timeout=SECONDS, capture_output=True)
    gone = command("resume", "far", *at)
    assert gone.code == 2
    assert "is not being searched now: `hpo submit STUDY.toml --resume` takes it up" in gone.err


def test_a_folder_too_large_for_the_cluster_is_refused_before_it_is_sent(
    head: Started, command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_folder(tmp_path)
    (tmp_path / "data.bin").write_bytes(os.urandom(2**21))
    with monkeypatch.context() as patch:
        patch.setattr("hpo.runners.submission.MOST_BYTES", 2**20)
        said = command("submit", "small.toml", "--address", head.address, "--detach")
    assert said.code == 2
    assert f"{tmp_path} is too large to travel to the cluster: packed it has 2.0 MiB" in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert "studies" not in {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("verb", ["submit", "fetch"])
@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "https://127.0.0.1:1"])
def test_where_no_head_answers_one_line_says_so(
    verb: str, address: str, command: Any, tmp_path: Path
) -> None:
    a_folder(tmp_path)
    began = time.monotonic()
    said = command(verb, "small.toml" if verb == "submit" else "small", "--address", address)
    assert said.code == 2
    assert f"no Ray cluster takes studies at {address}: is it running" in said.err
    assert said.err.count("\n") == 1
    assert time.monotonic() - began < 20
    assert {path.name for path in tmp_path.iterdir()} <= {"work.py", "small.toml", "__pycache__"}


@pytest.mark.parametrize("address", ["127.0.0.1:8265", "ray://127.0.0.1:10001", "http://", "http://h:x"])
def test_an_address_that_is_no_dashboards_is_refused(address: str, command: Any, tmp_path: Path) -> None:
    a_folder(tmp_path)
    said = command("submit", "small.toml", "--address", address)
    assert said.code == 2
    assert f"--address {address!r} must be that of the head's dashboard, such as http://HEAD:8265" in said.err


class Other(http.server.BaseHTTPRequestHandler):
    """A server that knows nothing of Ray."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *words: object) -> None:
        pass


def test_another_server_than_a_heads_is_told_apart_and_a_silent_one_is_not_waited_for(
    command: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_folder(tmp_path)
    with http.server.HTTPServer(("127.0.0.1", 0), Other) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        said = command("submit", "small.toml", "--address", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert said.code == 2
    assert "Version check returned 404" in said.err
    assert said.err.count("\n") == 1
    monkeypatch.setattr("hpo.runners.submission.FIRST_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        said = command("submit", "small.toml", "--address", address)
    assert said.code == 2
    assert f"no Ray cluster takes studies at {address}" in said.err
    assert time.monotonic() - began < 20


def test_a_study_file_that_would_not_travel_or_names_another_runner_is_refused(
    command: Any, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    shutil.copy(SAMPLE, tmp_path / "code" / "work.py")
    (tmp_path / "studyfiles").mkdir()
    (tmp_path / "studyfiles" / "small.toml").write_text(f'base = "../code"\n{STUDY}')
    said = command("submit", "studyfiles/small.toml")
    assert said.code == 2
    assert (
        f"studyfiles/small.toml lies outside of {tmp_path / 'code'}, which is the folder that travels"
        in said.err
    )
    said = command("submit", "studyfiles/small.toml", "--set", "runner.name=lanes")
    assert said.code == 2
    assert "[runner] name = 'lanes': on the cluster it is 'ray'; leave it out" in said.err
