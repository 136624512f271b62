"""A study that a cluster runs by itself: sent to the server on its head, followed, stopped, asked for.

Ray calls this its job submission. Only HTTP passes between here and there, so a laptop needs to reach one
port of the head and nothing else, and may be closed while the study goes on.
"""

import asyncio
import contextlib
import logging
import os
import shlex
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import requests
from ray.exceptions import RayError
from ray.job_submission import JobSubmissionClient

from hpo.errors import RunnerError, UsageError
from hpo.runners.cluster import Luggage

_ROOT = Path(__file__).resolve().parents[2]
_OURS = ("hpo", "schedules", "trials", "dashboards")  # packages that travel
FIRST_SECONDS = 10.0  # that the server may take for its first answer, and to be reached at any time
_ANSWER = 120.0  # seconds that it may take for another
_BEGINNING = 60.0  # seconds that a head may take to take its first study
_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")

# What this project needs where the search runs; said before it is imported there, in one line.
_NEEDS = ("numpy", "typer", "rich", "tomli_w", "torch", "safetensors", "optuna", "ray")
_CHECK = """
import importlib.util, sys
lacks = [name for name in sys.argv[1:] if importlib.util.find_spec(name) is None]
old = sys.version_info < (3, 11)
if old: print("hpo: the head of the cluster has Python %d.%d, 3.11 or later is needed" % sys.version_info[:2])
elif lacks: print("hpo: the head of the cluster lacks " + ", ".join(lacks) + ": install this project there")
sys.exit(2 if old or lacks else 0)
"""

MOST_BYTES = 512 * 2**20  # a package goes in one message, and Ray has none that is longer


class _TooLarge(Exception):  # noqa: N818 - caught here
    """A package that the cluster would not take."""


_RAYS = cast(Any, JobSubmissionClient)


class _Client(_RAYS):
    """Ray's client, which would wait for ever, and send what will be refused."""

    def __init__(self, address: str) -> None:
        _RAYS.__init__(self, address)
        context: Any = self._ssl_context
        # The same as None, in words of aiohttp's that it does not warn of.
        self._ssl_context: Any = True if context is None else context

    def _do_request(self, method: str, endpoint: str, *, data: bytes | None = None, **options: Any) -> Any:
        if data is not None and len(data) >= MOST_BYTES:
            raise _TooLarge(len(data))
        is_first = endpoint == "/api/version"
        options.setdefault("timeout", (FIRST_SECONDS, FIRST_SECONDS if is_first else _ANSWER))
        return _RAYS._do_request(self, method, endpoint, data=data, **options)


@dataclass(frozen=True)
class Submitted:
    """What the head knows of something that was sent to it."""

    name: str  # by which it is followed and stopped
    facts: Mapping[str, str]  # that were sent with it
    state: str
    code: int | None  # exit code, once it has ended by itself
    message: str
    began: int  # milliseconds

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.state in _ENDED


