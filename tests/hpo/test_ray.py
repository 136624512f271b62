"""A real Ray cluster on this machine, whose workers and nodes are killed while trials run."""

import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from hpo.errors import RunnerError, UsageError
from hpo.events import Noticed, TrialFinished, TrialReported
from hpo.rows import halfway_name
from hpo.runners.base import Cluster, Heard, Target, build
from tests.sleeping_sample import value
from tests.trials_sample import CPU, Line, reports_agree, spec
from trials.spec import Report, TrialSpec
from trials.train import train

pytestmark = [pytest.mark.xdist_group("ray"), pytest.mark.slow]

HERE = Path(__file__).parents[1]
GOOD = {"lr": 0.05, "batch_size": 8, "weight_decay": 0.0}
# What a runner trains -> its name in the tests' folder.
WORK = {
    "lanes": "trials_sample.py:Line",
    "endless": "sleeping_sample.py:endless",
    "waiting": "sleeping_sample.py:waiting",
}
SECONDS = 180.0  # that anything here may take

Make = Callable[..., Any]


@pytest.fixture
def made(joined_cluster: Any, tmp_path: Path) -> Iterator[Make]:
    """Builds a runner on the cluster, which is closed after the test."""
    runners: list[Any] = []

    def make(kind: str = "lanes", lanes: int = 2, workers: int | None = 2, **cluster: Any) -> Any:
        save_every = cluster.pop("save_every", 0)
        target = Target(
            WORK[kind],
            base=str(HERE),
            folder=str(tmp_path),
            compile="never",
            save_every=save_every,
            device="cpu" if kind == "lanes" else "",
            kind="lanes" if kind == "lanes" else "inline",
        )
        share = {"cpus_per_worker": 0.5, **cluster}
        runners.append(build("ray", target, lanes, workers, Cluster(**share)))
        return runners[-1]

    yield make
    for runner in runners:
        runner.close()


