"""The search loop itself: what order it keeps, and what it does with late and surprising events."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from hpo.errors import UsageError
from hpo.events import (
    DataLoaded,
    DataSet,
    Event,
    Figures,
    Noticed,
    StudyFinished,
    StudyStarted,
    Suggestion,
    TrialFinished,
    TrialReported,
    TrialStarted,
    TrialStopped,
)
from hpo.history import History
from hpo.limits import Limits
from hpo.loop import Interrupted, Plan, Search
from hpo.pruners.asha import Asha
from hpo.pruners.never import Never
from hpo.runners.base import NOWHERE, Heard, Target
from hpo.runners.inline import InlineRunner
from hpo.samplers.random import Random
from hpo.space import table as space_table
from hpo.store import Memory
from tests.objectives_sample import SPACE, value
from trials.spec import Report, TrialSpec

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"
PLAN = Plan(20, (5, 10, 15, 20), 20, 0, 0)
FOUR = Limits(trials=4)
BEGIN = StudyStarted("study", {}, 0, {}, "", 0.0)


def made(
    name: str = "curve",
    lanes: int = 2,
    limits: Limits = FOUR,
    store: Memory | None = None,
    **others,
) -> Search:
    space = space_table.read(SPACE, "[space]")
    runner = InlineRunner(Target(f"{SAMPLE}:{name}"), lanes)
    parts = {"sampler": Random(space, 0), "pruner": Never(), "runner": runner, **others}
    return Search(
        store if store is not None else Memory(),
        parts["sampler"],
        parts["pruner"],
        parts["runner"],
        History(),
        limits,
        PLAN,
        BEGIN,
        listeners=parts.get("listeners", ()),
        folder=parts.get("folder"),
        keep_rows=parts.get("keep_rows", "best"),
        data=parts.get("data", ()),
        compared=parts.get("compared", 0),
    )


def asha() -> Asha:
    """Judges at 3 and 7 of 20 steps."""
    return Asha(History().objective, eta=3, rungs=2)


def of(kind: type[Event], store: Memory) -> list:
    return [event for event in store if isinstance(event, kind)]


class Watching(InlineRunner):
    """A runner that looks at the journal whenever it is told something."""

    def __init__(self, store: Memory, lanes: int = 2) -> None:
        super().__init__(Target(f"{SAMPLE}:curve"), lanes)
        self.store = store

    def start(self, specs: Sequence[TrialSpec], until: Mapping[int, int] = NOWHERE) -> None:
        assert {spec.trial for spec in specs} <= {event.spec.trial for event in of(TrialStarted, self.store)}
        super().start(specs, until)

    def stop(self, trials: Collection[int]) -> None:
        assert set(trials) <= {event.trial for event in of(TrialStopped, self.store)}
        super().stop(trials)


def test_what_is_done_is_in_the_journal_before_it_is_done() -> None:
    store = Memory()
    search = made(store=store, runner=Watching(store), pruner=asha(), limits=Limits(trials=12))
    search.run()
    assert of(TrialStopped, store), "without a stop this shows half"


def test_listeners_hear_what_the_journal_has_in_its_order() -> None:
    class Ear:
        def __init__(self) -> None:
            self.heard: list[Event] = []

        def tell(self, event: Event) -> None:
            self.heard.append(event)
            assert list(store)[: len(self.heard)] == self.heard, "the journal has it first"

    store, ear = Memory(), Ear()
    made(store=store, listeners=[ear]).run()
    assert ear.heard == list(store)


class Scripted:
    """A runner whose polls say what a script says; for what no well-behaved runner would say at once."""

    def __init__(self, script: Callable[[int], list[TrialReported | TrialFinished]]) -> None:
        self._script, self._polls = script, 0
        self.stopped: list[int] = []
        self.running: set[int] = set()

    def free(self) -> int:
        return 3 - len(self.running)

    def start(self, specs: Sequence[TrialSpec]) -> None:
        self.running |= {spec.trial for spec in specs}

    def stop(self, trials: Collection[int]) -> None:
        self.stopped.extend(trials)

    def poll(self, timeout: float) -> list[TrialReported | TrialFinished]:
        self._polls += 1
        events = self._script(self._polls)
        self.running -= {event.trial for event in events if isinstance(event, TrialFinished)}
        return events

    def busy(self) -> tuple[int, int]:
        return len(self.running), 3

    def busy_seconds(self) -> tuple[float, float]:
        return 0.0, 0.0

    def check(self, configs: Sequence[Mapping]) -> tuple[str, ...]:
        return ()

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        return {}

    def explore(self, spec: TrialSpec) -> Sequence[Mapping]:
        return []

    def data(self) -> tuple[DataSet, ...]:
        return ()

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        return {}

    def close(self) -> None:
        self.running.clear()


def report(trial: int, spent: int, loss: float = 1.0) -> TrialReported:
    return TrialReported(Report(trial, spent, spent, 0.0, {"val_loss": loss}), 1.0)


def end(trial: int, outcome: str = "completed") -> TrialFinished:
    return TrialFinished(trial, outcome, 1.0)  # type: ignore[arg-type]


def test_a_report_on_its_way_does_not_stop_a_trial_twice() -> None:
    """The target is reached while worse trials run; their next reports come after they were stopped."""
    polls = {
        1: [report(0, 5), report(1, 5, 0.0), report(2, 5)],
        2: [report(0, 10, 0.1), report(0, 15, 0.1), report(0, 20, 0.1), end(0)],
        3: [report(1, 10, 9.0), report(2, 10, 9.0)],
        4: [end(1, "stopped"), end(2, "stopped")],
    }
    store, runner = Memory(), Scripted(lambda poll: polls.get(poll, []))
    limits = Limits(trials=3, target=0.5)
    made(store=store, runner=runner, pruner=asha(), limits=limits).run()
    stops = [event.trial for event in of(TrialStopped, store)]
    assert sorted(stops) == sorted(set(stops))
    assert sorted(runner.stopped) == sorted(set(runner.stopped))


def test_a_trial_that_outruns_the_order_to_stop_was_stopped_all_the_same() -> None:
    polls = {
        1: [report(0, 7, 0.0), report(1, 7, 5.0), report(2, 7, 6.0)],
        2: [report(1, 20, 5.0), end(1), report(0, 20, 0.0), end(0)],
        3: [end(1, "stopped"), report(2, 20), end(2, "stopped")],
    }
    store, runner = Memory(), Scripted(lambda poll: polls.get(poll, []))
    made(store=store, runner=runner, pruner=asha(), limits=Limits(trials=3)).run()
    assert of(TrialStopped, store)
    assert sorted(event.trial for event in of(TrialFinished, store)) == [0, 1, 2]
    assert [event.outcome for event in of(TrialFinished, store) if event.trial == 1] == ["stopped"]
    assert [event.report.spent for event in of(TrialReported, store) if event.report.trial == 1] == [7]


class Counting(Scripted):
    """One trial with a row, and a test split that is counted or broken."""

    def __init__(self, broken: bool = False) -> None:
        super().__init__(lambda poll: [report(poll - 1, 20, 1.0 / poll), self.ended(poll - 1)])
        self.broken, self.tests = broken, 0
        self.folder: Path | None = None  # where it writes rows
        self.read: list[list[int]] = []  # trials that targets were read for, in each reading

    def ended(self, trial: int) -> TrialFinished:
        row = f"rows/trial-{trial:05d}.safetensors"
        if self.folder is not None:
            (self.folder / "rows").mkdir(exist_ok=True)
            (self.folder / row).write_bytes(b"row")
        return TrialFinished(trial, "completed", 1.0, row=row)

    def free(self) -> int:
        return 1 - len(self.running)

    def poll(self, timeout: float) -> list[Heard]:
        return super().poll(timeout) if self.running else []

    def test(self, spec: TrialSpec, row: str) -> Mapping[str, float]:
        self.tests += 1
        if self.broken:
            raise UsageError("no column y")
        return {"test_loss": float(spec.trial)}

    def targets(self, trials: Sequence[tuple[TrialSpec, str]]) -> Figures:
        self.read.append([spec.trial for spec, _ in trials])
        if self.broken:
            raise UsageError("no column z")
        return {str(spec.trial): {"there": {"loss": float(spec.trial)}} for spec, _ in trials}


def read_with(folder: Path, store: Memory, runner: Counting, trials: int, **parts: Any) -> Search:
    runner.folder = folder
    search = made(
        store=store, runner=runner, limits=Limits(trials=trials), folder=folder, keep_rows="all", **parts
    )
    search.run(list(store))
    return search


def test_a_test_split_that_cannot_be_read_does_not_cost_the_study_its_end(tmp_path: Path) -> None:
    store = Memory()
    search = read_with(tmp_path, store, Counting(broken=True), 1)
    assert search.problems == ["the test split could not be read: no column y"]
    assert [(event.best, event.test) for event in of(StudyFinished, store)] == [(0, {})]


def test_the_test_split_is_not_read_again_for_a_trial_that_was_chosen_before(tmp_path: Path) -> None:
    store, first = Memory(), Counting()
    read_with(tmp_path, store, first, 1)
    again = Counting()
    read_with(tmp_path, store, again, 1)
    assert (first.tests, again.tests) == (1, 0)
    assert [event.test for event in of(StudyFinished, store)] == [{"test_loss": 0.0}] * 2


def test_targets_are_read_for_trials_that_lead_and_were_not_read_before(tmp_path: Path) -> None:
    store, first = Memory(), Counting()
    read_with(tmp_path, store, first, 2, compared=2)
    same, more = Counting(), Counting()
    read_with(tmp_path, store, same, 2, compared=2)
    assert (first.read, same.read) == ([[1, 0]], [])
    more._polls = 2
    search = read_with(tmp_path, store, more, 3, compared=2)
    assert more.read == [[2]]
    finishes = [sorted(event.targets) for event in of(StudyFinished, store)]
    assert finishes == [["0", "1"], [], ["2"]]
    assert search.history.targeted == {trial: {"there": {"loss": float(trial)}} for trial in range(3)}


def test_targets_that_cannot_be_read_do_not_cost_the_study_its_end(tmp_path: Path) -> None:
    store = Memory()
    search = read_with(tmp_path, store, Counting(broken=True), 1, compared=2)
    assert "the targets could not be read: no column z" in search.problems
    assert [(event.best, event.targets) for event in of(StudyFinished, store)] == [(0, {})]


def test_rows_of_trials_that_lead_are_kept(tmp_path: Path) -> None:
    store, runner = Memory(), Counting()
    runner.folder = tmp_path
    made(store=store, runner=runner, limits=Limits(trials=4), folder=tmp_path, compared=2).run()
    assert sorted(path.stem for path in (tmp_path / "rows").iterdir()) == ["trial-00002", "trial-00003"]


def test_what_trials_are_judged_on_is_told_once_and_again_where_it_has_changed() -> None:
    store = Memory()
    data = (DataSet("there", "0123456789abcdef", 9, "target"),)
    made(store=store, limits=Limits(trials=1), data=data).run()
    made(store=store, limits=Limits(trials=1), data=data).run(list(store))
    assert [event.sets for event in of(DataLoaded, store)] == [data]
    other = (DataSet("there", "fedcba9876543210", 9, "target"),)
    made(store=store, limits=Limits(trials=1), data=other).run(list(store))
    assert [event.sets for event in of(DataLoaded, store)] == [data, other]


def noticed(text: str, time: float = 1.0) -> Noticed:
    return Noticed("compile", text, time)


def test_what_every_worker_notices_is_told_once() -> None:
    polls = {
        1: [noticed("no compiler"), noticed("no compiler", 2.0), report(0, 5)],
        2: [noticed("no compiler", 3.0), noticed("compiled")],
        3: [report(0, 20), end(0)],
    }
    store = Memory()
    made(store=store, runner=Scripted(lambda poll: polls.get(poll, [])), limits=Limits(trials=1)).run()
    assert [event.text for event in of(Noticed, store)] == ["no compiler", "compiled"]


def test_what_was_noticed_before_is_not_told_again_by_a_study_that_is_taken_up() -> None:
    polls = {1: [noticed("no compiler"), noticed("8 lanes"), report(0, 20), end(0)]}
    recorded: list[Event] = [BEGIN, noticed("no compiler", 0.0), *started(0)]
    store = taken_up(recorded, limits=Limits(trials=1), runner=Scripted(lambda poll: polls.get(poll, [])))
    assert [event.text for event in of(Noticed, store)] == ["no compiler", "8 lanes"]


def test_a_trial_that_ran_out_of_memory_while_it_was_being_stopped_did_so() -> None:
    polls = {
        1: [report(0, 7, 0.0), report(1, 7, 5.0), report(2, 7, 6.0)],
        2: [end(1, "out_of_memory"), report(0, 20, 0.0), end(0)],
        3: [end(2, "stopped")],
    }
    store, runner = Memory(), Scripted(lambda poll: polls.get(poll, []))
    made(store=store, runner=runner, pruner=asha(), limits=Limits(trials=3)).run()
    assert 1 in runner.stopped
    assert [event.outcome for event in of(TrialFinished, store) if event.trial == 1] == ["out_of_memory"]


def test_reports_of_trials_that_nobody_started_are_not_heard() -> None:
    polls = {1: [report(77, 5), end(77), report(0, 20), end(0)]}
    store = Memory()
    made(store=store, runner=Scripted(lambda poll: polls.get(poll, [])), limits=Limits(trials=1)).run()
    assert {event.report.trial for event in of(TrialReported, store)} == {0}


def taken_up(recorded: list[Event], **others) -> Memory:
    store = Memory(recorded)
    made(store=store, **others).run(recorded)
    return store


def started(*numbers: int) -> list[Event]:
    space = space_table.read(SPACE, "[space]")
    return [TrialStarted(PLAN.spec(n, Random(space, 0).ask(3)[n]), 0.0) for n in numbers]


def test_a_trial_that_diverged_in_its_last_recorded_report_ends_diverged() -> None:
    recorded = [BEGIN, *started(0), report(0, 5, math.inf)]
    store = taken_up(recorded, limits=Limits(trials=1), pruner=asha())
    (finished,) = of(TrialFinished, store)
    assert (finished.outcome, finished.error) == ("diverged", "val_loss is inf after 5 steps")
    assert len(of(TrialReported, store)) == 1


def test_a_trial_that_was_being_stopped_is_ended_and_not_run_again() -> None:
    recorded = [BEGIN, *started(0), report(0, 5), TrialStopped(0, 5, "because", 0.0)]
    store = taken_up(recorded, limits=Limits(trials=1))
    assert [event.outcome for event in of(TrialFinished, store)] == ["stopped"]
    assert len(of(TrialStopped, store)) == 1


def test_a_verdict_that_was_not_recorded_is_given_after_a_replay() -> None:
    recorded = [BEGIN, *started(0, 1), report(0, 5, 1.0), report(1, 5, 2.0)]
    store = taken_up(recorded, limits=Limits(trials=2), pruner=asha())
    assert [event.trial for event in of(TrialStopped, store)] == [1]
    assert [event.report.spent for event in of(TrialReported, store) if event.report.trial == 1] == [5]
    assert {event.trial: event.outcome for event in of(TrialFinished, store)} == {
        0: "completed",
        1: "stopped",
    }


def test_a_trial_that_had_spent_its_budget_is_not_stopped_by_a_verdict_on_its_way() -> None:
    """Both reports came at once, so it was to be completed: it is, for its end and row are missing."""
    recorded = [BEGIN, *started(0, 1), report(0, 5, 1.0), report(1, 5, 2.0), report(1, 20, 2.0)]
    store = taken_up(recorded, limits=Limits(trials=2), pruner=asha())
    assert {event.trial: event.outcome for event in of(TrialFinished, store)} == dict.fromkeys(
        (0, 1), "completed"
    )
    assert [event.report.spent for event in of(TrialReported, store) if event.report.trial == 1] == [5, 20]


def test_a_limit_that_is_reached_already_starts_nothing_again() -> None:
    recorded = [BEGIN, *started(0, 1), report(0, 20, 0.1), end(0)]
    store = taken_up(recorded, limits=Limits(trials=9, target=0.5))
    assert [event.outcome for event in of(TrialFinished, store)] == ["completed", "stopped"]
    assert of(StudyFinished, store)[-1].best == 0


def test_an_interrupted_search_says_so_and_leaves_its_trials_running() -> None:
    store = Memory()
    search = made(store=store)

    class Finger:
        def tell(self, event: Event) -> None:
            if isinstance(event, TrialReported):
                search.interrupt()

    search.listeners = [Finger()]
    with pytest.raises(Interrupted):
        search.run()
    assert len(search.history.running) == 2
    assert not of(StudyFinished, store)


def test_a_suggestion_with_a_budget_of_its_own_has_its_rungs_below_it() -> None:
    spec = PLAN.spec(3, Suggestion({"x": 1.0}, budget=12, parent="rows/trial-00001.safetensors"))
    assert (spec.budget, spec.rungs, spec.horizon) == (12, (5, 10, 12), 20)
    assert spec.parent == "rows/trial-00001.safetensors"
    assert spec.seed == PLAN.spec(3, Suggestion({"x": 2.0})).seed != PLAN.spec(4, Suggestion({"x": 1.0})).seed


def test_the_chosen_trial_is_the_best_completed_one_and_the_history_agrees_with_the_journal() -> None:
    store = Memory()
    history = made(store=store, limits=Limits(trials=9)).run()
    again = History(events=store)
    finals = {n: value(trial.spec.config, 20) for n, trial in again.trials.items()}
    assert of(StudyFinished, store)[-1].best == min(finals, key=finals.__getitem__)
    assert again.trials == history.trials
    assert again.spent == history.spent == 9 * 20
