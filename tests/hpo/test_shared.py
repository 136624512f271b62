"""The data of a task in memory that workers share: real processes, real kills."""

import multiprocessing
import os
import signal
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from hpo.runners.shared import SharedData
from trials.task import Splits, load_task

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="files in memory are Linux's")

TASK = """
    import os
    import torch
    from trials.task import Splits

    LOADS = {folder!r}
    WORDS = {{}}

    class Base:
        fail = ""
        kept = [1]

        def data(self, split_seed):
            with open(LOADS, "a") as file:
                file.write(f"{{os.getpid()}}\\n")
            x = torch.arange(60.0).reshape(20, 3)
            self.extra()
            return Splits(*({{"x": x[part], "y": x[part].sum(1).long(), "b": x[part].bfloat16()}}
                            for part in (slice(0, 10), slice(10, 15), slice(15, 20))))

        def extra(self): pass
        def model(self, config): pass
        def loss(self, model, batch, hyper): pass
        def metrics(self, model, batch): pass

    class Plain(Base): pass

    class Vocabulary(Base):
        def __init__(self): self.words, self.gone = ["a"], 1
        def extra(self):
            self.words.append("b")
            self.table = torch.ones(4)
            del self.gone

    class Unpicklable(Base):
        def extra(self): self.transform = lambda x: x

    class Global(Base):
        def extra(self): WORDS["a"] = 1

    class OfTheClass(Base):
        def extra(self): type(self).kept.append(2)

    class Broken(Base):
        def extra(self): raise OSError("the disk is gone")

    class Slow(Base):
        def extra(self):
            import time
            if not os.path.exists(LOADS + ".second"):
                open(LOADS + ".second", "w").close()
                time.sleep(600)
"""


@pytest.fixture
def made(tmp_path: Path):
    """(a task of this name, memory to share, who has loaded data so far), module names kept apart."""
    (tmp_path / "mine.py").write_text(textwrap.dedent(TASK).format(folder=str(tmp_path / "loads")))
    descriptor = os.memfd_create("test")

    def task(name):
        return load_task("mine.py:" + name, base=tmp_path)

    def loads():
        path = tmp_path / "loads"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    yield task, SharedData(descriptor), loads
    os.close(descriptor)


def in_worker(function, *arguments):
    """A forked process that calls this, and what it answers."""
    here, there = multiprocessing.Pipe()

    def run():
        there.send(function(*arguments))

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    return process, here


def answer(worker, seconds=30):
    process, here = worker
    assert here.poll(seconds), "the worker says nothing"
    said = here.recv()
    process.join(seconds)
    return said


def facts(splits: Splits):
    return [
        (name, part.dtype, part.tolist())
        for split in (splits.train, splits.val, splits.test)
        for name, part in split.items()
    ]


def loaded(task, memory):
    found = memory.load(task, 0)
    return facts(found.splits), found.problem, {**vars(task), "table": None}


def test_data_is_loaded_once_and_all_workers_have_the_same(made):
    task, memory, loads = made
    answers = [answer(one) for one in [in_worker(loaded, task("Plain"), memory) for _ in range(3)]]
    assert len(loads()) == 1
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] == facts(task("Plain").data(0))
    assert answers[0][1] == ""


def mapped(memory, task):
    """Kilobytes of files in memory that this process has mapped, once the data is loaded."""
    found = memory.load(task, 0).splits
    float(found.train["x"].sum())
    text = Path("/proc/self/smaps").read_text()
    part = text.partition("memfd:test")[2]
    return {line.split(":")[0]: int(line.split()[1]) for line in part.splitlines()[1:20] if "kB" in line}


def test_what_is_mapped_is_not_copied(made):
    task, memory, _ = made
    answer(in_worker(loaded, task("Plain"), memory))
    here = mapped(memory, task("Plain"))
    assert here["Rss"] > 0
    assert here["Anonymous"] == 0


def test_a_worker_that_writes_into_its_data_changes_its_own(made):
    task, memory, _ = made
    first, second = (memory.load(task("Plain"), 0).splits for _ in range(2))
    first.train["x"].zero_()
    assert second.train["x"].sum() > 0
    assert memory.load(task("Plain"), 0).splits.train["x"].sum() > 0


def test_tensors_that_share_their_storage_still_do(made):
    task, memory, _ = made
    found = memory.load(task("Plain"), 0).splits
    storages = {part["x"].untyped_storage().data_ptr() for part in (found.train, found.val, found.test)}
    assert len(storages) == 1


def test_attributes_that_data_sets_are_handed_on(made):
    task, memory, loads = made
    for _ in range(2):
        one = task("Vocabulary")
        assert memory.load(one, 0).problem == ""
        assert one.words == ["a", "b"]
        assert not hasattr(one, "gone")
        torch.testing.assert_close(one.table, torch.ones(4))
    assert len(loads()) == 1


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Unpicklable", ("pickle", "lambda")),
        ("Global", ("'WORDS' of module", "make it an attribute of the task")),
        ("OfTheClass", ("'kept' of class Base", "make it an attribute of the task")),
    ],
)
def test_what_cannot_be_handed_on_is_loaded_by_each_worker_and_that_is_said_once(made, name, words):
    task, memory, loads = made
    first, second = memory.load(task(name), 0), memory.load(task(name), 0)
    for word in words:
        assert word in first.problem
    assert "\n" not in first.problem
    assert second.problem == ""
    assert facts(first.splits) == facts(second.splits) == facts(task("Plain").data(0))
    assert len(loads()) == 3


def test_data_that_raises_does_so_in_every_worker(made):
    task, memory, _ = made
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            memory.load(task("Broken"), 0)
    # And nobody is kept waiting by it.
    assert memory.load(task("Plain"), 0).problem == ""


def test_a_worker_killed_while_it_loads_hangs_nobody(made):
    task, memory, loads = made
    victim, _ = in_worker(loaded, task("Slow"), memory)
    end = time.monotonic() + 30
    while not loads():
        assert time.monotonic() < end
        time.sleep(0.01)
    waiting = in_worker(loaded, task("Slow"), memory)
    time.sleep(0.2)
    assert not waiting[1].poll(0)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    assert answer(waiting)[1] == ""
    assert len(loads()) == 2


def test_a_file_that_was_half_written_counts_as_empty(made):
    task, memory, loads = made
    os.pwrite(memory._descriptor, b"\xff" * 100, 4096)
    assert facts(memory.load(task("Plain"), 0).splits) == facts(task("Plain").data(0))
    assert memory.load(task("Plain"), 0).problem == ""
    assert len(loads()) == 2  # of these, one in this test


def test_the_module_of_the_task_is_left_as_it_was(made):
    task, memory, _ = made
    one = task("Plain")
    before = dict(vars(sys.modules[type(one).__module__]))
    memory.load(one, 0)
    assert vars(sys.modules[type(one).__module__]) == before
