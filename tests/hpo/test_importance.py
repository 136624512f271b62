import numpy as np
import pytest

from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.history import History
from hpo.importance import importance
from hpo.objective import Objective
from hpo.space import Choice, Float, Int, Space
from tests.hpo_strategies import EXAMPLE
from trials.spec import Report, TrialSpec


def studied(space, function, trials, outcome="completed", goal="min", seed=0):
    history = History(Objective("val_loss", goal))
    rng = np.random.default_rng(seed)
    for number in range(trials):
        config = space.sample(rng)
        history.tell(TrialStarted(TrialSpec(number, config, 0, 10, (10,), 10, 0), 0.0))
        history.tell(TrialReported(Report(number, 10, 10, 0.0, {"val_loss": function(config)}), 0.0))
        history.tell(TrialFinished(number, outcome, 0.0))
    return history


PLAIN = Space(
    {"noise": Float(0, 1), "lr": Float(1e-5, 1.0, "log"), "kind": Choice(("a", "b")), "depth": Int(1, 4)}
)


def steep(config):
    return (np.log10(config["lr"]) + 3) ** 2 + 0.3 * (config["kind"] == "b")


@pytest.mark.parametrize("goal", ["min", "max"])
@pytest.mark.parametrize("outcome", ["completed", "stopped"])
def test_what_decides_comes_first(goal, outcome):
    sign = 1 if goal == "min" else -1
    shares = importance(studied(PLAIN, lambda c: sign * steep(c), 40, outcome, goal), PLAIN)
    assert next(iter(shares)) == "lr"
    assert set(shares) == set(PLAIN.names)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(type(share) is float for share in shares.values())


def test_conditional_hyperparameters_are_ranked_with_the_others():
    shares = importance(studied(EXAMPLE, lambda c: c["lr"] + c.get("momentum", 0.9), 30), EXAMPLE)
    assert set(shares) == set(EXAMPLE.names)
    assert shares["task"] == 0


def test_one_huge_loss_does_not_decide():
    history = studied(PLAIN, lambda c: 1e9 if c["noise"] > 0.95 else steep(c), 60)
    assert next(iter(importance(history, PLAIN))) == "lr"


def test_it_is_the_same_every_time():
    history = studied(PLAIN, steep, 12)
    assert importance(history, PLAIN) == importance(history, PLAIN)


def test_too_few_trials_or_nothing_to_tell_them_apart_give_nothing():
    assert importance(studied(PLAIN, steep, 3), PLAIN) == {}
    assert importance(studied(PLAIN, lambda c: 1.0, 10), PLAIN) == {}
    assert importance(studied(PLAIN, steep, 10, outcome="failed"), PLAIN) == {}
    assert importance(studied(Space({}), lambda c: 1.0, 10), Space({})) == {}


def test_configs_of_another_space_are_left_out():
    edited = Space({"lr": Float(2.0, 3.0)})
    assert importance(studied(PLAIN, steep, 10), edited) == {}


def test_a_long_study_is_thinned_out():
    assert next(iter(importance(studied(PLAIN, steep, 400), PLAIN))) == "lr"