def until(runner: Any, holds: Callable[[], bool], heard: list[Heard]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"nothing came of it: {heard}"
        heard.extend(runner.poll(0.1))


def ends(heard: Collection[Heard]) -> dict[int, TrialFinished]:
    found = [event for event in heard if isinstance(event, TrialFinished)]
    assert len({event.trial for event in found}) == len(found), "a trial ended twice"
    return {event.trial: event for event in found}


def reports(heard: Collection[Heard]) -> dict[int, list[Report]]:
    found: dict[int, list[Report]] = {}
    for event in heard:
        if isinstance(event, TrialReported):
            found.setdefault(event.report.trial, []).append(event.report)
    return found


def processes(runner: Any) -> list[int]:
    return [worker.place.process for worker in runner._crew.workers if worker.place is not None]


def lasting(trial: int) -> TrialSpec:
    """Half a second of `waiting`, a report every twentieth."""
    return TrialSpec(trial, {"x": 0.1 * trial}, trial, 50, tuple(range(5, 51, 5)), 50, 0)


def assert_as_if_nothing_had_been(heard: Collection[Heard], specs: Collection[TrialSpec]) -> None:
    assert {trial: event.outcome for trial, event in ends(heard).items()} == {
        one.trial: "completed" for one in specs
    }
    for one in specs:
        said = [(report.spent, report.metrics["val_loss"]) for report in reports(heard)[one.trial]]
        assert said == [(rung, value(one.config, rung)) for rung in one.rungs]


def test_trials_of_a_worker_that_is_killed_start_again_and_report_as_if_nothing_had_been(made: Make) -> None:
    runner = made()
    specs = [spec(GOOD, trial, budget=600, rungs=(5, *range(100, 600, 100))) for trial in range(4)]
    heard: list[Heard] = []
    runner.start(specs)
    until(runner, lambda: bool(reports(heard)), heard)
    (victim,) = [
        worker
        for worker in runner._crew.workers
        if worker.post and worker.post.trials.keys() & reports(heard).keys()
    ]
    assert len(victim.post.trials) == 2
    os.kill(victim.place.process, signal.SIGKILL)
    until(runner, lambda: len(ends(heard)) == 4, heard)
    assert {event.outcome for event in ends(heard).values()} == {"completed"}
    notice = next(event for event in heard if isinstance(event, Noticed) and event.topic == "worker")
    assert re.match(r"a worker with trials \d, \d is gone: its process died", notice.text)
    for one in specs:
        # Each rung once, in order, and with the numbers of a trial that nothing happened to.
        reports_agree(reports(heard)[one.trial], list(train(Line(), one, device=CPU)))
    assert runner.busy()[0] == 0
    busy, every = runner.busy_seconds()
    assert 0 < busy <= every


COUNTING = """
import os
from tests.trials_sample import Line

class Counting(Line):
    def data(self, split_seed):
        with open({loads!r}, "a") as file:
            file.write(f"{{os.getpid()}}\\n")
        return super().data(split_seed)
"""


@dataclass
class Gated:
    """`Line`, which writes down every step by process, and from its 60th on waits while `gate` is there."""

    folder: Path

    def __post_init__(self) -> None:
        (self.folder / "gated.py").write_text(GATED.format(folder=str(self.folder)))
        (self.folder / "gate").touch()

    def open(self) -> None:
        (self.folder / "gate").unlink()

    def steps(self) -> dict[int, int]:
        """Process -> steps that it trained."""
        return {int(path.suffix[1:]): path.stat().st_size for path in self.folder.glob("steps.*")}


GATED = """
import os, time
from pathlib import Path
from tests.trials_sample import Line

FOLDER = Path({folder!r})
MINE = FOLDER / f"steps.{{os.getpid()}}"

class Gated(Line):
    def loss(self, model, batch, hyper):
        with MINE.open("a") as file:
            file.write(".")
        while MINE.stat().st_size >= 60 and (FOLDER / "gate").exists():
            time.sleep(0.01)
        return super().loss(model, batch, hyper)
"""


def test_trials_of_a_worker_that_is_killed_go_on_from_their_saved_rows(
    joined_cluster: Any, tmp_path: Path
) -> None:
    task = Gated(tmp_path)
    study = tmp_path / "study"
    target = Target("gated.py:Gated", base=str(tmp_path), folder=str(study), compile="never", save_every=2)
    runner = cast(Any, build("ray", target, 2, 2, Cluster(cpus_per_worker=0.5)))
    specs = [spec(GOOD, trial, budget=200, rungs=(15, 90, 130)) for trial in range(4)]
    heard: list[Heard] = []
    try:
        until(runner, lambda: runner.busy()[1] == 4, heard)
        runner.start(specs)
        saved = [study / halfway_name(one.trial) for one in specs]
        # Frozen amid a step: nothing is saved any more, and all that was is here.
        until(runner, lambda: sorted(task.steps().values()) == [60, 60], heard)
        until(runner, lambda: all(path.is_file() for path in saved), heard)
        victim, survivor = runner._crew.workers
        lost = sorted(victim.post.trials)
        os.kill(victim.place.process, signal.SIGKILL)
        until(runner, lambda: victim not in runner._crew.workers and len(processes(runner)) == 2, heard)
        (successor,) = {*processes(runner)} - {survivor.place.process}
        until(runner, lambda: task.steps().get(successor) == 60, heard)
        task.open()
        until(runner, lambda: len(ends(heard)) == 4, heard)
    finally:
        runner.close()
    assert {event.outcome for event in ends(heard).values()} == {"completed"}
    notice = next(event for event in heard if isinstance(event, Noticed) and event.topic == "taken up")
    went_on = {int(trial): int(step) for trial, step in re.findall(r"(\d+) from step (\d+)", notice.text)}
    assert sorted(went_on) == lost
    (saved_step,) = set(went_on.values())
    assert 0 < saved_step < 60
    # Nobody trained what was saved a second time.
    assert task.steps() == {
        victim.place.process: 60,
        survivor.place.process: 200,
        successor: 200 - saved_step,
    }
    for one in specs:
        reports_agree(reports(heard)[one.trial], list(train(Line(), one, device=CPU)))


def test_a_paused_trial_whose_worker_is_killed_as_it_goes_on_is_gone_on_with_from_its_row(
    joined_cluster: Any, tmp_path: Path
) -> None:
    task = Gated(tmp_path)
    study = tmp_path / "study"
    target = Target("gated.py:Gated", base=str(tmp_path), folder=str(study), compile="never")
    runner = cast(Any, build("ray", target, 1, 1, Cluster(cpus_per_worker=0.5)))
    one = spec(GOOD, 0, budget=100, rungs=(20, 40, 80))
    heard: list[Heard] = []
    try:
        until(runner, lambda: runner.busy()[1] == 1, heard)
        runner.start([one], {0: 20})
        until(runner, lambda: bool(reports(heard)), heard)
        assert runner.free() == 1
        assert (study / halfway_name(0)).is_file()
        (first,) = processes(runner)
        assert task.steps() == {first: 20}
        runner.start([one], {0: 80})
        until(runner, lambda: task.steps()[first] == 60, heard)  # frozen beyond the report at 40
        os.kill(first, signal.SIGKILL)
        task.open()
        until(runner, lambda: reports(heard)[0][-1].spent == 80, heard)
        assert runner.free() == 1
        runner.start([one])
        until(runner, lambda: bool(ends(heard)), heard)
        (second,) = processes(runner)
    finally:
        runner.close()
    # What the file has nobody trained again, and nothing was heard twice.
    assert task.steps() == {first: 60, second: 80}
    assert ends(heard)[0].outcome == "completed"
    reports_agree(reports(heard)[0], list(train(Line(), one, device=CPU)))


def test_workers_on_one_machine_load_the_data_once_and_leave_nothing(
    joined_cluster: Any, tmp_path: Path
) -> None:
    loads = tmp_path / "loads"
    (tmp_path / "counting.py").write_text(COUNTING.format(loads=str(loads)))
    target = Target("counting.py:Counting", base=str(tmp_path), folder=str(tmp_path / "s"), compile="never")
    runner = build("ray", target, 1, 2, Cluster(cpus_per_worker=0.5))
    specs = [spec(GOOD, trial, budget=300) for trial in range(2)]
    heard: list[Heard] = []
    until(runner, lambda: runner.busy()[1] == 2, heard)
    runner.start(specs)
    until(runner, lambda: len(ends(heard)) == 2, heard)
    runner.close()
    assert len(loads.read_text().splitlines()) == 1
    assert not any(event.topic == "data" for event in heard if isinstance(event, Noticed))
    for one in specs:
        reports_agree(reports(heard)[one.trial], list(train(Line(), one, device=CPU)))
    # By name: what other tests kill leaves files too.
    assert not list(Path("/dev/shm").glob(f"hpo-data-{cast(Any, runner)._crew.name}*"))


def test_a_trial_that_kills_its_worker_twice_has_failed_and_the_others_go_on(made: Make) -> None:
    runner = made(lanes=1)
    heard: list[Heard] = []
    runner.start([spec({**GOOD, "kill": True}, 0), spec(GOOD, 1)])
    until(runner, lambda: len(ends(heard)) == 2, heard)
    assert {trial: event.outcome for trial, event in ends(heard).items()} == {0: "failed", 1: "completed"}
    assert "its worker died 2 times, the last time with it alone: its process died" in ends(heard)[0].error


def test_a_worker_that_is_frozen_or_in_a_call_without_end_is_replaced(made: Make) -> None:
    runner = made("endless", lanes=1, stall_seconds=0.8)
    heard: list[Heard] = []
    runner.start([spec(GOOD, 0)])
    until(runner, lambda: bool(ends(heard)), heard)
    assert ends(heard)[0].outcome == "failed"
    assert "it came to no end of a tick" in ends(heard)[0].error

    runner = made("waiting", lanes=1, workers=1, stall_seconds=2.0)
    heard = []
    runner.start([lasting(1)])
    until(runner, lambda: bool(reports(heard)), heard)
    (frozen,) = processes(runner)
    os.kill(frozen, signal.SIGSTOP)
    try:
        until(runner, lambda: any(isinstance(event, Noticed) for event in heard), heard)
    finally:
        # Ray asks it to end, which it does once it can hear.
        os.kill(frozen, signal.SIGCONT)
    until(runner, lambda: bool(ends(heard)), heard)
    assert_as_if_nothing_had_been(heard, [lasting(1)])


def test_capacity_follows_nodes_that_join_and_leave(made: Make, joined_cluster: Any) -> None:
    runner = made("waiting", lanes=1, workers=None, cpus_per_worker=2)
    heard: list[Heard] = []
    until(runner, lambda: runner.busy()[1] == 1, heard)
    node = joined_cluster.add_node(num_cpus=4, object_store_memory=100 * 2**20)
    until(runner, lambda: runner.busy()[1] == 3, heard)
    specs = [lasting(trial) for trial in range(6)]
    runner.start(specs)
    until(runner, lambda: len(reports(heard)) == 3, heard)
    joined_cluster.remove_node(node, allow_graceful=False)
    until(runner, lambda: len(ends(heard)) == 6, heard)
    assert any("its node has left" in event.text for event in heard if isinstance(event, Noticed))
    assert_as_if_nothing_had_been(heard, specs)
    assert runner.busy() == (0, 1)


GREEDY = """
import os, time
from pathlib import Path

FOLDER = Path({folder!r})
HOARD = []

def greedy(spec):
    with (FOLDER / f"trial.{{spec.trial}}").open("a") as file:
        file.write(f"{{os.getpid()}}\\n")
    HOARD.append(b"x" * int(spec.config["gib"] * 2**30))
    for rung in spec.rungs:
        time.sleep(0.2)
        yield {{"step": rung, "val_loss": 1 / rung}}
"""


def test_a_worker_over_its_memory_is_replaced_and_its_trials_end_first(
    joined_cluster: Any, tmp_path: Path
) -> None:
    (tmp_path / "greedy.py").write_text(GREEDY.format(folder=str(tmp_path)))
    target = Target("greedy.py:greedy", base=str(tmp_path), folder=str(tmp_path / "study"), kind="inline")
    share = Cluster(cpus_per_worker=0.5, memory_per_worker=0.5)
    runner = cast(Any, build("ray", target, 2, 1, share))
    # Of the first pair one is too much; of the others none is.
    sizes = [0.4, 0.4, 0.0, 0.0]  # GiB
    specs = [TrialSpec(trial, {"gib": size}, trial, 9, (3, 6, 9), 9, 0) for trial, size in enumerate(sizes)]
    heard: list[Heard] = []
    try:
        until(runner, lambda: runner.busy()[1] == 2, heard)
        runner.start(specs)
        until(runner, lambda: len(ends(heard)) == 4, heard)
        assert runner.busy() == (0, 2)
    finally:
        runner.close()
    assert {event.outcome for event in ends(heard).values()} == {"completed"}
    for one in specs:
        assert [report.spent for report in reports(heard)[one.trial]] == list(one.rungs)
    (notice,) = [event for event in heard if isinstance(event, Noticed)]
    assert re.match(r"a worker has grown to (0\.[5-9]|1\.\d) GiB, more than 0\.5: another takes", notice.text)
    by = [(tmp_path / f"trial.{trial}").read_text().split() for trial in range(4)]
    # Each was begun once: the first two in one process, the others in the next.
    assert [len(pids) for pids in by] == [1, 1, 1, 1]
    assert by[0] == by[1] != by[2] == by[3]


def test_a_share_that_no_node_has_is_refused_at_once(made: Make) -> None:
    with pytest.raises(UsageError, match=r"no node has the 64 CPUs and 0 GPUs .* 127\.0\.0\.1, has 2 CPUs"):
        made(cpus_per_worker=64)


def test_a_cluster_that_others_use_is_not_waited_for_without_end(
    made: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hpo.runners import crew

    others = made(lanes=1, workers=1, cpus_per_worker=2)
    until(others, lambda: others.busy()[1] == 1, [])
    monkeypatch.setattr(crew, "_WAIT", 2.0)
    runner = made(workers=1)
    with pytest.raises(UsageError, match=r"others use it: 0 CPUs and 0 GPUs are free"):
        runner.check([GOOD])


def test_workers_that_die_again_and_again_without_a_trial_end_the_search_with_the_reason(made: Make) -> None:
    runner = made("waiting", workers=1)

    def die() -> None:
        for death in range(1, 9):
            until(runner, lambda: runner.busy()[1] == 2, [])
            os.kill(processes(runner)[0], signal.SIGKILL)
            until(runner, lambda: runner._crew.failures == death, [])  # noqa: B023 - it is called here

    with pytest.raises(RunnerError, match="4 workers in a row could not work, the last: its process died"):
        die()
