import dataclasses
import io
import json
import re
import subprocess
import sys
import time

import pytest

from hpo import codec
from hpo.errors import MissingDependency
from hpo.events import (
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    TrialFinished,
    TrialReported,
    TrialStarted,
)
from hpo.history import History
from hpo.limits import Limits
from hpo.listeners import words
from hpo.listeners.console import build, opening
from hpo.listeners.progress import Progress
from hpo.listeners.rates import has_default_schedule, rate_curve
from hpo.listeners.summary import summary
from hpo.objective import Objective
from tests import events_sample as sample
from tests import traced_sample as traced
from tests.shifted_sample import events as shifted_events
from trials.spec import Report


class Terminal(io.StringIO):
    """A terminal of some encoding, which refuses what it cannot show."""

    def __init__(self, encoding="utf-8", is_terminal=True):
        super().__init__()
        self._encoding, self._is_terminal = encoding, is_terminal

    @property
    def encoding(self):
        return self._encoding

    def isatty(self):
        return self._is_terminal

    def write(self, text):
        text.encode(self._encoding)
        return super().write(text)

    @property
    def plain(self):
        """What was written, without colours and cursor movements."""
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", self.getvalue())


def show(mode, events, stream, **options):
    console = build(mode, Objective(), stream=stream, **{"since": 0.0, **options})
    try:
        for event in events:
            console.tell(event)
    finally:
        console.close()
    return stream


def test_plain_lines_tell_every_end_once_and_no_report():
    events = list(sample.events(32))
    lines = show("auto", events, Terminal(is_terminal=False)).getvalue().splitlines()
    ends = [event for event in events if isinstance(event, TrialFinished)]
    assert len(lines) == len(ends) + 2
    assert lines[0] == "study digits minimises val_loss with tpe and asha"
    assert lines[-1] == "ended: 32 trials have ended"
    for number, (line, event) in enumerate(zip(lines[1:-1], ends, strict=True), start=1):
        assert line.startswith(f"[{number}/32] ")
        assert f"trial {event.trial} {event.outcome}" in line
    assert sum("new best" in line for line in lines) == len(History(Objective(), events).incumbents)
    assert "batch_size" not in "".join(lines)  # fixed, so it tells nothing


@pytest.mark.parametrize("mode", ["plain", "rich"])
def test_a_notice_is_one_line_and_so_is_the_end_of_a_trial_without_memory(mode):
    events = [
        sample.start(1.0),
        Noticed("compile", "no C++ compiler\x1b[2J\nwas found", 2.0),
        TrialStarted(sample.spec(0, {"lr": 0.1}), 3.0),
        TrialFinished(0, "out_of_memory", 4.0, error="Traceback\nOutOfMemoryError: 4 GiB"),
    ]
    lines = [line.strip() for line in show(mode, events, Terminal()).plain.splitlines()]
    assert lines.count("note: no C++ compiler[2J was found") == 1
    (line,) = [line for line in lines if "out_of_memory" in line and "trial 0" in line]
    assert "(OutOfMemoryError: 4 GiB)" in line
    text = summary(History(Objective(), events))
    assert "note: no C++ compiler" in text
    assert "1 out_of_memory" in text


def test_json_writes_the_events_and_nothing_else(capsys):
    events = list(sample.events(4))
    stream = Terminal(is_terminal=False)
    console = build("json", Objective(), stream=stream, since=0.0)
    for event in events:
        console.tell(event)
    console.note("a warning")
    console.close()
    assert stream.getvalue().splitlines() == [codec.encode(event) for event in events]
    assert all(json.loads(line)["event"] for line in stream.getvalue().splitlines())
    assert capsys.readouterr().err == "a warning\n"


@pytest.mark.parametrize("mode", ["plain", "json", "rich"])
def test_events_of_earlier_sessions_are_not_shown_again(mode):
    events = list(sample.events(8))
    stream = show(mode, events[:-1], Terminal(), since=events[-1].time)
    assert stream.getvalue() == ""
    later = dataclasses.replace(sample.start(events[-1].time + 1))
    stream = show(mode, [*events, later], Terminal(), since=later.time)
    assert "digits" in stream.plain
    if mode != "json":
        assert "taken up: 8 trials ended" in stream.plain
        assert "new best" not in stream.plain


def test_the_live_display_shows_best_states_lanes_and_time_left():
    events = list(sample.events(32))
    stream, half = Terminal(), len(events) // 2
    console = build("rich", Objective(), lanes=lambda: (3, 4), stream=stream, since=1e18)
    for event in events[:half]:
        console.tell(event)
    console._console.print(console._panel(events[half - 1].time))
    for text in (
        "digits",
        "minimises val_loss",
        "of 32 trials",
        "3 of 4 lanes busy",
        "left",
        "completed",
        "⠒",
        "lr=",
    ):
        assert text in stream.plain
    console.close()


