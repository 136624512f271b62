"""Studies that a process of their own runs on a Ray cluster, and the workers that it has there."""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.store import Journal
from trials.spec import Report, TrialSpec

ROOT = Path(__file__).parents[1]
SECONDS = 180.0  # that anything may take, on a machine that others use too


def workers(cluster: Any) -> set[int]:
    """Processes that are a worker of ours on a cluster of this machine, also once its node is gone."""
    session = str(cluster.head_node.get_session_dir_path()).encode()
    found: set[int] = set()
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                # Ray writes what an actor is into its title.
                is_one = (process / "cmdline").read_bytes().startswith(b"ray::Actor")
                if is_one and session in (process / "environ").read_bytes():
                    found.add(int(process.name))
            except OSError:
                continue  # it has ended
    return found


def wait(holds: Callable[[], bool], what: Callable[[], str]) -> None:
    """Until it holds, or fail with what is said then."""
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


class Driven:
    """One study, in a folder of its own: begun, killed, taken up, looked at."""

    def __init__(self, folder: Path, name: str, search: Sequence[object]) -> None:
        self.folder, self.name = folder, name
        self.journal = Journal(folder / "studies" / name / "journal.jsonl")
        self._search = [*map(str, search), "--name", name]

    def begin(self) -> "subprocess.Popen[str]":
        """Search, or resume where there is something to resume."""
        has_begun = self.journal.path.exists() and b"\n" in self.journal.path.read_bytes()
        words = ["resume", self.name] if has_begun else self._search
        with (self.folder / "output.txt").open("a") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "hpo", *words],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def count(self, kind: type) -> int:
        """Events of a kind that are in the journal by now."""
        if not self.journal.path.exists():
            return 0
        return sum(isinstance(event, kind) for event in self.journal.read()[0])

    def output(self) -> str:
        """All that was said."""
        return (self.folder / "output.txt").read_text()

    def ended(self, trials: int) -> tuple[dict[int, TrialSpec], dict[int, TrialFinished]]:
        """Specs and ends of the trials there were to be, each of which ended once."""
        events = list(self.journal)
        started = [event.spec for event in events if isinstance(event, TrialStarted)]
        assert sorted(spec.trial for spec in started) == list(range(trials))
        ends = [event for event in events if isinstance(event, TrialFinished)]
        assert Counter(event.trial for event in ends) == dict.fromkeys(range(trials), 1)
        return {spec.trial: spec for spec in started}, {event.trial: event for event in ends}

    def reports(self) -> dict[int, list[Report]]:
        """What each trial reported, in order."""
        found: dict[int, list[Report]] = {}
        for event in self.journal:
            if isinstance(event, TrialReported):
                found.setdefault(event.report.trial, []).append(event.report)
        return found
