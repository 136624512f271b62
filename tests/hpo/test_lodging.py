"""Folders of workers, also of those that were killed."""

import subprocess
import sys
from pathlib import Path

from hpo.runners.lodging import lodging

KEEPER = """
import sys
from pathlib import Path
from hpo.runners.lodging import lodging
folder = lodging(Path(sys.argv[1]))
(folder / "rows").mkdir()
(folder / "rows" / "trial-00000.safetensors").write_text("a row")
print(folder, flush=True)
sys.stdin.read()
"""


def keeper(place: Path) -> tuple["subprocess.Popen[str]", Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_killed_workers_left_is_removed_by_the_next_and_what_the_living_have_is_not(
    tmp_path: Path,
) -> None:
    (killed, left), (living, kept) = keeper(tmp_path), keeper(tmp_path)
    with killed, living:
        killed.kill()
        killed.wait()
        (tmp_path / "hpo-worker-of-somebody").mkdir()  # it holds no lock, so nobody knows whose it is
        own = lodging(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {
            own.name,
            kept.name,
            "hpo-worker-of-somebody",
        }
        assert (kept / "rows" / "trial-00000.safetensors").read_text() == "a row"
        assert not left.exists()
        living.kill()
