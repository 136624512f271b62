"""Studies whose trials pause, on every runner of tasks: equal reports and the same winner everywhere."""

from pathlib import Path
from typing import Any

import pytest

from hpo.config import build
from hpo.errors import UsageError
from hpo.events import Noticed, TrialFinished, TrialPaused, TrialReported, TrialResumed
from hpo.store import Journal
from hpo.study import search, search_over
from hpo.studyfile import find
from tests.told import told
from tests.trials_sample import CPU, Line, reports_agree
from trials.train import train

TASK = Path(__file__).parents[1] / "trials_sample.py"
ON_RAY = pytest.mark.xdist_group("ray")
RUNNERS = ["lanes", "processes", pytest.param("ray", marks=ON_RAY)]
BUDGET = 96


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> str:
    if request.param == "ray":
        request.getfixturevalue("joined_cluster")
    return request.param


def sections(runner: str, lanes: int, workers: int, **space: Any) -> dict[str, Any]:
    """Of a study of trials that pause, with rates of which one is clearly best."""
    share = {"cpus_per_worker": 0.5} if runner == "ray" else {}
    count = {"workers": workers} if runner != "lanes" else {}
    return {
        "space": {"lr": {"low": 1e-4, "high": 1e-1, "scale": "log"}, "batch_size": 8, **space},
        "search": {"pruner": "pause", "sampler": "random", "seed": 3},
        "pruner": {"pilot": 4},
        "trial": {"steps": BUDGET, "reports": 8},
        "limits": {"trials": 8},
        "runner": {"name": runner, "lanes": lanes, "compile": "never", "device": "cpu", **count, **share},
        "tracking": False,
    }


def searched(root: Path, runner: str, lanes: int, workers: int, **space: Any) -> Any:
    return search_over(f"{TASK}:Line", root=root, **sections(runner, lanes, workers, **space))


@pytest.fixture(scope="module")
def by_schedule(tmp_path_factory: Any) -> dict[str, Any]:
    """Schedule -> the study as one lane of the search's own process does it, once."""
    return {}


@pytest.mark.parametrize("schedule", ["constant", "range_test(sweep_steps=20)"])
def test_one_lane_anywhere_does_the_same_study(
    schedule: str, runner: str, by_schedule: dict[str, Any], tmp_path: Path
) -> None:
    if schedule not in by_schedule:
        by_schedule[schedule] = searched(tmp_path / "first", "lanes", 1, 1, schedule=schedule)
    wanted = by_schedule[schedule]
    found = searched(tmp_path / "other", runner, 1, 1, schedule=schedule)
    events = told(Journal(found.folder / "journal.jsonl"))
    assert events == told(Journal(wanted.folder / "journal.jsonl"))
    kinds = [event[0] for event in events]
    assert min(kinds.count(kind.__name__) for kind in (TrialPaused, TrialResumed)) > 3
    assert not (found.folder / "running").exists(), "nobody goes on with them"
    assert list((found.folder / "rows").iterdir())


@pytest.mark.parametrize("schedule", ["constant", "race(k=2)"])
def test_trials_that_go_from_worker_to_worker_report_what_they_would_alone(
    schedule: str, runner: str, tmp_path: Path
) -> None:
    found = searched(tmp_path, runner, 2, 2, schedule=schedule)
    history = found.history
    assert history.ended == 8
    events = list(Journal(found.folder / "journal.jsonl"))
    assert any(isinstance(event, TrialResumed) for event in events)
    for number, trial in history.trials.items():
        alone = list(train(Line(), trial.spec, device=CPU))
        reports_agree(trial.reports, alone[: len(trial.reports)])
        assert [event.trial for event in events if isinstance(event, TrialFinished)].count(number) == 1
    said = [(e.report.trial, e.report.spent) for e in events if isinstance(e, TrialReported)]
    assert len(said) == len(set(said))
    # Whichever goes on first: the one that ends best of all is found.
    ends = {
        n: list(train(Line(), trial.spec, device=CPU))[-1].metrics["val_loss"]
        for n, trial in history.trials.items()
    }
    assert history.best is not None
    assert history.best.spec.trial == min(ends, key=lambda n: ends[n])


def test_where_no_paused_trial_can_be_saved_the_study_says_so_and_is_the_same(
    runner: str, tmp_path: Path
) -> None:
    wanted = searched(tmp_path / "first", "lanes", 1, 1)
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "running").write_text("no folder")
    table, where, base = find(f"{TASK}:Line")
    found = search(build({**table, **sections(runner, 1, 1)}, where, base, ""), folder)
    events = list(Journal(folder / "journal.jsonl"))
    assert [event.topic for event in events if isinstance(event, Noticed)].count("saving") == 1
    assert told(events) == told(Journal(wanted.folder / "journal.jsonl"))
    assert found.history.ended == 8
    assert (folder / "running").read_text() == "no folder"


def test_trials_with_fold_models_beside_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"pauses trials, which have their fold models beside them"):
        search_over(
            "digits-shift",
            root=tmp_path,
            search={"pruner": "pause"},
            validation={"kind": "shifted-kfold", "folds_for": "all"},
            tracking=False,
        )
    assert not list(tmp_path.iterdir())
