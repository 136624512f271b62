"""Real stores of other makers, and studies of ours, read as earlier studies; none of them is changed."""

import hashlib
import math
from pathlib import Path

import pytest

from hpo.bounds import Bound
from hpo.earlier.former import End, FormerStudy, ends
from hpo.earlier.source import read, split
from hpo.errors import UsageError
from hpo.history import History
from hpo.objective import Objective
from hpo.samplers.optuna import quiet

# MLflow asks SQLAlchemy for what that no longer recommends.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
LOSS = Objective("val_loss")
NAMES = ("lr", "optimizer", "a?b")


def source(text: str, objective: Objective = LOSS) -> FormerStudy:
    return read(text, objective, NAMES, "--from", lambda name: pytest.fail(f"{name} is none of ours"))


def values(found: FormerStudy) -> list[tuple[float, ...] | None]:
    return [None if end is None else end.values for end in ends(found.trials)]


@pytest.fixture(scope="module")
def optuna_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies of Optuna: one that maximises and prunes, one with two values."""
    import optuna

    path = tmp_path_factory.mktemp("optuna") / "old.db"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="one", direction="maximize")

    def objective(trial: "optuna.Trial") -> float:
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        if trial.number == 1:
            raise ValueError("no luck")
        for step in range(4):
            trial.report(trial.number - 1.0 / (1 + step), step)
            if trial.number == 2 and step == 1:
                raise optuna.TrialPruned
        return trial.number + lr * 0

    study.optimize(objective, n_trials=8, catch=(ValueError,))
    study.ask()  # stays under way
    both = optuna.create_study(
        storage=f"sqlite:///{path}", study_name="two", directions=["minimize", "maximize"]
    )
    with quiet():  # Optuna calls it experimental
        both.set_metric_names(["val_loss", "accuracy"])
    both.optimize(lambda trial: (trial.suggest_float("lr", 0.0, 1.0), 0.5), n_trials=2)
    return path


def test_a_study_of_optuna_is_read_with_its_direction_states_and_curves(optuna_db: Path) -> None:
    before = hashlib.sha256(optuna_db.read_bytes()).hexdigest()
    found = source(f"optuna:sqlite:///{optuna_db}#one")
    assert found.metric == "its value, maximised"
    assert [trial.outcome for trial in found.trials] == ["completed", "failed", "stopped", *["completed"] * 5]
    assert found.under_way == 1
    assert found.trials[0].config.keys() == {"lr"}
    told = values(found)
    assert told[0] == (0.0,)
    assert told[1] == (math.inf,)
    assert told[3:] == [(-3.0,), (-4.0,), (-5.0,), (-6.0,), (-7.0,)]
    pruned = ends(found.trials)[2]
    assert pruned is not None
    assert pruned.spread > 0
    assert pruned.values[0] == pytest.approx(-2.0, abs=0.5)
    assert hashlib.sha256(optuna_db.read_bytes()).hexdigest() == before


def test_a_journal_file_of_optuna_is_read_by_its_path_and_never_written(
    optuna_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    monkeypatch.chdir(tmp_path)
    path = Path("journal.log")
    optuna.copy_study(
        from_study_name="one",
        from_storage=f"sqlite:///{optuna_db}",
        to_storage=JournalStorage(JournalFileBackend(str(path))),
    )
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "study_')  # of a writer that was killed
    path.chmod(0o400)
    before, names = path.read_bytes(), sorted(tmp_path.iterdir())
    for place in (path, path.absolute()):
        found = source(f"optuna:{place}#one")
        assert found.metric == "its value, maximised"
        assert found.trials == source(f"optuna:sqlite:///{optuna_db}#one").trials
    assert (path.read_bytes(), sorted(tmp_path.iterdir())) == (before, names)
    with pytest.raises(UsageError, match="unknown study 'won'; did you mean 'one'"):
        source("optuna:journal.log#won")


def test_what_a_study_bounds_is_read_wherever_a_source_has_it(
    mlflow_db: Path, tmp_path: Path, events_of_a_study
) -> None:
    import optuna

    objective = Objective("val_loss", bounds=(Bound("bytes", high=10.0), Bound("val_loss", high=0.5)))
    url = f"sqlite:///{tmp_path}/sized.db"
    study = optuna.create_study(storage=url, study_name="sized")

    def sized(trial: "optuna.Trial") -> float:
        trial.set_user_attr("bytes", 8 * (1 + trial.number))
        return trial.suggest_float("lr", 0.0, 1.0) * 0 + trial.number / 3

    study.optimize(sized, n_trials=3)
    found = source(f"optuna:{url}#sized", objective)
    assert [end.excess for end in ends(found.trials, objective.bounds) if end] == pytest.approx(
        [0.0, 0.6, 1.4 + 1 / 3]
    )
    bounded = Objective("val_loss", bounds=(Bound("val_loss", high=4.0),))
    runs = source(f"mlflow:sqlite:///{mlflow_db}#digits", bounded)
    assert [one.bounded["val_loss"] for one in runs.trials][:3] == [{20: 2.0}, {20: 3.0}, {20: 4.0}]
    seconds = Objective("val_accuracy", "max", bounds=(Bound("seconds", high=0.5),))
    ours = read("old", seconds, NAMES, "--from", lambda name: History(seconds, events_of_a_study))
    assert ends(ours.trials, seconds.bounds)[0] == End((-0.9,), 0.0, 1.0)


def test_of_several_values_of_optuna_those_that_are_sought_are_taken(optuna_db: Path) -> None:
    objective = Objective("accuracy", "max", others=(LOSS,))
    found = source(f"optuna:sqlite:///{optuna_db}#two", objective)
    assert found.metric == "accuracy, maximised, val_loss, minimised"
    assert all(one is not None and one[0] == -0.5 for one in values(found))
    with pytest.raises(UsageError, match=r"none of its values is seconds, .*; its are val_loss, accuracy"):
        source(f"optuna:sqlite:///{optuna_db}#two", Objective("seconds"))


@pytest.fixture(scope="module")
def mlflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment as others log it, and a trial of ours beside."""
    from mlflow.entities import Metric, Param
    from mlflow.tracking import MlflowClient

    from hpo.listeners.mlflow import Store

    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("mlflow")
        patch.chdir(folder)
        uri = f"sqlite:///{folder / 'runs.db'}"
        Store(uri, "digits")  # makes it quicker than MLflow would
        client = MlflowClient(uri)
        number = client.get_experiment_by_name("digits").experiment_id

        def run(
            params: dict[str, str], curve: list[float], status: str, tags: dict[str, str] | None = None
        ) -> None:
            made = client.create_run(number, tags=tags or {}).info.run_id
            metrics = [Metric("val_loss", value, 0, 10 * (1 + step)) for step, value in enumerate(curve)]
            client.log_batch(made, metrics, [Param(name, text) for name, text in params.items()])
            if status != "RUNNING":
                client.set_terminated(made, status)

        for place in range(5):
            run({"lr": f"{0.1 / (1 + place)}", "a_b": "1"}, [3.0 + place, 2.0 + place], "FINISHED")
        run({"lr": "0.5", "optimizer": "sgd"}, [9.0], "FAILED")
        run({"lr": "0.2"}, [5.5], "KILLED")
        run({"lr": "0.2"}, [5.5], "RUNNING")
        run({"task": "digits"}, [1.0], "FINISHED", {"hpo.study_id": "x"})
        run(
            {"lr": "0.3"},
            [5.0, 4.0],
            "FINISHED",
            {"hpo.study_id": "x", "hpo.trial": "0", "hpo.state": "stopped"},
        )
        run({}, [0.0], "FINISHED")
    return folder / "runs.db"


