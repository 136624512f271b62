"""What runs in a process of a cluster, without a cluster."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

# As Ray does it where several nodes share a machine: the folder goes, another has its name.
REMADE = """
import os, shutil, sys
from pathlib import Path
here = Path.cwd()
code = (here / "work.py").read_text()
from hpo.runners.actor import Actor
from hpo.runners.base import Target
from trials.spec import TrialSpec

actor = Actor("inline", Target("work.py:where", base=".", kind="inline"), 1, "a search")
place = actor.begin()
shutil.rmtree(here)
here.mkdir()
(here / "work.py").write_text(code)
(here / "data.txt").write_text("1.5")
actor.obey([("start", [TrialSpec(0, {"x": 0.0}, 0, 1, (1,), 1, 0)])], {})
said = []
while not any(word.value[-1].__class__.__name__ == "TrialFinished" for word in said):
    said += actor.hear(60.0).words
for word in said:
    for event in word.value:
        print(event)
actor.obey([("close",)], {})
while not actor.hear(60.0).has_ended:
    pass
"""
WORK = """
def where(spec):
    return float(open("data.txt").read())
"""


def test_a_worker_whose_working_folder_is_made_anew_finds_itself_in_the_new_one(tmp_path: Path) -> None:
    here = tmp_path / "working"
    here.mkdir()
    (here / "work.py").write_text(WORK)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{REMADE}"],
        cwd=here,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "{'val_loss': 1.5}" in done.stdout
    assert "outcome='completed'" in done.stdout
