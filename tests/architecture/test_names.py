"""Names: what is exported, what is documented, what is registered, and which words are not used."""

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schedules", "trials", "hpo", "dashboards")
FILES = sorted(
    path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_exports_what_it_lists(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    imported = [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    listed = getattr(module, "__all__", [])
    assert len(listed) == len(set(listed))
    assert set(listed) == {name for name in imported if not name.startswith("_")}
    for name in listed:
        assert hasattr(module, name)


def public(tree: ast.Module) -> list[ast.FunctionDef | ast.ClassDef]:
    """Public functions, classes, and the public methods of these."""
    found: list[ast.FunctionDef | ast.ClassDef] = []
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            found.append(node)
            if isinstance(node, ast.ClassDef):
                found.extend(
                    inner
                    for inner in node.body
                    if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_")
                )
    return found


@pytest.mark.parametrize("file", FILES)
def test_all_that_is_public_is_documented(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert ast.get_docstring(tree), f"{file} says nothing of itself"
    for node in public(tree):
        text = ast.get_docstring(node)
        assert text, f"{file}: {node.name} has no docstring"
        first = text.splitlines()[0]
        assert first[0] == first[0].upper()
        assert text.split("\n\n")[0].rstrip()[-1] in ".:?!…`)}]", (
            f"{file}: {node.name}: {first!r} is no sentence"
        )


# Part 3 of the architecture notes lists these; "handler" and "parameter" have other meanings elsewhere.
NOT_USED = {
    *("scheduler", "experiment", "job", "iteration", "resource", "parameter", "manager"),
    *("handler", "helper", "utils", "epoch"),
}
# Where the word is another library's or a published algorithm's, not ours.
ALLOWED = {
    ("hpo/studyfile.py", "experiment"),  # a key of [tracking]: MLflow's word, which its users know
    ("hpo/listeners/mlflow.py", "experiment"),
    ("hpo/listeners/follower.py", "experiment"),
    ("hpo/listeners/mirror.py", "experiment"),
    ("hpo/study.py", "experiment"),
    ("trials/data/order.py", "epoch"),
    ("trials/scheduler.py", "scheduler"),  # a scheduler of torch, and torch's words for it
    ("trials/scheduler.py", "epoch"),
}


def words(name: str) -> set[str]:
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().split("_")
    return {word for part in split for word in (part, part.removesuffix("s")) if word}


def defined(tree: ast.AST) -> set[str]:
    """Names that a file gives to things."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.arg(arg=name):
                found.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                found.add(name)
            case ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case _:
                pass
    return found


@pytest.mark.parametrize("file", FILES)
def test_words_with_two_meanings_are_no_names(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    names = {*Path(file).with_suffix("").parts, *defined(tree)}
    used = {word for name in names for word in words(name)} & NOT_USED
    assert used - {word for place, word in ALLOWED if place == file} == set()


def test_every_test_is_named_by_a_sentence() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                assert node.name.count("_") >= 2, f"{path.name}: {node.name} is no sentence"


# table -> (where it lies, the contract test that is run over each of its entries)
TABLES = {
    "SCHEDULES": ("schedules.spec", "test_schedules.py"),
    "LAWS": ("schedules.laws", "test_laws.py"),
    "TASKS": ("trials.names", "test_tasks.py"),
    "OPTIMIZERS": ("trials.optim", "test_optim.py"),
    "RULES": ("schedules.hypergradient", "test_rules.py"),
    "TUNERS": ("schedules.tuners", "test_tuners.py"),
    "TUNER_FAMILIES": ("schedules.tuner_spec", "test_tuners.py"),
    "SAMPLERS": ("hpo.samplers.base", "test_samplers.py"),
    "PRUNERS": ("hpo.pruners.base", "test_pruners.py"),
    "PROBLEMS": ("hpo.problems.base", "test_problems.py"),
    "RUNNERS": ("hpo.runners.base", "test_runners.py"),
    "FAMILIES": ("trials.data.families.table", "test_families.py"),
}


@pytest.mark.parametrize("table", TABLES)
def test_the_laws_are_run_over_every_entry_of_a_table(table: str) -> None:
    module, file = TABLES[table]
    entries = getattr(importlib.import_module(module), table)
    assert entries
    text = (ROOT / "tests" / "contracts" / file).read_text()
    # Over the table itself, so that registering is being tested.
    over = rf"parametrize\([^)]*\b(ALL_)?{table}\b|sampled_from\([^)]*\b{table}\b|== set\({table}\)"
    assert re.search(over, text), f"tests/contracts/{file} must be parametrized over {table}"


def test_every_table_is_known_here() -> None:
    found = set()
    for file in FILES:
        for node in ast.parse((ROOT / file).read_text()).body:
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict())
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict())
                ):
                    if name.isupper() and name.endswith("S") and not name.startswith("_"):
                        found.add(name)
                case _:
                    pass
    assert set(TABLES) <= found
    # Tables of data rather than of implementations.
    assert found - set(TABLES) <= {
        "DEFAULTS",
        "HYPERPARAMETERS",
        "METHODS",
        "ACTIVATIONS",
        "STATE_COLOURS",
        "FLOATS",
        "MULTIPLIERS",
    }


@pytest.mark.parametrize("file", [*FILES, "README.md", "pyproject.toml"])
def test_the_project_speaks_of_itself_alone(file: str) -> None:
    path = ROOT / file
    if not path.exists():
        pytest.fail(f"{file} is missing")
    text = path.read_text()
    for word in ("issue #", "pull request #", "ChatGPT", "Claude", "as an AI", "language model"):
        assert word not in text, f"{file} mentions {word!r}"
    assert not re.search(r"\bTODO(?!\S*#\d)", text), f"{file}: a TODO carries an issue number"
