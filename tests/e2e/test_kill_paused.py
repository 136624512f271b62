"""A search whose trials pause, killed by SIGKILL: paused trials go on from their rows and nothing is lost."""

import signal
import time
from pathlib import Path

import pytest

from hpo.events import TrialFinished, TrialPaused, TrialReported, TrialResumed
from hpo.store import Journal
from hpo.study import search_over
from tests.driven import SECONDS, Driven, wait
from tests.e2e.test_kill import wait_for_no_worker
from tests.told import told

STUDY = """
task = "gated.py:Gated"
tracking = false
[space]
lr = {{low = 1e-4, high = 1e-1, scale = "log"}}
batch_size = 8
schedule = "{schedule}"
[search]
pruner = "pause"
sampler = "random"
[pruner]
pilot = 3
[trial]
steps = 96
reports = 8
[limits]
trials = 6
[runner]
name = "{runner}"
lanes = 1
workers = 1
compile = "never"
device = "cpu"
"""
# Writes down every step, and waits at so many while the gate is there.
GATED = """
import time
from pathlib import Path
from tests.trials_sample import Line

FOLDER = Path({folder!r})
STEPS, GATE = FOLDER / "steps", FOLDER / "gate"

class Gated(Line):
    def loss(self, model, batch, hyper):
        with STEPS.open("a") as file:
            file.write(".")
        while GATE.exists() and STEPS.stat().st_size >= {most}:
            time.sleep(0.01)
        return super().loss(model, batch, hyper)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(
    ("runner", "schedule"), [("lanes", "constant"), ("lanes", "race(k=2)"), ("processes", "constant")]
)
def test_a_search_killed_amid_paused_trials_does_what_it_would_have(
    runner: str, schedule: str, tmp_path: Path
) -> None:
    (tmp_path / "gated.py").write_text(GATED.format(folder=str(tmp_path), most=230))
    (tmp_path / "study.toml").write_text(STUDY.format(runner=runner, schedule=schedule))
    steps, gate = tmp_path / "steps", tmp_path / "gate"
    whole = search_over(str(tmp_path / "study.toml"), root=tmp_path / "studies", name="whole")
    checking = steps.stat().st_size - whole.history.spent  # steps that are none of a trial
    steps.unlink()

    gate.touch()
    study = Driven(tmp_path, "killed", ["search", "study.toml"])
    process = study.begin()
    wait(lambda: steps.exists() and steps.stat().st_size >= 230, study.output)
    time.sleep(0.5)  # what is on its way to the search
    process.send_signal(signal.SIGKILL)
    process.wait(SECONDS)
    wait_for_no_worker(tmp_path)  # the gate still holds what trained
    before = list(study.journal)
    assert any(isinstance(event, TrialPaused) for event in before)
    saved: dict[int, int] = {}  # trial -> spent steps that its row has
    for event in before:
        if isinstance(event, TrialPaused):
            saved[event.trial] = event.spent
        elif isinstance(event, TrialFinished):
            saved[event.trial] = next(
                e.report.spent
                for e in reversed(before)
                if isinstance(e, TrialReported) and e.report.trial == event.trial
            )
    files = {int(path.stem[6:]) for path in (study.journal.path.parent / "running").iterdir()}
    assert files == saved.keys() - {event.trial for event in before if isinstance(event, TrialFinished)}

    gate.unlink()
    trained = steps.stat().st_size
    assert study.begin().wait(SECONDS) == 0, study.output()
    assert told(study.journal) == told(Journal(whole.folder / "journal.jsonl"))
    assert any(isinstance(event, TrialResumed) for event in list(study.journal)[len(before) :])
    # Nothing that a row has was trained a second time.
    assert steps.stat().st_size - trained == checking + whole.history.spent - sum(saved.values())
    assert not (study.journal.path.parent / "running").exists()
    assert (study.journal.path.parent / "report.html").is_file()
