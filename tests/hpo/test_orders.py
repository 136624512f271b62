"""Orders to a running search: files in its folder, and what the loop makes of them."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import hpo
from hpo import orders, study
from hpo.config import StudyConfig
from hpo.events import (
    Event,
    Noticed,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialReported,
)
from hpo.limits import Limits
from hpo.loop import Interrupted
from hpo.orders import Order, Orders, give, withdraw
from hpo.runners.base import Runner
from hpo.store import Journal, Memory
from tests.hpo.test_loop import SAMPLE, made, of


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_LOOK", 0.0)


def silent(line: str) -> None:
    raise AssertionError(line)


def test_orders_are_taken_once_in_the_order_they_were_given(tmp_path: Path) -> None:
    box = Orders(tmp_path)
    assert box.take(silent) == []
    given = [give(tmp_path, "pause"), give(tmp_path, "scale", 3), give(tmp_path, "resume")]
    assert box.take(silent) == given
    assert (given[1].verb, given[1].workers) == ("scale", 3)
    assert len({one.name for one in given}) == 3
    assert box.take(silent) == []
    assert list(tmp_path.iterdir()) == []
    withdraw(tmp_path, give(tmp_path, "pause"))
    give(tmp_path, "pause")
    old = box.waiting()
    fresh = give(tmp_path, "resume")
    box.forget(old)
    assert box.take(silent) == [fresh]
    assert Orders(None).take(silent) == []


@pytest.mark.parametrize(
    "text", ["", "3", "{}", '{"verb": "jump"}', '{"verb": "scale"}', '{"verb": "scale", "workers": "3"}']
)
def test_what_is_no_order_is_told_and_removed(text: str, tmp_path: Path) -> None:
    (tmp_path / ".order-1.json").write_text(text)
    told: list[str] = []
    give(tmp_path, "pause")
    assert [one.verb for one in Orders(tmp_path).take(told.append)] == ["pause"]
    (line,) = told
    assert line.startswith("an order to this study could not be read: ")
    assert list(tmp_path.iterdir()) == []


def test_a_search_looks_about_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_LOOK", 1.0)
    box, began = Orders(tmp_path), time.monotonic()
    assert box.take(silent) == []
    order = give(tmp_path, "pause")
    found: list[Order] = []
    while not found:
        found = box.take(silent)
    assert found == [order]
    assert 0.9 < time.monotonic() - began < 3


class Giving:
    """Gives orders when the search tells of its first report, and others some time later."""

    def __init__(self, folder: Path, *first: tuple, later: tuple = (), after: float = 0.5) -> None:
        self._folder, self._first, self._later, self._after = folder, first, later, after
        self._timer: threading.Timer | None = None

    def tell(self, event: Event) -> None:
        if isinstance(event, TrialReported) and self._timer is None:
            for words in self._first:
                give(self._folder, *words)
            self._timer = threading.Timer(self._after, lambda: [give(self._folder, *self._later)])
            self._timer.start()


def test_a_paused_search_does_nothing_until_it_goes_on_and_its_time_does_not_count(tmp_path: Path) -> None:
    store = Memory()
    giving = Giving(tmp_path, ("pause",), ("scale", 3), later=("resume",))
    search = made("waiting", store=store, folder=tmp_path, listeners=[giving])
    search.begin = replace(search.begin, time=time.time())
    began = time.monotonic()
    history = search.run()
    passed = time.monotonic() - began
    events = list(store)
    (paused,), (resumed,) = of(StudyPaused, store), of(StudyResumed, store)
    between = events[events.index(paused) + 1 : events.index(resumed)]
    assert [type(event) for event in between] == [StudyScaled]
    assert "--runner processes --workers 3" in between[0].error
    assert resumed.time - paused.time > 0.3
    assert history.elapsed() == pytest.approx(passed - (resumed.time - paused.time), abs=0.2)
    assert sorted(event.trial for event in of(TrialFinished, store)) == [0, 1, 2, 3]
    assert isinstance(events[-1], StudyFinished)


def test_a_paused_search_can_be_interrupted(tmp_path: Path) -> None:
    store = Memory()
    search = made("waiting", store=store, folder=tmp_path, listeners=[Giving(tmp_path, ("pause",), after=60)])
    giving = search.listeners[0]
    timer = threading.Timer(1.0, search.interrupt)
    timer.start()
    with pytest.raises(Interrupted):
        search.run()
    giving._timer.cancel()  # type: ignore[attr-defined]
    assert isinstance(list(store)[-1], StudyPaused)
    # Taken up, it goes on.
    history = made("curve", store=store, folder=tmp_path).run(list(store))
    assert history.finish is not None
    assert len(of(StudyPaused, store)) == 1
    assert sorted(event.trial for event in of(TrialFinished, store)) == [0, 1, 2, 3]


def test_the_limit_of_seconds_does_not_count_a_pause(tmp_path: Path) -> None:
    store = Memory()
    giving = Giving(tmp_path, ("pause",), later=("resume",), after=1.5)
    search = made("waiting", store=store, folder=tmp_path, listeners=[giving], limits=Limits(seconds=1.2))
    search.begin = replace(search.begin, time=time.time())
    history = search.run()
    assert history.finish is not None
    assert history.finish.reason == "time is up (1.2 s)"
    assert 1.2 <= history.elapsed() < 2.5
    assert len([event for event in of(TrialReported, store) if event.time > of(StudyResumed, store)[0].time])


def test_an_order_that_cannot_be_read_is_a_notice(tmp_path: Path) -> None:
    store = Memory()

    class Ear:
        def tell(self, event: Event) -> None:
            if isinstance(event, TrialReported):
                (tmp_path / ".order-0.json").write_text("?")

    made(store=store, folder=tmp_path, listeners=[Ear()]).run()
    assert [event.topic for event in of(Noticed, store)] == ["order"]


def test_an_order_is_of_the_search_that_has_the_journal_when_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = {
        "task": f"{SAMPLE}:curve",
        "name": "mine",
        "trial": {"steps": 20},
        "limits": {"trials": 1},
        "tracking": {"uri": "none"},
    }
    hpo.search(table)
    folder = Path("studies/mine")
    stale = give(folder, "pause")  # of the search that is gone

    class Giving:
        """Pauses the study before it has told of anything, and lets it go on once it is paused."""

        def __init__(self, config: StudyConfig, runner: Runner, folder: Path) -> None:
            self.folder = folder
            self.early = give(folder, "pause")

        def tell(self, event: Event) -> None:
            if isinstance(event, StudyPaused) and event.order == self.early.name:
                give(self.folder, "resume")

    start = next(event for event in Journal(folder / study.JOURNAL) if isinstance(event, StudyStarted))
    again = study.config_of(start, folder, ["limits.trials=2"])
    giving: list[Giving] = []
    history = study.search(again, folder, lambda *parts: giving.append(Giving(*parts)) or giving[0]).history
    orders = [event.order for event in Journal(folder / study.JOURNAL) if isinstance(event, StudyPaused)]
    assert orders == [giving[0].early.name] != [stale.name]
    assert history.finish is not None
    assert len(history.trials) == 2
