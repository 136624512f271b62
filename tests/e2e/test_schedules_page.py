"""docs/schedules.md names every family, every argument and every picture, and what it says to type works."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest

from hpo import config
from hpo.cli.list_schedules import arguments
from schedules import HYPERPARAMETERS, SCHEDULES
from schedules.hypergradient import RULES
from schedules.laws import LAWS
from schedules.spec import COMMON
from schedules.tuner_spec import COMMON as COMMON_OF_TUNERS
from schedules.tuner_spec import TUNER_FAMILIES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "schedules.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def section(heading):
    return re.split(r"^#{2,3} ", TEXT.split(f"\n{heading}\n", 1)[1], flags=re.MULTILINE)[0]


def rows(text):
    return {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_family_has_its_picture_and_its_arguments(name):
    found = section(f"### `{name}`")
    assert f"(pictures/{name}.svg)" in found
    table = rows(found)
    assert list(table) == list(SCHEDULES[name].arguments)
    for argument, meaning, _ in arguments(SCHEDULES[name].arguments, name):
        argument, _, default = argument.partition(" = ")
        assert meaning in table[argument]
        assert f"`{default}`" in table[argument] or not default
        shape = inspect.signature(SCHEDULES[name].shape)
        assert default or shape.parameters[argument].default in (None, inspect.Parameter.empty)


def test_what_every_family_takes_is_there():
    assert list(rows(section("## What every family takes"))) == list(COMMON)


def test_every_name_in_a_space_is_there():
    told = set(re.findall(r"`([a-z_]+(?:_\d)?)`", TEXT))
    for name, hyperparameter in HYPERPARAMETERS.items():
        if hyperparameter.place in (None, 0) and name != "schedule":
            assert name in told


def test_links_and_pictures_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / "docs" / target).exists(), target


def test_the_studies_of_the_page_are_valid():
    for block in blocks("toml"):
        assert config.build(tomllib.loads(block), "docs/schedules.md", ROOT).space.domains


def test_the_python_of_the_page_runs(capsys):
    space: dict = {}
    for block in blocks("python"):
        exec(compile(block, "docs/schedules.md", "exec"), space)
    assert space["scheduler"].get_last_lr()


def test_the_commands_of_the_page_are_commands(command):
    import shlex

    lines = [shlex.split(line, comments=True) for line in "".join(blocks("sh")).splitlines()]
    assert len(lines) >= 6
    for words in lines:
        if words[1:3] in (["schedule", "list"], ["schedule", "show"]) and "found.toml" not in words:
            assert command(*words[1:]).code == 0
    assert {words[1] for words in lines} == {"schedule", "export", "train", "extend"}


def test_every_option_of_the_page_is_one_of_its_command():
    import shlex

    from typer.main import get_command

    from hpo.cli.main import app

    for line in "".join(blocks("sh")).splitlines():
        found, words = get_command(app), shlex.split(line, comments=True)[1:]
        while commands := getattr(found, "commands", None):
            found, words = commands[words[0]], words[1:]
        known = {option for parameter in found.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line


def test_what_laws_and_signals_are_called_is_there():
    assert all(f"`{name}`" in section("## Foretold by a loss law") for name in LAWS)
    studies = [tomllib.loads(block) for block in blocks("toml")]
    assert any(study.get("trial", {}).get("sharpness") for study in studies)


@pytest.mark.parametrize("name", [name for name in TUNER_FAMILIES if name != "auto"])
def test_every_tuner_has_its_arguments_and_their_defaults(name):
    found = rows(section(f"### `{name}`"))
    assert list(found) == list(TUNER_FAMILIES[name].arguments)
    for argument, parameter in inspect.signature(TUNER_FAMILIES[name].make).parameters.items():
        if argument in found:
            value = parameter.default
            word = (
                f'"{value}"'
                if isinstance(value, str)
                else str(value).lower()
                if value is False
                else str(value)
            )
            assert found[argument].split(" | ")[1] == ("" if value is None else f"`{word}`")


def test_the_race_is_told_by_its_other_name():
    assert TUNER_FAMILIES["auto"].make is TUNER_FAMILIES["race"].make
    assert "`auto`" in section("### `race`")


def test_what_every_tuner_takes_and_every_rule_are_there():
    assert list(rows(section("### What every tuner takes"))) == list(COMMON_OF_TUNERS)
    found = rows(section("### Rules"))
    assert set(RULES) <= set(found)
    for name, rule in RULES.items():
        assert rule.meaning in found[name]
        for default in rule.defaults.values():
            assert f"`{default}`" in found[name]
    assert {"rule", "rule_scope", "rule_rate", "rule_bound"} <= set(found)
