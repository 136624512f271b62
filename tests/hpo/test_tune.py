"""Our samplers and pruners inside a real `Tuner`."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from hpo import codec
from hpo.errors import UsageError
from hpo.events import TrialFinished, TrialReported, TrialStarted

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.slow]

SPACE = {"x": {"low": -1.0, "high": 1.0}, "kind": {"choice": ["near", "far"]}, "size": 3}
STEPS = 9


def objective(config: dict[str, Any]) -> None:
    """Every third of the range raises or diverges."""
    from ray import tune

    for step in range(1, STEPS + 1):
        loss = abs(config["x"]) + 1 / step + config["size"]
        if config["x"] > 0.6 and step > 1:
            loss = math.nan
        if config["x"] < -0.7 and step > 1:
            raise RuntimeError("no luck")
        tune.report({"val_loss": loss})


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "0")


@pytest.mark.filterwarnings("default")
def test_a_tuner_runs_our_sampler_and_pruner_and_tells_both_how_each_trial_ended(
    joined_cluster: Any, tmp_path: Path
) -> None:
    from ray import tune

    from hpo.tune import TunePruner, TuneSampler

    def made() -> tuple[TuneSampler, TunePruner]:
        return (
            TuneSampler(SPACE, "random", steps=STEPS, seed=0),
            TunePruner("asha", steps=STEPS, options={"eta": 3}),
        )

    sampler, pruner = made()
    results = tune.Tuner(
        tune.with_resources(objective, {"cpu": 0.5}),
        tune_config=tune.TuneConfig(
            metric="val_loss",
            mode="min",
            num_samples=8,
            reuse_actors=True,
            search_alg=sampler,
            scheduler=pruner,
        ),
        run_config=tune.RunConfig(storage_path=str(tmp_path), name="tuned", verbose=0),
    ).fit()
    assert len(results) == 8
    configs = {
        event.spec.trial: event.spec.config for event in sampler.events if isinstance(event, TrialStarted)
    }
    assert len(configs) == 8
    assert all(config["size"] == 3 and -1 <= config["x"] <= 1 for config in configs.values())
    outcomes: list[dict[int, str]] = []
    for adapter in (sampler, pruner):
        ends = [event for event in adapter.events if isinstance(event, TrialFinished)]
        assert Counter(event.trial for event in ends) == dict.fromkeys(configs, 1)
        outcomes.append({event.trial: event.outcome for event in ends})
        last: dict[int, int] = {}
        for event in adapter.events:
            if isinstance(event, TrialReported):
                assert event.report.spent == last.get(event.report.trial, 0) + 1
                last[event.report.trial] = event.report.spent
        for trial, outcome in outcomes[-1].items():
            assert (last[trial] == STEPS) == (outcome == "completed")
            x = configs[trial]["x"]
            if outcome == "diverged":
                assert x > 0.6
                assert last[trial] == 2, "it went on after it had diverged"
            if outcome == "failed":
                assert x < -0.7
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0].values()) == {"completed", "stopped", "diverged", "failed"}
    best = results.get_best_result().config
    assert best in [dict(configs[trial]) for trial, outcome in outcomes[0].items() if outcome == "completed"]

    # What Tune saves of either is what happened: replayed, both are where they were.
    again = made()
    for old, new in zip((sampler, pruner), again, strict=True):
        old.save(str(tmp_path / "saved"))
        new.restore(str(tmp_path / "saved"))
        assert list(map(codec.encode, new.events)) == list(map(codec.encode, old.events))
    assert again[0].suggest("next") == sampler.suggest("next")


def test_a_searcher_whose_space_is_exhausted_says_so() -> None:
    from ray.tune.search import Searcher

    from hpo.tune import TuneSampler

    sampler = TuneSampler({"x": {"choice": [1, 2]}}, "grid", steps=1)
    assert [sampler.suggest(name) for name in "ab"] != [None, None]
    assert sampler.suggest("c") == Searcher.FINISHED


def test_what_does_not_fit_is_refused() -> None:
    from ray import tune

    from hpo.tune import TunePruner, TuneSampler

    with pytest.raises(UsageError, match="unknown sampler 'tep'; did you mean 'tpe'"):
        TuneSampler(SPACE, "tep", steps=9)
    with pytest.raises(UsageError, match="steps=0 must be at least 1"):
        TunePruner(steps=0)
    sampler = TuneSampler(SPACE, "random", steps=9)
    with pytest.raises(UsageError, match="param_space searches lr: tell TuneSampler"):
        sampler.set_search_properties("val_loss", "min", {"lr": tune.uniform(0, 1)})
    assert sampler.set_search_properties("val_loss", "min", {"width": 3})
    assert not sampler.set_search_properties("val_loss", "max", {})
