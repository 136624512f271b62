"""Priors, starting points, and what `hpo explain` says of where trials came from and why they ended."""

import json
from pathlib import Path

import pytest

from hpo.cli.explain import rests
from hpo.events import TrialPaused, TrialResumed
from hpo.history import History
from hpo.store import Journal

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
FILE = f"""
task = "{SAMPLE}:curve"
[[start]]
x = 0.5
kind = "far"
shift = 0.25
[[start]]
rate = 0.03
[space]
x = {{low = -2.0, high = 2.0, prior = {{center = 0.4, confidence = "high"}}}}
rate = {{low = 1e-3, high = 1.0, scale = "log"}}
kind = {{choice = ["near", "far"], prior = {{center = "near"}}}}
shift = {{low = 0.0, high = 1.0, when = {{kind = "far"}}}}
depth = {{low = 1, high = 3}}
[trial]
steps = 12
reports = 4
[search]
sampler = "curve"
pruner = "asha"
[sampler]
startup_trials = 4
[limits]
trials = 16
[tracking]
uri = "none"
"""


@pytest.fixture
def history(command, tmp_path: Path) -> History:
    (tmp_path / "told.toml").write_text(FILE)
    said = command("search", "told.toml")
    assert said.code == 0, said.err
    return History(events=Journal(tmp_path / "studies" / "told" / "journal.jsonl"))


def test_every_trial_is_explained_from_the_journal(command, history: History, tmp_path: Path) -> None:
    first, second = history.trials[0].spec.config, history.trials[1].spec.config
    assert first["x"] == 0.5
    assert first["shift"] == 0.25
    assert second["rate"] == 0.03
    said = {number: json.loads(command("explain", "told", number, "--json").out) for number in history.trials}
    assert said[0]["tried"][0] == "It is a starting point of the study ([[start]]): 1 of 2."
    assert any("Believed beforehand: x near 0.4 (high), tried with" in line for line in said[3]["tried"])
    models = [one["tried"][0] for one in said.values() if one["origin"].startswith("model")]
    assert len(models) >= 8
    for line in models:
        assert line.startswith("The model of the sampler proposed it (curve): by ")
        assert "% from the best, between" in line
    stopped = [one for one in said.values() if one["state"] == "stopped"]
    assert stopped
    for one in stopped:
        assert " of 12 steps: asha: rung 4: " in one["ended"][0]
        assert one["ended"][1].startswith("The rule: of the trials that came as far")
    best = said[history.best.spec.trial]
    assert best["ended"] == ["It had the whole budget.", "It is the best trial."]
    assert best["went"][0].startswith("val_loss was ")
    text = command("explain", "told", "0").out
    assert text.startswith("trial 0 of told: ")
    assert "why it was tried:\n  It is a starting point" in text


def test_what_an_older_journal_does_not_say_is_said(command, history: History, tmp_path: Path) -> None:
    journal = tmp_path / "studies" / "told" / "journal.jsonl"
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    for line in lines:
        line.pop("origin", None)
        if line["event"] == "StudyStarted":
            line["format"] = 4
        if line["event"] == "StudyFinished":
            line.pop("error")
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = command("explain", "told", "5")
    assert said.code == 0, said.err
    assert "The journal does not say: it was written before it could. The sampler was curve." in said.out


def test_pauses_are_told_with_their_reasons() -> None:
    events = [
        TrialPaused(0, 4, "pause: others are forecast to end better", 0.0),
        TrialPaused(1, 4, "another trial", 0.0),
        TrialResumed(0, 12, "pause: it leads the forecasts", 1.0),
    ]
    assert rests(events, 0) == [
        "It made room for others after 4 steps: pause: others are forecast to end better.",
        "It went on, up to 12 steps: pause: it leads the forecasts.",
    ]


def test_a_trial_that_is_not_there_is_refused(command, history: History) -> None:
    said = command("explain", "told", "16")
    assert said.code == 2
    assert said.err == "hpo: study 'told' has no trial 16; there are trials 0 to 15\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("center = 0.4", "center = 4"),
            "told.toml [space] x: prior: center=4 must be a number from -2 to 2",
        ),
        (('"curve"\np', '"tpe"\np'), "sampler 'tpe' takes no prior of x, kind; those that do: curve"),
        (("rate = 0.03", "rate = 3.0"), "told.toml [[start]] 2: rate=3.0 must be a number from 0.001 to 1"),
        (('kind = "far"\n', ""), "told.toml [[start]] 1: shift needs kind, which decides whether"),
    ],
)
def test_priors_and_starting_points_that_cannot_be_are_refused(command, tmp_path, change, message) -> None:
    assert FILE.count(change[0]) == 1
    (tmp_path / "told.toml").write_text(FILE.replace(*change))
    said = command("search", "told.toml")
    assert said.code == 2
    assert said.err.count("\n") == 1
    assert message in said.err
    assert not (tmp_path / "studies").exists()


def test_a_killed_study_counts_its_paused_trials_among_the_others(command, tmp_path: Path) -> None:
    (tmp_path / "told.toml").write_text(FILE.replace('"asha"', '"pause"'))
    command("search", "told.toml")
    journal = tmp_path / "studies" / "told" / "journal.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    last = max(number for number, line in enumerate(lines) if '"TrialPaused"' in line)
    journal.write_text("".join(lines[: last + 1]))
    facts = json.loads(command("show", "told", "--json").out)
    assert facts["states"]["paused"] > 0
    assert sum(facts["states"].values()) == facts["trials"] == len(facts["all"])