class Head:
    """The server that takes studies, on the head of a cluster.

    Raises:
        UsageError: the address is none of such a server, or nobody answers there as one would.
    """

    def __init__(self, address: str) -> None:
        logging.getLogger("ray").setLevel(logging.ERROR)
        for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk"):
            logging.getLogger(name).setLevel(logging.ERROR)
        self.address = _checked(address)
        # It would take the place of what the user typed.
        os.environ["RAY_API_SERVER_ADDRESS"] = self.address
        self._client: Any = self._asked(lambda: _Client(self.address), is_first=True)

    def _asked(self, call: Callable[[], Any], is_first: bool = False, what: str = "") -> Any:
        """What a call to the server gives.

        Raises:
            UsageError: it is not there, or refuses.
            RunnerError: it was there, and is no more.
        """
        try:
            return call()
        except _TooLarge as error:
            raise UsageError(
                f"{what} is too large to travel to the cluster: packed it has "
                f"{error.args[0] / 2**20:.1f} MiB, and less than {MOST_BYTES / 2**20:.0f} are taken. "
                "Name what need not travel in its .gitignore"
            ) from error
        except (ConnectionError, requests.exceptions.RequestException, TimeoutError) as error:
            if is_first:
                raise UsageError(
                    f"no Ray cluster takes studies at {self.address}: is it running, and does its head "
                    "have a dashboard (ray[default]) that this machine can reach?"
                ) from error
            raise RunnerError(f"the head at {self.address} answers no more: {_one_line(error)}") from error
        except (RuntimeError, ValueError, OSError, KeyError, RayError) as error:
            raise UsageError(f"the head at {self.address}: {_one_line(error)}") from error

    def submit(
        self,
        command: Sequence[str],
        name: str,
        luggage: Luggage | None = None,
        modules: Sequence[Path] = (),
        facts: Mapping[str, str] | None = None,
    ) -> str:
        """Have the head run a command of this project; how it is named there.

        Args:
            command: words after `python -m`; one that begins with ~/ lies in the home there.
            name: to call it.
            luggage: the user's folder, that it is run in, and everything else is relative to.
            modules: further folders that can be imported there.
            facts: what to keep with it.

        Raises:
            UsageError: the cluster does not take it.
        """
        environment: dict[str, Any] = {
            "py_modules": [*(str(_ROOT / one) for one in _OURS), *map(str, modules)],
            "excludes": ["__pycache__", *(luggage.stays if luggage else ())],
            "env_vars": {"RAY_USAGE_STATS_ENABLED": "0", "HPO_CHECK": _CHECK},
        }
        folder = luggage.folder if luggage else ""
        if folder:
            environment["working_dir"] = folder
        entry = (
            f'python -c "$HPO_CHECK" {" ".join(_NEEDS)} && exec python -m {" ".join(map(_quoted, command))}'
        )
        send = partial(
            self._client.submit_job,
            entrypoint=entry,
            submission_id=name,
            runtime_env=environment,
            metadata=dict(facts or {}),
        )
        until = time.monotonic() + _BEGINNING
        while True:
            try:
                return str(self._asked(send, what=folder or "this project"))
            except UsageError as error:
                # A head that was started just now takes studies a little later than it answers.
                if "No available agent" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(1.0)

    def follow(self, name: str, show: Callable[[str], None]) -> None:
        """Show what it prints until it has ended."""
        shown = 0

        async def tail() -> None:
            nonlocal shown
            seen = 0
            async for part in self._client.tail_job_logs(name):
                # Asked again after an interruption, the server begins again.
                fresh = part[max(0, shown - seen) :]
                seen += len(part)
                if fresh:
                    show(fresh)
                    shown = seen

        while True:
            # Whether there still is a head is found out next.
            with contextlib.suppress(RuntimeError, OSError, aiohttp.ClientError):
                asyncio.run(tail())
            if self.look(name).has_ended:
                return

    def look(self, name: str) -> Submitted:
        """How it stands.

        Raises:
            UsageError: the head knows nothing of it.
        """
        return _submitted(self._asked(lambda: self._client.get_job_info(name)))

    def all(self) -> list[Submitted]:
        """Everything that was sent to this cluster, the latest first."""
        found = self._asked(lambda: self._client.list_jobs())
        return sorted(
            (_submitted(one) for one in found if one.submission_id), key=lambda one: one.began, reverse=True
        )

    def output(self, name: str) -> str:
        """All that it has printed."""
        return str(self._asked(lambda: self._client.get_job_logs(name)))

    def forget(self, name: str) -> None:
        """Have the head forget of one that has ended."""
        self._asked(lambda: self._client.delete_job(name))


def _checked(address: str) -> str:
    """The address of a server, without what is too much.

    >>> _checked("http://head:8265/")
    'http://head:8265'
    """
    parts = urllib.parse.urlsplit(address)
    try:
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fine = False
    if not is_fine:
        raise UsageError(
            f"--address {address!r} must be that of the head's dashboard, such as http://HEAD:8265"
        )
    return address.rstrip("/")


def _submitted(found: Any) -> Submitted:
    return Submitted(
        str(found.submission_id),
        dict(found.metadata or {}),
        str(getattr(found.status, "value", found.status)),
        found.driver_exit_code,
        str(found.message or ""),
        int(found.start_time or 0),
    )


def _quoted(word: str) -> str:
    """A word for the head's shell, which puts its home for ~/.

    >>> _quoted("~/my studies"), _quoted("a b")
    ("~/'my studies'", "'a b'")
    """
    return f"~/{shlex.quote(word[2:])}" if word.startswith("~/") and len(word) > 2 else shlex.quote(word)


def _one_line(error: BaseException) -> str:
    """What a server said, without the traceback in it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return text if len(lines) < 2 else f"{lines[0].partition(': Traceback')[0]}: {text}"
