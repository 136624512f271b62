"""A study as a table: overrides, defaults, rungs, examples. What is refused: tests/e2e/test_errors.py."""

from pathlib import Path

import pytest

from hpo import config as configs
from hpo import studyfile
from hpo.config import StudyConfig
from hpo.errors import UsageError
from hpo.runners import placing
from hpo.space import Choice
from trials.names import TASKS

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"


def built(table: dict, **others) -> StudyConfig:
    return configs.build(table, "study.toml", Path.cwd(), **others)


def test_defaults_are_filled_in_and_what_was_given_is_kept() -> None:
    config = built({"task": f"{SAMPLE}:Line", "trial": {"steps": 70}, "search": {"seed": 9}})
    table = config.table
    assert (config.steps, config.seed, config.name) == (70, 9, "study")
    assert table["search"] == {
        "sampler": "curve",
        "pruner": "asha",
        "seed": 9,
        "unreported": "refuse",
        "from": [],
    }
    assert table["limits"]["trials"] == config.limits.trials == 32
    assert table["tracking"]["uri"] == "sqlite:///mlflow.db"
    assert table["space"]["batch_size"] == 8, "the space that the task brings along"


def test_a_table_with_its_defaults_filled_in_is_the_same_study() -> None:
    first = built({"task": f"{SAMPLE}:Line", "name": "one"})
    again = configs.build(first.table | {"limits": {"trials": 32}}, "study.toml", first.base, load=False)
    assert again.table == first.table
    assert again.plan() == first.plan()
    assert again.kind == first.kind


@pytest.mark.parametrize(
    ("limits", "trials"),
    [
        ({}, 32),
        ({"target": 0.5}, 32),
        ({"trials": 3}, 3),
        ({"seconds": 5.0}, None),
        ({"total_steps": 5000}, None),
        ({"no_improvement": 5}, None),
    ],
)
def test_a_study_that_would_not_end_has_the_default_number_of_trials(
    limits: dict, trials: int | None
) -> None:
    assert built({"task": f"{SAMPLE}:curve", "limits": limits}).limits.trials == trials


@pytest.mark.parametrize("task", TASKS)
def test_the_study_file_of_a_built_in_task_is_a_study(task: str) -> None:
    table, where, base = studyfile.find(task)
    config = configs.build(table, where, base)
    assert config.name == task
    assert config.kind == "task"
    assert config.table["tracking"]["uri"] == "sqlite:///mlflow.db"


@pytest.mark.parametrize("task", TASKS)
def test_examples_take_every_choice_and_lie_in_the_space(task: str) -> None:
    config = configs.build(*studyfile.find(task))
    examples = config.examples()
    for example in examples:
        assert config.space.holds(example)
    for name, domain in config.space.domains.items():
        if isinstance(domain, Choice):
            assert {example[name] for example in examples if name in example} == set(domain.choices)
        else:
            assert any(name in example for example in examples), f"{name} is in no example"


def test_a_choice_below_a_choice_is_in_the_examples_where_it_is_active() -> None:
    space = {
        "optimizer": {"choice": ["adamw", "sgd"]},
        "nesterov": {"choice": [True, False], "when": {"optimizer": "sgd"}},
        "momentum": {"low": 0.1, "high": 0.9, "when": {"nesterov": True}},
    }
    examples = built({"task": f"{SAMPLE}:curve", "space": space}).examples()
    assert {example["optimizer"] for example in examples} == {"adamw", "sgd"}
    for example in examples:
        assert ("nesterov" in example) == (example["optimizer"] == "sgd")
        assert ("momentum" in example) == (example.get("nesterov") is True)


@pytest.mark.parametrize(
    ("kind", "trial", "rungs"),
    [
        ("Line", {"steps": 500}, tuple(range(50, 501, 50))),
        ("Line", {"steps": 60}, (10, 20, 30, 40, 50, 60)),
        ("Line", {"steps": 100, "reports": 3}, (40, 70, 100)),
        ("Line", {"steps": 100, "reports": 1}, (100,)),
        ("Line", {"steps": 10}, (10,)),
        ("Line", {"steps": 64, "tick": 16, "reports": 2}, (32, 64)),
        # A function has no ticks.
        ("curve", {"steps": 20}, tuple(range(2, 21, 2))),
        ("curve", {"steps": 3}, (1, 2, 3)),
        ("curve", {"steps": 25, "reports": 2}, (13, 25)),
    ],
)
def test_rungs_lie_at_ticks_and_the_last_is_the_budget(kind: str, trial: dict, rungs: tuple) -> None:
    assert built({"task": f"{SAMPLE}:{kind}", "trial": trial}).plan().rungs == rungs


@pytest.mark.parametrize(
    ("setting", "path", "value"),
    [
        ("trial.steps=200", ("trial", "steps"), 200),
        ("trial.steps = 200", ("trial", "steps"), 200),
        ("search.sampler=random", ("search", "sampler"), "random"),
        ('search.sampler="random"', ("search", "sampler"), "random"),
        ("limits.seconds=1e3", ("limits", "seconds"), 1000.0),
        ("tracking.uri=sqlite:///a/b.db", ("tracking", "uri"), "sqlite:///a/b.db"),
        ("tracking=false", ("tracking",), False),
        ("space.lr={low=0.1, high=1}", ("space", "lr"), {"low": 0.1, "high": 1}),
        ("space.lr.low=0.2", ("space", "lr"), {"low": 0.2}),
        ("space.width.choice=[1, 2]", ("space", "width"), {"choice": [1, 2]}),
        ("task=my_task.py:Task", ("task",), "my_task.py:Task"),
        ("sampler.shuffle=true", ("sampler", "shuffle"), True),
    ],
)
def test_a_setting_is_read_as_toml_and_bare_words_as_texts(setting: str, path: tuple, value: object) -> None:
    found: object = studyfile.override({}, [setting])
    for name in path:
        found = found[name]  # type: ignore[index]
    assert found == value


