"""Which trials a report compares, and that none comes to be among them later."""

import numpy as np

from hpo.compared import compared
from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.history import History
from hpo.objective import Objective
from trials.spec import Report, TrialSpec


def ended(trial, outcome="completed", **metrics):
    spec = TrialSpec(trial, {"lr": 0.1}, 0, 10, (10,), 10, 0)
    yield TrialStarted(spec, 0.0)
    yield TrialReported(Report(trial, 10, 10, 0.0, metrics), 1.0)
    yield TrialFinished(trial, outcome, 2.0)


def numbers(history, count):
    return [trial.spec.trial for trial in compared(history, count)]


def told(*ends, metric="shifted_accuracy"):
    return History(Objective(metric, "max"), [event for end in ends for event in end])


def test_the_best_are_compared_and_what_another_metric_would_have_chosen():
    history = told(
        ended(0, shifted_accuracy=0.5, val_accuracy=0.99, val_loss=0.3),
        ended(1, shifted_accuracy=0.8, val_accuracy=0.90, val_loss=0.2),
        ended(2, shifted_accuracy=0.9, val_accuracy=0.91, val_loss=0.4),
        ended(3, shifted_accuracy=0.7, val_accuracy=0.92, val_loss=0.1),
        ended(4, "stopped", shifted_accuracy=1.0, val_accuracy=1.0, val_loss=0.0),
    )
    assert numbers(history, 1) == [2, 3, 0]
    assert numbers(history, 3) == [2, 1, 3, 0]


def test_no_trial_comes_to_be_compared_after_its_end():
    draw = np.random.default_rng(0)
    history, before = told(), set()
    for trial in range(40):
        one, two, three = draw.random(3)
        for event in ended(trial, shifted_accuracy=one, val_accuracy=two, val_loss=three):
            history.tell(event)
        now = set(numbers(history, 4))
        assert now - before <= {trial}
        before = now
