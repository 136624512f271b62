"""What a search has to say of how it runs: one line for the user, one event for the journal, once a study."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.events import Noticed, TrialFinished, TrialReported
from hpo.store import Journal

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "objectives_sample.py"
BASE = ("--steps", "20", "--trials", "4", "--tracking", "none", "--sampler", "random", "--pruner", "never")

# `data` sets what a process cannot hand to another.
KEEPS = """
import sys
sys.path.insert(0, {folder!r})
from objectives_sample import Line

class Task(Line):
    space = Line.space
    def data(self, split_seed):
        self.transform = lambda x: x
        return super().data(split_seed)
"""


def search(folder: Path, *words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A real search, with an environment of its own."""
    return subprocess.run(
        [sys.executable, "-m", "hpo", *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def of(folder: Path, kind: type) -> list:
    return [event for event in Journal(folder / "studies/study/journal.jsonl") if isinstance(event, kind)]


def values(folder: Path) -> dict[tuple[int, int], float]:
    return {
        (event.report.trial, event.report.spent): event.report.metrics["val_loss"]
        for event in of(folder, TrialReported)
    }


@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_compiler_there_is_one_line_and_the_same_results(workers: int, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    without, never = tmp_path / "without", tmp_path / "never"
    words = ("search", f"{SAMPLE}:Line", "--name", "study", *BASE, "--lanes", 2, "--workers", workers)
    for folder, setting, more in (
        (without, "auto", {"PATH": str(tmp_path / "bin"), "HPO_CACHE_DIR": str(tmp_path / "cache")}),
        (never, "never", {}),
    ):
        folder.mkdir()
        said = search(folder, *words, "--set", f"runner.compile={setting}", **more)
        assert said.returncode == 0, said.stderr
        assert {event.outcome for event in of(folder, TrialFinished)} == {"completed"}
        if folder is without:
            (notice,) = of(folder, Noticed)
            assert notice.topic == "compile"
            assert "g++" in notice.text
            # While it runs, and in the summary at its end.
            assert said.stdout.count(notice.text) == 2
            assert "g++" not in said.stderr
        else:
            assert of(folder, Noticed) == []
    assert values(without) == pytest.approx(values(never), rel=1e-5)


def test_data_that_workers_cannot_share_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(KEEPS.format(folder=str(SAMPLE.parent)))
    words = ("--name", "study", *BASE, "--lanes", 2, "--workers", 2, "--set", "runner.compile=never")
    said = search(tmp_path, "search", "mine.py:Task", *words)
    assert said.returncode == 0, said.stderr
    (notice,) = of(tmp_path, Noticed)
    assert notice.topic == "data"
    assert notice.text.startswith("each worker has its own copy of the data: ")
    assert {event.outcome for event in of(tmp_path, TrialFinished)} == {"completed"}


@pytest.mark.parametrize("workers", [1, 2])
def test_measured_lanes_are_in_the_journal_and_no_more_than_trials_can_fill(
    workers: int, tmp_path: Path
) -> None:
    words = ("--name", "study", *BASE, "--workers", workers, "--set", "runner.compile=never", "--debug")
    said = search(tmp_path, "search", f"{SAMPLE}:Line", *words)
    assert said.returncode == 0, said.stderr
    (notice,) = of(tmp_path, Noticed)
    assert notice.topic == "capacity"
    assert re.match("1 lane for|[2-9] lanes for", notice.text)
    assert " each worker, measured on " in notice.text
    assert "lanes kept busy: " in said.stderr + said.stdout
    shown = search(tmp_path, "show", "study", "--json")
    (told,) = json.loads(shown.stdout)["notices"]
    assert told["text"] == notice.text
    # Taken up, it may measure again; the same line is not told again.
    said = search(tmp_path, "resume", "study", "--trials", 5)
    assert said.returncode == 0, said.stderr
    assert len({(event.topic, event.text) for event in of(tmp_path, Noticed)}) == len(of(tmp_path, Noticed))


def test_a_journal_of_the_first_format_is_taken_up(tmp_path: Path) -> None:
    """It says 0 lanes and 0 workers where nothing was said, and knows no notices."""
    words = ("--name", "study", *BASE, "--lanes", 2, "--workers", 1, "--set", "runner.compile=never")
    assert search(tmp_path, "search", f"{SAMPLE}:Line", *words).returncode == 0
    journal = tmp_path / "studies/study/journal.jsonl"
    first, *rest = journal.read_text().splitlines(keepends=True)
    old = json.loads(first)
    old["format"], old["study"]["runner"]["lanes"], old["study"]["runner"]["workers"] = 1, 0, 0
    assert not any('"Noticed"' in line for line in rest)
    journal.write_text("".join([json.dumps(old) + "\n", *rest]))
    said = search(tmp_path, "resume", "study", "--trials", 6, "--lanes", 2, "--workers", 1)
    assert said.returncode == 0, said.stderr
    assert len(of(tmp_path, TrialFinished)) == 6
    assert search(tmp_path, "show", "study").returncode == 0
    assert search(tmp_path, "report", "study").returncode == 0
