"""The laws of stores."""

import fcntl
import multiprocessing
import os
import resource
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo import codec
from hpo.errors import JournalError, UsageError
from hpo.events import (
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialStopped,
)
from hpo.store import Journal, Memory
from tests.hpo_strategies import events
from tests.strategies import law

lines = st.lists(events, max_size=6)
file_law = settings(law, suppress_health_check=[HealthCheck.function_scoped_fixture])


def shown(found):
    """Events as text: NaN is not equal to itself, its spelling is."""
    return [repr(event) for event in found]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study" / "journal.jsonl"


@pytest.fixture(params=["memory", "journal"])
def store(request, path):
    if request.param == "memory":
        yield Memory()
        return
    journal = Journal(path)
    yield journal
    journal.close()


def emptied(store):
    """The store as on the first day: fixtures live longer than one example."""
    if isinstance(store, Memory):
        return Memory()
    store.close()
    store.path.unlink(missing_ok=True)
    return store


@file_law
@given(batches=st.lists(lines, max_size=3))
def test_what_was_appended_is_what_is_iterated(store, batches):
    store = emptied(store)
    store.append([])
    for batch in batches:
        store.append(batch)
    expected = shown([event for batch in batches for event in batch])
    assert shown(store) == expected
    assert shown(store) == expected


def test_a_store_that_grows_while_it_is_read_gives_what_it_held(store):
    event = TrialStopped(0, 1, "", 0.0)
    store.append([event, event])
    assert len([store.append([event]) for _ in store]) == 2


