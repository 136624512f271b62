"""Studies that begin with what earlier ones found, on the command line."""

import json
import shutil
from pathlib import Path

import pytest

from hpo.events import EarlierTaken, StudyStarted, TrialStarted
from hpo.store import Journal

WORDS = ("--steps", 12, "--tracking", "none", "--seed", 4)


def journal(folder: Path, name: str) -> Path:
    return folder / "studies" / name / "journal.jsonl"


def configs(folder: Path, name: str) -> list[dict[str, object]]:
    events = Journal(journal(folder, name))
    return [dict(event.spec.config) for event in events if isinstance(event, TrialStarted)]


@pytest.fixture
def old(command, sample) -> str:
    said = command("search", sample("curve"), "--trials", 12, *WORDS, "--sampler", "random", "--name", "old")
    assert said.code == 0
    return "old"


@pytest.mark.parametrize("sampler", ["curve", "tpe"])
def test_a_study_begins_with_the_best_of_an_earlier_one_and_goes_on_when_that_is_gone(
    command, sample, tmp_path: Path, old: str, sampler: str
) -> None:
    words = (*WORDS, "--trials", 16, "--sampler", sampler, "--from", old)
    whole = command("search", sample("curve"), *words, "--name", "whole")
    assert whole.code == 0, whole.err
    assert "from old: 12 trials by val_loss, minimised (" in whole.out
    assert "mapped x, rate, kind, shift, depth" in whole.out
    events = list(Journal(journal(tmp_path, "whole")))
    assert sum(isinstance(event, EarlierTaken) for event in events) == 1
    best = json.loads(command("best", old, "--json").out)["config"]
    assert configs(tmp_path, "whole")[0] == best
    assert "earlier study" in command("explain", "whole", 0).out

    # The same, killed once some trials had ended: what was after that is not in the journal.
    assert command("search", sample("curve"), *words, "--name", "cut").code == 0
    shutil.rmtree(tmp_path / "studies" / old)
    path = journal(tmp_path, "cut")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: len(lines) // 2]) + b'{"event": "Tri')
    said = command("resume", "cut")
    assert said.code == 0, said.err
    assert configs(tmp_path, "cut") == configs(tmp_path, "whole")
    assert sum(isinstance(event, EarlierTaken) for event in Journal(path)) == 1


@pytest.mark.parametrize("sampler", ["curve", "random", "sobol"])
def test_what_an_earlier_study_of_the_same_seed_drew_is_not_drawn_again(
    command, sample, tmp_path: Path, sampler: str
) -> None:
    words = (*WORDS, "--trials", 12, "--sampler", sampler, "--pruner", "never")
    assert command("search", sample("curve"), *words, "--name", "before").code == 0
    assert command("search", sample("curve"), *words, "--name", "after", "--from", "before").code == 0
    before = configs(tmp_path, "before")
    leaders = [found for found in configs(tmp_path, "after") if found in before]
    assert 1 <= len(leaders) <= 5  # the best are tried again, on purpose


def test_a_study_killed_before_it_was_told_of_all_sources_reads_those_that_lack(
    command, sample, tmp_path: Path, old: str
) -> None:
    words = (
        *WORDS,
        "--trials",
        3,
        "--sampler",
        "curve",
        "--from",
        old,
        "--from",
        str(tmp_path / "studies/old"),
    )
    assert command("search", sample("curve"), *words, "--name", "new").code == 0
    path = journal(tmp_path, "new")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))  # the beginning, and the first of both
    assert command("resume", "new").code == 0
    kinds = [type(event) for event in Journal(path)]
    assert kinds.count(EarlierTaken) == kinds.count(StudyStarted) == 2
    path.write_bytes(b"".join(lines[:2]))
    shutil.rmtree(tmp_path / "studies" / old)
    said = command("resume", "new")
    assert (said.code, path.read_bytes()) == (2, b"".join(lines[:2]))


def test_bad_sources_are_one_line_and_nothing_is_written(command, sample, tmp_path: Path, old: str) -> None:
    (tmp_path / "other.py").write_text(
        "space = {'width': {'low': 1, 'high': 8}}\ndef loss(spec): return 1.0\nloss.space = space\n"
    )
    assert command("search", "other.py:loss", "--trials", 2, *WORDS, "--name", "other").code == 0
    before = sorted(path.name for path in (tmp_path / "studies").iterdir())
    for source, said in (
        ("odl", "--from odl: in studies/: unknown study 'odl'; did you mean 'old'"),
        (
            "other",
            "no hyperparameter has the same name in both: it has width; searched here are x, rate, kind",
        ),
        ("optuna:sqlite:///old.db", "must be optuna:URL#STUDY or mlflow:URI#EXPERIMENT"),
        ("optuna:sqlite:///old.db#x", "there is no file old.db"),
    ):
        found = command(
            "search", sample("curve"), *WORDS, "--sampler", "curve", "--from", source, "--name", "new"
        )
        assert found.code == 2
        assert said in found.err
        assert found.err.count("\n") == 1
    found = command("search", sample("curve"), *WORDS, "--sampler", "grid", "--from", old, "--name", "new")
    assert (found.code, "begins with nothing of earlier studies" in found.err) == (2, True)
    found = command("search", sample("curve"), *WORDS, "--from", old, "--from", old, "--name", "new")
    assert (found.code, "is named twice" in found.err) == (2, True)
    assert sorted(path.name for path in (tmp_path / "studies").iterdir()) == before
    assert command("resume", old, "--set", 'search.from=["other"]').code == 2


def test_a_dry_run_says_what_would_be_taken(command, sample, tmp_path: Path, old: str) -> None:
    said = command("search", sample("curve"), *WORDS, "--dry-run", "--from", old)
    assert "earlier    from old: 12 trials by val_loss, minimised" in said.out
    assert not journal(tmp_path, "curve").exists()


def test_a_study_begins_with_trials_of_optuna(command, sample, tmp_path: Path) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/old.db", study_name="valley")
    study.optimize(
        lambda trial: trial.suggest_float("rate", 1e-4, 1.0, log=True) + trial.suggest_int("depth", 1, 5),
        n_trials=20,
    )
    words = (*WORDS, "--trials", 2, "--sampler", "curve", "--from", "optuna:sqlite:///old.db#valley")
    said = command("search", sample("curve"), *words, "--name", "new")
    assert said.code == 0, said.err
    assert "mapped rate, depth; not there x, kind, shift;" in said.out
    within = [one for one in study.trials if one.params["rate"] >= 1e-3 and one.params["depth"] <= 3]
    best = min(within, key=lambda one: one.value)
    first = configs(tmp_path, "new")[0]
    assert (first["rate"], first["depth"]) == (best.params["rate"], best.params["depth"])


@pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")
def test_a_study_begins_with_what_another_wrote_to_mlflow(command, sample, tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    words = ("--steps", 12, "--seed", 4, "--sampler", "random", "--trials", 8, "--name", "old")
    assert command("search", sample("curve"), *words, "--tracking", uri).code == 0
    words = (*WORDS, "--trials", 2, "--sampler", "curve", "--from", f"mlflow:{uri}#hpo", "--name", "new")
    said = command("search", sample("curve"), *words)
    assert said.code == 0, said.err
    assert "8 trials by val_loss, minimised (" in said.out
    assert configs(tmp_path, "new")[0] == json.loads(command("best", "old", "--json").out)["config"]
