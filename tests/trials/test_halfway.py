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
from trials.spec import Report, TrialSpec
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
    before.save(tmp_path / "trial.npz", specs[1])
    # Elsewhere, beside a trial that begins.
    here.admit(replace(specs[0], trial=7))
    found = Halfway.load(tmp_path / "trial.npz", specs[1])
    assert found is not None
    assert list(here.take_up(specs[1], found)) == said
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
    halfway.save(path, one)
    others = [replace(one, seed=one.seed + 1), replace(one, config={**CONFIG, "lr": 0.02})]
    assert [Halfway.load(path, other) for other in others] == [None, None]
    path.write_bytes(path.read_bytes()[:-200])
    assert Halfway.load(path, one) is None
    assert Halfway.load(tmp_path / "none.npz", one) is None


def test_a_trial_whose_tuner_listens_has_to_begin_again() -> None:
    drive = a_drive(4)
    one: TrialSpec = spec({**CONFIG, "schedule": "race(k=3)"}, budget=400, horizon=60)
    drive.admit(one)
    for _ in range(3):
        drive.tick()
    assert drive.halfway(one.trial) is None
