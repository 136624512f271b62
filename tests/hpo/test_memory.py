"""Memory that processes share which are not each other's children."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.runners.memory import NodeMemory

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads /proc")


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def test_all_have_one_file_and_the_last_removes_it(tmp_path: Path) -> None:
    first, second, other = NodeMemory("a", tmp_path), NodeMemory("a", tmp_path), NodeMemory("b", tmp_path)
    assert first.descriptor is not None
    assert second.descriptor is not None
    os.pwrite(first.descriptor, b"data", 0)
    assert os.pread(second.descriptor, 9, 0) == b"data"
    first.close()
    assert names(tmp_path) == {"hpo-data-a", "hpo-data-a.held", "hpo-data-b", "hpo-data-b.held"}
    second.close()
    second.close()
    assert names(tmp_path) == {"hpo-data-b", "hpo-data-b.held"}
    other.close()
    assert names(tmp_path) == set()


def test_what_a_killed_worker_left_the_next_removes(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom hpo.runners.memory import NodeMemory\n"
        "NodeMemory('lost', Path(sys.argv[1]))\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert "hpo-data-lost" in names(tmp_path)
    memory = NodeMemory("next", tmp_path)
    assert names(tmp_path) == {"hpo-data-next", "hpo-data-next.held"}
    memory.close()


def test_where_memory_has_no_names_there_is_none(tmp_path: Path) -> None:
    memory = NodeMemory("a", tmp_path / "nowhere")
    assert memory.descriptor is None
    memory.close()
