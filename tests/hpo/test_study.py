"""A study as a folder: where it lies, how it is found, and searching from Python."""

import tomllib
from pathlib import Path

import pytest

import hpo
from hpo import config as configs
from hpo import study, studyfile
from hpo.errors import StudyExists, StudyNotFound, UsageError
from hpo.events import StudyFinished, StudyStarted
from hpo.store import Journal

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"


@pytest.fixture
def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> study.Outcome:
    monkeypatch.chdir(tmp_path)
    return hpo.search(
        f"{SAMPLE}:curve",
        name="mine",
        limits={"trials": 3},
        trial={"steps": 20},
        search={"sampler": "random"},
        tracking={"uri": "none"},
    )


def test_a_search_from_python_leaves_a_folder_that_commands_know(outcome: study.Outcome) -> None:
    assert outcome.folder == Path("studies/mine")
    assert not outcome.interrupted
    assert outcome.report == Path("studies/mine/report.html")
    assert len(outcome.history.trials) == 3
    history, events, torn = study.read(outcome.folder)
    assert torn == ""
    assert list(history.trials) == [0, 1, 2]
    assert isinstance(events[-1], StudyFinished)
    assert [path.name for path in study.folders(Path("studies"))] == ["mine"]


def test_a_search_from_python_takes_a_table(tmp_path: Path) -> None:
    table = {
        "task": f"{SAMPLE}:curve",
        "limits": {"trials": 2},
        "trial": {"steps": 20},
        "tracking": {"uri": "none"},
    }
    outcome = hpo.search(table, root=tmp_path, name="table", settings=["limits.trials=1"])
    assert outcome.folder == tmp_path / "table"
    assert len(outcome.history.trials) == 1
    assert table["limits"] == {"trials": 2}


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"space": {3: {"low": 0.0, "high": 1.0}}}, r"\[space\]: name = 3 must be a text"),
        ({"constraints": {3: {"max": 1.0}}}, r"\[constraints\]: name = 3 must be a text"),
        ({"name": 3}, "name = 3 must be a text"),
        ({"settings": "limits.trials=1"}, "settings = 'limits.trials=1' must be a list of texts"),
        ({"settings": [3]}, r"settings = \[3\] must be a list of texts"),
    ],
)
def test_what_is_of_the_wrong_type_is_refused_in_one_line(
    tmp_path: Path, sections: dict, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        hpo.search(f"{SAMPLE}:curve", root=tmp_path, **sections)
    assert not list(tmp_path.iterdir())


def test_the_study_file_is_the_study_that_was_searched(outcome: study.Outcome) -> None:
    path = outcome.folder / study.STUDY_FILE
    start = next(
        event for event in Journal(outcome.folder / study.JOURNAL) if isinstance(event, StudyStarted)
    )
    table = tomllib.loads(path.read_text())
    assert table == study.without_none(start.study)
    # It can be searched again, under another name.
    again = configs.build(*studyfile.find(str(path)), name="again")
    assert again.plan() == study.config_of(start, outcome.folder).plan()


def test_a_study_is_found_by_name_and_path_and_not_by_what_is_near(outcome: study.Outcome) -> None:
    root = Path("studies")
    folder = root / "mine"
    for name in ("mine", "studies/mine", str(folder.absolute()), "studies/mine/study.toml"):
        assert study.find(name, root).samefile(folder)
    for name in ("", ".", "studies", "studies/mine/nothing", "nothing", "mine/rows", "n" * 5000):
        with pytest.raises(StudyNotFound, match="unknown study"):
            study.find(name, root)
    with pytest.raises(StudyNotFound, match="did you mean 'mine'"):
        study.find("mime", root)


def test_the_folder_one_is_in_can_be_named(outcome: study.Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(outcome.folder)
    assert study.find(".", Path("studies")) == Path()


def test_a_study_is_named_as_a_shell_understands() -> None:
    assert study.named(Path("studies/digits")) == "digits"
    assert study.named(Path("studies/my study")) == "'my study'"
    assert study.named(Path("else where/digits")) == "'else where/digits'"


def test_a_study_that_another_process_began_meanwhile_is_left_alone(outcome: study.Outcome) -> None:
    config = configs.build({"task": f"{SAMPLE}:curve", "tracking": False}, "test", Path.cwd(), "late")
    folder = study.create(config, Path("studies"))
    journal = folder / study.JOURNAL

    def begun_by_another(*_: object) -> list[dict[str, object]]:
        folder.mkdir()
        journal.write_bytes((outcome.folder / study.JOURNAL).read_bytes())
        return []

    late = type("Late", (configs.StudyConfig,), {"examples": begun_by_another})(**vars(config))
    with pytest.raises(StudyExists, match="hpo resume late"):
        study.search(late, folder)
    assert journal.read_bytes() == (outcome.folder / study.JOURNAL).read_bytes()


def test_a_setting_that_may_change_does_and_one_that_may_not_does_not(outcome: study.Outcome) -> None:
    start = outcome.history.study
    assert start is not None
    config = study.config_of(start, outcome.folder, ["limits.trials=7", "search.pruner=never"])
    assert config.limits.trials == 7
    assert config.table["search"]["pruner"] == "never"
    with pytest.raises(UsageError, match=r"trial\.steps of a study cannot change.*search\.sampler.* can"):
        study.config_of(start, outcome.folder, ["trial.steps=40"])


def test_a_search_in_a_thread_cannot_be_interrupted_and_runs_all_the_same(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    table = {"task": f"{SAMPLE}:curve", "trial": {"steps": 20}, "tracking": {"uri": "none"}}
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(hpo.search, table, root=tmp_path, name=name, limits={"trials": 2})
            for name in ("one", "two")
        ]
        assert [len(one.result().history.trials) for one in running] == [2, 2]
