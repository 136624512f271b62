"""What a cluster has room for and what travels to it: plain tables and folders, no Ray."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hpo.errors import UsageError
from hpo.events import Noticed, TrialFinished
from hpo.runners.arrivals import kept
from hpo.runners.base import Cluster, Target, Word
from hpo.runners.cluster import (
    End,
    Share,
    candidates,
    end_of,
    environment,
    here,
    is_node_of,
    nodes_of,
    packed,
    share_of,
)

TASK = Target("digits")
SMALL, LARGE = {"CPU": 4.0, "node:10.0.0.1": 1.0}, {"CPU": 16.0, "GPU": 2.0, "node:10.0.0.2": 1.0}


def test_dead_nodes_have_nothing() -> None:
    table = [{"Alive": True, "Resources": SMALL}, {"Alive": False, "Resources": {}}]
    assert nodes_of(table) == [SMALL]


def test_tenths_of_a_node_are_ten() -> None:
    assert Share(0.1, 0.1).fits({"CPU": 1.0, "GPU": 1.0}) == 10
    assert Share(0.0, 1.0).fits({"CPU": 1.0, "GPU": 3.0}) == 3


@pytest.mark.parametrize(
    ("target", "nodes", "gpus"),
    [
        (TASK, [SMALL], 0.0),
        (TASK, [SMALL, LARGE], 1.0),
        (replace(TASK, device="cpu"), [LARGE], 0.0),
        (replace(TASK, kind="inline"), [LARGE], 0.0),
    ],
)
def test_a_task_has_a_device_where_there_are_any(target: Target, nodes: list, gpus: float) -> None:
    assert share_of(Cluster(), target, nodes) == Share(1.0, gpus)


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        (
            Cluster(cpus_per_worker=32),
            r"no node has the 32 CPUs and 1 GPU .* 10\.0\.0\.2, has 16 CPUs and 2 GPUs",
        ),
        (
            Cluster(gpus_per_worker=4),
            r"no node has the 1 CPU and 4 GPUs .* of 2, the one with most, 10\.0\.0\.2",
        ),
        (Cluster(cpus_per_worker=0, gpus_per_worker=0), "needs a share of something"),
    ],
)
def test_a_share_that_no_node_has_is_refused_with_the_most_there_is(cluster: Cluster, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        share_of(cluster, TASK, [SMALL, LARGE])


def test_a_cluster_without_a_node_is_refused() -> None:
    with pytest.raises(UsageError, match="no node that is alive"):
        share_of(Cluster(), TASK, [])


def test_nothing_of_the_users_travels_with_a_built_in_task(tmp_path: Path) -> None:
    luggage = packed(Target("digits", base=str(tmp_path), folder=str(tmp_path / "studies" / "digits")))
    assert luggage.folder == ""
    assert luggage.target.reference == "digits"


def test_a_users_folder_travels_without_its_studies(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("1")
    target = Target(
        "task.py:Mine",
        {"data": str(tmp_path / "data.csv"), "width": 3, "word": "data.csv"},
        base=str(tmp_path),
        folder=str(tmp_path / "out" / "studies" / "mine"),
    )
    luggage = packed(target)
    assert luggage.folder == str(tmp_path)
    assert luggage.target.options == {"data": "data.csv", "width": 3, "word": "data.csv"}
    assert (luggage.target.reference, luggage.target.base) == ("task.py:Mine", ".")
    assert "/out/studies/" in luggage.stays
    assert packed(replace(target, folder=str(tmp_path / "mine"))).stays == packed(TASK).stays, (
        "a study right in the folder: all of it would stay"
    )


def test_a_file_elsewhere_travels_with_its_own_folder(tmp_path: Path) -> None:
    luggage = packed(Target(f"{tmp_path}/far/task.py:Mine", base="."))
    assert luggage.folder == f"{tmp_path}/far"
    assert luggage.target.reference == "task.py:Mine"
    module = packed(Target("mine.task:Mine", base=str(tmp_path)))
    assert (module.folder, module.target.reference) == (str(tmp_path), "mine.task:Mine")


def test_ports_are_the_loopbacks_where_the_cluster_is_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" in environment("local")
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment("10.0.0.5:6379")
    # What "auto" means is known beforehand.
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.5:6379")
    assert candidates() == ["10.0.0.5:6379"]
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in environment("auto")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
@pytest.mark.parametrize("mode", ["token", "disabled"])
def test_a_cluster_here_whose_calls_carry_a_token_is_known_by_its_nodes(mode: str) -> None:
    address = f"127.0.0.1:{3 + len(mode)}"  # where nobody listens
    code = "import sys; print('there', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        ["/somewhere/raylet", "-c", code, f"--gcs-address={address}"],
        executable=sys.executable,
        env={"RAY_AUTH_MODE": mode},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as node:
        assert node.stdout is not None
        assert node.stdout.readline() == b"there\n"
        assert address in (here() or [])
        assert is_node_of(3 + len(mode))
        assert (environment(address).get("RAY_AUTH_MODE") == "token") == (mode == "token")
        assert "RAY_AUTH_MODE" not in environment("127.0.0.1:2")
        node.kill()
    assert address not in (here() or [])


DEAD = (
    "The actor died unexpectedly before finishing this task.\n\tpid: 10934\n"
    "The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit "
    "detail: End of file. Some common causes include: (1) the process was killed"
)


def test_how_a_worker_ended_is_said_in_words() -> None:
    assert end_of(DEAD) == End("its process died (SYSTEM_ERROR: End of file)")
    raised = end_of("error raised in its creation task\n  File x\nImportError: no torch")
    assert raised == End("ImportError: no torch", is_raised=True)


def test_a_row_lies_in_the_folder_before_its_event_is_told(tmp_path: Path) -> None:
    ends = [TrialFinished(0, "completed", 0.0, row="rows/a"), TrialFinished(1, "stopped", 0.0)]
    word = Word("events", ends, files=(("rows/a", b"row"), ("traces/a", b"trace")))
    assert kept(word, tmp_path) == ends
    assert (tmp_path / "rows" / "a").read_bytes() == b"row"
    assert [path.name for path in (tmp_path / "rows").iterdir()] == ["a"]


def test_a_row_that_cannot_be_written_fails_its_trial_and_a_trace_is_only_noticed(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text("in the way")
    (tmp_path / "traces").write_text("in the way")
    ends = [TrialFinished(0, "completed", 0.0, row="rows/a"), TrialFinished(1, "completed", 0.0)]
    first, second, notice = kept(
        Word("events", ends, files=(("rows/a", b"row"), ("traces/a", b"trace"))), tmp_path
    )
    assert isinstance(first, TrialFinished)
    assert first.outcome == "failed"
    assert "could not be saved" in first.error
    assert second == ends[1]
    assert isinstance(notice, Noticed)
    assert "traces/a could not be written" in notice.text
