import html.parser
import json
import math
import subprocess
import sys

import pytest

from dashboards.load import fold
from dashboards.report import render, write
from hpo.errors import JournalError
from hpo.events import (
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyStarted,
    TrialFinished,
    TrialReported,
    TrialStarted,
)
from tests import events_sample as sample
from tests import traced_sample as traced
from trials.spec import Report, TrialSpec

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> $x$ %{y} \u2028 [b]"


class Page(html.parser.HTMLParser):
    """The elements of a page, its scripts' contents and its text."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.figures, self.sources, self.text = [], {}, [], ""
        self._open = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self._open = (tag, dict(attrs))
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        self._open = ("", {})

    def handle_data(self, data):
        tag, attributes = self._open or ("", {})
        if tag == "script" and "data-figure" in attributes:
            self.figures[attributes["data-figure"]] = json.loads(data)
        elif tag not in ("script", "style"):
            self.text += data + " "


def study_of(events, tmp_path):
    return fold(list(events), tmp_path)


def test_the_report_says_how_many_stops_were_false(tmp_path):
    """Eight trials that rank alike at every rung, then two that run on although they would be stopped."""
    table = {"metric": "val_loss", "search": {"pruner": "trust"}, "pruner": {"audits": 1.0}}
    events = [StudyStarted("audited", table, 0, {}, "", 0.0)]
    values = [*((1.0 + 0.1 * trial, 0.5 + 0.05 * trial) for trial in range(8)), (1.65, 0.8), (1.65, 0.2)]
    for trial, (early, final) in enumerate(values):
        events.append(TrialStarted(TrialSpec(trial, {}, 0, 32, (8, 32), 32, 0), 0.0))
        for spent, value in ((8, early), (32, final)):
            events.append(TrialReported(Report(trial, spent, spent, 0.0, {"val_loss": value}), 0.0))
        events.append(TrialFinished(trial, "completed", 0.0))
    study = study_of(events, tmp_path)
    assert [audit.trial for audit in study.audits] == [5, 6, 7, 8, 9]
    text = " ".join(Page(render(study)).text.split())
    assert "20% of stops were false" in text
    assert "1 of 5 audited trials beat the best of when it would have been stopped; 95 %: 4% to 62%" in text
    assert "stops were false" not in Page(render(study_of(sample.events(12), tmp_path))).text


def test_the_report_is_one_file_that_loads_nothing(tmp_path):
    sample.journal(tmp_path, sample.events(12))
    out = write(tmp_path, tmp_path / "new" / "report.html")
    page = Page(out.read_text(encoding="utf-8"))
    assert page.sources == ["data:,"]
    assert "Content-Security-Policy" in out.read_text(encoding="utf-8")
    assert 4e6 < out.stat().st_size < 8e6
    assert list(out.parent.iterdir()) == [out]


def test_the_report_shows_what_was_found(tmp_path):
    study = study_of(sample.events(12), tmp_path)
    page = Page(render(study))
    assert set(page.figures) == {"progress", "curves", "schedules", "importance", "parallel"}
    for text in (
        "digits",
        "Lower val_loss is better",
        "32 trials have ended",
        "test_accuracy",
        "0.9778",
        "c6f0692",
    ):
        assert text in " ".join(page.text.split())
    assert f"trial {study.best.spec.trial}" in page.text
    assert "hpo export digits --trial" in page.text


def test_the_report_says_by_what_the_winner_is_chosen(tmp_path):
    kfold = {"kind": "shifted-kfold", "folds_for": "leading"}
    study = study_of([sample.start(metric="shifted_accuracy", validation=kfold)], tmp_path)
    text = " ".join(Page(render(study)).text.split())
    assert "Lower val_loss is better · the winner maximises shifted_accuracy among the leading third" in text
    assert "the winner" not in Page(render(study_of([sample.start()], tmp_path))).text


def test_a_test_split_that_was_not_read_is_said(tmp_path):
    events = [event for event in sample.events(6) if not isinstance(event, StudyFinished)]
    page = Page(render(study_of(events, tmp_path)))
    assert "not read" in page.text
    assert "not finished" in page.text
    paused = Page(render(study_of([*events, StudyPaused(events[-1].time)], tmp_path)))
    assert "paused, as of" in paused.text
    assert "not finished" not in paused.text


@pytest.mark.parametrize("count", [0, 1, 40])
def test_a_study_cut_off_anywhere_has_a_report(tmp_path, count):
    events = list(sample.events(8, rungs=4))
    page = Page(render(study_of(events[:count], tmp_path)))
    assert page.elements.count("html") == 1


def test_a_study_whose_trials_all_failed_says_why(tmp_path):
    events = [sample.start(1.0)]
    for number in range(25):
        events.append(TrialStarted(sample.spec(number, {"lr": 0.1}), 2.0))
        events.append(TrialFinished(number, "failed", 3.0, error=sample.TRACEBACK))
    page = Page(render(study_of(events, tmp_path)))
    assert page.figures == {}
    assert "No trial has a result" in page.text
    assert "ValueError: <script>alert('trial')</script>" in page.text
    assert "5 more are in the journal" in page.text


def test_notices_and_trials_without_memory_are_on_the_page(tmp_path):
    events = [sample.start(1.0), Noticed("compile", f"no compiler {EVIL}", 2.0)]
    events.append(TrialStarted(sample.spec(0, {"lr": 0.1}), 2.0))
    events.append(TrialReported(Report(0, 50, 50, 0.1, {"val_loss": 0.5}), 3.0))
    events.append(TrialFinished(0, "out_of_memory", 4.0, error="OutOfMemoryError: 4 GiB"))
    page = Page(text := render(study_of(events, tmp_path)))
    assert "no compiler </script>" in page.text
    assert "img" not in page.elements
    assert "1 out_of_memory" in page.text
    assert "OutOfMemoryError: 4 GiB" in page.text
    assert "--out_of_memory:" in text
    assert 'id="notices"' not in render(study_of(sample.events(3), tmp_path))


def test_nothing_from_elsewhere_becomes_part_of_the_page(tmp_path):
    events = [
        sample.start(
            1.0,
            name=EVIL,
            task=EVIL,
            metric={"name": EVIL, "goal": "max"},
            space={EVIL: {"choice": [EVIL, "b"]}},
        )
    ]
    for number in range(6):
        config = {EVIL: EVIL if number % 2 else "b", "lr": 0.1}
        events.append(TrialStarted(sample.spec(number, config), 2.0))
        events.append(TrialReported(Report(number, 50, 50, 0.1, {EVIL: number + 0.5}), 3.0))
        outcome = "failed" if number == 5 else "completed"
        events.append(TrialFinished(number, outcome, 4.0 + number, error=EVIL if number == 5 else ""))
    events.append(StudyFinished(EVIL, 20.0, 4, {EVIL: 1.0}))
    plain = Page(render(study_of(sample.events(6), tmp_path)))
    page = Page(render(study_of(events, tmp_path)))
    assert "img" not in page.elements
    assert page.elements.count("script") == len(page.figures) + 2
    assert plain.elements.count("script") == len(plain.figures) + 2
    assert "alert(1)" in page.text


def test_numbers_that_are_not_finite_are_shown_and_not_drawn(tmp_path):
    events = [sample.start(1.0)]
    for number, value in enumerate([math.nan, math.inf, -math.inf, 1.0]):
        events.append(TrialStarted(sample.spec(number, {"lr": 0.1}, rungs=1), 2.0))
        events.append(TrialReported(Report(number, 500, 500, math.nan, {"val_loss": value}), 3.0))
        events.append(TrialFinished(number, "completed", 4.0))
    events.append(StudyFinished("over", 5.0, 3, {"test_loss": math.inf}))
    page = Page(render(study_of(events, tmp_path)))
    assert "nan" in page.text
    assert "inf" in page.text


def test_a_thousand_trials_fit_on_the_page(tmp_path, monkeypatch):
    # The estimate is tested where it is made, and takes seconds here.
    monkeypatch.setattr("dashboards.report.importance_of", lambda study: {"lr": 0.9, "width": 0.1})
    page = render(study_of(sample.events(1000, lanes=16), tmp_path))
    assert page.count("<tr data-trial") == 1000
    assert len(page) < 9e6


def test_a_report_is_replaced_whole(tmp_path):
    sample.journal(tmp_path, sample.events(3))
    out = tmp_path / "report.html"
    out.write_text("old")
    reader = out.open()
    write(tmp_path / "journal.jsonl", out)
    assert reader.read() == "old"
    reader.close()
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_missing_study_writes_nothing(tmp_path):
    with pytest.raises(JournalError):
        write(tmp_path, tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_drawing_loads_no_trainer_and_no_tracker():
    heavy = ("torch", "mlflow", "ray", "optuna")
    code = f"import dashboards.report, sys; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_a_study_with_traces_has_its_signals_on_the_page(tmp_path):
    study = study_of(traced.events(), tmp_path)
    assert "signals" not in Page(render(study)).figures
    traced.save(tmp_path, 0)
    page = Page(text := render(study))
    assert {"signals", "schedules"} <= set(page.figures)
    assert "440 kept, 460 of wall time" in page.text
    assert len(text) < 6e6


def test_the_time_to_the_lowest_run_is_not_that_to_the_chosen_one(tmp_path):
    events = [sample.start(1.0)]
    for number, value in enumerate([0.1, 0.2]):
        events.append(TrialStarted(sample.spec(number, {"lr": 0.1}, rungs=1), 2.0))
        events.append(TrialReported(Report(number, 500, 500, 1.0, {"val_loss": value}), 3.0 + number))
        events.append(TrialFinished(number, "completed", 3.5 + number))
    for chosen, said in ((0, "to the best result"), (1, "to the best single run, trial 0")):
        page = render(study_of([*events, StudyFinished("2 trials have ended", 9.0, chosen)], tmp_path))
        assert said in Page(page).text


def test_the_peak_of_the_best_schedule_is_its_own_not_that_of_the_drawing(tmp_path):
    config = {"lr": 0.006785, "schedule": "linear", "warmup_fraction": 0.165}
    events = [
        sample.start(1.0),
        TrialStarted(sample.spec(0, config, rungs=1), 2.0),
        TrialReported(Report(0, 500, 500, 1.0, {"val_loss": 0.1}), 3.0),
        TrialFinished(0, "completed", 4.0),
        StudyFinished("1 trial has ended", 5.0, 0),
    ]
    assert "at most 0.006785" in Page(render(study_of(events, tmp_path))).text
