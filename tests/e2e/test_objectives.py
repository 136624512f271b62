"""Several metrics and constraints, as a user has them: from the study file to every view."""

import json
from pathlib import Path

import pytest

from dashboards.load import load
from hpo.events import StudyFinished
from hpo.history import History
from hpo.listeners.runs import STUDY, Runs
from hpo.objective import Objective
from hpo.store import Journal

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
FILE = f"""
task = "{SAMPLE}:weighed"
metric = ["val_loss", {{name = "size", goal = "min"}}]
[constraints]
delay = {{max = 3.0}}
[trial]
steps = 12
reports = 4
[search]
sampler = "SAMPLER"
pruner = "PRUNER"
[limits]
trials = 14
[tracking]
uri = "none"
"""


def write(folder: Path, sampler: str = "tpe", pruner: str = "asha", text: str = FILE) -> str:
    (folder / "both.toml").write_text(text.replace("SAMPLER", sampler).replace("PRUNER", pruner))
    return "both.toml"


@pytest.mark.parametrize(
    ("sampler", "pruner"), [("tpe", "asha"), ("curve", "trust"), ("nsga2", "median"), ("random", "never")]
)
def test_a_front_within_constraints_is_found_and_shown(command, tmp_path: Path, sampler, pruner) -> None:
    said = command("search", write(tmp_path, sampler, pruner))
    assert said.code == 0, said.err
    assert "front: " in said.out
    assert "best by val_loss: trial" in said.out
    opening = "study both minimises val_loss, minimises size, with delay at most 3"
    assert opening in said.out
    history = History(Objective.of_study(_study(tmp_path)), Journal(_journal(tmp_path)))
    front = [trial.spec.trial for trial in history.front]
    assert front
    for trial in history.front:
        assert trial.metrics["delay"] <= 3.0
        for other in history.trials.values():
            if other.state == "completed" and other.metrics["delay"] <= 3.0:
                is_better = other.metrics["val_loss"] < trial.metrics["val_loss"]
                assert not (is_better and other.metrics["size"] <= trial.metrics["size"])
    best = json.loads(command("best", "both", "--json").out)
    assert [one["trial"] for one in best["front"]] == front
    assert best["values"] == {name: best["metrics"][name] for name in ("val_loss", "size")}
    shown = command("show", "both").out
    assert shown.count("  front  ") == len(front)
    facts = json.loads(command("list", "--json").out)[0]
    assert facts["front"] == front
    assert facts["constraints"] == ["delay at most 3"]
    page = (tmp_path / "studies" / "both" / "report.html").read_text(encoding="utf-8")
    assert 'data-figure="front"' in page
    runs = Runs()
    for event in Journal(_journal(tmp_path)):
        runs.tell(event)
    assert runs.study.tags["hpo.front"] == ", ".join(map(str, sorted(front)))
    assert runs.study.tags["hpo.metrics"] == "min val_loss, min size"
    members = {key for key, run in runs.runs.items() if run.tags.get("hpo.in_front") == "true"}
    assert members == set(front)
    assert STUDY not in members


def _journal(folder: Path) -> Path:
    return folder / "studies" / "both" / "journal.jsonl"


def _study(folder: Path) -> dict:
    return json.loads(_journal(folder).read_text().splitlines()[0])["study"]


def test_a_constraint_on_what_nobody_reports_ends_the_study_and_force_goes_on(
    command, tmp_path: Path
) -> None:
    text = FILE.replace("delay =", "latency =")
    said = command("search", write(tmp_path, text=text))
    assert said.code == 2
    line = said.err.strip().splitlines()[-1]
    assert "no trial reports 'latency', which [constraints] bounds (latency at most 3)" in line
    assert "delay, size, val_loss" in line
    events = list(Journal(_journal(tmp_path)))
    assert isinstance(events[-1], StudyFinished)
    assert events[-1].error
    assert events[-1].best is None
    assert len(History(events=events).trials) < 14
    assert json.loads(command("list", "--json").out)[0]["state"] == "failed"
    again = command("resume", "both", "--trials", "15")
    assert again.code == 2
    forced = command("resume", "both", "--force")
    assert forced.code == 0, forced.err
    assert "front: " in forced.out
    assert len(History(events=Journal(_journal(tmp_path))).trials) == 15
    # Every view knows that the bound is gone.
    front = json.loads(command("list", "--json").out)[0]["front"]
    assert front
    assert f"trial {front[0]}" in command("best", "both").out
    assert load(_journal(tmp_path).parent).history.front[0].spec.trial == front[0]
    runs = Runs()
    for event in Journal(_journal(tmp_path)):
        runs.tell(event)
    assert runs.study.tags["hpo.front"] == ", ".join(map(str, sorted(front)))


def test_a_study_that_ended_with_an_error_says_it_again_until_it_is_changed(command, tmp_path: Path) -> None:
    text = FILE.replace("delay =", "latency =").replace("trials = 14", "trials = 1")
    command("search", write(tmp_path, text=text))
    refused = command("resume", "both")
    assert refused.code == 2
    assert "study 'both' ended with an error: no trial reports 'latency'" in refused.err
    # Its one trial is all that it may have, and can now be the best.
    assert command("resume", "both", "--force").code == 0
    assert "trial 0" in command("best", "both").out


def test_where_no_trial_keeps_the_constraints_the_nearest_is_named(command, tmp_path: Path) -> None:
    text = FILE.replace("{max = 3.0}", "{max = -1.0}")
    said = command("search", write(tmp_path, "random", "never", text))
    assert "none keeps delay at most -1; the nearest is trial" in said.out
    refused = command("best", "both")
    assert refused.code == 2
    assert "has no trial with a finite val_loss, with delay at most -1, yet" in refused.err


def test_a_sampler_of_one_metric_is_refused(command, tmp_path: Path) -> None:
    said = command("search", write(tmp_path, "cmaes"))
    assert said.code == 2
    assert "sampler 'cmaes' searches by one metric, not by val_loss, size; by several do: curve" in said.err


def test_what_a_model_takes_and_how_long_it_trains_can_be_sought(command, tmp_path: Path) -> None:
    (tmp_path / "small.toml").write_text(
        """
task = "digits"
metric = ["val_loss", "parameters"]
[constraints]
bytes = {max = 1e9}
seconds = {max = 1e6}
[space]
lr = {low = 1e-3, high = 1e-1, scale = "log"}
width = {choice = [2, 4]}
[trial]
steps = 20
reports = 2
[search]
sampler = "random"
pruner = "never"
[limits]
trials = 4
[runner]
name = "lanes"
lanes = 2
compile = "never"
[tracking]
uri = "none"
"""
    )
    said = command("search", "small.toml")
    assert said.code == 0, said.err
    best = json.loads(command("best", "small", "--json").out)
    sizes = {one["config"]["width"]: one["metrics"]["parameters"] for one in best["front"]}
    assert best["metrics"]["bytes"] >= 4 * best["metrics"]["parameters"] > 0
    assert best["metrics"]["seconds"] > 0
    assert sizes == dict(sorted(sizes.items(), key=lambda one: one[1]))
    wrong = command("search", "small.toml", "--name", "other", "--set", 'metric=["val_loss", "parameter"]')
    assert wrong.code == 2
    assert "unknown metric 'parameter'; did you mean 'parameters'?" in wrong.err
