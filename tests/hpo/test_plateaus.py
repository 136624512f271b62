"""A response that is flat in places: the model looks elsewhere once it has seen that."""

import numpy as np
import pytest

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.objective import Objective
from hpo.problems.base import METRIC
from hpo.samplers import curve
from hpo.samplers.curve import Curve
from hpo.samplers.plateaus import distances, flat_within
from hpo.space import Float, Space
from trials.spec import Report, TrialSpec

SPACE = Space({name: Float(0.0, 1.0) for name in "abcde"})
CELLS = np.random.default_rng(5).random((200, 5))


def cells_answered(seed: int, trials: int = 40) -> int:
    """How many of two hundred cells have answered after so many trials; those near a corner are good."""
    sampler = Curve(SPACE, Objective(METRIC), seed)
    found: set[int] = set()
    for number in range(trials):
        (suggestion,) = sampler.ask(1)
        point = np.array([suggestion.config[name] for name in SPACE.names], float)
        cell = int(np.square(CELLS - point).sum(1).argmin())
        found.add(cell)
        loss = float(np.square(CELLS[cell]).sum())
        sampler.tell(TrialStarted(TrialSpec(number, suggestion.config, 0, 2, (1, 2), 2, 0), 0.0))
        for step in (1, 2):
            sampler.tell(TrialReported(Report(number, step, step, 0.0, {METRIC: loss + 1 / step}), 0.0))
        sampler.tell(TrialFinished(number, "completed", 0.0))
    return len(found)


def test_a_table_that_is_asked_for_its_nearest_entry_is_not_asked_for_the_same_one_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(curve, "_RESTLESS", 0.0)  # which makes it look elsewhere too
    seeing = np.mean([cells_answered(seed) for seed in range(4)])
    monkeypatch.setattr(curve, "flat_within", lambda scaled, reports: 0.0)
    blind = np.mean([cells_answered(seed) for seed in range(4)])
    assert seeing > 1.25 * blind


def test_last_values_that_are_equal_by_chance_are_no_plateau() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((60, 3))
    losses = np.square(points).sum(1)
    coarse = np.round(2 * losses, 0)
    reports = np.stack([np.round(losses + 2 + rng.random(60), 3), coarse], 1)
    assert len(np.unique(coarse)) < 10
    assert flat_within(points, reports) < 0.05
    assert flat_within(points, reports[:, 1:]) > 0.1  # what the last values alone would say


def test_what_was_stopped_early_is_equal_to_what_went_on_as_far_as_both_went() -> None:
    points = np.array([[0.0], [0.2], [0.9]])
    reports = np.array([[3.0, 2.0, 1.0], [3.0, np.nan, np.nan], [4.0, 2.0, np.nan]])
    assert flat_within(points, reports) == 0.2
    assert distances(np.array([[0.5]]), points).round(9).tolist() == [0.3]
