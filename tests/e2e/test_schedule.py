"""`hpo schedule`, and schedules that cannot be exported."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hpo.events import TrialFinished, TrialStarted
from schedules import SCHEDULES, Knots, build, from_csv, thin, to_csv, to_text, to_toml
from schedules.spec import COMMON
from tests import events_sample as sample

ROOT = Path(__file__).parents[2]


def test_every_family_is_listed_with_its_arguments(command) -> None:
    said = command("schedule", "list")
    assert said.code == 0, said.err
    for name, family in SCHEDULES.items():
        block = said.out.split(f"{name}: {family.meaning}\n")[1].split("\n\n")[0]
        for argument in family.arguments:
            assert any(line.split()[0] == argument for line in block.splitlines())
    for argument in COMMON:
        assert f"\n    {argument} " in said.out
    assert said.out.isascii()


def test_the_group_explains_itself(command) -> None:
    said = command("schedule")
    assert (said.code, said.err) == (0, "")
    assert said.out == command("schedule", "--help").out


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "knots"])
def test_every_family_can_be_shown(command, name) -> None:
    said = command("schedule", "show", name)
    assert said.code == 0, said.err
    assert said.out.startswith("factor on the learning rate\n")
    assert f"\n{name}\n" in said.out
    assert "1,000" in said.out


def test_a_picture_fits_in_eighty_columns(command, monkeypatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = "knots(factors=[0.1, 1, 0.3])"
    said = command("schedule", "show", "cosine", "--compare", "wsd", "--compare", text, "--steps", 123_456)
    assert said.code == 0
    assert max(map(len, said.out.splitlines())) <= 80
    for line in ("* cosine", "o wsd", f"+ {text}"):
        assert line in said.out.splitlines()
    narrow = {}
    for columns in ("40", "100"):
        monkeypatch.setenv("COLUMNS", columns)
        narrow[columns] = max(map(len, command("schedule", "show", "cosine").out.splitlines()))
    assert narrow["40"] <= 40 < narrow["100"] <= 100


def test_rates_are_shown_where_a_rate_is_given(command) -> None:
    said = command("schedule", "show", "linear", "--lr", 0.25, "--steps", 10)
    assert said.out.startswith("learning rate\n 0.25 ")
    assert "first 0.25, highest 0.25 at step 0, last 0.025" in said.out


@pytest.mark.parametrize("ending", ["toml", "csv"])
def test_a_file_is_shown_over_its_own_steps(command, tmp_path: Path, ending: str) -> None:
    knots = thin(build("rex", 77)(np.arange(77)), lr=0.5)
    (tmp_path / f"found.{ending}").write_text({"toml": to_toml, "csv": to_csv}[ending](knots))
    said = command("schedule", "show", f"found.{ending}")
    assert said.code == 0, said.err
    assert said.out.startswith("learning rate\n")
    assert " 77" in said.out
    assert "first 0.5," in said.out
    # Beside another one, factors: their rates may differ.
    both = command("schedule", "show", "cosine", "--compare", f"found.{ending}").out
    assert both.startswith("factor")
    assert " 77" in both


def test_a_page_is_written(command, tmp_path: Path) -> None:
    said = command("schedule", "show", "wsd", "--compare", "cosine", "--html", "new/page.html")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == "new/page.html"
    page = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert '"name":"cosine"' in page
    assert 'src="http' not in page


def test_an_encoding_without_the_letters_gets_others(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hpo", "schedule", "show", "wsd"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    text = done.stdout.decode("ascii")
    assert "***" in text
    assert "?" not in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cosin"], "did you mean 'cosine'?"),
        (["wsd(cooldwn=3)"], "'cooldown'?"),
        (["wsd(cooldown_fraction=3)"], "cooldown_fraction=3"),
        (["wsd(3)"], "written with their names"),
        (["knots"], "needs factors"),
        ([""], "must be a name"),
        (["missing.toml"], "missing.toml cannot be read"),
        (["damaged.toml"], "damaged.toml: no TOML"),
        (["cosine", "--compare", "lin"], "'linear'?"),
        (["cosine", "--steps", "0"], "--steps"),
        (["cosine", "--steps", "-5"], "--steps"),
        (["cosine", "--steps", "x"], "--steps"),
        (["cosine", "--steps", "99999999999999999999"], "--steps"),
        (["cosine", "--lr", "-1"], "--lr -1.0 must be a number above 0"),
        (["cosine", "--lr", "nan"], "--lr nan"),
        (["cosine", "--html", "."], "--html . is a folder"),
        (["cosine", "--html", "damaged.toml/page.html"], "--html damaged.toml/page.html:"),
        ([], "NAME|TEXT|FILE"),
        (["cosine", *(word for i in range(8) for word in ("--compare", f"linear(floor=0.{i})"))], "8 fit"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(command, tmp_path: Path, words, message) -> None:
    (tmp_path / "damaged.toml").write_text("format = 1\nknots = [[0,")
    said = command("schedule", "show", *words)
    assert said.code == 2, said.out
    assert said.err.count("\n") == 1
    assert said.err.startswith("hpo: ")
    assert message in said.err
    if "--html" not in words:
        assert said.out == ""


def with_rule(event, trial: int):
    """The event, in which this trial is one whose rate a rule moved."""
    if isinstance(event, TrialStarted) and event.spec.trial == trial:
        config = {**event.spec.config, "rule": "hypergradient"}
        return replace(event, spec=replace(event.spec, config=config))
    return event


def test_what_cannot_be_exported_is_refused_in_one_line(command, tmp_path: Path) -> None:
    folder = tmp_path / "studies" / "sample"
    folder.mkdir(parents=True)
    events = list(sample.events(12, base=str(tmp_path)))
    ends = {event.trial: event.outcome for event in events if isinstance(event, TrialFinished)}
    started = [event.spec.trial for event in events if isinstance(event, TrialStarted)]
    assert {"completed", "diverged", "failed"} <= set(ends.values())
    best = next(trial for trial, outcome in ends.items() if outcome == "completed")
    # Its rates were found while it was trained, so that only its trace knows them.
    sample.journal(folder, [with_rule(event, best) for event in events])

    def refused(*words: object) -> str:
        said = command("export", "sample", *words)
        assert (said.code, said.out) == (2, "")
        assert said.err.count("\n") == 1
        return said.err

    words = ("--what", "schedule", "--trial")
    assert f"has no trial {max(started) + 1}" in refused(*words, max(started) + 1)
    for trial, outcome in ends.items():
        if outcome in ("diverged", "failed"):
            assert f"trial {trial} of study" in refused(*words, trial)
            assert f"ended as {outcome}: name one that completed" in refused(*words, trial)
    assert "--format csv is for --what schedule" in refused("--format", "csv")
    assert "--format" in refused(*words, 0, "--format", "yaml")
    assert "has no traces/trial" in refused(*words, best)
    (folder / "traces").mkdir()
    for content in (b"", b"PK\x03\x04 no", None):
        trace = folder / "traces" / f"trial-{best:05d}.npz"
        if content is None:
            np.savez(trace, other=np.ones(3))
        else:
            trace.write_bytes(content)
        assert f"trial-{best:05d}.npz" in refused(*words, best)
    names = ("loss", "grad_l1", "grad_l2")
    np.savez(trace, factor=np.array([1.0, np.nan]), **{name: np.ones(2) for name in names})
    assert "the factor nan of step 1" in refused(*words, best)


def test_a_file_with_one_knot_is_shown(command, tmp_path: Path) -> None:
    (tmp_path / "one.toml").write_text(to_toml(Knots((0,), (0.0,))))
    assert command("schedule", "show", "one.toml").code == 0


def test_an_exported_text_can_be_searched_with_in_a_study_file(command, sample, tmp_path: Path) -> None:
    text = to_text(thin(build("one_cycle", 100)(np.arange(100))))
    (tmp_path / "again.toml").write_text(
        f"task = \"{sample('Line')}\"\n[space]\nlr = {{low = 0.01, high = 0.1}}\nschedule = '{text}'\n"
        '[tracking]\nuri = "none"\n'
    )
    words = ("--steps", 40, "--trials", 1, "--set", "runner.name=lanes", "--set", "runner.compile=never")
    assert command("search", "again.toml", *words).code == 0
    found = command("export", "again", "--what", "schedule", "--format", "csv").out
    np.testing.assert_array_equal(from_csv(found).factors, build(text, 40)(np.arange(40)))
