"""Trials with their fold models: one trial to whoever listens, whatever lanes there are."""

from dataclasses import replace

import numpy as np
import pytest

from tests.contracts.test_shifted_lanes import PROGRAM, SMALL, SPLITS, A, B, C, alone, shifted, together
from tests.trials_sample import close
from trials.drive import Drive, Ended
from trials.folds import Folded, FoldedDrive, composed
from trials.lanes import Lanes
from trials.spec import Report
from trials.validation import FoldModel


def beside(families: str, trial: int = 0, **more):
    return shifted(families, trial, "beside", **more)


def agree(found: list[Report], wanted: list[Report]) -> None:
    assert [one.spent for one in found] == [one.spent for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one.metrics.keys() == other.metrics.keys()
        for name, value in one.metrics.items():
            close(value, other.metrics[name], "share" if "accuracy" in name else "training")


@pytest.mark.parametrize("families", [A, f"{A}+{C}", "all"])
@pytest.mark.parametrize("lanes", [1, 2, 5])
def test_a_trial_and_its_fold_models_say_the_same_in_any_number_of_lanes(families, lanes):
    one = beside(families)
    found, ends = together([one, beside("none", 1), shifted("all", 2)], lanes)
    agree(found[0], alone(one, 4))
    assert {trial: end.outcome for trial, end in ends.items()} == dict.fromkeys(range(3), "completed")


def test_every_family_is_scored_by_the_row_that_did_not_train_on_it():
    told = alone(beside("all"), 3)[-1].metrics
    # The same rows, each as a trial of its own.
    without = {
        A: alone(shifted(f"{B}+{C}"))[-1].metrics,
        B: alone(shifted(A))[-1].metrics,
        C: alone(shifted(A))[-1].metrics,
    }
    for family, metrics in without.items():
        name = f"shifted_accuracy_{family}"
        close(told[name], metrics[name], "share")
    assert told["fold_steps"] == 16
    assert "narrow" not in told
    own = alone(shifted("all"))[-1].metrics
    close(told["val_loss"], own["val_loss"], "training")


def test_a_single_family_is_scored_by_a_row_that_trains_on_none_and_says_so():
    told = alone(beside(A), 2)
    wanted = alone(shifted("none"))[-1].metrics[f"shifted_accuracy_{A}"]
    close(told[-1].metrics[f"shifted_accuracy_{A}"], wanted, "share")
    assert all(one.metrics["narrow"] == 1.0 for one in told)


def test_the_row_that_is_kept_is_the_one_that_trained_on_all_its_families():
    _, ends = together([beside("all")], 3)
    _, plain = together([shifted("all")], 1)
    assert ends[0].row is not None
    assert plain[0].row is not None
    close(ends[0].row.weights, plain[0].row.weights, "training")
    assert ends[0].row.hyper[f"trains_{A}"] == 1.0


def test_fold_models_alone_score_what_they_score_beside_their_trial():
    drive = FoldedDrive(Drive(Lanes(PROGRAM, 2), 4))
    drive.admit(replace(shifted("all", folds="alone"), rungs=(8,)))
    said = [one for _ in range(8) for one in drive.tick()]
    (folded,) = [one for one in said if isinstance(one, Folded)]
    assert not [one for one in said if isinstance(one, Report)]
    (ended,) = [one for one in said if isinstance(one, Ended)]
    assert (ended.outcome, ended.row, ended.record) == ("completed", None, None)
    assert folded.models == (FoldModel((B, C), (A,)), FoldModel((A,), (B, C)))
    assert folded.steps == 16
    wanted = alone(beside("all"), 3)[-1].metrics
    for family in (A, B, C):
        close(folded.metrics[f"shifted_loss_{family}"], wanted[f"shifted_loss_{family}"], "training")
    assert ended.scores is not None
    assert np.isnan(ended.scores.metrics["accuracy"][0]).all()  # the plain split is the trial's own
    assert not np.isnan(ended.scores.metrics["accuracy"][1:]).any()


def test_every_example_is_kept_and_agrees_with_the_means():
    _, ends = together([beside(f"{A}+{B}")], 3)
    told = alone(beside(f"{A}+{B}"), 3)[-1].metrics
    scores = ends[0].scores
    assert scores is not None
    assert scores.metrics["accuracy"].shape == (4, len(SPLITS.val["label"]))
    close(scores.metrics["accuracy"][0].mean(), told["val_accuracy"], "share")
    for family, row in zip((A, B, C), scores.metrics["accuracy"][1:], strict=True):
        close(row.mean(), told[f"shifted_accuracy_{family}"], "share")


def test_reports_wait_for_fold_models_that_wait_for_a_lane():
    drive = FoldedDrive(Drive(Lanes(PROGRAM, 1), 4))
    drive.admit(beside("all"))
    assert (drive.used(), drive.room(), len(drive)) == (3, 0, 3)
    said = []
    while len(drive):
        said.append(drive.tick())
    told = [one for tick in said for one in tick if isinstance(one, Report)]
    assert [one.spent for one in told] == [4, 8]
    assert not [one for tick in said[:4] for one in tick]


def test_a_trial_is_stopped_with_its_fold_models():
    drive = FoldedDrive(Drive(Lanes(PROGRAM, 2), 4))
    drive.admit(beside("all"))
    drive.tick()
    ended = drive.stop(0)
    assert (ended.outcome, ended.row) == ("stopped", None)
    assert ended.record is not None
    assert (len(drive), drive.room(), 0 in drive) == (0, 2, False)


def test_a_trial_whose_own_row_diverges_ends_with_its_fold_models():
    found, ends = together([beside("all", lr=1e30), beside("none", 1)], 4)
    assert (ends[0].outcome, ends[1].outcome) == ("diverged", "completed")
    assert not np.isfinite(found[0][-1].metrics["train_loss"])


def test_a_fold_model_that_diverges_is_named():
    # Only copies are out of bounds for this one: the trial's own row sees none of them.
    drive = FoldedDrive(Drive(Lanes(PROGRAM, 3), 4))
    drive.admit(beside("all"))
    lane = min(drive.lanes.numbers)
    drive.lanes.set_hyper(lane, {"lr": 1e30})
    said = [one for _ in range(4) for one in drive.tick()]
    (ended,) = [one for one in said if isinstance(one, Ended)]
    assert ended.outcome == "diverged"
    assert ended.reason.startswith("its fold model without ")
    assert len(drive) == 0
    assert all(one.trial == 0 for one in said)


def test_fold_models_alone_need_families_that_were_trained_on():
    drive = FoldedDrive(Drive(Lanes(PROGRAM, 2)))
    with pytest.raises(ValueError, match="trains on no families"):
        drive.admit(shifted("none", folds="alone"))


def test_a_mean_over_families_is_told_once_all_are_known():
    found = {"val_loss": 1.0, f"{A}:loss": 2.0}
    assert composed(found, (A, B), True) == {"val_loss": 1.0, f"shifted_loss_{A}": 2.0}
    assert SMALL["lr"] == 0.02