@file_law
@given(found=lines)
def test_truncating_the_file_at_any_byte_gives_a_prefix_of_the_events(path, found):
    path.parent.mkdir(exist_ok=True)
    whole = "".join(codec.encode(event) + "\n" for event in found).encode()
    for length in {0, 1, len(whole) // 3, len(whole) // 2, max(0, len(whole) - 1), len(whole)}:
        path.write_bytes(whole[:length])
        read, torn = Journal(path).read()
        assert shown(read) == shown(found[: len(read)])
        assert len(read) == whole[:length].count(b"\n")
        assert bool(torn) == (not whole[:length].endswith(b"\n") and whole[:length] != b"")


@file_law
@given(found=lines, more=lines, cut=st.integers(0, 200))
def test_writing_goes_on_after_a_torn_line(path, found, more, cut):
    path.parent.mkdir(exist_ok=True)
    whole = "".join(codec.encode(event) + "\n" for event in found).encode()
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    journal = Journal(path)
    kept = journal.open()
    journal.append(more)
    journal.close()
    assert shown(Journal(path)) == shown([*kept, *more])


def test_truncating_at_every_byte_of_one_journal(path):
    """All of them once: a cut inside a character of several bytes is a torn line like any other."""
    found = [
        StudyFinished("größer als 10⁵ 🙂", 1.0, None, {"loss": float("nan")}),
        TrialStopped(3, 9, "né", 2.0),
    ]
    with_newlines = "".join(codec.encode(event) + "\n" for event in found).encode()
    path.parent.mkdir()
    for length in range(len(with_newlines) + 1):
        path.write_bytes(with_newlines[:length])
        read, _ = Journal(path).read()
        assert shown(read) == shown(found[: with_newlines[:length].count(b"\n")])


@pytest.mark.parametrize(
    "damage", [b"", b"{}", b"not json", b"\xff\xfe", b'{"event":"TrialStopped"}', b"[]", b"null"]
)
def test_a_damaged_line_in_the_middle_is_named(path, damage):
    good = codec.encode(TrialStopped(0, 1, "", 0.0)).encode()
    path.parent.mkdir()
    path.write_bytes(b"\n".join([good, damage, good, b""]))
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: "):
        Journal(path).read()
    with pytest.raises(JournalError, match=r"journal\.jsonl, line 2: "):
        Journal(path).open()
    assert path.read_bytes() == b"\n".join([good, damage, good, b""])


def test_a_whole_last_line_without_its_line_break_is_torn_all_the_same(path):
    """It was never acknowledged: what was to follow from it has not happened."""
    good = codec.encode(TrialStopped(0, 1, "", 0.0))
    path.parent.mkdir()
    path.write_text(good + "\n" + good)
    journal = Journal(path)
    assert len(journal.open()) == 1
    journal.close()
    assert path.read_text() == good + "\n"


def test_text_that_was_no_text_survives(path):
    """A traceback can hold bytes of a file name that Python smuggles through as lone surrogates."""
    event = TrialFinished(0, "failed", 0.0, error="no such file: caf\udce9.csv")
    journal = Journal(path)
    journal.append([event])
    journal.close()
    assert list(journal) == [event]


def test_a_missing_journal_is_an_error_that_names_it_and_none_is_made(path):
    with pytest.raises(JournalError, match=r"journal\.jsonl: No such file"):
        list(Journal(path))
    assert not path.parent.exists()


def test_opening_makes_the_folder(path):
    journal = Journal(path)
    assert journal.open() == []
    journal.close()
    journal.close()
    assert path.exists()


def test_how_the_latest_session_stands_is_told_by_its_own_events(path):
    journal = Journal(path)
    journal.append([Noticed("order", "none yet", 0.0)])
    assert journal.latest() is None
    first, second = (StudyStarted("study", {"n": n}, 0, {}, "", float(n)) for n in (1, 2))
    stages = [
        ([first, StudyPaused(1.1), StudyScaled(4, 1.2)], (first, False, True, 4)),
        ([StudyResumed(1.3), StudyScaled(9, 1.4, error="one worker")], (first, False, False, 4)),
        ([StudyFinished("trials", 1.5)], (first, True, False, 4)),
        ([second, StudyPaused(2.1), TrialStopped(0, 1, "", 2.2)], (second, False, True, None)),
    ]
    for appended, wanted in stages:
        journal.append(appended)
        assert journal.latest() == wanted
    journal.close()


def test_who_looks_can_tell_whether_a_journal_is_being_written(path):
    journal = Journal(path)
    journal.open()
    assert Journal(path).is_being_written()
    journal.close()
    assert not Journal(path).is_being_written()
    with pytest.raises(JournalError, match="No such file"):
        Journal(path.with_name("other")).is_being_written()


def append_from_elsewhere(path, answers):
    try:
        Journal(path).append([])
        answers.put("written")
    except UsageError as error:
        answers.put(str(error))


def test_whoever_only_looks_whether_it_is_written_stops_no_writer(path):
    journal = Journal(path)
    journal.append([TrialStopped(0, 1, "", 0.0)])
    journal.close()
    with path.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        done = threading.Timer(0.02, fcntl.flock, (looking, fcntl.LOCK_UN))
        done.start()
        again = Journal(path)
        assert len(again.open()) == 1
        again.close()
        done.join()


def test_there_is_one_writer(path):
    event = TrialStopped(0, 1, "", 0.0)
    journal = Journal(path)
    journal.append([event])
    with pytest.raises(UsageError, match="is being written by another process"):
        Journal(path).open()
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=append_from_elsewhere, args=(path, answers))
    process.start()
    assert "is being written by another process" in answers.get(timeout=30)
    process.join()
    assert list(Journal(path)) == [event]  # reading needs no right
    journal.close()
    again = Journal(path)
    assert again.open() == [event]
    again.close()


def test_what_is_appended_is_on_the_disk_before_the_next_step(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(path.read_bytes().count(b"\n")))
    journal = Journal(path)
    journal.append([TrialStopped(0, 1, "", 0.0)] * 3)
    journal.append([TrialStopped(0, 1, "", 0.0)])
    journal.close()
    assert synced == [3, 4]


def test_a_disk_without_room_is_told_with_the_file_and_what_was_whole_stays(path):
    journal = Journal(path)
    event = Noticed("order", "none yet", 0.0)
    journal.append([event])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(OSError, match=r"what was written before is kept.*journal\.jsonl"):
            journal.append([event])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.close()
    assert list(journal) == [event]
    journal.append([event])
    assert list(journal) == [event, event]
