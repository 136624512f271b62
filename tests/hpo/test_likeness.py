"""Forecasts that learn from what those of like configs missed."""

import numpy as np
import pytest

from hpo.events import TrialFinished, TrialPaused, TrialReported, TrialStarted
from hpo.forecasts import Forecasts
from hpo.likeness import Likeness, corrected, missed
from hpo.objective import Objective
from hpo.regression import Ends, Fit
from trials.spec import Config, Report, TrialSpec

CONFIGS: list[Config] = [
    {"lr": 1e-4, "optimizer": "adamw", "width": 64},
    {"lr": 1e-4, "optimizer": "sgd", "momentum": 0.9, "width": 64},
    {"lr": 1e-3, "optimizer": "sgd", "momentum": 0.5, "width": 64},
    {"lr": 1e-1, "optimizer": "sgd", "momentum": 0.9, "width": 64},
    {"lr": 1e-4, "optimizer": "adamw", "width": 64},
]


def likeness(configs: list[Config]) -> Likeness:
    found = Likeness()
    for trial, config in enumerate(configs):
        found.add(trial, config)
    return found


def test_configs_are_the_less_alike_the_more_differs() -> None:
    found = likeness(CONFIGS).between(range(5), range(5))
    assert found == pytest.approx(found.T)
    assert np.linalg.eigvalsh(found).min() > -1e-9
    assert np.diag(found) == pytest.approx(1.0)
    assert found[0, 4] == pytest.approx(1.0)  # the same
    assert 0 < found[0, 3] < found[0, 2] < found[0, 1] < 1


def test_numbers_count_by_their_ranks() -> None:
    exponents = [-5, -4, -3, -2, -1]
    plain = likeness([{"lr": float(n)} for n in exponents])
    scaled = likeness([{"lr": 10.0**n} for n in exponents])
    assert plain.between(range(5), range(5)) == pytest.approx(scaled.between(range(5), range(5)))


def test_a_word_or_a_name_that_comes_late_is_unlike_all() -> None:
    many = likeness([{"x": n / 256, "kind": "ab"[n % 2]} for n in range(256)])
    many.add(256, {"x": 0.5, "kind": "c", "other": 3})
    late = many.between([256], range(256))[0]
    assert 0 < late.max() < 1


def test_nothing_is_alike_where_nothing_differs() -> None:
    assert likeness([{}, {}]).between([0, 1], [0, 1]).tolist() == [[1.0, 0.0], [0.0, 1.0]]


def ends(count: int) -> Ends:
    return Ends(
        list(range(count)), np.arange(count, dtype=float), np.arange(count, dtype=float), np.zeros(count)
    )


def test_what_is_missed_without_regard_to_configs_corrects_nothing() -> None:
    rng, kept = np.random.default_rng(0), 0
    plain = Fit(np.array([1.0]), np.array([0.5]))
    for _ in range(50):
        alike = likeness([{"x": float(x)} for x in rng.random(16)])
        known = missed(ends(15), rng.normal(size=15), alike)
        kept += corrected(plain, [15], known, alike) == plain
    assert kept > 35
    even = missed(ends(15), np.zeros(15), likeness([{"x": n / 15} for n in range(15)]))
    assert even.scale == 0


def flattered(rate: float, early: float) -> float:
    """How a trial ends: the larger its rate, the more its first steps flatter it."""
    return 0.5 * early + rate


@pytest.mark.parametrize("rate", [0.1, 0.9])
def test_a_forecast_knows_whom_short_runs_flatter(rate: float) -> None:
    errors = {True: [], False: []}
    for seed in range(10):
        rng = np.random.default_rng(seed)
        for is_told in (True, False):
            rng = np.random.default_rng(seed)
            forecasts = Forecasts(Objective())
            for trial in range(13):
                drawn = rate if trial == 12 else float(rng.random())
                early = float(rng.uniform(1, 2))
                config = {"lr": drawn} if is_told else {}
                forecasts.tell(TrialStarted(TrialSpec(trial, config, 0, 32, (8, 32), 32, 0), 0.0))
                values = {8: early, 32: flattered(drawn, early)} if trial < 12 else {8: early}
                for spent, value in values.items():
                    metrics = {"val_loss": value}
                    forecasts.tell(TrialReported(Report(trial, spent, spent, 0.0, metrics), 0.0))
                if trial < 12:
                    forecasts.tell(TrialFinished(trial, "completed", 0.0))
                else:
                    forecasts.tell(TrialPaused(trial, 8, "", 0.0))
                    found = forecasts.of(trial)
                    assert found is not None
                    errors[is_told].append(abs(found.mean - flattered(drawn, early)))
    assert np.mean(errors[True]) < 0.7 * np.mean(errors[False])
