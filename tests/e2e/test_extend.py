"""`hpo extend`: a trial goes on from its saved row, in full or with several cooldowns."""

from pathlib import Path

import numpy as np
import pytest

from hpo.traces import read_trace
from tests.trials_sample import close
from trials.rows import Row

STUDY = """
task = {{name = "tabular", data = "wine"}}
[space]
lr = {{low = 0.001, high = 0.02, scale = "log"}}
schedule = "{schedule}"
width = 8
batch_size = 8
[trial]
steps = 40
save = "{save}"
[search]
pruner = "never"
sampler = "random"
[runner]
name = "lanes"
compile = "never"
lanes = 2
[limits]
trials = 2
[tracking]
uri = "none"
"""


@pytest.fixture
def study(command, tmp_path: Path):
    """Search a small study with this schedule; its folder."""

    def search(schedule: str, save: str = "all") -> Path:
        (tmp_path / "s.toml").write_text(STUDY.format(schedule=schedule, save=save))
        said = command("search", "s.toml")
        assert said.code == 0, said.err
        return tmp_path / "studies" / "s"

    return search


def metrics(line: str) -> dict[str, float]:
    """The names and numbers at the end of a line."""
    words = line.split("  ")[1:]
    return {name: float(value) for name, value in (word.split(" ") for word in words)}


def test_a_trial_goes_on_under_a_schedule_that_warms_up_again(command, study) -> None:
    folder = study("cosine")
    journal = (folder / "journal.jsonl").read_bytes()
    said = command("extend", "s", "--trial", 1, "--steps", 30)
    assert said.code == 0, said.err
    before, after = (line for line in said.out.splitlines() if line.startswith(("before, at", "after, at")))
    assert before.startswith("before, at step 40 ")
    assert after.startswith("after, at step 70 ")
    assert metrics(before).keys() == metrics(after).keys() >= {"train_loss", "val_loss"}
    row = Row.load(folder / "rows" / "extended-00001-by-30.safetensors")
    assert (row.step, row.names["parent"], row.names["trial"]) == (70, "rows/trial-00001.safetensors", 1)
    factor = read_trace(folder / "traces" / "extended-00001-by-30.npz").factor
    assert len(factor) == 30
    assert factor.max() == pytest.approx(1.0)
    assert (folder / "journal.jsonl").read_bytes() == journal
    # Taking up the study tidies up rows, but not this one.
    assert command("resume", "s", "--trials", 3, "--set", "trial.save=best").code == 0
    assert (folder / "rows" / "extended-00001-by-30.safetensors").is_file()


@pytest.mark.parametrize(("words", "peak"), [((), 4.0), (("--peak", 0.5), 0.5)])
def test_it_rises_to_where_the_trial_was_or_to_the_peak_given(command, study, words, peak: float) -> None:
    folder = study("knots(factors=[4.0, 0.0], fractions=[0.0, 1.0])")
    assert command("extend", "s", "--trial", 0, "--steps", 20, *words).code == 0
    factor = read_trace(folder / "traces" / "extended-00000-by-20.npz").factor
    assert factor.max() == pytest.approx(peak)


def test_a_tuner_may_search_again_from_there(command, study) -> None:
    folder = study("cosine")
    said = command("extend", "s", "--trial", 0, "--steps", 60, "--schedule", "race(k=3)")
    assert said.code == 0, said.err
    assert len(read_trace(folder / "traces" / "extended-00000-by-60.npz").loss) == 60
    assert "spent 100  wall 60" in said.out
    assert "race(k=3) finds its own" in command(
        *("extend", "s", "--trial", 0, "--steps", 60, "--schedule", "race(k=3)", "--peak", 2)
    ).err  # fmt: skip


def test_one_stable_run_is_cooled_down_in_several_ways(command, study) -> None:
    folder = study("constant")
    journal = (folder / "journal.jsonl").read_bytes()
    said = command("extend", "s", "--trial", 0, "--cooldowns", "10,20,40", "--shape", "linear")
    assert said.code == 0, said.err
    assert said.err == ""
    lines = said.out.splitlines()
    assert [line.split()[:2] for line in lines[1:6]] == [
        *(["cooldown", "step"], ["0", "40"], ["10", "50"], ["20", "60"], ["40", "80"])
    ]
    names = [path.name for path in (folder / "rows").glob("extended-*")]
    assert sorted(names) == [f"extended-00000-cooldown-{steps}.safetensors" for steps in (10, 20, 40)]
    assert (folder / "journal.jsonl").read_bytes() == journal
    # A cooldown is what the trial would have been, had it been trained with it from the beginning.
    trunk = read_trace(folder / "traces" / "trial-00000.npz")
    exported = command("export", "s", "--trial", 0)
    Path("trunk.toml").write_text(exported.out)
    for steps in (10, 20, 40):
        whole = command(
            *("train", "trunk.toml", "--steps", 40 + steps, "--trace", "whole.npz"),
            *("--schedule", f"wsd(cooldown_fraction={steps / (40 + steps)!r})"),
        )
        assert whole.code == 0, whole.err
        branch = read_trace(folder / "traces" / f"extended-00000-cooldown-{steps}.npz")
        wanted = read_trace(Path("whole.npz"))
        close(np.concatenate([trunk.loss, branch.loss]), wanted.loss, "training")


def test_a_trial_that_has_cooled_down_is_not_cooled_down_again(command, study) -> None:
    study("wsd")
    said = command("extend", "s", "--trial", 0, "--cooldowns", "10")
    assert said.code == 2
    assert "has cooled down already" in said.err
    assert 'schedule = "constant"' in said.err


def test_one_that_was_on_no_plateau_is_told_of(command, study) -> None:
    study("linear(floor=0.5)")
    said = command("extend", "s", "--trial", 0, "--cooldowns", "10 20")
    assert said.code == 0
    assert "was not on a plateau when it ended" in said.err


WRONG = {
    "nothing": ((), "say how far"),
    "no steps": (("--steps", 0), "'--steps'"),
    "unknown trial": (("--trial", 7, "--steps", 5), "has no trial 7; it has 0 to 1"),
    "both": (("--steps", 5, "--cooldowns", "5"), "leave out --steps"),
    "no number": (("--cooldowns", "5,x"), "whole numbers of at least 1"),
    "a peak of nothing": (("--steps", 5, "--peak", 0), "--peak 0.0 must be a number above 0"),
    "unknown schedule": (("--steps", 5, "--schedule", "rewram"), "did you mean 'rewarm'?"),
}


def test_what_cannot_be_is_refused(command, study) -> None:
    folder = study("constant", save="best")
    files = sorted(folder.rglob("*"))
    for words, essential in WRONG.values():
        said = command("extend", "s", *words)
        assert (said.code, said.out) == (2, ""), words
        assert essential in said.err
    assert "unknown study" in command("extend", "t", "--steps", 5).err
    gone = next(n for n in (0, 1) if not (folder / "rows" / f"trial-0000{n}.safetensors").exists())
    said = command("extend", "s", "--trial", gone, "--steps", 5)
    assert said.code == 2
    assert "has no row any more" in said.err
    assert 'save = "all"' in said.err
    assert sorted(folder.rglob("*")) == files


def test_a_function_leaves_nothing_to_go_on_from(command, sample) -> None:
    assert command("search", sample("curve"), "--trials", 2, "--steps", 4, "--tracking", "none").code == 0
    name = next(Path("studies").iterdir()).name
    assert "is a function" in command("extend", name, "--trial", 0, "--steps", 5).err
