"""Forecasts of how trials end: from pairs, with an honest error, and along the curves of parents."""

import math
from types import MappingProxyType

import numpy as np
import pytest

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.forecasts import Forecast, Forecasts, level_of, probability_below, regress
from hpo.objective import Objective
from trials.spec import Config, Report, TrialSpec, Value

WHOLE = 32


def start(
    forecasts: Forecasts,
    trial: int,
    budget: int = WHOLE,
    parent: str | None = None,
    config: Config = MappingProxyType({}),
) -> None:
    spec = TrialSpec(trial, config, 0, budget, (*range(1, budget), budget), WHOLE, 0, parent)
    forecasts.tell(TrialStarted(spec, 0.0))


def report(forecasts: Forecasts, trial: int, spent: int, value: float) -> None:
    forecasts.tell(TrialReported(Report(trial, spent, spent, 0.0, {"val_loss": value}), 0.0))


def finish(forecasts: Forecasts, trial: int, outcome="completed", row: str = "") -> None:
    forecasts.tell(TrialFinished(trial, outcome, 0.0, row=row))


def taught(count: int = 20, noise: float = 0.02, seed: int = 0) -> tuple[Forecasts, np.random.Generator]:
    """Trials that end at half of what they have at step 8."""
    rng = np.random.default_rng(seed)
    forecasts = Forecasts(Objective())
    for trial in range(count):
        start(forecasts, trial)
        early = float(rng.uniform(1, 2))
        report(forecasts, trial, 8, early)
        report(forecasts, trial, WHOLE, 0.5 * early + noise * float(rng.normal()))
        finish(forecasts, trial)
    return forecasts, rng


def test_levels_grow_with_the_steps() -> None:
    found = [level_of(step) for step in range(1, 2000)]
    assert found == sorted(found)
    firsts = [step for step in range(2, 2000) if level_of(step) > level_of(step - 1)]
    assert firsts == [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536]


def test_a_stopped_trial_is_forecast_from_those_that_went_on() -> None:
    forecasts, _ = taught()
    start(forecasts, 50)
    report(forecasts, 50, 8, 1.4)
    running = forecasts.of(50)
    finish(forecasts, 50, "stopped")
    stopped = forecasts.of(50)
    assert running is not None
    assert stopped is not None
    assert stopped.mean == pytest.approx(0.7, abs=0.05)
    assert running.mean == pytest.approx(0.7, abs=0.05)
    assert 0.005 < stopped.spread < 0.1


def test_the_error_is_about_as_large_as_it_says() -> None:
    """40 studies of which each forecasts one trial that then ends."""
    inside = 0
    for seed in range(40):
        forecasts, rng = taught(12, noise=0.05, seed=seed)
        start(forecasts, 50)
        early = float(rng.uniform(1, 2))
        report(forecasts, 50, 8, early)
        found = forecasts.of(50)
        assert found is not None
        inside += abs(found.mean - (0.5 * early + 0.05 * float(rng.normal()))) < 1.645 * found.spread
    assert 32 <= inside <= 40  # of 90 %, with room


def test_without_anything_to_learn_from_the_error_is_wide() -> None:
    forecasts = Forecasts(Objective())
    for trial, value in enumerate((1.0, 2.0, 3.0)):
        start(forecasts, trial)
        report(forecasts, trial, 1, value)
        finish(forecasts, trial, "stopped")
    found = [forecasts.of(trial) for trial in range(3)]
    assert [one.mean for one in found if one] == [1.0, 2.0, 3.0]
    assert all(one.spread > 0.4 for one in found if one)


def test_what_broke_off_has_no_forecast_and_what_is_complete_no_error() -> None:
    forecasts, _ = taught(3)
    start(forecasts, 50)
    report(forecasts, 50, 8, math.nan)
    finish(forecasts, 50, "diverged")
    assert forecasts.of(50) is None
    first = forecasts.of(0)
    assert first is not None
    assert first.spread == 0.0


def test_exploded_losses_do_not_spoil_the_others() -> None:
    forecasts, _ = taught()
    for trial in range(30, 34):
        start(forecasts, trial)
        report(forecasts, trial, 8, 1e9)
        report(forecasts, trial, WHOLE, 1e16)
        finish(forecasts, trial)
    start(forecasts, 50)
    report(forecasts, 50, 8, 1.4)
    found = forecasts.of(50)
    assert found is not None
    assert found.mean == pytest.approx(0.7, abs=0.1)
    assert found.spread < 0.4


def test_a_child_goes_on_on_its_parents_curve_and_stands_in_its_place() -> None:
    forecasts, _ = taught()
    start(forecasts, 50, budget=8)
    report(forecasts, 50, 8, 1.4)
    finish(forecasts, 50, "completed", row="rows/50")
    paused = forecasts.of(50)
    assert paused is not None
    assert paused.spread > 0  # complete, but not at the end
    start(forecasts, 51, budget=24, parent="rows/50")
    assert forecasts.courses[50].goes_on
    assert forecasts.courses[51].base == 8
    going = forecasts.of(51)
    assert going is not None
    assert going.mean == pytest.approx(0.7, abs=0.05)
    report(forecasts, 51, 24, 0.69)
    finish(forecasts, 51)
    ended = forecasts.of(51)
    assert ended == Forecast(0.69, 0.0)


