import hashlib
import json
import math

import numpy as np
import pytest
from hypothesis import given

from hpo import codec
from hpo.errors import JournalError
from hpo.events import StudyFinished, StudyStarted, TrialFinished, TrialReported, TrialStarted, TrialStopped
from tests.hpo_strategies import events
from tests.strategies import law
from trials.spec import Report, TrialSpec

STARTED = StudyStarted(
    "digits", {"space": {"lr": {"low": 1e-4, "high": 0.1}}}, 7, {"hpo": "0.1"}, "c6f0692", 1.5
)


@law
@given(event=events)
def test_an_event_survives_its_line(event):
    line = codec.encode(event)
    assert "\n" not in line
    assert "\r" not in line
    found = codec.decode(line)
    assert repr(found) == repr(event)
    assert type(found) is type(event)
    assert codec.encode(codec.decode(line.encode())) == line


@law
@given(event=events)
def test_a_line_is_strict_json(event):
    def refuse(text):
        raise AssertionError(text)

    assert json.loads(codec.encode(event), parse_constant=refuse)["event"] == type(event).__name__


def test_numbers_that_are_not_finite_are_spelled():
    metrics = {"a": math.inf, "b": -math.inf, "c": math.nan, "d": -0.0}
    line = codec.encode(TrialReported(Report(0, 1, 1, 0.0, metrics), 0.0))
    assert '"a":{"$float":"inf"},"b":{"$float":"-inf"},"c":{"$float":"nan"},"d":-0.0' in line
    found = codec.decode(line).report.metrics
    assert (found["a"], found["b"]) == (math.inf, -math.inf)
    assert math.isnan(found["c"])
    assert math.copysign(1, found["d"]) == -1


def test_floats_are_exact_and_whole_ones_stay_floats():
    config = {"lr": 0.1 + 0.2, "decay": 1.0, "width": 16, "tiny": 5e-324, "flag": True}
    event = TrialStarted(TrialSpec(0, config, 0, 1, (1,), 1, 0), 0.0)
    found = codec.decode(codec.encode(event)).spec.config
    assert found == config
    assert [type(value) for value in found.values()] == [float, float, int, float, bool]


def test_line_separators_of_unicode_do_not_end_a_line():
    event = TrialFinished(0, "failed", 0.0, error="a\u2028b\u0085c\r\nd\0e\ud7ff🙂")
    assert codec.decode(codec.encode(event).encode()) == event


def test_a_study_that_started_carries_the_format():
    assert json.loads(codec.encode(STARTED))["format"] == codec.FORMAT
    assert "format" not in json.loads(codec.encode(TrialStopped(0, 1, "", 0.0)))


# As the first version wrote it.
OLD = (
    '{"event":"StudyStarted","format":1,"name":"digits","study":{"space":{"lr":{"low":0.0001,"high":0.1}}},'
    '"seed":7,"versions":{"hpo":"0.1"},"source":"c6f0692","time":1.5}'
)


def test_a_line_of_the_first_format_is_read():
    assert codec.decode(OLD) == STARTED
    for later in (2, 3):
        assert codec.decode(OLD.replace('"format":1', f'"format":{later}')) == STARTED


def test_a_report_of_older_formats_spent_its_steps_one_after_another():
    report = '{"trial":1,"step":5,"spent":8,"seconds":0.5,"metrics":{}}'
    line = f'{{"event":"TrialReported","report":{report},"time":1.0}}'
    assert codec.decode(line).report.wall == 8


def test_a_study_is_called_the_same_by_the_version_that_began_it():
    """What the first version called it, so that a tracking store finds its runs again."""
    assert codec.identity(STARTED) == hashlib.blake2b(OLD.encode(), digest_size=8).hexdigest()


def changed(event, **changes):
    return json.dumps({**json.loads(codec.encode(event)), **changes})


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not JSON: "),
        ("{", "not JSON: "),
        (b"\xff\xff", "not JSON: "),
        ("3", "not an event: "),
        ("[]", "not an event: "),
        ("{}", "not an event: "),
        ('{"event": "TrialMoved"}', "unknown event 'TrialMoved'; known: DataLoaded, EarlierTaken, Noticed, "),
        ('{"event": ["TrialStopped"]}', "unknown event "),
        (
            changed(STARTED, format=7),
            "journal format 7, this version reads formats 1, 2, 3, 4, 5, 6: use a newer version of hpo",
        ),
        (changed(STARTED, format="1"), "journal format '1' is none of 1, 2, 3, 4, 5, 6"),
        (changed(STARTED, format=None), "journal format None is none of 1, 2, 3, 4, 5, 6"),
        (changed(STARTED, colour="red"), "StudyStarted does not fit this version: "),
        ('{"event": "TrialStopped", "trial": 0}', "TrialStopped does not fit this version: "),
        ('{"event": "TrialStarted", "time": 0.0}', "TrialStarted does not fit this version: "),
        ('{"event": "TrialStarted", "spec": 3, "time": 0.0}', "TrialStarted does not fit this version: "),
        ('{"event": "TrialReported", "report": {"trial": 0}, "time": 0.0}', "TrialReported does not fit"),
        ('{"event": "TrialReported", "report": [1], "time": 0.0}', "TrialReported does not fit"),
        (
            changed(TrialStarted(TrialSpec(0, {}, 0, 5, (5,), 5, 0), 0.0)).replace(
                '"budget": 5', '"budget": 0'
            ),
            "TrialStarted does not fit this version: budget=0",
        ),
    ],
)
def test_what_cannot_be_read_is_said(line, message):
    with pytest.raises(JournalError) as raised:
        codec.decode(line)
    assert str(raised.value).startswith(message)


def test_a_value_that_json_does_not_know_is_refused_when_it_is_written():
    event = TrialStarted(TrialSpec(0, {"width": np.int64(3)}, 0, 1, (1,), 1, 0), 0.0)  # type: ignore[dict-item]
    with pytest.raises(TypeError):
        codec.encode(event)


def test_defaults_may_be_left_out():
    found = codec.decode('{"event": "StudyFinished", "reason": "trials", "time": 1.0}')
    assert found == StudyFinished("trials", 1.0)
