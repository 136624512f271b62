"""A trial that goes on from what was saved of it on its way says and ends as if nothing had been."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.trials_sample import CPU, SMALL, close, reports_agree, spec, splits, task
from trials.drive import Drive, Ended
from trials.halfway import Halfway
from trials.lanes import Lanes
from trials.recipe import recipe
from trials.spec import Report
from trials.train import build

CONFIG = {**SMALL["tabular"], "lr": 0.01, "dropout": 0.2}


def a_drive(lanes: int, tick: int = 10) -> Drive:
    parts = recipe(task("tabular"), CONFIG, splits("tabular").views)
    return Drive(Lanes(build(task("tabular"), splits("tabular"), parts, CPU), lanes), tick)


def rest(drive: Drive) -> tuple[dict[int, list[Report]], dict[int, Ended]]:
    reports: dict[int, list[Report]] = {}
    ends: dict[int, Ended] = {}
    while len(drive):
        for one in drive.tick():
            if isinstance(one, Report):
                reports.setdefault(one.trial, []).append(one)
            elif isinstance(one, Ended):
                ends[one.trial] = one
    return reports, ends


@pytest.mark.parametrize("extra", [{}, {"schedule": "wsd"}, {"rule": "hypergradient"}])
@pytest.mark.parametrize("ticks", [1, 4])
def test_a_trial_gone_on_with_elsewhere_is_the_one_it_was(
    extra: dict[str, str], ticks: int, tmp_path: Path
) -> None:
    specs = [spec({**CONFIG, **extra}, trial, budget=70, rungs=(15, 40, 70)) for trial in range(2)]
    whole, there, here = a_drive(2), a_drive(2), a_drive(3, tick=7)
    for one in specs:
        whole.admit(one)
        there.admit(one)
    wanted, ends = rest(whole)
    said: list[Report] = []
    for _ in range(ticks):
        said.extend(one for one in there.tick() if isinstance(one, Report) and one.trial == 1)
    before = there.halfway(1)
    assert before is not None
    before.save(tmp_path / "trial.npz")
    # Elsewhere, beside a trial that begins.
    here.admit(replace(specs[0], trial=7))
    found = Halfway.load(tmp_path / "trial.npz", specs[1])
    assert found is not None
    assert found.course.reports == said
    here.resume(found)
    reports, other_ends = rest(here)
    reports_agree([*said, *reports[1]], wanted[1])
    row, other = ends[1].row, other_ends[1].row
    assert row is not None
    assert other is not None
    close(other.weights, row.weights, "training")
    record, wanted_record = other_ends[1].record, ends[1].record
    assert record is not None
    assert wanted_record is not None
    assert (record.first_step, record.lr) == (0, wanted_record.lr)
    close(np.concatenate(record.kept), np.concatenate(wanted_record.kept), "training")


def test_what_was_saved_of_another_trial_or_is_damaged_is_not_gone_on_from(tmp_path: Path) -> None:
    drive, path = a_drive(1), tmp_path / "trial.npz"
    one = spec(CONFIG, budget=70)
    drive.admit(one)
    assert drive.halfway(0) is None  # nothing has been done yet
    drive.tick()
    halfway = drive.halfway(0)
    assert halfway is not None
    halfway.save(path)
    others = [replace(one, seed=one.seed + 1), replace(one, config={**CONFIG, "lr": 0.02})]
    assert [Halfway.load(path, other) for other in others] == [None, None]
    path.write_bytes(path.read_bytes()[:-200])
    assert Halfway.load(path, one) is None
    assert Halfway.load(tmp_path / "none.npz", one) is None


SEARCHES = {
    "race": ("race(k=3)", 400, 60),
    "range_test": ("range_test(sweep_steps=20)", 120, 100),
    "autolrs": ("autolrs(stages=2)", 360, 120),
    "guarded": ("range_test(sweep_steps=20, guarded=true)", 160, 100),
    "plateau": ("plateau(patience=1)", 120, 120),
}


@pytest.mark.parametrize("search", SEARCHES)
def test_a_trial_that_probes_goes_on_elsewhere_wherever_it_is_cut(search: str, tmp_path: Path) -> None:
    """Amid a probe, between two, and in a copy's lane: its tuner asks for what it would have."""
    schedule, budget, horizon = SEARCHES[search]
    rungs = range(17, budget, 17)
    one = spec({**CONFIG, "schedule": schedule}, 1, budget=budget, rungs=rungs, horizon=horizon)
    whole = a_drive(3)
    whole.admit(one)
    wanted, ends = rest(whole)
    there, path, said, probed = a_drive(3), tmp_path / "trial.npz", list[Report](), 0
    there.admit(one)
    cuts = 0
    while len(there):
        said.extend(report for report in there.tick() if isinstance(report, Report))
        before = there.halfway(1) if 1 in there else None
        cuts += 1
        if before is None or cuts % 4 != 1:
            continue
        before.save(path)
        probed += before.course.is_probing
        # Fewer lanes than it had copies; others of the same numbers were there before.
        here, found = a_drive(2, tick=7), Halfway.load(path, one)
        assert found is not None
        assert found.course.reports == said
        here.admit(spec(CONFIG, 5, budget=30))
        here.resume(found)
        reports, other_ends = rest(here)
        reports_agree([*said, *reports.get(1, [])], wanted[1])
        assert other_ends[1].outcome == ends[1].outcome
        for name in ("chosen", "score", "factor"):
            found_facts, wanted_facts = [[fact[name] for fact in one[1].facts] for one in (other_ends, ends)]
            close(found_facts, wanted_facts, "training")
        for name in ("weights", "state"):
            close(getattr(other_ends[1].row, name), getattr(ends[1].row, name), "training")
        record, wanted_record = other_ends[1].record, ends[1].record
        assert record is not None
        assert wanted_record is not None
        close(np.concatenate(record.kept), np.concatenate(wanted_record.kept), "training")
        adopted = [[tried.is_adopted for tried in one.tried] for one in (record, wanted_record)]
        assert adopted[0] == adopted[1]
    assert cuts > 4
    assert probed or search == "plateau"


def test_a_tuner_that_asks_for_something_else_by_now_is_not_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an update of this project: the trial begins again."""
    from trials import halfway as module
    from trials.course import scheduled

    one, path = spec({**CONFIG, "schedule": "range_test(sweep_steps=20)"}, budget=120), tmp_path / "trial.npz"
    drive = a_drive(1)
    drive.admit(one)
    for _ in range(5):
        drive.tick()
    halfway = drive.halfway(0)
    assert halfway is not None
    halfway.save(path)
    other = replace(one, config={**CONFIG, "schedule": "range_test(sweep_steps=22)"})
    monkeypatch.setattr(module, "scheduled", lambda _, step: scheduled(other, step))
    assert Halfway.load(path, one) is None
