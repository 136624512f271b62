"""Who may import whom: read from every import statement, and looked up in fresh interpreters."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schedules", "trials", "hpo", "dashboards")

# What a package may import at all, standard library apart: our own packages or modules, and others'.
MAY: dict[str, set[str]] = {
    "schedules": {"schedules", "numpy", "scipy", "sklearn"},
    "trials": {"trials", "schedules", "numpy", "torch", "triton", "sklearn", "transformers", "safetensors"},
    "hpo": {
        *("hpo", "schedules", "trials.spec", "trials.seeding", "trials.names"),
        *("trials.validation", "trials.scores", "trials.files"),
        *("numpy", "scipy", "typer", "rich", "tomli_w"),
    },
    "dashboards": {
        *("dashboards", "schedules", "trials.spec", "plotly", "numpy"),
        *("hpo.errors", "hpo.events", "hpo.store", "hpo.history", "hpo.importance", "hpo.space"),
        *("hpo.compared", "hpo.correlation", "hpo.transfer", "hpo.audits", "hpo.judgement"),
        "hpo.traces",
        "hpo.objective",  # a field of hpo.history.History
    },
}

# And these files a little more: each optional library has its file.
ALSO: dict[str, set[str]] = {
    "hpo/runners/lanes.py": {"torch", "trials"},
    "hpo/runners/shared.py": {"torch", "trials"},
    "hpo/runners/saving.py": {"trials"},
    "hpo/runners/faults.py": {"torch", "trials"},
    "hpo/runners/alone.py": {"torch", "trials"},
    "hpo/runners/storage.py": {"fsspec"},
    "hpo/runners/crew.py": {"ray"},
    "hpo/runners/joining.py": {"ray"},
    "hpo/runners/submission.py": {"ray", "requests", "aiohttp"},
    "hpo/tune.py": {"ray"},
    "hpo/listeners/mlflow.py": {"mlflow"},
    "hpo/samplers/optuna.py": {"optuna"},
    "hpo/earlier/optuna.py": {"optuna", "sqlalchemy"},  # its storages, and what they raise
    "hpo/earlier/mlflow.py": {"mlflow"},
    "hpo/importance.py": {"optuna"},
    "trials/tasks/printed.py": {"matplotlib", "PIL"},  # fonts, and what draws them
    "hpo/problems/lcbench.py": {"onnxruntime"},  # the surrogate's model
    "hpo/cli/system.py": {"torch"},  # `hpo doctor` looks for devices
}

# Files that less is good for than for their package.
ONLY: dict[str, set[str]] = {
    "trials/spec.py": {"numpy"},
    "trials/seeding.py": {"numpy"},
    "trials/names.py": {"numpy", "trials.spec"},
    "trials/validation.py": {"trials.names", "trials.spec"},
    "trials/scores.py": {"numpy", "trials.files"},
    "trials/files.py": set(),
    "schedules/types.py": {"numpy", "schedules"},
}

# What takes long to import is imported where it is needed.
INSIDE_FUNCTIONS: dict[str, set[str]] = {
    "schedules": {"scipy", "sklearn"},
    "trials": {"sklearn", "transformers", "safetensors", "triton", "matplotlib", "PIL"},
    "hpo": {"scipy", "tomli_w", "rich", "mlflow", "torch", "optuna", "onnxruntime", "ray", "fsspec"},
    "dashboards": set(),
}
# Files that are themselves imported only where they are needed.
LOADED_LATE = (
    *("hpo/runners/lanes.py", "hpo/runners/shared.py", "hpo/runners/faults.py", "hpo/runners/alone.py"),
    "hpo/runners/saving.py",
    *(
        "hpo/runners/ray.py",
        "hpo/runners/crew.py",
        "hpo/runners/joining.py",
        "hpo/runners/submission.py",
        "hpo/tune.py",
    ),
    *("hpo/listeners/mlflow.py", "hpo/listeners/live.py"),
    *("hpo/samplers/optuna.py", "hpo/importance.py"),
    *("hpo/earlier/optuna.py", "hpo/earlier/mlflow.py"),
    *("trials/kernels/update.py", "trials/kernels/signals.py", "trials/kernels/augment.py"),
)


def imports(tree: ast.AST) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it waits inside a function or is for the type checker) of every import."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, "imports are absolute"
                assert child.module is not None
                yield from ((f"{child.module}.{alias.name}", inside) for alias in child.names)
            else:
                is_late = isinstance(child, (ast.FunctionDef, ast.Lambda)) or (
                    isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING"
                )
                yield from walk(child, inside or is_late)

    return walk(tree, False)


def is_among(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


FILES = sorted(
    path.relative_to(ROOT).as_posix() for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)


def test_the_exceptions_are_about_files_that_exist() -> None:
    assert {*ALSO, *ONLY, *LOADED_LATE} <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_what_its_package_may(file: str) -> None:
    package = file.partition("/")[0]
    allowed = ONLY.get(file, MAY[package] | ALSO.get(file, set()))
    for name, inside in imports(ast.parse((ROOT / file).read_text())):
        top = name.partition(".")[0]
        # The bare package is a docstring; `hpo.studyfile` asks it where its study files lie.
        if top in sys.stdlib_module_names or (package, name) == ("hpo", "trials"):
            continue
        assert is_among(name, allowed), f"{file} may not import {name}"
        if file not in LOADED_LATE and top in INSIDE_FUNCTIONS[package]:
            assert inside, f"{file} imports {name} at its top: it takes long, import it where it is needed"


@pytest.mark.parametrize("module", LOADED_LATE)
def test_a_file_with_a_heavy_library_is_not_imported_at_the_top_of_another(module: str) -> None:
    name = module.removesuffix(".py").replace("/", ".")
    for file in FILES:
        # Those that are loaded late themselves may load each other.
        if file in LOADED_LATE or file.startswith("dashboards/"):
            continue
        for imported, inside in imports(ast.parse((ROOT / file).read_text())):
            if imported == name or imported.startswith(f"{name}."):
                assert inside, f"{file} imports {name} at its top"


BY_NAME = ("hpo/study.py", "hpo/cli/show_schedule.py", "hpo/cli/bench.py")  # report, schedule, comparison


def test_the_dashboards_are_loaded_by_name_only() -> None:
    for file in FILES:
        if file.startswith("dashboards/"):
            continue
        names = {name.partition(".")[0] for name, _ in imports(ast.parse((ROOT / file).read_text()))}
        assert not names & {"dashboards", "plotly", "tests"}
        assert 'import_module("dashboards' not in (ROOT / file).read_text() or file in BY_NAME


def loaded(statement: str) -> set[str]:
    """Top names of what a fresh interpreter has loaded after a statement; ours with their modules."""
    script = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def tops(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


HEAVY = {"torch", "triton", "ray", "optuna", "mlflow", "plotly", "sklearn", "scipy", "rich", "transformers"}
BOUNDARY = {
    *("trials", "trials.spec", "trials.seeding", "trials.names"),
    *("trials.validation", "trials.scores", "trials.files"),
}


def everything_in(package: str) -> str:
    """Import every module of a package that is not loaded late."""
    modules = [
        file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for file in FILES
        if file.startswith(f"{package}/") and file not in LOADED_LATE and not file.endswith("__main__.py")
    ]
    return "\n".join(f"import {module}" for module in modules)


@pytest.mark.parametrize("statement", ["import schedules", everything_in("schedules")], ids=["public", "all"])
def test_schedules_load_nothing_but_numpy(statement: str) -> None:
    found = loaded(statement)
    assert not tops(found) & {*HEAVY, "trials", "hpo", "dashboards"}


@pytest.mark.parametrize("module", sorted(BOUNDARY))
def test_the_boundary_of_trials_loads_no_torch(module: str) -> None:
    assert not tops(loaded(f"import {module}")) & {*HEAVY, "hpo", "dashboards"}


def test_trials_know_nothing_of_the_search() -> None:
    found = loaded(everything_in("trials"))
    assert "torch" in found
    assert not tops(found) & {"hpo", "dashboards", "ray", "optuna", "mlflow", "plotly", "sklearn", "rich"}


@pytest.mark.parametrize("statement", ["import hpo", everything_in("hpo")], ids=["public", "all"])
def test_hpo_loads_nothing_heavy_and_of_trials_the_boundary_only(statement: str) -> None:
    found = loaded(statement)
    assert not tops(found) & {*HEAVY, "dashboards"}
    assert {name for name in found if name.partition(".")[0] == "trials"} <= BOUNDARY


def test_dashboards_load_no_training() -> None:
    found = loaded(everything_in("dashboards"))
    assert "plotly" in found
    assert not tops(found) & {"torch", "ray", "optuna", "mlflow"}
    assert {name for name in found if name.partition(".")[0] == "trials"} <= BOUNDARY
