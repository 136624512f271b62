"""`hpo train`: one trial of a task, outside a study."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpo.curves import write_text
from hpo.errors import UsageError
from hpo.traces import read_trace
from schedules import load_knots
from tests.trials_sample import close
from trials.rows import Row

ROOT = Path(__file__).parents[2]


def numbers(said, counter: str) -> int:
    """A counter of the line that says how the trial ended."""
    line = next(line for line in said.out.splitlines() if line.startswith("completed: "))
    words = line.replace(",", "").split()
    return int(words[words.index(counter) + 1])


def test_a_schedule_is_followed_for_the_steps_asked_for(command, tmp_path: Path) -> None:
    said = command(
        *("train", "tabular", "--steps", 30, "--lr", 0.01, "--schedule", "rex", "--set", "width=8"),
        *("--save", "row.safetensors", "--trace", "trace.npz", "--export-schedule", "found.toml"),
    )
    assert said.code == 0, said.err
    assert (numbers(said, "kept"), numbers(said, "spent"), numbers(said, "wall")) == (30, 30, 30)
    assert "val_loss" in said.out
    row = Row.load(tmp_path / "row.safetensors")
    assert (row.step, row.names["config"]["width"], row.names["schedule"]) == (30, 8, "rex")
    assert len(read_trace(tmp_path / "trace.npz").loss) == 30
    assert load_knots(tmp_path / "found.toml").lr == 0.01


def test_a_schedule_that_cannot_be_written_is_named_with_the_flag_it_was_given_to(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--export-schedule .*found.csv: "):
        write_text(tmp_path / "none" / "found.csv", "", "--export-schedule")


@pytest.mark.parametrize("tuner", ["race(k=3)", "autolrs(stages=1)"])
def test_what_a_search_found_is_replayed_with_the_same_seed(command, tmp_path: Path, tuner: str) -> None:
    words = ("train", "tabular", "--set", "width=8", "--set", "batch_size=8", "--seed", 3)
    found = command(
        *words, "--steps", 80, "--lr", 0.01, "--schedule", tuner, "--lanes", 3,
        *("--trace", "search.npz", "--export-schedule", "found.csv"),
    )  # fmt: skip
    assert found.code == 0, found.err
    assert numbers(found, "kept") == 80
    assert numbers(found, "spent") > numbers(found, "wall") >= 80
    again = command(*words, "--schedule", "found.csv", "--trace", "replay.npz", "--against", "search.npz")
    assert again.code == 0, again.err
    assert numbers(again, "spent") == 80
    assert "against search.npz: the same trajectory" in again.out
    one, other = (read_trace(tmp_path / name) for name in ("search.npz", "replay.npz"))
    close(other.loss, one.loss, "training")
    close(other.factor, one.factor, "once")
    # Another seed is another trajectory, of which it is said whether it ends as low.
    elsewhere = command(*words[:-1], 4, "--schedule", "found.csv", "--against", "search.npz")
    assert elsewhere.code == 0, elsewhere.err
    line = next(line for line in elsewhere.out.splitlines() if line.startswith("against search.npz: "))
    assert "training loss of the last 8 steps" in line
    assert "(one run each)" in line


def test_a_config_that_was_exported_is_trained_as_it_was(command, tmp_path: Path) -> None:
    (tmp_path / "best.toml").write_text(
        'task = {name = "tabular", data = "wine"}\n[config]\nlr = 0.02\nwidth = 8\nschedule = "wsd"\n'
        "cooldown_fraction = 0.5\n[run]\nsteps = 20\nhorizon = 20\nseed = 9\nsplit_seed = 1\n"
    )
    first = command("train", "best.toml", "--trace", "a.npz")
    assert first.code == 0, first.err
    assert numbers(first, "kept") == 20
    assert read_trace(tmp_path / "a.npz").factor[-1] == pytest.approx(0.1)
    assert "the same trajectory" in command("train", "best.toml", "--against", "a.npz").out
    # A schedule of one's own takes the place of the file's, with all that shapes that.
    other = command("train", "best.toml", "--schedule", "constant", "--trace", "b.npz")
    assert other.code == 0, other.err
    assert (read_trace(tmp_path / "b.npz").factor == 1).all()


def test_a_task_of_ones_own_needs_nothing_to_search(command, sample) -> None:
    said = command("train", sample("Line"), "--steps", 20, "--lr", 0.05)
    assert said.code == 0, said.err
    (Path("study.toml")).write_text(f'task = "{sample("Line")}"\n[space]\nlr = 0.05\n[trial]\nsteps = 25\n')
    said = command("train", "study.toml")
    assert said.code == 0, said.err
    assert numbers(said, "kept") == 25


def test_a_trial_that_diverges_ends_with_1(command) -> None:
    said = command("train", "tabular-regression", "--steps", 40, "--lr", 1e30, "--set", "optimizer=sgd")
    assert said.code == 1
    assert "the trial diverged: " in said.err


KNOTS = "format = 1\nknots = [[0, 1.0], [49, 0.0]]\n"
WRONG = {
    "steps of a file": (("--schedule", "k.toml", "--steps", 60), "has 50 steps and --steps is 60"),
    "no such file": (("--schedule", "none.toml"), "none.toml cannot be read"),
    "unknown schedule": (("--schedule", "cosin"), "did you mean 'cosine'?"),
    "a shape beside a file": (("--schedule", "k.toml", "--set", "floor=0.1"), "--set floor shapes"),
    "twice": (("--schedule", "rex", "--set", "schedule=wsd"), "give one"),
    "unknown hyperparameter": (("--set", "widht=3"), "did you mean 'width'?"),
    "no name": (("--set", "space.lr=3"), "must look like name=value"),
    "no number": (("--lr", "-1"), "--lr -1.0 must be a number above 0"),
    "lanes": (("--lanes", "0"), "auto or a whole number of at least 1"),
    "ending": (("--save", "row.pt"), "--save row.pt must end in .safetensors"),
    "folder": (("--trace", "nowhere/a.npz"), "there is no folder nowhere"),
    "trace": (("--against", "none.npz"), "none.npz is not there"),
    "too few steps": (("--schedule", "race", "--steps", 10), "horizon=10 is too short"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused(command, tmp_path: Path, case: str) -> None:
    (tmp_path / "k.toml").write_text(KNOTS)
    words, essential = WRONG[case]
    said = command("train", "tabular", *words)
    assert (said.code, said.out) == (2, "")
    assert said.err.count("\n") == 1
    assert essential in said.err


def test_functions_and_unknown_tasks_are_refused(command, sample) -> None:
    assert "is a function" in command("train", sample("curve")).err
    assert "did you mean 'digits'?" in command("train", "digts").err


def test_ctrl_c_ends_it_with_a_line(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "hpo", "train", "tabular", "--steps", "20000", "--save", "row.safetensors"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell that runs these tests in the background has it ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("step 2000 of 20000")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, (out, err)
    assert "Traceback" not in err
    assert "stopped at step " in err
    assert not np.any([path.suffix == ".safetensors" for path in tmp_path.iterdir()])
