import math

import numpy as np
import pytest

from dashboards.load import fold, load
from hpo.errors import JournalError
from hpo.events import StudyFinished, TrialFinished, TrialReported, TrialStarted
from tests import events_sample as sample
from tests import traced_sample as traced
from trials.spec import Report


def test_a_folder_and_its_journal_are_the_same_study(tmp_path):
    journal = sample.journal(tmp_path, sample.events(6))
    by_folder, by_journal = load(tmp_path), load(journal)
    assert repr(by_folder.history.trials) == repr(by_journal.history.trials)
    assert by_folder.name == "digits"
    assert by_folder.folder == tmp_path


def test_a_missing_journal_is_an_error_that_names_it(tmp_path):
    with pytest.raises(JournalError, match=r"journal\.jsonl"):
        load(tmp_path)


def test_a_torn_last_line_is_left_out(tmp_path):
    journal = sample.journal(tmp_path, sample.events(6))
    journal.write_bytes(journal.read_bytes()[:-30])
    assert load(tmp_path).history.finish is None
    assert len(load(tmp_path).history.trials) == 6


def test_ends_say_where_the_study_was(tmp_path):
    study = fold(list(sample.events(12)), tmp_path)
    assert [end.trial for end in study.ends] == [
        event.trial for event in sample.events(12) if isinstance(event, TrialFinished)
    ]
    assert study.ends[-1].spent == study.history.spent
    spent = [end.spent for end in study.ends]
    assert spent == sorted(spent)


def test_values_are_as_the_user_knows_them(tmp_path):
    events = [
        sample.start(1.0, metric={"name": "val_accuracy", "goal": "max"}),
        TrialStarted(sample.spec(0, {"lr": 0.1}), 2.0),
        TrialReported(Report(0, 500, 500, 1.0, {"val_accuracy": 0.75}), 3.0),
        TrialFinished(0, "completed", 4.0),
    ]
    study = fold(events, tmp_path)
    assert study.ends[0].value == 0.75
    assert study.value(study.history.trials[0]) == 0.75


def test_curves_have_nan_where_a_metric_was_not_finite(tmp_path):
    events = [
        sample.start(1.0),
        TrialStarted(sample.spec(0, {"lr": 0.1}, rungs=2), 2.0),
        TrialReported(Report(0, 250, 250, 1.0, {"val_loss": math.inf}), 3.0),
        TrialReported(Report(0, 500, 500, 1.0, {"other": 1.0}), 4.0),
    ]
    study = fold(events, tmp_path)
    spent, metric = study.curve(study.history.trials[0])
    assert spent.tolist() == [250, 500]
    assert np.isnan(metric).all()


def test_a_trial_with_the_whole_budget_ranks_before_one_without(tmp_path):
    study = fold(list(sample.events(32)), tmp_path)
    ranked = study.ranked()
    states = [trial.state for trial in ranked]
    assert states == sorted(states, key=lambda state: state != "completed")
    values = [study.value(trial) for trial in ranked if trial.state == "completed"]
    assert values == sorted(values)


def test_the_chosen_trial_is_the_best_even_if_another_looks_better(tmp_path):
    events = [event for event in sample.events(8) if not isinstance(event, StudyFinished)]
    study = fold([*events, StudyFinished("chosen otherwise", 1e10, 0)], tmp_path)
    assert study.best is study.history.trials[0]
    assert fold(events, tmp_path).best is not study.history.trials[0]


def test_rates_follow_the_schedule_of_the_config(tmp_path):
    study = fold(list(sample.events(8)), tmp_path)
    for trial in study.history.trials.values():
        steps, rates = study.rates(trial)
        assert steps[0] == 0
        assert steps[-1] == trial.spec.horizon - 1
        assert 0.9 * trial.spec.config["lr"] < rates.max() <= trial.spec.config["lr"]


def test_a_black_box_without_schedule_has_no_rates(tmp_path):
    events = [sample.start(1.0, kind="function"), TrialStarted(sample.spec(0, {"lr": 0.1}), 2.0)]
    study = fold(events, tmp_path)
    assert len(study.rates(study.history.trials[0])[0]) == 0


def test_fixed_values_are_not_searched(tmp_path):
    names = fold(list(sample.events(8)), tmp_path).searched()
    assert "batch_size" not in names
    assert "momentum" in names


@pytest.mark.parametrize("space", [{"lr": {"low": 1, "high": 0}}, {"lr": {"of": "another version"}}])
def test_a_space_that_cannot_be_read_leaves_the_trials(tmp_path, space):
    events = [sample.start(1.0, space=space), TrialStarted(sample.spec(0, {"lr": 0.1}), 2.0)]
    assert fold(events, tmp_path).searched() == ["lr"]


def test_no_events_are_a_study_that_has_not_begun(tmp_path):
    study = fold([], tmp_path)
    assert study.name == tmp_path.name
    assert study.best is None
    assert study.ranked() == []


def test_rates_found_while_training_come_from_the_trace(tmp_path):
    study = fold(traced.events(), tmp_path)
    trial = study.history.trials[0]
    assert len(study.rates(trial)[0]) == 0
    traced.save(tmp_path, 0, first_step=100)
    steps, rates = study.rates(trial, 60)
    assert len(steps) <= 60
    assert (steps[0], steps[-1]) == (100, 100 + traced.KEPT - 1)
    np.testing.assert_allclose(rates, 0.3)
