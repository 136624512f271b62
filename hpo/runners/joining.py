"""Join a Ray cluster, with what has to travel there, or say in one line why that cannot be."""

import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import ray as ray_package
from ray.exceptions import RayError

from hpo.errors import UsageError
from hpo.runners.actor import Place
from hpo.runners.base import Target
from hpo.runners.cluster import Luggage, candidates, here, is_node_of, is_there, packed
from trials.names import hint

ray = cast(Any, ray_package)  # its own types are half known

_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("hpo", "schedules", "trials")  # packages that travel: workers run the code that the search runs
_NOBODY = (
    "no Ray cluster runs on this machine: start one with `ray start --head`, name one with "
    "--address HOST:PORT, or have one of its own with --address local"
)
_TAKES = (
    "Is it the port of its head, or of its clients (10001) after ray://? If it wants a token, set "
    "RAY_AUTH_MODE=token, and have the token of its head in ~/.ray/auth_token"
)
_SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # of Ray, where it runs what was submitted to it
_STORE = 256 * 2**20  # bytes of the object store of a cluster of our own: rows pass through it


@dataclass(frozen=True)
class Link:
    """A cluster that was joined."""

    target: Target  # as it is named where workers are
    is_ours: bool  # to be left, and ended where it was started here

    def leave(self) -> None:
        """Leave the cluster; what was started there ends."""
        if self.is_ours and ray.is_initialized():
            ray.shutdown()


def join(address: str, target: Target) -> Link:
    """Join the cluster at an address: "auto", "local" (one of its own), HOST:PORT or ray://HOST:PORT.

    A program that has joined one already stays there, and sees to it that workers find its code.

    Raises:
        UsageError: there is none, it does not fit, or something cannot travel.
    """
    if ray.is_initialized():
        return Link(target, is_ours=False)
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address == "local":
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=_STORE,
            runtime_env={"env_vars": {"PYTHONPATH": path}},
            **quiet,
        )
        return Link(target, is_ours=True)
    address = _automatic() if address == "auto" else address
    _knock(address)
    luggage = packed(target)
    if _SUBMITTED in os.environ:
        luggage, environment = _carried(luggage), None
    else:
        environment = _environment(luggage)
    try:
        with warnings.catch_warnings():
            # It is said again by the error that follows.
            warnings.filterwarnings("ignore", "Ray Client connection timed out")
            ray.init(address=address, runtime_env=environment, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, ImportError, RayError) as error:
        ray.shutdown()  # what it has of a cluster by now
        raise UsageError(_in_words(address, luggage, error)) from error
    return Link(luggage.target, is_ours=True)


def _carried(luggage: Luggage) -> Luggage:
    """The same where everything came along already: workers are where this process is."""
    base = os.path.relpath(luggage.folder or os.curdir)
    return replace(luggage, target=replace(luggage.target, base=base), folder="")


def _environment(luggage: Luggage) -> dict[str, Any]:
    found: dict[str, Any] = {"py_modules": [str(_ROOT / name) for name in _OURS]}
    if luggage.folder:
        found.update(working_dir=luggage.folder, excludes=list(luggage.stays))
    return found


def _automatic() -> str:
    """The cluster that "auto" means here; "auto" where only Ray can tell.

    Ray would take any that a process on this machine is of, and try for a minute whether it answers.
    """
    found = candidates()
    if not found:
        if here() is None:
            return "auto"
        raise UsageError(_NOBODY)
    there = [address for address in found if is_there(address)]
    if not there:
        raise UsageError(f"{_NOBODY} (the latest, {found[0]}, answers no more)")
    if found[0] not in there and len(there) > 1:
        raise UsageError(
            f"several Ray clusters run on this machine: name one with --address, of {' and '.join(there)}"
        )
    return there[0]


def _knock(address: str) -> None:
    """Ray would try for a minute where nobody answers, or where this machine is no node of the cluster."""
    if address == "auto":
        return
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise UsageError(
            f"address = {address!r} must be auto, local, HOST:PORT or ray://HOST:PORT"
            f"{hint(address, ['auto', 'local']) if ':' not in address else ''}"
        )
    if not is_there(address):
        raise UsageError(
            f"no Ray cluster answers at {address}: is it running, and can this machine reach it?"
        )
    if not address.startswith("ray://") and not is_node_of(int(port)):
        raise UsageError(
            f"this machine is no node of the cluster at {address}: make it one with "
            f"`ray start --address {address}`, or use the head's own port for others, ray://HOST:10001"
        )


def _in_words(address: str, luggage: Luggage, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "Version mismatch" in text:
        return f"the cluster at {address} has other versions: {text.removeprefix('Version mismatch: ')}"
    if "package size" in text.lower() or "exceeds the maximum" in text:
        return (
            f"{luggage.folder} is too large to travel to the cluster: {text}. Name what need not in its "
            ".gitignore"
        )
    if address == "auto" and isinstance(error, ConnectionError):
        return _NOBODY
    if "client connection timeout" in text or "Failed to connect" in text or "authentication" in text:
        text = f"it takes no call of this kind from here. {_TAKES}"
    return f"the cluster at {address} cannot be joined: {text}"


def mismatch(place: Place, own: Mapping[str, str]) -> str:
    """Why the numbers of a worker would not be comparable, "" where they are: its torch is another.

    >>> mismatch(Place("n1", 1, {"torch": "2.0.1"}), {"torch": "2.13.0+cpu"})
    'n1 has torch 2.0.1, the search torch 2.13.0+cpu: install the same there'
    """
    found, wanted = place.versions.get("torch", ""), own.get("torch", "")
    if found.partition("+")[0] == wanted.partition("+")[0]:
        return ""
    return (
        f"{place.node} has {f'torch {found}' if found else 'no torch'}, the search torch {wanted}: "
        "install the same there"
    )
