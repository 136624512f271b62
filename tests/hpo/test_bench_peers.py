"""Peers that are asked over a pipe, judged as this project's own tuners are."""

import math
from pathlib import Path

import pytest

from hpo.bench.contender import contender
from hpo.bench.play import play as play_ours
from hpo.problems.base import build
from tests.bench.search import Peer, Study, dimensions, play, read, write


@pytest.fixture(scope="module")
def random_search():
    peer = Peer("optuna:random")
    yield peer
    peer.close()


def test_a_random_peer_gets_as_many_trainings_as_our_own_and_returns_its_best(random_search) -> None:
    problem = build("annealed:1")
    study = Study(random_search, problem, most=8)
    study.run(1, 3)
    ours = play_ours(contender("random"), problem, 3, 8)
    found = play("optuna:random", random_search, problem, 3, 8, 1)
    assert found.trials == pytest.approx(ours.trials, abs=3)  # those that diverge cost less
    ended = list(study.finals.values())[:-1]  # the last began within the scored steps and ended beyond them
    assert study.finals[study.returned[-1]] == pytest.approx(min(ended), abs=0.02)
    assert not found.stopped_best
    assert found.stopped == 0


def test_lanes_are_asked_side_by_side_and_cost_the_same(random_search) -> None:
    problem = build("annealed:0")
    alone, many = (play("optuna:random", random_search, problem, 0, 6.0, lanes) for lanes in (1, 4))
    assert many.trials == pytest.approx(alone.trials, abs=4)
    assert max(many.spent) <= 6.0


def test_a_peer_that_prunes_starts_more_trials_than_it_has_trainings() -> None:
    peer = Peer("optuna:random+hyperband")
    found = play("optuna:random+hyperband", peer, build("annealed:0"), 0, 8.0, 1)
    peer.close()
    assert found.trials > 12
    assert found.stopped > 4
    assert all(math.isfinite(value) for value in found.regrets)


def test_what_was_played_is_kept(tmp_path: Path, random_search) -> None:
    path = tmp_path / "runs.jsonl"
    run = play("optuna:random", random_search, build("annealed:0"), 0, 2.0, 1)
    mark = ("optuna:random", "annealed:0", 0, 2.0, 1)
    write(path, mark, run)
    assert read(path) == {mark: run}
    assert read(tmp_path / "none") == {}


def test_spaces_with_choices_are_refused() -> None:
    with pytest.raises(SystemExit, match="peers are asked about numbers only"):
        dimensions(build("branches:0"))
