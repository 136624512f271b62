"""A study on a cluster whose workers are killed and whose nodes come and go, at moments drawn by a seed.

HPO_CHAOS sets how many seeds there are (default 2).
"""

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hpo.events import Noticed, TrialReported
from tests.driven import Driven, wait, workers
from tests.mirrored import assert_mirrored
from tests.sleeping_sample import value
from tests.trials_sample import reports_agree
from trials.spec import Report

pytestmark = [
    pytest.mark.xdist_group("ray"),
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc"),
]

SEEDS = range(int(os.environ.get("HPO_CHAOS", "2")))
NODE = {"num_cpus": 2, "object_store_memory": 100 * 2**20}
STUDY = """
task = "work.py:{name}"
trial = {{ steps = 40, reports = {reports}, tick = 5 }}
search = {{ sampler = "random", pruner = "never" }}
limits = {{ trials = {trials} }}
runner = {{ {runner} }}

[space]
{space}
"""
# Each step takes its time, but none of the machine's.
DIGITS = """
import time
from trials.tasks.digits import Digits

class Paced(Digits):
    def loss(self, model, batch, hyper):
        time.sleep({seconds})
        return super().loss(model, batch, hyper)
"""
DIGITS_SPACE = """
lr = { low = 1e-3, high = 1e-2, scale = "log" }
optimizer = "adamw"
batch_size = 16
width = 2
"""


@dataclass(frozen=True)
class Kind:
    """What a study is of."""

    code: str
    name: str
    space: str
    trials: int
    reports: int
    kills: int
    runner: str

    def put(self, folder: Path, seconds: float) -> None:
        """A study of it as a user has it."""
        (folder / "work.py").write_text(self.code.replace("{seconds}", str(seconds)))
        settings = {"runner": self.runner, "trials": self.trials, "reports": self.reports}
        (folder / "study.toml").write_text(STUDY.format(name=self.name, space=self.space, **settings))


KINDS = {
    "lanes": Kind(DIGITS, "Paced", DIGITS_SPACE, 9, 5, 2, 'compile = "never", device = "cpu", lanes = 3'),
    "inline": Kind(
        (Path(__file__).parents[1] / "sleeping_sample.py").read_text(),
        "waiting",
        "x = { low = -2.0, high = 2.0 }",
        *(24, 10, 3),
        "lanes = 3",
    ),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: Any) -> dict[int, list[Report]]:
    """What trials of digits report in one process that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    KINDS["lanes"].put(folder, 0.0)
    study = Driven(folder, "calm", ["search", "study.toml", "--runner", "lanes", "--tracking", "none"])
    assert study.begin().wait(180) == 0, study.output()
    return study.reports()


@pytest.fixture
def nodes(ray_cluster: Any) -> Iterator[list[Any]]:
    """Nodes beside the head, one at first; those that are left are removed."""
    found = [ray_cluster.add_node(**NODE)]
    yield found
    for node in found:
        ray_cluster.remove_node(node, allow_graceful=False)


def shaken(folder: Path, kind: Kind, seed: int, cluster: Any, nodes: list[Any]) -> Driven:
    """A study that all of it happens to, once it has ended."""
    draw = np.random.default_rng(seed)
    kind.put(folder, 0.01)
    words = ("search", "study.toml", "--runner", "ray", "--address", cluster.address)
    study = Driven(folder, "shaken", [*words, "--cpus-per-worker", 2, "--save-every", 2])
    before = workers(cluster)
    search = study.begin()

    # Moments are numbers of reports, so that a slow machine has as much to go on with as a fast one.
    acts = draw.permutation(["kill"] * kind.kills + ["remove", "add"])
    moments = np.sort(draw.integers(1, int(0.7 * kind.trials * kind.reports), len(acts)))
    killed = 0
    for act, moment in zip(acts, moments, strict=True):
        wait(
            lambda: study.count(TrialReported) >= moment or search.poll() is not None,  # noqa: B023 - called here
            study.output,
        )
        assert search.poll() is None, f"it ended before all that was to happen had: {study.output()}"
        if act == "remove":
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        elif act == "add":
            nodes.append(cluster.add_node(**NODE))
        elif there := sorted(workers(cluster) - before):
            os.kill(int(draw.choice(there)), signal.SIGKILL)
            killed += 1
    assert search.wait(180) == 0, study.output()
    assert killed
    assert "worker" in {event.topic for event in study.journal if isinstance(event, Noticed)}
    wait(lambda: not workers(cluster) - before, lambda: "workers are left behind")
    return study


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_are_killed_nodes_come_and_go_and_every_trial_reports_as_if_nothing_had_been(
    seed: int, request: Any, nodes: list[Any], ray_cluster: Any, tmp_path: Path
) -> None:
    name = ("lanes", "inline")[seed % 2]
    kind = KINDS[name]
    study = shaken(tmp_path, kind, seed, ray_cluster, nodes)
    specs, ends = study.ended(kind.trials)
    reports = study.reports()
    for trial, end in ends.items():
        said = reports.get(trial, [])
        if end.outcome == "failed":
            # It happened to be alone on two workers that were killed, before it reported anything new.
            assert re.search(r"its worker died \d times", end.error)
        else:
            assert end.outcome == "completed"
            assert [report.spent for report in said] == [*specs[trial].rungs]
        if name == "lanes":
            reports_agree(said, request.getfixturevalue("undisturbed")[trial][: len(said)])
        else:
            wanted = [(rung, value(specs[trial].config, rung)) for rung in specs[trial].rungs]
            assert [(one.spent, one.metrics["val_loss"]) for one in said] == wanted[: len(said)]
    assert sum(end.outcome == "failed" for end in ends.values()) <= 1
    assert_mirrored(tmp_path / "mlflow.db", study.journal)
    assert not list((study.journal.path.parent / "running").glob("*"))
