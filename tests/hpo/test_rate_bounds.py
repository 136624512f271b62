"""Bounds of a study's learning rate, found by range tests before the first trial."""

from pathlib import Path

import pytest

from hpo import rate_bounds, study
from hpo.config import build
from hpo.errors import UsageError
from hpo.events import Noticed, StudyStarted, TrialStarted

HERE = Path(__file__).parents[1]
STUDY = {
    "task": f"{HERE / 'trials_sample.py'}:Line",
    "space": {"lr": "range_test", "optimizer": {"choice": ["sgd", "adamw"]}, "batch_size": 8},
    "trial": {"steps": 20},
    "limits": {"trials": 3},
    "runner": {"workers": 1, "lanes": 2, "compile": "never", "device": "cpu"},
    "tracking": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return study.search_over(STUDY, root=tmp_path_factory.mktemp("root"), name="line").folder


def test_trials_lie_within_the_bounds_that_the_journal_has(folder):
    _, events, _ = study.read(folder)
    start = next(event for event in events if isinstance(event, StudyStarted))
    found = start.study["space"]["lr"]
    assert rate_bounds.LOWEST < found["low"] < found["high"] < rate_bounds.HIGHEST
    assert found["scale"] == "log"
    rates = [event.spec.config["lr"] for event in events if isinstance(event, TrialStarted)]
    assert len(rates) == 3
    assert all(found["low"] <= rate <= found["high"] for rate in rates)


def test_what_was_found_is_told_once(folder):
    _, events, _ = study.read(folder)
    told = [event.text for event in events if isinstance(event, Noticed) and event.topic == "range_test"]
    assert len(told) == 1
    assert told[0].startswith("lr is searched from ")
    assert "2 range tests of 491 steps" in told[0]


def test_a_study_taken_up_has_its_bounds_and_finds_nothing_again(folder):
    history, _, _ = study.read(folder)
    config = study.config_of(history.study, folder, ["limits.trials=4"])
    assert not config.wants_rate_bounds()
    outcome = study.search(config, folder)
    assert len(outcome.history.trials) == 4
    _, after, _ = study.read(folder)
    assert sum(isinstance(event, Noticed) and event.topic == "range_test" for event in after) == 1
    starts = [event.study["space"]["lr"] for event in after if isinstance(event, StudyStarted)]
    assert starts == [starts[0]] * 2


def test_an_optimizer_that_wants_other_rates_widens_the_bounds(tmp_path):
    def bounds(optimizer):
        space = {**STUDY["space"], "optimizer": optimizer}
        config = build({**STUDY, "space": space}, "study", tmp_path)
        runner = _runner(config, tmp_path)
        try:
            low, high, _ = rate_bounds.found(runner, config.examples(), 0, 0, 1.0)
        finally:
            runner.close()
        return low, high

    alone = [bounds("sgd"), bounds("adamw")]
    assert bounds({"choice": ["sgd", "adamw"]}) == (min(a for a, _ in alone), max(b for _, b in alone))


def _runner(config, folder):
    from hpo.runners.base import build as runner

    return runner("lanes", config.target(folder), 2, 1)


def test_a_function_and_a_wrong_word_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"lr = 'range_test' is for tasks"):
        build({**STUDY, "task": f"{HERE / 'trials_sample.py'}:line"}, "study.toml", tmp_path)
    with pytest.raises(UsageError, match="every hyperparameter is fixed"):
        build({**STUDY, "space": {"lr": "range-test"}}, "study.toml", tmp_path)