def test_trials_of_small_budgets_are_ends_only_until_a_longer_one_starts() -> None:
    forecasts = Forecasts(Objective())
    for trial in range(4):
        start(forecasts, trial, budget=4)
        report(forecasts, trial, 4, 1.0 + trial)
        finish(forecasts, trial)
    first = forecasts.of(0)
    assert first is not None
    assert first.spread == 0.0
    start(forecasts, 9)
    first = forecasts.of(0)
    assert first is not None
    assert first.spread > 0


def test_asking_changes_nothing() -> None:
    one, _ = taught()
    other, _ = taught()
    for forecasts in (one, other):
        start(forecasts, 50)
        report(forecasts, 50, 8, 1.3)
    one.of(50)
    one.ends(5)
    for forecasts in (one, other):
        finish(forecasts, 50, "stopped")
    assert one.of(50) == other.of(50)


def test_probabilities_follow_the_forecast() -> None:
    assert probability_below(Forecast(1.0, 0.0), 1.5) == 1.0
    assert probability_below(Forecast(1.0, 0.1), 0.8) == pytest.approx(0.0228, abs=1e-3)


def test_a_slope_is_neither_negative_nor_steep_beyond_reason() -> None:
    values = np.linspace(0, 1, 20)
    none = np.zeros(20)
    falling = regress(np.array([0.0, 1.0]), values, 1 - values, none, values)
    assert falling[0].mean <= 1.0
    assert falling[0].mean >= falling[1].mean - 1e-9 or abs(falling[0].mean - falling[1].mean) < 0.8


SHARP, HELD = "linear", "wsd(cooldown_fraction=0.25)"  # half annealed at step 16, and not at all


def annealed(schedules: tuple[str, ...], count: int = 16) -> Forecasts:
    """Trials of these schedules in turn, each 1.0 higher at step 16 where its rate has not fallen by then."""
    forecasts, rng = Forecasts(Objective()), np.random.default_rng(3)
    for trial in range(count):
        named = schedules[trial % len(schedules)]
        start(forecasts, trial, config={"schedule": named})
        end = float(rng.uniform(1, 2))
        report(forecasts, trial, 16, end + (1.5 if named == HELD else 0.5))
        report(forecasts, trial, WHOLE, end)
        finish(forecasts, trial)
    return forecasts


def asked(forecasts: Forecasts, schedule: str) -> Forecast:
    """What a running trial is forecast that has 2.5 at step 16."""
    start(forecasts, 90, config={"schedule": schedule})
    report(forecasts, 90, 16, 2.5)
    found = forecasts.of(90)
    assert found is not None
    return found


def test_what_has_yet_to_anneal_is_forecast_to_fall_further() -> None:
    held = asked(annealed((SHARP, HELD)), HELD)
    sharp = asked(annealed((SHARP, HELD)), SHARP)
    assert held.mean == pytest.approx(1.0, abs=0.25)
    assert sharp.mean == pytest.approx(2.0, abs=0.25)
    assert max(held.spread, sharp.spread) < 0.25
    assert asked(annealed((SHARP, HELD)), "race").mean > held.mean + 0.3  # it finds its rates itself


def test_high_rates_may_gain_more_by_annealing() -> None:
    forecasts, rng = Forecasts(Objective()), np.random.default_rng(4)

    def begin(trial: int, lr: float, named: str, end: float) -> None:
        start(forecasts, trial, config={"schedule": named, "lr": lr})
        report(forecasts, trial, 16, end + 10 * lr * (1.0 if named == HELD else 0.5))

    for trial in range(32):
        end = float(rng.uniform(1, 2))
        begin(trial, 0.01 + 0.19 * (trial * 7 % 32) / 31, (SHARP, HELD)[trial % 2], end)
        report(forecasts, trial, WHOLE, end)
        finish(forecasts, trial)
    for trial, (lr, named) in enumerate(((0.02, HELD), (0.2, HELD), (0.2, SHARP)), 90):
        begin(trial, lr, named, 1.5)
        found = forecasts.of(trial)
        assert found is not None
        assert found.mean == pytest.approx(1.5, abs=0.2)


@pytest.mark.parametrize(
    "config", [{"schedule": SHARP}, {"schedule": "cosine", "lr": 0.1}, {"warmup_fraction": 0.1}]
)
def test_where_all_have_one_schedule_it_changes_no_figure(config: dict[str, Value]) -> None:
    def played(told: Config) -> list[Forecast | None]:
        forecasts, rng = Forecasts(Objective()), np.random.default_rng(5)
        for trial in range(14):
            start(forecasts, trial, config=told)
            early = float(rng.uniform(1, 2))
            for spent in (2, 8, 16, *([WHOLE] if trial % 2 else [])):
                report(forecasts, trial, spent, early / spent + 0.1 * float(rng.normal()))
            finish(forecasts, trial, "completed" if trial % 2 else "stopped")
        return [forecasts.of(trial) for trial in range(14)]

    assert played(config) == played({})