def test_the_live_display_draws_the_rates_of_a_trial_that_listens_before_it_ends(tmp_path):
    stream = Terminal()
    console = build("rich", Objective(), stream=stream, since=1e18, folder=tmp_path)
    for event in traced.events()[:-1]:
        console.tell(event)
    console._console.print(console._panel(4.0))
    assert "rate over" not in stream.plain
    traced.save(tmp_path, 0, kept=440)
    console.tell(TrialReported(Report(0, 440, 500, 1.0, {"val_loss": 0.4}, 460), 4.0))
    console._console.print(console._panel(5.0))
    assert "rate over 440 steps" in stream.plain
    assert "⠉" in stream.plain
    console.close()


def test_the_live_display_gives_the_cursor_back():
    stream = show("rich", list(sample.events(3)), Terminal())
    assert stream.getvalue().count("\x1b[?25l") == stream.getvalue().count("\x1b[?25h") == 1


@pytest.mark.parametrize("mode", ["plain", "rich"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_encoding_and_any_text_are_survived(mode, encoding):
    name = "größe [red]▁[/] \x1b[2J 😀\x00"
    spec = sample.spec(0, {"lr": 0.1, "[bold]schlüssel": "wert [/nonsense]\nzwei", "schedule": "cosine"})
    events = [
        sample.start(1.0, name=name, metric="метрика"),
        TrialStarted(spec, 2.0),
        TrialReported(Report(0, 50, 50, 0.1, {"метрика": 1.0}), 3.0),
        TrialFinished(0, "failed", 4.0, error="Traceback\nValueError: [red]ä[/nonsense]"),
        StudyFinished("[/] ende", 5.0),
    ]
    console = build(mode, Objective("метрика"), stream=(stream := Terminal(encoding)), since=0.0)
    for event in events:
        console.tell(event)
        if mode == "rich":
            console._console.print(console._panel(event.time))
    console.note("[red]note")
    console.close()
    assert "[red]note" in stream.plain
    assert "wert [/nonsense] zwei" in stream.plain.replace("\n", "")
    assert "\x1b[2J" not in stream.getvalue()
    summary(History(Objective("метрика"), events), encoding=encoding).encode(encoding)


def test_a_reader_that_goes_away_does_not_end_the_study():
    class Gone(Terminal):
        def write(self, text):
            raise BrokenPipeError

    for mode in ("plain", "json"):
        show(mode, sample.events(3), Gone(is_terminal=False))


def test_rich_is_loaded_only_where_it_is_used():
    code = (
        "from hpo.listeners.console import build; from hpo.objective import Objective; import sys;"
        "build('plain', Objective()); print('rich' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_a_missing_rich_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "hpo.listeners.live", None)
    with pytest.raises(MissingDependency, match="rich"):
        build("rich", Objective(), stream=Terminal())


def test_time_left_counts_from_the_session_that_runs():
    history, progress = History(Objective()), Progress(Limits(trials=10))
    spec = {number: sample.spec(number, {}) for number in range(10)}
    begin = sample.start(0.0)
    history.tell(begin)
    progress.begin(history, 0.0)
    assert progress.seconds_left(history, 1.0) is None
    for number in range(5):
        history.tell(TrialStarted(spec[number], number))
        history.tell(TrialFinished(number, "completed", number + 1.0))
    assert progress.part(history, 5.0) == 0.5
    assert progress.seconds_left(history, 5.0) == pytest.approx(5.0)
    later = sample.start(1000.0)
    history.tell(later)
    progress.begin(history, 1000.0)
    history.tell(TrialStarted(spec[5], 1000.0))
    history.tell(TrialFinished(5, "completed", 1003.0))
    assert progress.seconds_left(history, 1003.0) == pytest.approx(12.0)


def test_time_left_knows_nothing_of_pauses():
    history, progress = History(Objective()), Progress(Limits(trials=2))
    begin = sample.start(0.0)
    history.tell(begin)
    progress.begin(history, 0.0)
    history.tell(TrialStarted(sample.spec(0, {}), 0.0))
    for event in (StudyPaused(1.0), StudyResumed(101.0), TrialFinished(0, "completed", 104.0)):
        history.tell(event)
    assert progress.seconds_left(history, 104.0) == pytest.approx(4.0)


@pytest.mark.parametrize("mode", ["plain", "rich"])
def test_what_was_ordered_of_a_search_is_shown(mode):
    events = [
        sample.start(0.0),
        StudyScaled(4, 1.0),
        StudyScaled(5, 2.0, error="it has one worker"),
        StudyScaled(6, 2.5, note="there is room for 4"),
        StudyResumed(3.0),
        StudyPaused(4.0),
    ]
    stream = show(mode, events, Terminal())
    for line in (
        "workers: 4 from now on",
        "workers: not 5: it has one worker",
        "goes on",
        "workers: 6 from now on: there is room for 4",
        "paused: `hpo resume digits` lets it go on",
    ):
        assert line in stream.plain
    console = build("rich", Objective(), stream=stream, since=1e18)
    for event in events:
        console.tell(event)
    console._console.print(console._panel(60.0))
    assert "study paused" in stream.plain
    assert "4.0 s" in stream.plain
    console.close()


def test_no_limit_on_the_size_means_no_estimate():
    history, progress = History(Objective()), Progress(Limits(target=0.1))
    history.tell(sample.start(0.0))
    progress.begin(history, 0.0)
    assert progress.part(history, 9.0) is None
    assert progress.seconds_left(history, 9.0) is None


def test_a_summary_has_everything_to_act_on():
    events = list(sample.events(32))
    text = summary(
        History(Objective(), events), report="studies/digits/report.html", resume="hpo resume digits"
    )
    for part in (
        f"best: trial {events[-1].best} of 32",
        "val_loss",
        "schedule: ",
        "test split, read once",
        "0.9778",
        "16 completed",
        "report: studies/digits/report.html",
        "to continue: hpo resume digits",
    ):
        assert part in text
    without = summary(History(Objective(), events[:-1]))
    assert "test" not in without
    assert "to continue" not in without


def test_trials_that_trained_on_one_family_alone_are_named_at_the_end(tmp_path):
    goal = Objective("shifted_accuracy", "max")
    text = summary(History(goal, shifted_events(tmp_path)))
    (line,) = [line for line in text.splitlines() if "one family" in line]
    assert line.startswith("note: trained on one family of shifts alone: trial 1 (blur); what that gains")
    assert "one family" not in summary(History(goal, shifted_events(tmp_path, narrow=None)))


def test_the_first_line_says_what_is_searched_by_and_what_chooses():
    late = History(Objective("val_loss", "min", Objective("shifted_accuracy", "max")), [sample.start(0.0)])
    assert opening(late).startswith(
        "study digits minimises val_loss and maximises shifted_accuracy among the leading third, with tpe"
    )


def test_a_summary_of_a_study_without_result_says_why():
    events = [
        sample.start(1.0),
        TrialStarted(sample.spec(0, {"lr": 0.1}), 2.0),
        TrialFinished(0, "failed", 3.0, error=sample.TRACEBACK),
    ]
    text = summary(History(Objective(), events))
    assert text.startswith("no trial has a result (1 ended)\n  trial 0 failed: ValueError: <script>")
    assert summary(History(Objective())).startswith("no trial has a result (0 ended)")


def test_a_curve_of_a_black_box_is_shown_only_if_it_names_a_schedule():
    box = sample.start(kind="function")
    assert not has_default_schedule(box)
    assert rate_curve({"lr": 0.1}, 100, is_default=False) == []
    assert rate_curve({"lr": 0.1, "schedule": "cosine"}, 100, is_default=False)
    assert rate_curve({"lr": 0.1, "schedule": "of my own"}, 100) == []
    assert rate_curve({"lr": "high"}, 100) == []
    assert len(rate_curve({"lr": 0.1}, 7)) == 7


@pytest.mark.parametrize(
    "values", [[], [0.0], [0, 0, 0], [float("nan"), float("inf")], [1, 2, 3], [1e300, 1e308]]
)
def test_curves_of_any_values_fill_their_width(values):
    line = words.sparkline(values, 12)
    assert len(line) == (12 if values else 0)
    if values:
        rows = words.braille(values, 6, 2)
        assert [len(row) for row in rows] == [6, 6]


def test_a_tell_costs_little():
    events = list(sample.events(200))
    console = build("plain", Objective(), stream=Terminal(is_terminal=False), since=0.0)
    began = time.perf_counter()
    for event in events:
        console.tell(event)
    assert (time.perf_counter() - began) / len(events) < 2e-3


def test_three_counters_are_told_where_they_differ(tmp_path):
    sample.journal(tmp_path, traced.events())
    traced.save(tmp_path, 0)
    told = show("plain", traced.events(), Terminal()).getvalue()
    assert "val_loss=0.5 after 500 steps (440 kept, 460 wall)" in told
    history = History(Objective(), traced.events())
    text = summary(history, folder=tmp_path)
    assert "spent: 500 steps (440 kept, 460 wall) in" in text
    assert "schedule: race(k=2) (as followed)" in text
    assert "over 440 steps" in text
    assert "kept" not in summary(History(Objective(), sample.events(8)))
