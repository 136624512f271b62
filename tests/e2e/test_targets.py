"""Studies with targets: read once at the end, for trials that are compared; refused before any training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hpo
from hpo import study
from hpo.errors import UsageError
from hpo.events import DataLoaded, Noticed, StudyFinished
from hpo.records import Examples, target_name
from hpo.store import Journal
from trials.task import load_task
from trials.tasks.printed import printed


def written(path: Path, batch: Any) -> str:
    np.savez(path, **{name: part.numpy() for name, part in batch.items()})
    return str(path)


def searched(folder: Path, targets: dict[str, str], **sections: Any) -> study.Outcome:
    table: dict[str, Any] = {
        "task": "digits",
        "space": {"lr": {"choice": [0.003, 0.01, 0.03]}, "width": 8, "batch_size": 16},
        "trial": {"steps": 20, "reports": 2},
        "search": {"sampler": "random", "pruner": "never"},
        "limits": {"trials": 3},
        "runner": {"name": "lanes", "lanes": 3, "compile": "never"},
        "report": {"targets": targets, "compared": 2},
        "tracking": {"uri": "none"},
    }
    for name, values in sections.items():
        table[name] = {**table.get(name, {}), **values}
    return hpo.search(table, root=folder, name="study")


@pytest.mark.parametrize(
    "runner", [{}, {"name": "processes", "workers": 2, "lanes": 2}], ids=["lanes", "processes"]
)
def test_targets_are_read_for_the_trials_that_are_compared(tmp_path: Path, runner: dict[str, Any]) -> None:
    reference = written(tmp_path / "there.npz", printed())
    outcome = searched(tmp_path, {"there": reference}, runner=runner)
    events = list(Journal(outcome.folder / study.JOURNAL))
    (data,) = [event for event in events if isinstance(event, DataLoaded)]
    assert [(one.name, one.examples, one.role) for one in data.sets] == [("there", 900, "target")]
    finish = events[-1]
    assert isinstance(finish, StudyFinished)
    # The two best by loss, and whom accuracy would have chosen, should that be another.
    assert {str(finish.best)} <= finish.targets.keys()
    assert len(finish.targets) in (2, 3)
    record = Examples.load(outcome.folder / target_name("there"))
    assert record.digest == data.sets[0].digest
    for trial, values in record.trials.items():
        told = finish.targets[str(trial)]["there"]["accuracy"]
        assert values["accuracy"].mean() == pytest.approx(told, abs=1e-6)
    assert outcome.report is not None
    assert "target there" in outcome.report.read_text()


def test_a_study_taken_up_reads_targets_for_new_trials_only(tmp_path: Path) -> None:
    reference = written(tmp_path / "there.npz", printed())
    first = searched(tmp_path, {"there": reference}, report={"compared": 8})
    start = study.read(first.folder)[1][0]
    config = study.config_of(start, first.folder, ["limits.trials=4"])  # type: ignore[arg-type]
    again = study.search(config, first.folder)
    finishes = [event for event in Journal(first.folder / study.JOURNAL) if isinstance(event, StudyFinished)]
    assert [sorted(event.targets) for event in finishes] == [["0", "1", "2"], ["3"]]
    assert sorted(again.history.targeted) == [0, 1, 2, 3]
    assert sorted(Examples.load(first.folder / target_name("there")).trials) == [0, 1, 2, 3]


def test_one_target_that_cannot_be_evaluated_takes_no_other_along_and_is_named(tmp_path: Path) -> None:
    batch = printed()
    wrong = written(tmp_path / "wrong.npz", {**batch, "label": batch["label"] + 90})
    good = written(tmp_path / "good.npz", batch)
    outcome = searched(tmp_path, {"wrong": wrong, "good": good})
    finish = outcome.history.finish
    assert finish is not None
    assert finish.targets
    assert all(set(figures) == {"good"} for figures in finish.targets.values())
    (notice,) = [
        event
        for event in Journal(outcome.folder / study.JOURNAL)
        if isinstance(event, Noticed) and event.topic == "target"
    ]
    assert notice.text.startswith("target 'wrong' could not be read: ")


def validation_data(folder: Path) -> str:
    return written(folder / "there.npz", load_task("digits").data(0).val)


def wide_images(folder: Path) -> str:
    batch = printed()
    return written(folder / "there.npz", {**batch, "image": batch["image"].repeat(1, 1, 2, 2)})


def nothing(folder: Path) -> str:
    return str(folder / "there.npz")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (validation_data, "target 'there' is validation data: 360 of its 360 examples"),
        (wide_images, "target 'there' differs from the task's data"),
        (nothing, "neither a file .npz that exists nor 'module:function'"),
    ],
)
def test_what_is_no_target_is_refused_before_anything_is_written(
    tmp_path: Path, make: Any, words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        searched(tmp_path, {"there": make(tmp_path)})
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "study" / study.JOURNAL).exists()


@pytest.mark.parametrize(
    ("targets", "sections", "words"),
    [
        ({"a/b": "x.npz"}, {}, "[report] targets.a/b: a target's name must be of letters"),
        ({"there": 3}, {}, "[report] targets.there = 3 must be"),
        ({"there": "x.npz"}, {"trial": {"save": "none"}}, 'set save = "best" under [trial]'),
    ],
)
def test_a_section_that_cannot_be_is_refused(
    tmp_path: Path, targets: Any, sections: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        searched(tmp_path, targets, **sections)
    assert words in str(raised.value)
