"""What shifted scores and targets say of a study's trials."""

import math

import pytest

from hpo.history import History
from hpo.objective import Objective
from hpo.transfer import (
    PLAIN,
    STANDARDISED,
    Reliability,
    choices,
    foretold,
    judged,
    reliabilities,
    told_metric,
)
from tests import events_sample
from tests.shifted_sample import IMAGES, chances, events


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def history(folder):
    return History(Objective("shifted_accuracy", "max"), events(folder))


def test_every_number_of_a_trial_is_found(history):
    metric = told_metric(history)
    assert metric == Objective("accuracy", "max")
    found = {one.trial: one for one in judged(history, 8)}
    assert sorted(found) == list(range(6))
    for trial, one in found.items():
        plain, blur, edges, there = chances(trial)
        margin = 4 * math.sqrt(0.25 / IMAGES)
        assert one.plain == pytest.approx(plain, abs=margin)
        assert one.families == pytest.approx({"blur": blur, "edges": edges}, abs=margin)
        assert one.mean == pytest.approx(sum(one.families.values()) / 2)
        assert one.worst == min(one.families, key=one.families.__getitem__)
        assert one.targets["printed"] == pytest.approx(there, abs=margin)
        assert one.narrow == (("blur",) if trial == 1 else ())


def test_trials_are_standardised_over_all_that_the_winner_was_chosen_among(history):
    every = {one.trial: one.standardised for one in judged(history, 8)}
    assert sum(every.values()) == pytest.approx(0.0, abs=1e-9)  # all are competent
    some = {one.trial: one.standardised for one in judged(history, 2)}
    assert len(some) < len(every)
    assert some == {trial: every[trial] for trial in some}


def test_plain_and_shifted_scores_choose_different_trials(history):
    chosen = {one.score: one.trial for one in choices(judged(history, 8), told_metric(history))}
    assert chosen[PLAIN] == 0
    assert chosen[STANDARDISED] == 5


def test_a_loss_is_better_the_lower(history):
    metric = Objective("loss", "min")
    chosen = choices(judged(history, 8), metric)
    assert {one.score: one.trial for one in chosen}[PLAIN] == 5


def test_a_saturated_score_is_told_that_it_cannot_rank(history, folder):
    plain, shifted = reliabilities(history, folder)
    assert plain.trials == shifted.trials == 6
    assert shifted.value > 0.95
    assert shifted.advice == "tells these trials apart"


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (0.79, "below 0.8 among competent settings: it cannot rank them"),
        (0.81, "tells these trials apart"),
        (math.nan, "too few trials, or all alike"),
    ],
)
def test_advice_follows_from_reliability(value, advice):
    assert Reliability("plain", value, 5).advice == advice


def test_what_scores_foretold_of_a_target_has_an_interval(history, folder):
    (found,) = foretold(history, folder)
    assert (found.target, found.trials) == ("printed", 6)
    assert found.shifted.value == pytest.approx(1.0)
    assert found.plain.value < -0.9
    assert found.gain.low > 0


def test_a_study_without_shifts_and_targets_has_nothing_to_tell(tmp_path):
    history = History(Objective(), events_sample.events(8))
    assert all(not one.families and not one.targets for one in judged(history, 8))
    assert reliabilities(history, tmp_path) == []
    assert foretold(history, tmp_path) == []
