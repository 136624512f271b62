"""Studies that validate on shifted copies, in folds or by groups: refused, searched, killed, taken up."""

import signal
import time
from pathlib import Path

import pytest

from hpo.events import StudyFinished, TrialFinished, TrialReported, TrialScored, TrialStarted
from hpo.history import History
from hpo.objective import Objective
from hpo.records import Examples, target_name
from hpo.scores import found_scores
from hpo.store import Journal
from tests.e2e.test_errors import assert_refused
from tests.e2e.test_kill import begin, wait_for_no_worker

DIGITS = """
task = "digits"
[space]
lr = {low = 1e-3, high = 1e-1, scale = "log"}
width = 2
batch_size = 16
"""
TRAINED = DIGITS + 'train_families = {choice = ["none", "all", "blur+edges"]}\n'
REST = """
[trial]
steps = 20
reports = 2
[runner]
compile = "never"
workers = 1
[tracking]
uri = "none"
"""


def section(**values: object) -> str:
    import json

    return "[validation]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())


FAMILIES = ["blur", "edges", "weather"]
KFOLD = {"kind": "shifted-kfold", "families": FAMILIES}
METRIC = 'metric = "shifted_accuracy"\n'

# A study file -> what the line must say.
REFUSED = {
    "unknown kind": (DIGITS + section(kind="shfted"), "[validation]", "'shfted'", "did you mean 'shifted'?"),
    "unknown key": (DIGITS + section(famlies=["blur"]), "[validation]", "did you mean 'families'?"),
    "families that are no list": (DIGITS + section(families="blur"), "families = 'blur' must be a list"),
    "unknown family": (
        DIGITS + section(kind="shifted", families=["blurr"]),
        "unknown family 'blurr'",
        "did you mean 'blur'?",
    ),
    "family twice": (DIGITS + section(kind="shifted", families=["blur", "blur"]), "names 'blur' twice"),
    "more folds than families": (
        METRIC + TRAINED + section(**KFOLD, folds=4),
        "folds = 4 must be at most the number of families, 3",
    ),
    "more folds than all families": (
        METRIC + TRAINED + section(kind="shifted-kfold", folds=12),
        "folds = 12 must be at most the number of families, 11",
    ),
    "one fold": (DIGITS + section(kind="kfold", folds=1), "folds = 1 must be at least 2"),
    "fold that is not there": (DIGITS + section(kind="kfold", folds=3, fold=3), "fold = 3 must be below"),
    "families of a plain study": (DIGITS + section(families=["blur"]), "goes with kind = 'shifted' or"),
    "group without a part": (DIGITS + section(kind="group"), 'needs group = "NAME"'),
    "unknown part": (DIGITS + section(kind="group", group="lable"), "did you mean 'label'?"),
    "time of images": (DIGITS + section(kind="time", time="image"), "one number for each example"),
    "interval": (
        DIGITS + section(interval=0.02),
        "interval = 0.02 needs 2401 validation examples; there are 360, which allow 0.0517",
    ),
    "interval of one": (DIGITS + section(interval=1.0), "interval = 1 must be below 1"),
    "metric that is not measured": (METRIC + DIGITS, "'shifted_accuracy'", "kind = 'shifted'"),
    "metric of another name": (
        METRIC.replace("accuracy", "acuracy") + DIGITS + section(kind="shifted"),
        "'shifted_acuracy'",
        "did you mean 'shifted_accuracy'?",
    ),
    "scored on what it trains on": (
        METRIC + TRAINED + section(kind="shifted"),
        "would score trials on families that they train on",
        "shifted-kfold",
    ),
    "fold models of nothing": (METRIC + DIGITS + section(**KFOLD), "train_families", "kind = 'shifted'"),
    "fold models for nothing": (TRAINED + section(**KFOLD), "metric = 'val_loss' does not use"),
    "target that is known late": (
        METRIC + TRAINED + section(**KFOLD) + "[limits]\ntarget = 0.9\n",
        "target",
        'folds_for = "all"',
    ),
    "schedule that listens": (
        METRIC + TRAINED + 'schedule = "race"\n' + section(**KFOLD),
        "finds its rates while training",
    ),
    "families to train on": (
        TRAINED.replace("blur+edges", "blur+egdes"),
        "unknown family 'egdes'",
        "did you mean 'edges'?",
    ),
    "family that is not validated": (
        METRIC + TRAINED.replace("blur+edges", "blur+color") + section(**KFOLD),
        "train_families='blur+color': family 'color' is not among [validation] families",
        "['blur', 'edges', 'weather']: add it there, or leave it out here",
    ),
    "range of families": (DIGITS + "train_families = {low = 1, high = 2}\n", "a choice of words"),
    "share without families": (DIGITS + "shift_share = 0.5\n", "shift_share: needs train_families"),
    "share above one": (TRAINED + "shift_share = 1.5\n", "must be a number from 0 to 1"),
    "a function": (
        f'task = "{Path(__file__).parents[1] / "objectives_sample.py"}:curve"\n' + section(kind="shifted"),
        "a function validates itself",
    ),
    "a task without parts that can be shifted": (
        f'task = "{Path(__file__).parents[1] / "objectives_sample.py"}:Line"\n' + section(kind="shifted"),
        "does not say what of its data can be shifted",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_validation_that_cannot_be_is_refused(case: str, command, tmp_path: Path) -> None:
    text, *essential = REFUSED[case]
    (tmp_path / "study.toml").write_text(text + REST)
    assert_refused(command, tmp_path, ("search", "study.toml"), *essential)


def history(folder: Path, objective: Objective) -> History:
    return History(objective, Journal(folder / "journal.jsonl"))


ACCURACY = Objective("shifted_accuracy", "max")


def test_a_study_is_searched_by_its_score_on_shifted_copies(command, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(METRIC + DIGITS + section(kind="shifted", families=FAMILIES) + REST)
    said = command("search", "study.toml", "--trials", 4, "--lanes", 2)
    assert said.code == 0, said.err
    folder = tmp_path / "studies" / "study"
    found = history(folder, ACCURACY)
    assert found.best is not None
    assert found.finish is not None
    assert found.finish.best == found.best.spec.trial == found.ranking[0]
    for trial in found.trials.values():
        for report in trial.reports:
            assert {"shifted_accuracy", "shifted_loss", "val_accuracy"} <= report.metrics.keys()
            named = {name for name in report.metrics if name.startswith("shifted_accuracy_")}
            is_last = report.spent == trial.spec.budget
            assert named == {f"shifted_accuracy_{family}" for family in FAMILIES * is_last}
    assert set(found_scores(folder, found.trials)) >= {
        number for number, trial in found.trials.items() if trial.state == "completed"
    }
    # With a raised limit any of them may be chosen.
    completed = [trial for trial in found.trials.values() if trial.state == "completed"]
    assert {path.name for path in (folder / "rows").iterdir()} == {Path(one.row).name for one in completed}
    shown = command("best", "study")
    assert f"  shifted_accuracy          {found.best.metrics['shifted_accuracy']:.4g}" in shown.out
    # What is on the disk is the study again.
    again = command("resume", "study", "--trials", 5)
    assert again.code == 0, again.err
    assert len(history(folder, ACCURACY).trials) == 5


@pytest.mark.parametrize("workers", [1, 2])
def test_leading_trials_get_their_fold_models_when_the_search_is_over(
    command, tmp_path: Path, workers: int
) -> None:
    text = METRIC + TRAINED.replace('"none", ', "") + section(**KFOLD) + REST
    (tmp_path / "study.toml").write_text(text)
    words = ("search", "study.toml", "--trials", 5, "--lanes", 2, "--workers", workers, "--pruner", "never")
    said = command(*words)
    assert said.code == 0, said.err
    folder = tmp_path / "studies" / "study"
    events = list(Journal(folder / "journal.jsonl"))
    late = Objective("val_loss", "min", ACCURACY)
    found = History(late, events)
    front = sorted(found.trials, key=lambda number: found.value(found.trials[number]))[:2]
    scored = [event for event in events if isinstance(event, TrialScored)]
    assert {event.trial for event in scored} == set(front)
    place = {kind: [n for n, one in enumerate(events) if isinstance(one, kind)] for kind in KINDS}
    assert max(place[TrialFinished]) < min(place[TrialScored]) < place[StudyFinished][0]
    for event in scored:
        trained = (
            FAMILIES if found.trials[event.trial].spec.config["train_families"] == "all" else FAMILIES[:2]
        )
        assert sorted(family for model in event.folds for family in model.scored) == trained
        assert all(not {*model.trained} & {*model.scored} for model in event.folds)
        assert event.steps == 20 * len(event.folds)
        named = {f"shifted_accuracy_{family}" for family in FAMILIES}
        assert named <= found.trials[event.trial].metrics.keys()
        means = [found.trials[event.trial].metrics[name] for name in named]
        assert event.metrics["shifted_accuracy"] == pytest.approx(sum(means) / 3)
    assert found.ranking[0] == found.finish.best
    assert found.finish.test
    for scores in found_scores(folder, front).values():
        assert scores.families == tuple(FAMILIES)
        assert not any((values != values).any() for values in scores.metrics.values())
    assert "of fold models," in said.out


KINDS = (TrialFinished, TrialScored, StudyFinished)


def assert_the_leading_trial_was_chosen_and_shown_its_target(folder: Path) -> None:
    """Of three trials, all of which train on families, one has fold models, and is read targets for."""
    events = list(Journal(folder / "journal.jsonl"))
    found = History(Objective("val_loss", "min", ACCURACY), events)
    (scored,) = [event for event in events if isinstance(event, TrialScored)]
    assert not scored.error
    assert found.ranking == [scored.trial] == [found.finish.best]
    assert {family for model in scored.folds for family in model.scored} <= {*FAMILIES}
    assert set(found_scores(folder, [scored.trial])) == {scored.trial}
    # Whom plain loss or accuracy would have chosen is shown it too.
    assert {str(scored.trial)} <= found.finish.targets.keys() <= {"0", "1", "2"}
    for number, told in found.finish.targets.items():
        values = Examples.load(folder / target_name("there")).trials[int(number)]["accuracy"]
        assert told["there"]["accuracy"] == pytest.approx(values.mean(), abs=1e-6)
    page = (folder / "report.html").read_text()
    assert "What the scores choose" in page
    assert "target there" in page


LEADING = METRIC + TRAINED.replace('"none", ', "") + section(**KFOLD) + REST
LEADING += '[report]\ncompared = 1\n[report.targets]\nthere = "trials.tasks.printed:turned"\n'
SEARCH = ("search", "study.toml", "--trials", 3, "--lanes", 2, "--pruner", "never")


def test_a_target_is_read_for_the_leading_trial_once_it_is_scored(command, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(LEADING)
    said = command(*SEARCH)
    assert said.code == 0, said.err
    first = said.out.splitlines()[0]
    assert "minimises val_loss and maximises shifted_accuracy among the leading third" in first
    assert_the_leading_trial_was_chosen_and_shown_its_target(tmp_path / "studies" / "study")


def test_every_trial_has_its_fold_models_beside_it_where_that_is_asked_for(command, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(METRIC + TRAINED + section(**KFOLD, folds_for="all") + REST)
    said = command("search", "study.toml", "--trials", 4, "--lanes", 4, "--pruner", "never")
    assert said.code == 0, said.err
    found = history(tmp_path / "studies" / "study", ACCURACY)
    for trial in found.trials.values():
        assert all("shifted_accuracy" in report.metrics for report in trial.reports)
        trains = trial.spec.config["train_families"] != "none"
        assert (trial.scored is not None) == trains
        assert trial.fold_steps == 40 * trains
    assert len(found.ranking) == 4


def test_a_search_killed_while_fold_models_are_trained_is_taken_up_there(tmp_path: Path) -> None:
    text = METRIC + TRAINED.replace('"none", ', "") + section(**KFOLD) + REST
    (tmp_path / "study.toml").write_text(text.replace("steps = 20", "steps = 60"))
    words = ["search", "study.toml", "--trials", "6", "--lanes", "1", "--pruner", "never"]
    path = tmp_path / "studies" / "study" / "journal.jsonl"
    killed = 0
    for marker in (b"fold models of the", b'"TrialScored"', b"not there"):
        process = begin(words if not killed else ["resume", "study"], tmp_path)
        while process.poll() is None and not (path.exists() and marker in path.read_bytes()):
            time.sleep(0.005)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
        wait_for_no_worker(tmp_path)
    assert killed == 2, (tmp_path / "output.txt").read_text()
    late = Objective("val_loss", "min", ACCURACY)
    events = list(Journal(path))
    found = History(late, events)
    assert found.finish is not None
    scored = [event.trial for event in events if isinstance(event, TrialScored)]
    assert len(scored) == len(set(scored)) == 2
    assert found.unscored == []
    assert sum(isinstance(event, TrialStarted) for event in events) == 6
    assert not any(isinstance(event, TrialReported) for event in events[-1 - len(scored) :]), (
        "fold models report nothing of their own"
    )
    # What it would have been without the kills.
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "study.toml").write_text((tmp_path / "study.toml").read_text())
    process = begin(words, tmp_path / "whole")
    assert process.wait(120) == 0
    whole = History(late, Journal(tmp_path / "whole" / "studies" / "study" / "journal.jsonl"))
    assert whole.ranking == found.ranking
    for number in scored:
        assert found.trials[number].metrics["shifted_accuracy"] == pytest.approx(
            whole.trials[number].metrics["shifted_accuracy"], abs=0.03
        )


@pytest.mark.parametrize(
    "values", [{"kind": "kfold", "folds": 3, "fold": 1}, {"kind": "group", "group": "label"}]
)
def test_other_divisions_of_the_data_are_searched_like_any(command, tmp_path: Path, values: dict) -> None:
    (tmp_path / "study.toml").write_text(DIGITS + section(**values) + REST)
    said = command("search", "study.toml", "--trials", 2, "--lanes", 2)
    assert said.code == 0, said.err


def test_one_trial_is_trained_with_its_fold_models(command, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(METRIC + TRAINED + section(**KFOLD, folds_for="all") + REST)
    said = command("train", "study.toml", "--set", "train_families=all", "--set", "lr=0.01", "--steps", 20)
    assert said.code == 0, said.err
    assert "shifted_accuracy" in said.out


@pytest.mark.xdist_group("ray")
@pytest.mark.slow
def test_fold_models_are_trained_on_a_cluster(ray_cluster, command, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(LEADING.replace("workers = 1", "cpus_per_worker = 0.5\nworkers = 1"))
    said = command(*SEARCH, "--runner", "ray", "--address", ray_cluster.address)
    assert said.code == 0, said.err
    assert "of fold models," in said.out
    assert_the_leading_trial_was_chosen_and_shown_its_target(tmp_path / "studies" / "study")