def test_runs_of_mlflow_are_read_by_the_metric_that_is_sought(mlflow_db: Path) -> None:
    found = source(f"mlflow:sqlite:///{mlflow_db}#digits")
    assert found.metric == "val_loss, minimised"
    assert found.under_way == 1
    told = {trial.config["lr"]: end for trial, end in zip(found.trials, values(found), strict=True)}
    assert told["0.1"] == (2.0,)
    assert told["0.5"] == (math.inf,)
    assert told["0.2"][0] == pytest.approx(4.5, abs=0.5)
    assert told["0.3"][0] > 3.5
    assert len(told) == 8
    assert found.trials[0].config.keys() == {"lr", "a?b"}
    with pytest.raises(UsageError, match="no run has the metric val_accuracy; their metrics are val_loss"):
        source(f"mlflow:sqlite:///{mlflow_db}#digits", Objective("val_accuracy", "max"))


def test_what_is_not_there_is_said_and_nothing_is_made(
    optuna_db: Path, mlflow_db: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for text, said in (
        ("optuna:sqlite:///none.db#one", "--from optuna:sqlite:///none.db#one: there is no file none.db"),
        (f"optuna:sqlite:///{optuna_db}#won", "unknown study 'won'; did you mean 'two'\\? known: one, two"),
        (f"optuna:sqlite:///{mlflow_db}#one", "no storage of Optuna: it has no table 'studies'"),
        ("mlflow:sqlite:///none.db#digits", "there is no file none.db"),
        (
            "mlflow:none.db#digits",
            "there is no folder none.db; a database has a URI, such as sqlite:///mlflow",
        ),
        (f"mlflow:sqlite:///{mlflow_db}#digit", "unknown experiment 'digit'; did you mean 'digits'"),
        (
            f"mlflow:sqlite:///{optuna_db}#digits",
            "no tracking store of MLflow: it has no table 'experiments'",
        ),
        (f"mlflow:sqlite:///{__file__}#digits", "is no tracking store of MLflow: file is not a database"),
        (
            "optuna:postgresql://u@h/x#one",
            "no storage of Optuna can be read at postgresql://u@h/x: No module",
        ),
        ("mlflow:http://127.0.0.1:9#digits", "http://127.0.0.1:9 cannot be read: API request"),
        ("optuna:old.db", "--from 'optuna:old.db' must be optuna:URL#STUDY or mlflow:URI#EXPERIMENT"),
        (
            "optuna:none.log#one",
            "there is no file none.log: name a journal of Optuna by its path, a database",
        ),
        (
            f"optuna:{optuna_db}#one",
            "is no journal of Optuna; a database needs its URL, such as sqlite:///.*old.db",
        ),
        (f"optuna:{__file__}#one", "is no journal of Optuna; a database needs its URL"),
    ):
        with pytest.raises(UsageError, match=said):
            source(text)
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_colon_that_is_no_store_is_a_study_of_ours() -> None:
    assert split("c:/studies/old", "--from") == ("", "c:/studies/old", "")
    with pytest.raises(UsageError, match="must be a study"):
        split("", "--from")


def test_a_study_of_ours_without_the_metric_is_taken_by_its_own(events_of_a_study) -> None:
    history = History(Objective("val_accuracy", "max"), events_of_a_study)
    found = read("old", LOSS, NAMES, "--from", lambda name: history)
    assert found.metric == "val_accuracy, maximised"
    assert values(found) == [(-0.9,), (math.inf,), None]
    assert found.under_way == 1
    with pytest.raises(
        UsageError, match="do not report val_loss, which metric names; they report val_accuracy"
    ):
        read("old", Objective(others=(Objective("bytes"),)), NAMES, "--from", lambda name: history)


@pytest.fixture
def events_of_a_study():
    from hpo.events import TrialFinished, TrialReported, TrialStarted
    from trials.spec import Report, TrialSpec

    def started(trial: int) -> TrialStarted:
        return TrialStarted(TrialSpec(trial, {"lr": 0.1}, 0, 10, (10,), 10, 0), 0.0)

    report = Report(0, 10, 10, 1.0, {"val_accuracy": 0.9})
    return [
        *(started(trial) for trial in range(4)),
        TrialReported(report, 0.0),
        TrialFinished(0, "completed", 0.0),
        TrialFinished(1, "failed", 0.0),
        TrialFinished(2, "stopped", 0.0),
    ]
