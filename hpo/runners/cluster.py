"""What a cluster has room for and what has to travel to it: decided from plain tables, without Ray."""

import contextlib
import math
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from hpo.errors import UsageError
from hpo.runners.base import Cluster, Target
from trials.names import TASKS
from trials.spec import Value

Node = Mapping[str, float]  # what a node has: "CPU", "GPU" and others

_SECONDS = 5.0  # that an address may take to answer
_PROCESSES = Path("/proc")
_GCS = b"--gcs-address="  # a node's word for where its head is
_TOKEN = b"RAY_AUTH_MODE=token"  # in the environment of its nodes

# Beside what version control ignores: what studies leave where they are run.
_STAYS = ("mlflow.db*", "mlruns", "mlartifacts")


def environment(address: str) -> dict[str, str]:
    """Variables that Ray is to find when it is imported, to join the cluster at an address."""
    found = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # What it prints of workers that end would stand among our lines.
        "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    }
    if address == "auto":
        address = next((one for one in candidates() if is_there(one)), address)
    if _wants_token(address):
        found["RAY_AUTH_MODE"] = "token"
    if address == "local" or _is_loopback_only(address):
        # Ray takes a name of this machine for its address in the network, unless it is told that there is
        # none; then its ports are those of the loopback too.
        found["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return found


def _is_loopback_only(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if host not in ("127.0.0.1", "localhost") or not port.isdecimal():
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: it finds this machine's own address
            outward = probe.getsockname()[0]
        except OSError:
            return True  # there is no network
    return not answers(outward, int(port))


def is_there(address: str) -> bool:
    """Whether a server of Ray's answers at an address, as far as it is one."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    return not port.isdecimal() or answers(host, int(port))


def answers(host: str, port: int) -> bool:
    """Whether a server of Ray's answers there, or one of the same protocol: gRPC, which is HTTP/2.

    A process that hangs is still connected to by the system; it says nothing.
    """
    try:
        with socket.create_connection((host, port), _SECONDS) as line:
            line.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            return line.recv(4)[3:] == b"\x04"  # the first frame that a server sends has its settings
    except (OSError, OverflowError):
        return False


def here() -> list[str] | None:
    """Addresses of the clusters that nodes on this machine are of; None where one cannot see."""
    if not _PROCESSES.joinpath("self", "cmdline").exists():
        return None  # another system: Ray finds out
    return sorted({address for address, _ in _nodes()})


def _nodes() -> Iterator[tuple[str, Path]]:
    """(address of its head, process) of every node on this machine."""
    for process in _PROCESSES.iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
                words = (process / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"/raylet"):
                    for word in words:
                        if word.startswith(_GCS):
                            yield word.partition(b"=")[2].decode(), process


def _wants_token(address: str) -> bool:
    """Whether a node here of the cluster at an address has its calls carry a token.

    Heads that `ray start` starts do, by default, where this user has a token; Ray sends one only where it
    found the cluster by itself.
    """
    port = address.rpartition(":")[2]
    for other, process in _nodes():
        if other.rpartition(":")[2] == port:
            with contextlib.suppress(OSError):  # another user's
                if _TOKEN in (process / "environ").read_bytes().split(b"\0"):
                    return True
    return False


def is_node_of(port: int) -> bool:
    """Whether a node of the cluster whose head has this port runs on this machine, as far as one can see."""
    found = here()
    return found is None or any(address.rpartition(":")[2] == str(port) for address in found)


def candidates() -> list[str]:
    """What "auto" may mean, best first: the cluster that Ray's variable names, or else the one that was
    started here last, and all that run here.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named and named != "auto":
        return [named]
    path = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    latest = path.read_text().strip() if path.is_file() else ""
    return list(dict.fromkeys(filter(None, [latest, *(here() or [])])))


@dataclass(frozen=True)
class Share:
    """What each worker has of a node."""

    cpus: float
    gpus: float

    def fits(self, node: Node) -> int:
        """How many workers a node has room for.

        >>> Share(2, 0.5).fits({"CPU": 7.0, "GPU": 1.0}), Share(1, 0).fits({"CPU": 4.0})
        (2, 4)
        """
        # A hair more, so that ten tenths are one.
        counts = [
            math.floor(node.get(name, 0.0) / wanted + 1e-9)
            for name, wanted in (("CPU", self.cpus), ("GPU", self.gpus))
            if wanted
        ]
        return min(counts, default=0)

    def __str__(self) -> str:
        return f"{_count(self.cpus, 'CPU')} and {_count(self.gpus, 'GPU')}"


def _count(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def nodes_of(table: Sequence[Mapping[str, Any]]) -> list[Node]:
    """What each living node of Ray's table of nodes has."""
    return [dict(row["Resources"]) for row in table if row["Alive"]]


def share_of(cluster: Cluster, target: Target, nodes: Sequence[Node]) -> Share:
    """What each worker is to have.

    Raises:
        UsageError: a number that cannot be, or more than any node has; the message says which has most.
    """
    gpus = cluster.gpus_per_worker
    if gpus is None:
        may_have = target.kind == "lanes" and target.device.partition(":")[0] in ("", "cuda")
        gpus = float(may_have and any(node.get("GPU", 0) >= 1 for node in nodes))
    share = Share(cluster.cpus_per_worker, gpus)
    if not share.cpus and not share.gpus:
        raise UsageError("cpus_per_worker = 0 and gpus_per_worker = 0: a worker needs a share of something")
    if not nodes:
        raise UsageError("the cluster has no node that is alive")
    if not any(share.fits(node) for node in nodes):
        scarce = "GPU" if share.gpus > max(node.get("GPU", 0.0) for node in nodes) else "CPU"
        best = max(nodes, key=lambda node: (node.get(scarce, 0.0), node.get("CPU", 0.0)))
        has = Share(best.get("CPU", 0.0), best.get("GPU", 0.0))
        raise UsageError(
            f"no node has the {share} that each worker is to have: of {len(nodes)}, the one with most, "
            f"{address_of(best)}, has {has}. Lower --cpus-per-worker or --gpus-per-worker"
        )
    return share


def memory_of(cluster: Cluster, share: Share, nodes: Sequence[Node]) -> float:
    """Bytes that a worker may have of its own: what was said, or its part of the node with least a worker.

    >>> memory_of(Cluster(), Share(1, 0), [{"CPU": 4.0, "memory": 8e9}, {"CPU": 2.0, "memory": 6e9}])
    2000000000.0
    """
    if cluster.memory_per_worker is not None:
        return cluster.memory_per_worker * 2**30
    parts = [node["memory"] / share.fits(node) for node in nodes if share.fits(node) and node.get("memory")]
    return min(parts, default=math.inf)


def address_of(node: Node) -> str:
    """How Ray names a node among what it has."""
    names = [name.removeprefix("node:") for name in node if name.startswith("node:")]
    return next((name for name in names if not name.startswith("__")), "a node")


@dataclass(frozen=True)
class Luggage:
    """What has to travel to another machine: the user's folder, and the target as it is named there."""

    target: Target
    folder: str = ""  # "": nothing but this project
    stays: tuple[str, ...] = _STAYS  # patterns in the folder that do not


def packed(target: Target) -> Luggage:
    """The folder that the target's code and files lie in, named relative to it.

    >>> luggage = packed(Target("/home/me/study/task.py:Mine", base="/elsewhere"))
    >>> luggage.folder, luggage.target.reference, luggage.target.base
    ('/home/me/study', 'task.py:Mine', '.')
    """
    base = Path(target.base).resolve()
    reference, folder = target.reference, base
    place, _, name = reference.rpartition(":")
    if place.endswith(".py"):
        path = (base / place).resolve()
        if not path.is_relative_to(base):
            folder = path.parent
        reference = f"{path.relative_to(folder).as_posix()}:{name}"
    options = {name: _within(folder, value) for name, value in target.options.items()}
    if reference in TASKS and options == dict(target.options):
        return Luggage(replace(target, base="."))
    studies = Path(target.folder).resolve().parent
    stays = [f"/{studies.relative_to(folder).as_posix()}/"] if folder in studies.parents else []
    return Luggage(
        replace(target, reference=reference, options=options, base="."), str(folder), (*_STAYS, *stays)
    )


def _within(folder: Path, value: Value) -> Value:
    """A file of the folder by its place there; anything else as it is."""
    if isinstance(value, str) and value and Path(value).is_absolute():
        path = Path(value).resolve()
        if path.is_file() and path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return value


# -- how a worker ended, from what Ray says of it -----------------------------------------------------------


class End(NamedTuple):
    """How a worker ended."""

    reason: str
    is_blamed: bool = True  # it may have been by what it did
    is_raised: bool = False  # by an error before its first trial, which another would raise too


def end_of(text: str) -> End:
    """How an actor ended.

    >>> end_of("The actor died unexpectedly.\\nThe actor died because its node has died. Node Id: 5")
    End(reason='its node has left the cluster', is_blamed=False, is_raised=False)
    """
    if "creation task" in text:
        return End(last_line(text), is_raised=True)
    if "node has died" in text:
        return End("its node has left the cluster", is_blamed=False)
    if "worker process has died" in text:
        kind, _, detail = text.partition("Worker exit type: ")[2].partition(" Worker exit detail: ")
        detail = detail.partition(" Some common causes")[0].partition("\n")[0].strip().rstrip(".")
        return End(f"its process died ({kind.strip() or 'no reason given'}: {detail})")
    return End(last_line(text))


def last_line(text: str) -> str:
    """The last line of a traceback, which says what was raised."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
