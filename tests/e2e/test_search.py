"""A study is interrupted after every single event, at every byte of a line, and taken up."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo import config as configs
from hpo.config import StudyConfig
from hpo.events import (
    Event,
    StudyFinished,
    StudyStarted,
    TrialFinished,
    TrialReported,
    TrialStarted,
    TrialStopped,
)
from hpo.history import History
from hpo.loop import Search
from hpo.runners import base as runners
from hpo.store import Journal

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
TRIALS, LANES = 8, 3


class Killed(BaseException):
    """Nothing after this moment happened."""


class Mortal:
    """A journal whose process is killed once so many events are on the disk, the last maybe amid a batch."""

    def __init__(self, journal: Journal, life: int) -> None:
        self._journal, self._life = journal, life

    def append(self, events: Sequence[Event]) -> None:
        some = events[: self._life]
        self._journal.append(some)
        self._life -= len(some)
        if self._life <= 0:
            raise Killed

    def __iter__(self):
        return iter(self._journal)


def study(sampler: str, name: str = "curve", **sections: dict[str, Any]) -> StudyConfig:
    table: dict[str, Any] = {
        "task": f"{SAMPLE}:{name}",
        "trial": {"steps": 18, "reports": 4},
        "search": {"sampler": sampler, "pruner": "asha", "seed": 3},
        "sampler": {"startup_trials": 3} if sampler == "tpe" else {},
        "limits": {"trials": TRIALS},
        "runner": {"compile": "never"},
        "tracking": {"uri": "none"},
    }
    for section, values in sections.items():
        table[section] = {**table.get(section, {}), **values}
    return configs.build(table, "test", Path.cwd(), "study")


def session(config: StudyConfig, path: Path, life: float = math.inf, lanes: int = LANES) -> History | None:
    """One process that searches: until the end, or until it is killed; the history of one that lived."""
    journal = Journal(path)
    runner = runners.build(config.runner_name(), config.target(path.parent), lanes, 1)
    try:
        recorded = journal.open()
        search = Search(
            journal if math.isinf(life) else Mortal(journal, int(life)),
            config.sampler(),
            config.pruner(),
            runner,
            History(config.objective),
            config.limits,
            config.plan(),
            StudyStarted(config.name, dict(config.table), config.seed, {}, "", 0.0),
            folder=path.parent,
        )
        return search.run(recorded)
    except Killed:
        return None
    finally:
        runner.close()
        journal.close()


def of(kind: type[Event], events: Iterable[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def assert_lawful(events: list[Event], trials: int = TRIALS) -> None:
    """What holds of every journal, however often its search was killed."""
    started = Counter(event.spec.trial for event in of(TrialStarted, events))
    assert started == dict.fromkeys(range(trials), 1)
    assert Counter(event.trial for event in of(TrialFinished, events)) == started
    assert max(Counter(event.trial for event in of(TrialStopped, events)).values(), default=1) == 1
    reports = [event.report for event in of(TrialReported, events)]
    assert max(Counter((report.trial, report.spent) for report in reports).values()) == 1
    for number in range(trials):
        spent = [report.spent for report in reports if report.trial == number]
        assert spent == sorted(spent)
        spec = next(event.spec for event in of(TrialStarted, events) if event.spec.trial == number)
        assert set(spent) <= set(spec.rungs)
    # Nothing is said of a trial before it began or after it ended.
    running: set[int] = set()
    for event in events:
        match event:
            case TrialStarted(spec):
                running.add(spec.trial)
            case TrialReported(report):
                assert report.trial in running
            case TrialStopped():
                assert event.trial in running
            case TrialFinished():
                running.remove(event.trial)
            case _:
                pass
    assert isinstance(events[-1], StudyFinished)


def assert_asked_of_a_fresh_sampler(config: StudyConfig, events: list[Event]) -> None:
    """Every batch of trials is what a fresh sampler, told all that came before, suggests."""
    told = 0
    for is_start, group in itertools.groupby(
        enumerate(events), key=lambda pair: isinstance(pair[1], TrialStarted)
    ):
        batch = list(group)
        if not is_start:
            continue
        told = batch[0][0]
        fresh = config.sampler()
        for event in events[:told]:
            fresh.tell(event)
        suggested = [dict(suggestion.config) for suggestion in fresh.ask(len(batch))]
        assert suggested == [dict(event.spec.config) for _, event in batch]
    assert told


def specs(events: Iterable[Event]) -> dict[int, Any]:
    return {event.spec.trial: event.spec for event in of(TrialStarted, events)}


@pytest.mark.parametrize("sampler", ["random", "sobol", "grid", "tpe"])
def test_a_study_killed_after_any_event_can_be_taken_up(sampler: str, tmp_path: Path) -> None:
    config = study(sampler)
    whole = tmp_path / "whole.jsonl"
    assert session(config, whole) is not None
    uninterrupted = list(Journal(whole))
    assert_lawful(uninterrupted)
    assert of(TrialStopped, uninterrupted), "the pruner must have had its say, or this shows too little"
    for life in range(1, len(uninterrupted)):
        path = tmp_path / f"{life}.jsonl"
        assert session(config, path, life) is None
        killed = path.read_bytes()
        assert killed.count(b"\n") == life
        history = session(config, path)
        assert history is not None
        assert path.read_bytes().startswith(killed)
        events = list(Journal(path))
        assert_lawful(events)
        before = specs(events[:life])
        assert before.items() <= specs(uninterrupted).items()
        if sampler == "tpe":
            if life % 5 == 0:
                assert_asked_of_a_fresh_sampler(config, events)
        else:
            assert specs(events) == specs(uninterrupted)
        # A trial that had ended has the end it had, one that had not is trained to the same values.
        for event in of(TrialReported, events):
            assert (
                event.report.metrics
                == reference(config, specs(events)[event.report.trial])[event.report.spent]
            )


def reference(config: StudyConfig, spec: Any) -> dict[int, dict[str, float]]:
    """What a trial reports when it is alone."""
    runner = runners.build("inline", config.target(Path.cwd()), 1, 1)
    runner.start([spec])
    found: dict[int, dict[str, float]] = {}
    while runner.busy()[0]:
        for event in of(TrialReported, runner.poll(0.0)):
            found[event.report.spent] = event.report.metrics
    return found


@pytest.mark.parametrize("seed", range(6))
def test_a_study_killed_again_and_again_gets_done(seed: int, tmp_path: Path) -> None:
    config = study("sobol", "sometimes")
    generator = np.random.default_rng(seed)
    path = tmp_path / "journal.jsonl"
    kept, sessions = b"", 0
    # A session that takes up k trials needs a few events to get anywhere.
    while session(config, path, int(generator.integers(2, 12)), int(generator.integers(1, 5))) is None:
        assert path.read_bytes().startswith(kept)
        kept, sessions = path.read_bytes(), sessions + 1
    events = list(Journal(path))
    assert sessions >= 3
    assert len(of(StudyStarted, events)) == sessions + 1
    assert_lawful(events)
    outcomes = {event.trial: event.outcome for event in of(TrialFinished, events)}
    assert {outcomes[number] for number in range(1, TRIALS, 3)} == {"failed"}
    assert {outcomes[number] for number in range(2, TRIALS, 3)} == {"diverged"}


def test_a_study_taken_up_with_fewer_lanes_trains_all_that_were_running(tmp_path: Path) -> None:
    config = study("random")
    path = tmp_path / "journal.jsonl"
    assert session(config, path, TRIALS + 2, lanes=TRIALS) is None
    assert len(History(config.objective, Journal(path)).running) == TRIALS
    assert session(config, path, lanes=1) is not None
    assert_lawful(list(Journal(path)))


def test_a_journal_cut_at_any_byte_of_its_last_line_can_be_taken_up(tmp_path: Path) -> None:
    config = study("random", limits={"trials": 3})
    path = tmp_path / "journal.jsonl"
    session(config, path)
    lines = path.read_bytes().splitlines(keepends=True)
    last = next(n for n in range(len(lines) - 3, 0, -1) if b'"TrialReported"' in lines[n])
    before = b"".join(lines[:last])
    for byte in range(len(lines[last])):
        path.write_bytes(before + lines[last][:byte])
        assert Journal(path).read()[1] == lines[last][:byte].decode()
        assert session(config, path) is not None
        assert path.read_bytes().startswith(before)
        assert_lawful(list(Journal(path)), trials=3)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.95])
def test_a_study_of_lanes_killed_at_an_event_can_be_taken_up(share: float, tmp_path: Path) -> None:
    config = study("sobol", "Line", trial={"steps": 30, "reports": 3}, runner={"name": "lanes"})
    whole, path = tmp_path / "whole" / "journal.jsonl", tmp_path / "cut" / "journal.jsonl"
    assert session(config, whole) is not None
    uninterrupted = list(Journal(whole))
    life = int(share * len(uninterrupted))
    assert session(config, path, life) is None
    killed = path.read_bytes()
    history = session(config, path)
    assert history is not None
    assert path.read_bytes().startswith(killed)
    events = list(Journal(path))
    assert_lawful(events)
    assert specs(events) == specs(uninterrupted)
    # The lanes have other neighbours now; what they report is the same within rounding.
    losses = {
        (event.report.trial, event.report.spent): event.report.metrics["val_loss"]
        for event in of(TrialReported, uninterrupted)
    }
    common = 0
    for event in of(TrialReported, events):
        place = (event.report.trial, event.report.spent)
        if place in losses:
            common += 1
            assert event.report.metrics["val_loss"] == pytest.approx(losses[place], rel=1e-4, abs=1e-6)
    assert common >= TRIALS
    # Only the best row is kept, whoever was killed while saving.
    assert history.best is not None
    kept = [path.name for path in (tmp_path / "cut" / "rows").iterdir()]
    assert kept == [Path(history.best.row).name]
    assert of(StudyFinished, events)[-1].test.keys() == {"test_loss"}


def test_rows_that_a_killed_search_left_are_swept_when_it_is_taken_up(tmp_path: Path) -> None:
    config = study(
        "random",
        "Line",
        trial={"steps": 20, "reports": 2},
        limits={"trials": 3},
        runner={"name": "lanes"},
    )
    path = tmp_path / "journal.jsonl"
    session(config, path, 8)
    rows = tmp_path / "rows"
    rows.mkdir(exist_ok=True)
    for name in (".trial-00001.safetensors.123", "trial-00099.safetensors"):
        (rows / name).write_bytes(b"half")
    history = session(config, path)
    assert history is not None
    assert history.best is not None
    assert [row.name for row in rows.iterdir()] == [Path(history.best.row).name]


def test_a_study_whose_trials_were_all_done_when_it_was_killed_only_ends(tmp_path: Path) -> None:
    config = study("tpe")
    path = tmp_path / "journal.jsonl"
    session(config, path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    session(config, path)
    added = list(Journal(path))[len(lines) - 1 :]
    assert [type(event) for event in added] == [StudyStarted, StudyFinished]
