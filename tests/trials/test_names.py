"""What a name in a study file means."""

import sys
from pathlib import Path

import pytest

from trials.names import TASKS, cache_folder, hint, load_object
from trials.task import load_task


def write(path, text="value = 1\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_file_is_found_from_the_base_and_by_its_whole_path(tmp_path):
    path = write(tmp_path / "deep" / "mine.py", "class Outer:\n    class Inner:\n        pass\n")
    found = load_object("deep/mine.py:Outer", tmp_path)
    assert found is load_object(f"{path}:Outer", Path("/"))
    assert load_object("deep/mine.py:Outer.Inner", tmp_path) is found.Inner


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/task.py", "b/task.py"),
        ("a/b/task.py", "a_b/task.py"),
        ("my-task.py", "my_task.py"),
        ("a/b.py", "a.b.py"),
    ],
)
def test_two_files_of_like_names_do_not_share_a_module(tmp_path, one, other):
    write(tmp_path / one, "name = 'one'\n")
    write(tmp_path / other, "name = 'other'\n")
    assert load_object(f"{one}:name", tmp_path) == "one"
    assert load_object(f"{other}:name", tmp_path) == "other"
    assert load_object(f"{one}:name", tmp_path) == "one"


def test_a_file_may_import_what_lies_beside_it(tmp_path):
    write(tmp_path / "beside_names_test.py", "number = 7\n")
    write(tmp_path / "user.py", "from beside_names_test import number\n")
    before = list(sys.path)
    assert load_object("user.py:number", tmp_path) == 7
    # At the end: found by imports inside its functions, and nothing else is hidden by it.
    assert sys.path == [*before, str(tmp_path)]
    sys.path.remove(str(tmp_path))


def test_a_module_is_looked_up_in_the_base_first(tmp_path):
    write(tmp_path / "module_names_test.py", "number = 8\n")
    before = list(sys.path)
    assert load_object("module_names_test:number", tmp_path) == 8
    assert sys.path == [*before, str(tmp_path)]
    sys.path.remove(str(tmp_path))
    assert load_object("math:pi") > 3


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("digits", "must look like 'module:name' or 'path/to/file.py:name'"),
        (":name", "must look like"),
        ("module:", "must look like"),
        ("", "must look like"),
        ("none.py:value", r"there is no file .*none\.py"),
        ("mine.py:valeu", "mine.py has no 'valeu'; did you mean 'value'"),
        ("mine.py:other", "mine.py has no 'other'$"),
        ("mine.py:value.deeper", "has no 'value.deeper'"),
        ("no_such_module_here:x", "there is no module 'no_such_module_here'"),
        ("math.deeper:x", "there is no module 'math.deeper'"),
        ("math:pie", "did you mean 'pi'"),
    ],
)
def test_a_reference_to_nothing_is_refused(tmp_path, reference, message):
    write(tmp_path / "mine.py")
    with pytest.raises(ValueError, match=message):
        load_object(reference, tmp_path)


def test_an_import_that_fails_inside_the_users_file_is_shown_as_it_is(tmp_path):
    write(tmp_path / "needy.py", "import no_such_package_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        load_object("needy.py:x", tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_package_at_all"):
        load_object("needy:x", tmp_path)
    write(tmp_path / "wrong.py", "def (\n")
    with pytest.raises(SyntaxError):
        load_object("wrong.py:x", tmp_path)


def test_a_file_that_failed_to_load_is_read_again(tmp_path):
    path = write(tmp_path / "mended.py", "raise RuntimeError('not yet')\n")
    with pytest.raises(RuntimeError, match="not yet"):
        load_object("mended.py:value", tmp_path)
    # Written longer, as a source of the same second and size may be taken from the cache of bytecode.
    path.write_text("value = 'mended by now'\n")
    assert load_object("mended.py:value", tmp_path) == "mended by now"


TASK = """
class Mine:
    def __init__(self, size=1): self.size = size
    def data(self, split_seed): ...
    def model(self, config): ...
    def loss(self, model, batch, hyper): ...
    def metrics(self, model, batch): ...

class Half:
    def data(self, split_seed): ...
    loss = 3

made = Mine(5)
"""


def test_a_task_is_built_with_its_options(tmp_path):
    write(tmp_path / "tasks.py", TASK)
    assert load_task("tasks.py:Mine", {"size": 3}, tmp_path).size == 3
    assert load_task("tasks.py:made", None, tmp_path).size == 5


@pytest.mark.parametrize(
    ("reference", "options", "message"),
    [
        ("digitz", {}, "unknown task 'digitz'; did you mean 'digits'"),
        ("tasks.py:Mine", {"sise": 3}, "task 'tasks.py:Mine' cannot be built: .*sise"),
        ("tasks.py:made", {"size": 3}, "it takes no options"),
        ("tasks.py:Half", {}, "is not a task: it has no method 'model', 'loss', 'metrics'"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path, reference, options, message):
    write(tmp_path / "tasks.py", TASK)
    with pytest.raises(ValueError, match=message):
        load_task(reference, options, tmp_path)


@pytest.mark.parametrize("name", TASKS)
def test_a_built_in_name_means_what_the_table_says(name):
    reference, options = TASKS[name]
    assert type(load_task(name)) is type(load_task(reference, options))


def test_a_hint_names_the_nearest_and_all():
    assert hint("digit", ["digits", "charlm"]) == "; did you mean 'digits'? known: digits, charlm"
    assert hint("zzz", ["digits"]) == "; known: digits"


def test_the_cache_folder_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HPO_CACHE_DIR", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("HPO_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hpo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().name == "hpo"


def test_names_and_specs_load_no_torch():
    import subprocess

    script = "import sys, trials.names, trials.spec, trials.seeding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
