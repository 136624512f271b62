"""Choosing by scores on shifted copies, against values worked out by hand."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo.events import StudyStarted, TrialFinished, TrialReported, TrialScored, TrialStarted
from hpo.history import History
from hpo.leading import fold_specs, whole
from hpo.objective import Objective
from hpo.shifted import (
    Setting,
    competent,
    leading,
    of_families,
    ranked,
    setting,
    standardised,
)
from tests.strategies import law
from trials.spec import Report, TrialSpec
from trials.validation import FoldModel

# Easy and hard families; the third trial is not competent and is not standardised by.
THREE = [
    Setting(0, {"blur": 0.9, "edges": 0.5}, plain=0.97, loss=0.2),
    Setting(1, {"blur": 0.7, "edges": 0.6}, plain=0.95, loss=0.1),
    Setting(2, {"blur": 0.2, "edges": 0.9}, plain=0.90, loss=0.3),
]


def test_the_competent_are_near_the_best_plain_score():
    assert [one.trial for one in competent(THREE)] == [0, 1]
    unknown = [Setting(0, {"blur": 0.9}, math.nan)]
    assert competent(unknown) == unknown


def test_the_mean_of_families_standardised_over_the_competent_ranks():
    # blur of the competent: 0.8 +- 0.1; edges: 0.55 +- 0.05.
    assert standardised(THREE) == pytest.approx({0: (1 - 1) / 2, 1: (-1 + 1) / 2, 2: (-6 + 7) / 2})
    # The first two are equal, and the second has the lower loss.
    assert [one.trial for one in ranked(THREE)] == [2, 1, 0]
    # By the plain mean it would have been the first one, 0.7 against 0.65 and 0.55.


def test_a_family_on_which_all_are_alike_decides_nothing():
    flat = [Setting(0, {"a": 1.0, "b": 7.0}, 0.0), Setting(1, {"a": 3.0, "b": 7.0}, 0.0)]
    assert standardised(flat) == {0: -0.5, 1: 0.5}
    alone = [Setting(0, {"a": 0.5, "b": 0.5}, 0.99), Setting(1, {"a": 0.6, "b": 0.5}, 0.5)]
    assert standardised(alone) == pytest.approx({0: 0.0, 1: 0.05})


def test_a_score_that_is_no_share_is_ranked_alike():
    losses = [Setting(0, {"a": -1.0, "b": -3.0}, 0.0), Setting(1, {"a": -0.5, "b": -2.0}, 0.0)]
    assert [one.trial for one in ranked(losses)] == [1, 0]


def test_equals_are_decided_by_plain_loss_then_by_number():
    equal = [
        Setting(0, {"blur": 0.5}, 0.9, loss=0.3),
        Setting(1, {"blur": 0.5}, 0.9, loss=0.2),
        Setting(2, {"blur": 0.5}, 0.9, loss=0.2),
    ]
    assert [one.trial for one in ranked(equal)] == [1, 2, 0]
    assert ranked([]) == []


def test_settings_of_different_families_are_not_ranked():
    with pytest.raises(ValueError, match="these differ"):
        ranked([Setting(0, {"blur": 0.5}, 0.9), Setting(1, {"edges": 0.5}, 0.9)])


@given(
    table=st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=6),
    plain=st.lists(st.floats(0.8, 1), min_size=6, max_size=6),
)
@law
def test_who_is_better_on_every_family_is_not_ranked_below(table, plain):
    every = [
        Setting(number, dict(zip("abc", row, strict=True)), plain[number]) for number, row in enumerate(table)
    ]
    order = [one.trial for one in ranked(every)]
    assert sorted(order) == list(range(len(table)))
    for one in every:
        for other in every:
            if all(one.families[name] > other.families[name] + 1e-6 for name in "abc"):
                assert order.index(one.trial) < order.index(other.trial)


def test_the_leading_third_is_rounded_up_and_leaves_out_what_has_no_loss():
    assert leading({}) == []
    assert leading({4: 0.5}) == [4]
    assert leading({0: math.inf, 1: 0.2, 2: 0.2, 3: 0.1, 4: 0.9}) == [3, 1]


def test_families_are_read_from_the_names_of_metrics():
    metrics = {"val_top": 0.9, "val_top_five": 1.0, "shifted_top_five": 0.7, "shifted_top_five_blur": 0.7}
    metrics |= {"shifted_top": 0.3, "shifted_top_blur": 0.3}
    assert of_families(metrics, "top") == {"blur": 0.3}
    assert of_families(metrics, "top_five") == {"blur": 0.7}


def test_a_trial_without_a_finite_score_of_a_family_is_not_ranked():
    goal = Objective("shifted_loss", "min")
    full = {"val_loss": 0.2, "shifted_loss": 2.0, "shifted_loss_blur": 1.0, "shifted_loss_edges": 3.0}
    assert setting(3, full, goal) == Setting(3, {"blur": -1.0, "edges": -3.0}, -0.2, 0.2)
    assert setting(3, {**full, "shifted_loss_edges": math.inf}, goal) is None
    assert setting(3, {"val_loss": 0.2, "shifted_loss_blur": 1.0}, goal) is None


# -- over events ------------------------------------------------------------------------------------------


def events(number: int, loss: float, accuracy: float | None, families: dict[str, float], **config):
    metrics = {"val_loss": loss, "val_accuracy": 0.9, "train_loss": 0.1}
    if accuracy is not None:
        metrics["shifted_accuracy"] = accuracy
    metrics |= {f"shifted_accuracy_{family}": value for family, value in families.items()}
    spec = TrialSpec(number, {"lr": 0.1, **config}, 7 + number, 20, (10, 20), 20, 0, folds="none")
    yield TrialStarted(spec, 1.0)
    yield TrialReported(Report(number, 20, 20, 0.1, metrics), 2.0)
    yield TrialFinished(number, "completed", 3.0, row=f"rows/{number}")


LATE = Objective("val_loss", "min", Objective("shifted_accuracy", "max"))
STUDY = StudyStarted("study", {}, 0, {}, "", 0.0)


def late() -> History:
    """Four trials; the best two of three thirds by loss are number 1, which trains on blur, and 3."""
    history = History(LATE, [STUDY])
    for number, loss, trained in ((0, 0.4, ""), (1, 0.1, "blur"), (2, 0.5, "all"), (3, 0.2, "")):
        families = {name: 0.5 + 0.1 * number for name in ("blur", "edges") if name != trained}
        mean = None if trained else 0.5 + 0.1 * number
        if trained == "all":
            families = {}
        for event in events(number, loss, mean, families, train_families=trained or "none"):
            history.tell(event)
    return history


def test_where_the_scores_are_late_the_best_is_by_loss_until_they_are_known():
    history = late()
    assert [trial.spec.trial for trial in history.unscored] == [1]
    assert history.ranking == []
    assert history.best is history.trials[1]
    scored = TrialScored(1, {"shifted_accuracy_blur": 0.4}, 20, (FoldModel((), ("blur",)),), 4.0)
    history.tell(whole(history.trials[1], scored))
    assert history.trials[1].metrics["shifted_accuracy"] == pytest.approx((0.4 + 0.6) / 2)
    assert history.unscored == []
    # Those that train on nothing have their scores already; number 2 has none and is not chosen.
    # The means of 0 and 1 are equal. Edges differ less, so what is gained there is worth more:
    # blur is 0.567 +- 0.170, edges 0.633 +- 0.125, and so 0 is at -0.73, 1 at -0.62.
    assert history.ranking == [3, 1, 0]
    assert history.best is history.trials[3]
    assert history.fold_steps == 20
    assert history.spent == 80


def test_a_leading_trial_whose_fold_models_failed_is_not_waited_for():
    history = late()
    history.tell(TrialScored(1, {}, 0, (), 4.0, "RuntimeError: it broke"))
    assert history.unscored == []
    assert history.ranking == [3, 0]


def test_fold_models_of_leading_trials_are_trials_of_the_same_config_and_seed():
    history = late()
    (one,) = fold_specs(history)
    trial = history.trials[1].spec
    assert (one.trial, one.seed, one.config, one.budget) == (1, trial.seed, trial.config, 20)
    assert (one.rungs, one.folds) == ((20,), "alone")


def test_a_study_says_what_it_searches_by_and_what_it_chooses_by():
    kfold = {"kind": "shifted-kfold", "folds_for": "leading"}
    study = {"metric": "shifted_accuracy", "validation": kfold}
    assert Objective.of_study(study) == LATE
    assert Objective.of_study({**study, "validation": {**kfold, "folds_for": "all"}}) == LATE.final
    assert Objective.of_study({"metric": "val_loss"}) == Objective()
    assert not Objective().is_ranked
    assert LATE.is_ranked
    assert Objective.read({"name": "shifted_accuracy", "goal": "min"}).goal == "min"
    assert Objective.read("shifted_loss").goal == "min"
