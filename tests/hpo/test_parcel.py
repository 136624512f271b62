"""A study's folder as lines of text, and back."""

import subprocess
import sys
from pathlib import Path

import pytest

from hpo.errors import RunnerError
from hpo.runners.parcel import pack, unpacked

FILES = {"journal.jsonl": b'{"event":"x"}\n', "rows/trial-00001.safetensors": bytes(range(256)) * 900}


def a_study(folder: Path) -> Path:
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "rows" / ".trial-00002.partial").write_bytes(b"half")
    (folder / ".mirror.lock").write_bytes(b"")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_what_was_packed_arrives_whole_amid_other_lines(tmp_path: Path) -> None:
    text = pack(a_study(tmp_path / "there"))
    assert max(map(len, text.splitlines())) < 2**17
    home = tmp_path / "here" / "study"
    with unpacked(f"a line before\n{text}\nand one after\n", home):
        assert not home.exists()
    assert contents(home) == FILES
    # Again, in the place of what is there.
    (home / "old.txt").write_text("of an earlier time")
    with unpacked(text, home):
        pass
    assert contents(home) == FILES
    assert [path.name for path in home.parent.iterdir()] == ["study"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: text.replace("A", "B", 1),
        lambda text: "Traceback (most recent call last):",
    ],
)
def test_what_does_not_arrive_whole_changes_nothing(damage, tmp_path: Path) -> None:
    home = tmp_path / "study"
    home.mkdir()
    (home / "journal.jsonl").write_bytes(b"kept")
    text = damage(pack(a_study(tmp_path / "there")))
    with pytest.raises(RunnerError, match="did not arrive whole"), unpacked(text, home):
        pytest.fail("it is damaged")
    assert contents(home) == {"journal.jsonl": b"kept"}


def test_what_is_refused_once_it_is_unpacked_changes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "study"
    home.mkdir()
    (home / "journal.jsonl").write_bytes(b"kept")
    with pytest.raises(KeyError), unpacked(pack(a_study(tmp_path / "there")), home):
        raise KeyError
    assert contents(home) == {"journal.jsonl": b"kept"}


def test_a_study_that_is_not_there_is_named_with_those_that_are(tmp_path: Path) -> None:
    a_study(tmp_path / "there")
    said = subprocess.run(
        [sys.executable, "-m", "hpo.runners.parcel", str(tmp_path / "their")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 2
    assert said.stdout == f"hpo: no study {tmp_path}/their on the head; there: there\n"