def test_settings_come_one_after_the_other_and_leave_the_table_alone() -> None:
    table = {"trial": {"steps": 100}}
    changed = studyfile.override(table, ["trial.steps=1", "trial.reports=2", "trial.steps=3"])
    assert changed == {"trial": {"steps": 3, "reports": 2}}
    assert table == {"trial": {"steps": 100}}


def test_tracking_that_is_false_is_none() -> None:
    assert built({"task": f"{SAMPLE}:curve", "tracking": False}).table["tracking"]["uri"] == "none"


@pytest.mark.parametrize(
    ("name", "runner", "expected"),
    [
        ("Line", {"workers": 1}, "lanes"),
        ("Line", {"workers": 2}, "processes"),
        ("Line", {"name": "lanes", "workers": 2}, "lanes"),
        ("curve", {}, "inline"),
        ("curve", {"workers": 2}, "processes"),
        ("curve", {"name": "processes"}, "processes"),
    ],
)
def test_the_runner_is_the_one_that_fits(name: str, runner: dict, expected: str) -> None:
    config = built({"task": f"{SAMPLE}:{name}", "runner": runner})
    assert config.runner_name() == expected
    assert config.target(Path()).kind == ("lanes" if name == "Line" else "inline")


@pytest.mark.parametrize(
    ("device", "workers", "limits", "expected"),
    [
        ("", "auto", {}, "a core"),
        ("", "auto", {"trials": 1}, 1),
        ("", 3, {"trials": 1}, 3),
        ("cpu", "auto", {}, "a core"),
        ("cuda:0", "auto", {}, 1),
    ],
)
def test_workers_are_one_a_core_or_as_many_as_are_asked_for(device, workers, limits, expected) -> None:
    if device == "" and placing.cuda_devices():
        pytest.skip("this machine has CUDA devices, of which each has a worker")
    runner = {"device": device, "workers": workers}
    found = built({"task": f"{SAMPLE}:Line", "runner": runner, "limits": limits}).workers()
    assert found == (configs.cores() if expected == "a core" else expected)


def test_lanes_are_measured_for_a_task_and_one_for_a_function() -> None:
    assert built({"task": f"{SAMPLE}:Line"}).lanes() is None
    assert built({"task": f"{SAMPLE}:Line", "runner": {"lanes": 3}}).lanes() == 3
    assert built({"task": f"{SAMPLE}:curve"}).lanes() == 1


def test_no_more_lanes_are_measured_out_than_let_half_of_the_trials_start_at_once() -> None:
    config = built({"task": f"{SAMPLE}:Line", "runner": {"workers": 2}, "limits": {"trials": 7}})
    assert config.target(Path()).most_lanes == 2
    table = {"task": f"{SAMPLE}:Line", "limits": {"seconds": 7.0}}
    assert built({**table, "runner": {"device": "cuda:0"}}).target(Path()).most_lanes == 0
    for workers, lanes in ((2, 8), (64, 4)):
        runner = {"device": "cpu", "workers": workers}
        assert built({**table, "runner": runner}).target(Path()).most_lanes == lanes


def test_steps_that_pay_for_few_trainings_are_not_shared_out_among_many() -> None:
    table = {"task": f"{SAMPLE}:Line", "runner": {"workers": 2}, "trial": {"steps": 200}}
    for limits, lanes in (
        ({"total_steps": 3000}, 4),
        ({"total_steps": 3000, "trials": 500}, 4),
        ({"total_steps": 100_000, "trials": 7}, 2),
        ({"total_steps": 399}, 1),
    ):
        assert built({**table, "limits": limits}).target(Path()).most_lanes == lanes


@pytest.mark.parametrize("name", ["lanes", "workers"])
def test_lanes_and_workers_of_0_are_refused_in_a_table_and_read_in_a_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=rf"\[runner\] {name} = 0 must be 'auto' or a whole number of at least 1"
    ):
        built({"task": f"{SAMPLE}:Line", "runner": {name: 0}})
    # The first version wrote 0 where nothing was said.
    (tmp_path / "old.toml").write_text(f'task = "{SAMPLE}:Line"\n[runner]\n{name} = 0\n')
    config = configs.build(*studyfile.find(str(tmp_path / "old.toml")))
    assert config.table["runner"][name] == "auto"


@pytest.mark.parametrize("name", ["digits", "my study", "größe", "a.b", "2024-01-01", "_x"])
def test_a_plain_name_is_a_study_name(name: str) -> None:
    studyfile.check_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "-a", " a", "a ", "\udcff"])
def test_what_a_folder_cannot_be_called_is_no_study_name(name: str) -> None:
    with pytest.raises(UsageError, match="plain folder name"):
        studyfile.check_name(name)


def test_a_base_in_a_study_file_is_seen_from_that_file(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        'task = "mine.py:f"\nbase = "code"\n[space]\nx = {low = 0, high = 9}'
    )
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "mine.py").write_text("def f(spec): return 1.0\n")
    config = configs.build(*studyfile.find(str(tmp_path / "study.toml")))
    assert config.kind == "function"
    assert config.base == tmp_path / "code"
