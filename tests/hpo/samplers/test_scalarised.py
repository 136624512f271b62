import math

import numpy as np

from hpo.bounds import Bound
from hpo.events import TrialFinished, TrialReported, TrialStarted
from hpo.history import History
from hpo.objective import Objective
from hpo.samplers.base import build
from hpo.samplers.scalarised import Scalarised
from hpo.space import Float, Space
from trials.spec import Report, TrialSpec

PLANE = Space({"x": Float(0, 1), "y": Float(0, 1)})
BOTH = Objective("left", others=(Objective("right", "max"),), bounds=(Bound("x", high=0.8),))


def tell(listener, number: int, metrics: dict[str, float], outcome="completed", config=None) -> None:
    listener.tell(TrialStarted(TrialSpec(number, config or {}, 0, 9, (9,), 9, 0), 0.0))
    listener.tell(TrialReported(Report(number, 9, 9, 0.0, metrics), 0.0))
    listener.tell(TrialFinished(number, outcome, 0.0))


def test_weights_decide_which_end_of_a_front_is_the_best():
    known = Scalarised(BOTH, 0)
    for number in range(5):
        share = number / 4
        tell(known, number, {"left": share**2, "right": -((1 - share) ** 2), "x": 0.5})
    best = set()
    for number in range(40):
        weights, found = known.weights(number), known.weighed(number)
        winner = min(found, key=lambda trial: found[trial].value)
        best.add(winner)
        if weights[0] > 0.95:
            assert winner <= 1
        if weights[0] < 0.05:
            assert winner >= 3
        assert known.weighed(number) == found
    assert len(best) >= 4


def test_a_trial_beyond_a_constraint_is_never_the_best_and_while_all_are_the_nearest_is():
    known = Scalarised(BOTH, 0)
    tell(known, 0, {"left": 0.0, "right": 0.0, "x": 0.9})
    tell(known, 1, {"left": 5.0, "right": 0.0, "x": 0.85})
    found = known.weighed(3)
    assert found[1].value < found[0].value < math.inf
    tell(known, 2, {"left": 9.0, "right": -9.0, "x": 0.1})
    tell(known, 3, {"left": 8.0, "right": -9.0, "x": 0.1})
    found = known.weighed(3)
    assert [trial for trial, one in found.items() if one.is_beyond] == [0, 1]
    assert found[0].value == math.inf


def test_curve_finds_a_front_along_its_length_and_within_the_constraint():
    """A random config is 0.35 off in y on average; the front is y = 0.3 for every x up to the bound."""
    sampler, history = build("curve", PLANE, BOTH, 0), History(BOTH)
    for number in range(45):
        config = sampler.ask(1)[0].config
        x, y = float(config["x"]), float(config["y"])
        off = (y - 0.3) ** 2
        metrics = {"left": x**2 + off, "right": -((x - 1) ** 2) - off, "x": x}
        for listener in (sampler, history):
            tell(listener, number, metrics, config=config)
    last = [trial for number, trial in history.trials.items() if number >= 30]
    assert np.mean([abs(float(trial.spec.config["y"]) - 0.3) for trial in last]) < 0.2
    assert np.mean([trial.metrics["x"] <= 0.8 for trial in last]) > 0.7
    along = sorted(trial.metrics["x"] for trial in history.front)
    assert len(along) >= 8
    assert along[0] < 0.25
    assert along[-1] > 0.55


def test_curve_leaves_where_one_of_several_metrics_is_no_number():
    sampler = build("curve", PLANE, Objective("left", others=(Objective("right"),)), 0)
    drawn: list[float] = []
    for number in range(30):
        config = sampler.ask(1)[0].config
        x, y = float(config["x"]), float(config["y"])
        drawn.append(x)
        # The best of the left lies where nothing is known of the right.
        metrics = {"left": (1 - x) ** 2, "right": math.nan if x > 0.5 else y**2 + x}
        tell(sampler, number, metrics, config=config)
    assert sum(x > 0.5 for x in drawn[10:]) <= 4  # of twenty; ten where nothing is learnt of them
