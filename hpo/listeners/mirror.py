"""A tracking store kept equal to the journal, by a process of its own.

The store is a view. The mirror's process (`hpo.listeners.follower`) follows the journal file and brings the
store up to it, so the search neither imports mlflow (over a second) nor waits for a database (milliseconds
a call), and a store that fails costs the study nothing. What the store has already is found by its tags and
kept, so a mirror may be killed at any moment; the next one, or `rebuild`, completes its work and writes
nothing twice.
"""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hpo.errors import HpoError
from hpo.events import Event
from hpo.listeners.runs import Ending

DEFAULT_URI = "sqlite:///mlflow.db"
DEFAULT_EXPERIMENT = "hpo"

_LOOK_SECONDS = 1.0  # between two looks at what the process says
# Of whatever loads MLflow.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "GIT_PYTHON_REFRESH": "quiet",
    # MLflow would ask a server that is gone for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}
_ENVIRONMENT = {
    **QUIET,
    # Its libraries would start a thread a core.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


class MirrorError(HpoError):
    """The store could not be brought up to the journal."""


class Mirror:
    """Listener that keeps an MLflow store equal to the journal.

    *Laws.* Nothing here raises because of the store, waits for it before `close`, or changes the study.
    However often mirrors of one journal were killed and started, the store ends with one run for the study,
    one for each trial, and one value for each metric and step.
    """

    def __init__(
        self,
        uri: str,
        journal: Path | str,
        *,
        experiment: str = DEFAULT_EXPERIMENT,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        """Starts nothing yet; the first event does.

        Args:
            uri: where MLflow keeps its runs; a relative path means the working folder.
            journal: the file that every event told is already in.
            experiment: of MLflow; made if missing.
            warn: called once, with one line, if the mirror cannot go on; by default it goes to stderr.
        """
        self._command = [str(Path(journal).absolute()), uri, experiment]
        self._warn = warn or _to_stderr
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process writing to it
        self._answer = b""
        self._looked = 0.0
        self._settled = False  # written whole, failed, or left alone: nothing more to say

    @property
    def is_complete(self) -> bool:
        """Whether the store has been brought up to the whole journal."""
        return b'"done"' in self._answer

    def tell(self, event: Event) -> None:
        """Take in one event, which is in the journal already; costs the search nothing."""
        if self._process is None and not self._settled:
            self.start()
        elif time.monotonic() - self._looked > _LOOK_SECONDS:
            self._look(0.0)

    def start(self) -> None:
        """Start the process, as the first event does."""
        root = str(Path(__file__).parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            self._process = subprocess.Popen(
                # -P: a file called mlflow.py in the user's folder is not what is meant.
                [sys.executable, "-P", "-m", "hpo.listeners.follower", *self._command],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(paths)},
                # Ctrl-C is for the search; the mirror ends when its input does.
                process_group=0,
            )
        except OSError as error:
            self._settled = True
            self._warn(f"MLflow: the mirror does not start: {error}; the study goes on without it")

    def close(self, status: Ending | None = None, timeout_seconds: float = 60.0) -> bool:
        """Wait until everything is written; whether it is. Safe to call twice.

        Args:
            status: how the study's run ends; None reads it from the journal: FINISHED, FAILED when every
                trial failed, or KILLED when the study has not reached a limit.
            timeout_seconds: of waiting. What is not written by then is written after this process has ended.
        """
        process = self._process
        if process is not None and process.stdin is not None and not process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # it has ended; why, its last words tell
                process.stdin.write((status or "").encode() + b"\n")
            process.stdin.close()
            deadline = time.monotonic() + timeout_seconds
            while not self._settled and (left := deadline - time.monotonic()) > 0:
                self._look(left)
            if not self._settled:
                self._settled = True
                self._warn(
                    f"MLflow: {self._command[1]} is slow; runs are still being written in the background "
                    f"(process {process.pid})"
                )
        self._errors.close()
        return self.is_complete

    def _look(self, seconds: float) -> None:
        """Read what the process says, waiting at most so long; settle if that was its last word."""
        self._looked = time.monotonic()
        if self._settled or self._process is None or self._process.stdout is None:
            return
        output = self._process.stdout
        poll = select.poll()
        poll.register(output, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return
        if said := os.read(output.fileno(), 65536):
            self._answer += said
            return
        self._settled = True
        output.close()
        code = self._process.wait()
        if not self.is_complete:
            self._warn(
                f"MLflow: {self._reason(code)}; the study goes on without it, and its runs can be written "
                "later from the journal"
            )

    def _reason(self, code: int) -> str:
        try:
            return str(json.loads(self._answer)["error"])
        except (ValueError, KeyError):
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            return last or f"the mirror's process ended with code {code}"


def rebuild(
    journal: Path | str,
    uri: str = DEFAULT_URI,
    *,
    experiment: str = DEFAULT_EXPERIMENT,
    status: Ending | None = None,
    timeout_seconds: float = 3600.0,
) -> None:
    """Write what the store lacks of a study, from its journal.

    Raises:
        MirrorError: the store or the journal does not allow it.
    """
    said: list[str] = []
    mirror = Mirror(uri, journal, experiment=experiment, warn=said.append)
    mirror.start()
    if not mirror.close(status, timeout_seconds):
        raise MirrorError(" ".join(said))


def _to_stderr(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")
