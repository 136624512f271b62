"""Comparisons: what a study is scored by, what is told of many, and the command."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from hpo.bench import score
from hpo.bench.contender import contender, every
from hpo.bench.play import Order, Run, is_best_stopped, play
from hpo.bench.run import run
from hpo.errors import UsageError
from hpo.problems.base import build, regret
from hpo.pruners.base import PRUNERS
from hpo.samplers.base import SAMPLERS
from trials.seeding import key, stream


def made(name: str, seed: int, regrets: dict[float, float], stopped_best: bool = False) -> Run:
    spent = tuple(regrets)
    return Run(name, "honest:0", seed, spent, tuple(regrets.values()), 10, 4, stopped_best, 10.0)


def test_a_random_study_returns_the_best_of_its_trials_whatever_the_machinery_between() -> None:
    problem = build("annealed:1")
    found = play(contender("random"), problem, 3, most=12)
    own = key(3, problem.name) & 0x7FFFFFFF
    configs = [problem.space.sample(stream(own, "sampler", number)) for number in range(found.trials)]
    ends = [regret(problem, problem.final(config)) for config in configs]
    assert found.trials >= 12
    # Reports have noise, so that of two nearly equal trials either may be taken.
    assert found.regret_at(12) == pytest.approx(min(ends[:12]), abs=0.02)
    assert found.stopped == 0
    assert not found.stopped_best
    assert found.spent == tuple(sorted(found.spent))


def test_a_study_is_the_same_every_time_and_in_any_process() -> None:
    orders = [Order(contender(text), "memory:2", 1, 3.0, 2, None) for text in ("sobol", "random+asha")]
    here, there = run(orders, 1), run(orders, 2)
    assert [(one.spent, one.regrets) for one in here] == [(one.spent, one.regrets) for one in there]


def test_lanes_train_at_once_and_cost_the_same_steps() -> None:
    problem = build("honest:0")
    alone, many = (play(contender("random"), problem, 0, 8.0, lanes) for lanes in (1, 4))
    assert many.trials == alone.trials
    assert many.regret_at(8) == alone.regret_at(8)


def test_a_stopped_best_counts_only_where_it_would_have_been_better() -> None:
    problem = build("crossing:3")  # slow configs end best, and are stopped at a third of their steps
    found = [play(contender("random+asha(rungs=3)"), problem, seed, 8.0) for seed in range(3)]
    assert any(one.stopped_best for one in found)
    kept = [play(contender("random"), problem, seed, 8.0) for seed in range(3)]
    assert not any(one.stopped_best for one in kept)


def test_what_is_left_paused_counts_where_it_is_worth_more_than_what_is_returned() -> None:
    finals = {0: 0.30, 1: 0.10, 2: 0.10, 3: 0.295}
    assert is_best_stopped(finals, cut={1, 2}, left=set(), returned=0.3)
    assert is_best_stopped(finals, cut=set(), left={1, 2}, returned=0.3)
    assert is_best_stopped(finals, cut={1}, left={2}, returned=0.3)
    assert not is_best_stopped(
        finals, cut={1}, left=set(), returned=0.1
    )  # the same config went on as another
    assert not is_best_stopped({0: 0.30, 3: 0.295}, cut=set(), left={3}, returned=0.30)
    assert is_best_stopped({0: 0.30, 3: 0.295}, cut={3}, left=set(), returned=0.30)


def test_a_pruner_that_pauses_has_what_is_scored_and_others_a_training_more() -> None:
    problem = build("honest:0")
    paused, plain = (play(contender(text), problem, 0, 6.0) for text in ("random+pause", "random"))
    assert max(paused.spent) <= 6.0
    assert plain.trials == 7


def test_regret_is_that_of_the_incumbent_of_the_time() -> None:
    one = made("a", 0, {1.0: 0.8, 3.0: 0.2})
    assert [one.regret_at(at) for at in (0.5, 1.0, 2.9, 3.0, 9.0)] == [2.0, 0.8, 0.8, 0.2, 0.2]


def test_lines_compare_seed_by_seed_with_the_first() -> None:
    runs = [made("a", seed, {1.0: 0.5 + 0.1 * seed}) for seed in range(3)]
    runs += [made("b", seed, {1.0: 0.4 + 0.1 * seed}, stopped_best=seed == 0) for seed in range(3)]
    first, second = score.lines(runs, [1.0])
    assert first.against == {}
    assert second.against[1.0].mean == pytest.approx(-0.1)
    assert second.against[1.0].half == pytest.approx(0.0, abs=1e-9)
    assert second.regrets[1.0].half > 0.1
    assert second.stopped_best.mean == pytest.approx(1 / 3)
    assert second.milliseconds == 1.0
    text = score.markdown([first, second], [1.0])
    assert "| `b` | -0.100 ± 0.000 |" in text


def test_one_seed_tells_no_interval() -> None:
    assert math.isnan(score.interval([0.5]).half)
    assert str(score.interval([0.5])) == "0.500"


def test_all_contenders_are_the_tables() -> None:
    texts = [contender(text) for text in every()]
    assert {one.sampler for one in texts} == set(SAMPLERS)
    assert {one.pruner for one in texts if one.sampler == "curve"} == set(PRUNERS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tp", "contender 'tp': unknown sampler 'tp'; did you mean 'tpe'"),
        ("tpe+ash", "unknown pruner 'ash'; did you mean 'asha'"),
        ("tpe+asha+median", "must be SAMPLER or SAMPLER\\+PRUNER"),
        ("tpe+asha(eta=1)", "eta=1 must be an integer of at least 2"),
        ("tpe(", "must be a name with options"),
        ("tpe(gama=0.1)", "unknown option 'gama'; did you mean 'gamma'"),
    ],
)
def test_a_contender_that_cannot_be_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        contender(text)


def hpo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "hpo", "bench", *arguments], capture_output=True, text=True)


def test_the_command_prints_a_table_and_draws(tmp_path: Path) -> None:
    page = tmp_path / "bench.html"
    few = ("--problems", "honest:0,memory:1", "--seeds", "2", "--spent", "2,3", "--html", str(page))
    done = hpo("random", "random+asha", *few)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 problems, 2 seeds, 1 trial at once")
    assert "\nregret at 4x: of what would be returned" in done.stdout
    assert "| `random+asha` |" in done.stdout
    assert "regret at 3x" in done.stdout
    assert "\nmemory\n" in done.stdout
    assert "Regret against spent trainings" in page.read_text()
    done = hpo("random", "--problems", "honest:0", "--seeds", "2", "--spent", "2", "--json")
    table = json.loads(done.stdout)
    assert table["all"][0]["contender"] == "random"
    assert 0 < table["all"][0]["regret"]["2"]["mean"] < 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--spent", "4,x"), "--spent '4,x' must be numbers above 0"),
        (("--problems", "onest"), "unknown problem 'onest'; did you mean 'honest'"),
        (("--problems", ","), "--problems ',' names none"),
        (("--problems", "taskset", "--data", "/nowhere"), "there is no folder /nowhere/taskset-rnn"),
        (("--html", "."), "--html . is a folder"),
        (("rando",), "unknown sampler 'rando'; did you mean 'random'"),
    ],
)
def test_wrong_use_is_one_line(arguments: tuple[str, ...], message: str) -> None:
    done = hpo(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_seeds_of_studies_differ() -> None:
    assert key(0, "trial", 0) != key(1, "trial", 0)
    one, other = (play(contender("random"), build("honest:0"), seed, 2.0) for seed in (0, 1))
    assert one.regrets != other.regrets
