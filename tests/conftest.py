"""What every test shares: a cache of its own, one thread a process, the command line in this process."""

import logging
import os
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hpo.runners.cluster import environment

# Before anything is imported that reads them; workers of pytest-xdist and processes of tests inherit them.
os.environ.setdefault("HPO_CACHE_DIR", tempfile.mkdtemp(prefix="hpo-test-cache-"))
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.update(environment("local"))  # Ray on the loopback, quiet

SAMPLE = Path(__file__).parent / "objectives_sample.py"


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Said]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`hpo` with these words, in this process, in a folder of its own."""
    from hpo.cli.main import main

    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["hpo", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(ended.value.code or 0), said.out, said.err)

    return run


@pytest.fixture
def sample() -> Callable[[str], str]:
    """The name under which an object of tests/objectives_sample.py is searched."""
    return lambda name: f"{SAMPLE}:{name}"


def free_port() -> int:
    """A port of the loopback that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[Any]:
    """A Ray cluster of one node with two CPUs, on this machine, for tests of xdist group "ray"."""
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 2,
        "object_store_memory": 100 * 2**20,
        "include_dashboard": False,
        "ray_client_server_port": free_port(),
        # A node that is gone is found to be within three seconds, not fifteen.
        "_system_config": {"health_check_period_ms": 500, "health_check_failure_threshold": 6},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves logs of its port for clients open
        cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def joined_cluster(ray_cluster: Any) -> Iterator[Any]:
    """The same, joined by this process for a module's tests, whose code workers find where it lies."""
    import ray

    ray.init(address=ray_cluster.address, logging_level=logging.ERROR, log_to_driver=False)
    yield ray_cluster
    ray.shutdown()
