"""One trial with probes in lanes, and several trials on from one row, against each alone."""

import pytest

from schedules import constant, linear, open_loop
from tests.trials_sample import CPU, SMALL, alone, close, reports_agree, spec, splits, task
from trials.drive import Ended
from trials.spec import Report
from trials.train import fork, train

CONFIG = {**SMALL["tabular"], "lr": 0.01, "dropout": 0.2}
SETTINGS = {"splits": splits("tabular"), "device": CPU}


def ended(reports) -> tuple[list[Report], Ended]:
    """What a generator of reports yields, and its value."""
    found: list[Report] = []
    while True:
        try:
            found.append(next(reports))
        except StopIteration as end:
            return found, end.value


def test_probes_in_lanes_give_what_they_give_in_turn() -> None:
    one = spec({**CONFIG, "schedule": "race(k=3)"}, budget=400, horizon=60)
    (turn,), first = ended(train(task("tabular"), one, **SETTINGS, lanes=1))
    (side,), second = ended(train(task("tabular"), one, **SETTINGS, lanes=3))
    assert (turn.step, turn.spent) == (side.step, side.spent) == (60, 100)
    assert side.wall < turn.wall == turn.spent
    for name in turn.metrics:
        close(side.metrics[name], turn.metrics[name], "share" if name == "val_accuracy" else "training")
    close(second.row.weights, first.row.weights, "training")


def falls(one, step):
    return open_loop(linear(one.budget), one.budget)


@pytest.mark.parametrize("lanes", [None, 2])
def test_each_of_a_fork_is_what_it_is_alone(lanes: int | None) -> None:
    _, trunk = ended(train(task("tabular"), spec(CONFIG, budget=15), **SETTINGS))
    branches = [spec(CONFIG, trial=n, seed=100, budget=steps) for n, steps in enumerate((5, 12, 30))]
    said = list(fork(task("tabular"), trunk.row, branches, falls, **SETTINGS, lanes=lanes))
    ends = {one.trial: one for one in said if isinstance(one, Ended)}
    assert sorted(ends) == [0, 1, 2]
    for branch in branches:
        reports = [one for one in said if isinstance(one, Report) and one.trial == branch.trial]
        reports_agree(reports, alone("tabular", branch, start=trunk.row, make_tuner=falls))
        assert ends[branch.trial].row.step == 15 + branch.budget


def test_what_forks_is_of_one_structure() -> None:
    _, trunk = ended(train(task("tabular"), spec(CONFIG, budget=5), **SETTINGS))
    others = [spec(CONFIG), spec({**CONFIG, "width": 5}, trial=1)]
    with pytest.raises(ValueError, match="one structure"):
        list(fork(task("tabular"), trunk.row, others, lambda *_: open_loop(constant(), 5), **SETTINGS))
