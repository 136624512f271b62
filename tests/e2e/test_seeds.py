"""Replicas and test seeds of real trainings, from the command line, with both runners of tasks."""

import json
from pathlib import Path

import pytest

from hpo.events import StudyFinished
from hpo.history import History
from hpo.store import Journal

WORDS = (
    "--trials",
    8,
    "--steps",
    40,
    "--set",
    "runner.compile=never",
    "--tracking",
    "none",
    "--pruner",
    "asha",
)


@pytest.mark.parametrize(
    "runner", [("--runner", "lanes", "--lanes", 3), ("--runner", "processes", "--workers", 2)]
)
def test_the_winner_is_judged_by_three_seeds_and_reported_by_others(
    command, sample, tmp_path: Path, runner: tuple[object, ...]
) -> None:
    seeds = ("--replicas", 3, "--set", "seeds.leading=2", "--set", "seeds.test=2", "--name", "line")
    said = command("search", sample("Line"), *WORDS, *seeds, *runner)
    assert said.code == 0, said.err
    folder = tmp_path / "studies" / "line"
    history = History(events=Journal(folder / "journal.jsonl"))
    best = json.loads(command("best", "line", "--json").out)
    replicas = [one for one in history.trials.values() if one.replica_of is not None]
    assert [one.state for one in replicas] == ["completed"] * 4
    assert best["judged"]["seeds"] == 3
    assert best["judged"]["low"] <= best["judged"]["mean"] <= best["judged"]["high"]
    assert len(best["test_seeds"]) == 2
    assert best["test"], "read once, for the winner's row"
    assert "judged by 3 seeds: val_loss" in said.out
    assert "trained again with 2 seeds that chose nothing: val_loss" in said.out
    assert "judged by 3 seeds" in (folder / "report.html").read_text()
    # What was trained aside is no trial and leaves no file.
    assert max(history.trials) == 7
    assert not [*folder.glob("*/trial-00008*"), *folder.glob("*/trial-00009*")]
    told = command("explain", "line", replicas[0].spec.trial).out
    assert "It measures a leading configuration once more, with another seed" in told
    assert f"It counts for trial {replicas[0].replica_of}, whose config it has." in told

    used = replicas[0].spec.seed
    said = command("resume", "line", "--set", f"seeds.test=[{used}]")
    assert said.code == 2
    assert (
        said.err.strip()
        .splitlines()[-1]
        .endswith(
            f"[seeds] test: {used} trained trials that were chosen among: the winner can be reported only "
            "by seeds that chose nothing"
        )
    )
    said = command("resume", "line", "--set", "seeds.test=[5]")
    assert said.code == 0, said.err
    end = [one for one in Journal(folder / "journal.jsonl") if isinstance(one, StudyFinished)][-1]
    assert list(end.seeds) == ["5"]


def test_shared_seeds_are_refused_before_anything_is_written(command, sample, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        f'task = "{sample("noisy")}"\n[seeds]\ntuning = [1, 2, 3]\ntest = [3]\n'
    )
    said = command("search", "mine.toml")
    assert said.code == 2
    assert said.err.strip() == (
        "hpo: mine.toml [seeds] tuning and test share 3: the winner can be reported only by seeds that "
        "chose nothing"
    )
    assert not (tmp_path / "studies").exists()
