"""What bad input gets: one line that says what to change, exit code 2, nothing written."""

import os
import sys
from pathlib import Path

import pytest

from hpo.store import Journal

SAMPLE = Path(__file__).parents[1] / "objectives_sample.py"

LINE = f'task = "{SAMPLE}:Line"\n'
CURVE = f'task = "{SAMPLE}:curve"\n'
NONE = '[tracking]\nuri = "none"\n'


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, bytecode apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def assert_refused(command, folder: Path, words: tuple[object, ...], *essential: str) -> None:
    """One line on standard error with these words in it, exit code 2, nothing written."""
    before = listing(folder)
    said = command(*words)
    assert said.code == 2, (said.out, said.err)
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("hpo: ")
    for part in essential:
        assert part in said.err
    assert "Traceback" not in said.err
    assert listing(folder) == before


# A study file -> what the line must say.
FILES = {
    "unknown task": ('task = "digts"', "study.toml", "'digts'", "did you mean 'digits'?"),
    "no task": ("metric = 'val_loss'", "study.toml", "task is missing", '"digits"'),
    "task of another type": ("task = 3", "study.toml", "task = 3", "a text or a table"),
    "unknown sampler": (
        CURVE + '[search]\nsampler = "sobel"',
        "study.toml [search]",
        "sampler 'sobel'",
        "did you mean 'sobol'?",
    ),
    "unknown pruner": (
        CURVE + '[search]\npruner = "ahsa"',
        "study.toml [search]",
        "'ahsa'",
        "did you mean 'asha'?",
    ),
    "unknown runner": (CURVE + '[runner]\nname = "lane"', "study.toml [runner]", "'lane'", "'lanes'?"),
    "a runner that does not fit": (CURVE + '[runner]\nname = "lanes"', "'lanes'", "'inline'"),
    "option of the sampler": (
        CURVE + '[search]\nsampler = "tpe"\n[sampler]\ngama = 0.1',
        "study.toml",
        "'tpe'",
        "'gama'",
        "did you mean 'gamma'?",
    ),
    "value of an option": (
        CURVE + '[search]\nsampler = "tpe"\n[sampler]\ngamma = 3',
        "gamma=3",
        "between 0 and 1",
    ),
    "option of the pruner": (
        CURVE + "[pruner]\neta = 1",
        "study.toml",
        "'asha'",
        "eta=1",
        "at least 2",
    ),
    "unknown schedule": (
        LINE + '[space]\nlr = {low = 0.1, high = 1.0}\nschedule = {choice = ["cosine", "cosin"]}',
        "study.toml [space]",
        "'cosin'",
        "did you mean 'cosine'?",
    ),
    "schedule that is a range": (
        LINE + "[space]\nschedule = {low = 0.1, high = 1.0}",
        "study.toml [space] schedule",
        "a choice of names",
    ),
    "range that leaves what a schedule may be": (
        LINE + "[space]\nlr = {low = 0.1, high = 1.0}\nwarmup_fraction = {low = 0.0, high = 1.5}",
        "study.toml [space]",
        "warmup_fraction=1.5",
        "below 1",
    ),
    "range that one of several tuners cannot have": (
        LINE + '[space]\nschedule = {choice = ["rex", "race"]}\nwarmup_fraction = {low = 0.0, high = 0.3}',
        "study.toml [space]",
        "'race'",
        "warmup_fraction=0.3",
        "at most 0.25",
    ),
    "hyperparameter of another schedule": (
        LINE + '[space]\nschedule = {choice = ["rex", "auto"]}\nrex_beta = {low = 0.1, high = 1.0}',
        "study.toml [space]",
        "rex_beta",
        "'auto'",
    ),
    "steps too few for a search": (
        LINE + '[space]\nschedule = {choice = ["rex", "autolrs"]}\n[trial]\nsteps = 60',
        "study.toml [space]",
        "probes of 20 steps",
        "[trial] steps = 60",
    ),
    "words in place of a rate": (
        LINE + '[space]\nlr = "range_tests"\nweight_decay = {low = 0.0, high = 0.1}',
        "study.toml [space]",
        "lr='range_tests'",
        "'range_test'",
    ),
    "rate below 0": (LINE + "[space]\nlr = {low = -0.1, high = 0.1}", "study.toml [space]", "lr=-0.1"),
    "rate of a rule": (
        LINE + '[space]\nlr = {low = 0.1, high = 1.0}\nrule = "hypergradient"\nrule_rate = -1.0',
        "study.toml [space]",
        "rule_rate=-1.0",
        "at least 0",
    ),
    "bound of a rule": (
        LINE + '[space]\nrule = {choice = ["none", "fedhyper"]}\nrule_bound = {low = 0.5, high = 2.0}',
        "study.toml [space]",
        "rule_bound=0.5",
        "at least 1",
    ),
    "rate of no rule": (
        LINE + "[space]\nlr = {low = 0.1, high = 1.0}\nrule_rate = 0.1",
        "'rule_rate'",
        "rule = 'hypergradient'",
    ),
    "unknown hyperparameter": (
        LINE + "[space]\nlr = {low = 0.1, high = 1.0}\nweight_dekay = 0.1",
        "'weight_dekay'",
        "did you mean 'weight_decay'?",
    ),
    "hyperparameter of another optimizer": (
        LINE + '[space]\nlr = {low = 0.1, high = 1.0}\noptimizer = "adamw"\nmomentum = 0.9',
        "'momentum'",
        "'sgd'",
    ),
    "unknown optimizer": (
        LINE + '[space]\nlr = {low = 0.1, high = 1.0}\noptimizer = {choice = ["adam", "sgd"]}',
        "'adam'",
        "did you mean 'adamw'?",
    ),
    "unknown metric": (
        LINE.replace("task", 'metric = "val_los"\ntask'),
        "study.toml",
        "metric 'val_los'",
        "did you mean 'val_loss'?",
    ),
    "unknown goal": (CURVE + 'metric = {name = "a", goal = "up"}', "study.toml metric", "'up'", "'max'"),
    "unknown key of the metric": (CURVE + 'metric = {nam = "a"}', "study.toml metric", "'name'?"),
    "unknown key": (CURVE + "[trial]\nstep = 10", "study.toml [trial]", "'step'", "did you mean 'steps'?"),
    "unknown key at the top": (CURVE + "metrics = 1", "study.toml", "'metrics'", "did you mean 'metric'?"),
    "unknown section": (CURVE + "[limit]\ntrials = 1", "study.toml", "'limit'", "did you mean 'limits'?"),
    "value in place of a section": (CURVE + "limits = 3", "study.toml limits = 3", "[limits]"),
    "no steps": (CURVE + "[trial]\nsteps = 0", "study.toml [trial] steps = 0", "at least 1"),
    "steps of another type": (CURVE + '[trial]\nsteps = "ten"', "steps = 'ten'", "whole number"),
    "steps that are true": (CURVE + "[trial]\nsteps = true", "steps = True", "whole number"),
    "negative trials": (CURVE + "[limits]\ntrials = -3", "study.toml [limits] trials = -3", "at least 1"),
    "no seconds": (CURVE + "[limits]\nseconds = 0", "study.toml [limits] seconds = 0", "above 0"),
    "seconds that never end": (CURVE + "[limits]\nseconds = inf", "seconds = inf", "a number above 0"),
    "target of another type": (CURVE + '[limits]\ntarget = "low"', "target = 'low'", "a number"),
    "fewer steps than a trial": (
        CURVE + "[limits]\ntotal_steps = 10",
        "total_steps = 10",
        "steps = 500",
    ),
    "horizon below the steps": (CURVE + "[trial]\nhorizon = 10", "horizon = 10", "at least steps = 500"),
    "what is kept": (CURVE + '[trial]\nsave = "some"', "save = 'some'", "best, all, none"),
    "name with a separator": (CURVE + 'name = "a/b"', "'a/b'", "without separators"),
    "name that is empty after all": (CURVE + 'name = " "', "' '", "plain folder name"),
    "base of another type": (CURVE + "base = 3", "study.toml base = 3", "a text"),
    "low above high": (
        CURVE + "[space]\nlr = {low = 1.0, high = 0.1}",
        "study.toml [space] lr",
        "low=1.0",
        "high=0.1",
    ),
    "low equal to high": (CURVE + "[space]\nlr = {low = 1, high = 1}", "[space] lr", "low=1", "high=1"),
    "log of zero": (
        CURVE + '[space]\nlr = {low = 0.0, high = 0.1, scale = "log"}',
        "study.toml [space] lr",
        "low=0.0",
        "greater than 0",
    ),
    "log of a negative": (CURVE + '[space]\nlr = {low = -1, high = 4, scale = "log"}', "lr", "low=-1"),
    "unknown scale": (CURVE + '[space]\nlr = {low = 0.1, high = 1.0, scale = "lg"}', "lr", "'lg'", "'log'"),
    "empty choice": (
        CURVE + "[space]\nwidth = {choice = []}",
        "study.toml [space] width",
        "choice=[]",
        "at least one",
    ),
    "choice twice": (CURVE + "[space]\nwidth = {choice = [8, 8]}", "study.toml [space] width", "8"),
    "choice that is no list": (CURVE + "[space]\nwidth = {choice = 8}", "width", "choice=8", "a list"),
    "half a range": (CURVE + "[space]\nlr = {low = 0.1}", "study.toml [space] lr", "high is missing"),
    "key of a range": (
        CURVE + "[space]\nlr = {lo = 0.1, high = 1.0}",
        "study.toml [space] lr",
        "'lo'",
        "did you mean 'low'?",
    ),
    "list in place of a choice": (CURVE + "[space]\nwidth = [8, 16]", "width", "{choice = [8, 16]}"),
    "condition on nothing": (
        CURVE + '[space]\nlr = {low = 0.1, high = 1.0, when = {optimzer = "sgd"}}\noptimizer = "sgd"',
        "study.toml [space] lr",
        "'optimzer'",
        "did you mean 'optimizer'?",
    ),
    "nothing to search": (CURVE + "[space]\nlr = 0.1", "study.toml [space]", "every hyperparameter is fixed"),
    "malformed TOML": (CURVE + "metric = \n", "study.toml", "not valid TOML", "line 2"),
    "key twice": (CURVE + CURVE, "study.toml", "not valid TOML", "line 2"),
    "loss that is no scalar": (LINE.replace("Line", "VectorLoss"), "loss", "(8, 1)", "scalar"),
    "model without weights": (LINE.replace("Line", "NoWeights"), "NoWeights", "no weights"),
    "class that is no task": (LINE.replace("Line", "NoLoss"), "study.toml", "NoLoss", "loss, metrics"),
    "object that is not there": (
        LINE.replace("Line", "Lien"),
        "study.toml",
        "'Lien'",
        "did you mean 'Line'?",
    ),
    "file that is not there": ('task = "nothing.py:Task"', "study.toml", "nothing.py"),
    "module that is not there": ('task = "nothing_here:Task"', "study.toml", "no module 'nothing_here'"),
    "options of a task": (
        'task = {name = "tabular", table = "wine"}\n[space]\nlr = {low = 0.1, high = 1.0}',
        "'tabular'",
        "'table'",
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_study_file_that_cannot_be_is_refused(case: str, command, tmp_path: Path) -> None:
    text, *essential = FILES[case]
    # A second [tracking] would be another error.
    (tmp_path / "study.toml").write_text(text + ("" if "limits = 3" in text else "\n" + NONE))
    words = ("search", "study.toml", "--set", "runner.compile=never", "--workers", 1)
    assert_refused(command, tmp_path, words, *essential)


# Words after `hpo` -> what the line must say; {curve} is an objective that works.
WORDS = {
    "unknown task": (("search", "digist"), "unknown task 'digist'", "did you mean 'digits'?"),
    "missing file": (("search", "nothing.toml"), "nothing.toml", "No such file"),
    "folder for a file": (("search", "folder.toml"), "folder.toml", "directory"),
    "no task": (("search",), "Missing argument 'TASK|STUDY.toml|MODULE:OBJECT'"),
    "unknown command": (("serach",), "No such command 'serach'"),
    "unknown flag": (("search", "{curve}", "--trails", 3), "--trails"),
    "flag without a value": (("search", "{curve}", "--trials"), "--trials"),
    "trials of another type": (("search", "{curve}", "--trials", "many"), "'--trials'", "valid integer"),
    "negative trials": (("search", "{curve}", "--trials", -3), "'--trials'", "1"),
    "no trials": (("search", "{curve}", "--trials", 0), "'--trials'", "1"),
    "no steps": (("search", "{curve}", "--steps", 0), "'--steps'", "1"),
    "no lanes": (("search", "{curve}", "--lanes", 0), "'--lanes'", "1"),
    "no workers": (("search", "{curve}", "--workers", 0), "'--workers'", "1"),
    "negative seed": (("search", "{curve}", "--seed", -1), "'--seed'", "0"),
    "no seconds": (("search", "{curve}", "--seconds", 0), "seconds = 0.0", "above 0"),
    "seconds that are no number": (("search", "{curve}", "--seconds", "nan"), "seconds = nan"),
    "unknown sampler": (("search", "{curve}", "--sampler", "bayes"), "'bayes'", "tpe"),
    "unknown pruner": (("search", "{curve}", "--pruner", "medain"), "did you mean 'median'?"),
    "separator in a name": (("search", "{curve}", "--name", "../up"), "'../up'", "without separators"),
    "dot in front of a name": (("search", "{curve}", "--name", ".hidden"), "'.hidden'", "dot"),
    "dash in front of a name": (("search", "{curve}", "--name=-rf"), "'-rf'", "dash"),
    "line break in a name": (("search", "{curve}", "--name", "a\nb"), r"'a\nb'", "printable"),
    "name too long for a file": (("search", "{curve}", "--name", "n" * 300), "300 bytes", "at most 200"),
    "setting without a value": (("search", "{curve}", "--set", "trials"), "'trials'", "section.key=value"),
    "setting without a key": (("search", "{curve}", "--set", "=3"), "'=3'", "section.key=value"),
    "setting that is no TOML": (("search", "{curve}", "--set", "space.x={low=1"), "space.x={low=1", "TOML"),
    "setting below a value": (
        ("search", "{curve}", "--set", "metric.a.b=1", "--set", "metric.a=1"),
        "metric",
    ),
    "setting of an unknown key": (("search", "{curve}", "--set", "limits.trial=1"), "did you mean 'trials'?"),
    "device": (
        ("search", f"{SAMPLE}:Line", "--device", "toaster", "--set", "runner.name=lanes"),
        "device='toaster' is not there",
        "this machine has cpu",
    ),
    "device of a worker": (
        ("search", f"{SAMPLE}:Line", "--device", "cuda:99", "--workers", 2),
        "device='cuda:99' is not there",
        "this machine has cpu",
    ),
    "device of a function": (("search", "{curve}", "--device", "cpu"), "'cpu'", "a function"),
    "lanes in words": (("search", "{curve}", "--lanes", "many"), "'--lanes'", "'many'", "auto"),
    "half a lane": (("search", "{curve}", "--lanes", "1.5"), "'--lanes'", "'1.5'", "at least 1"),
    "no lanes by a setting": (
        ("search", "{curve}", "--set", "runner.lanes=0"),
        "[runner] lanes = 0",
        "'auto' or a whole number of at least 1",
    ),
    "study that is not there": (("show", "nothing"), "unknown study 'nothing'", "studies/"),
    "study with a name too long": (("resume", "n" * 300), "unknown study"),
    "study without a name": (("best", ""), "unknown study ''"),
    "what is exported": (
        ("export", "study", "--what", "weights"),
        "'--what'",
        "config",
        "schedule",
        "script",
    ),
    "init over a file": (("init", "taken"), "taken.toml exists"),
    "init with a bad name": (("init", "my study"), "'my study'", "letters"),
    "store that is not there": (("ui", "--uri", "sqlite:///nothing.db"), "nothing.db"),
    "port": (("ui", "--port", 99999), "'--port'", "65535"),
}


@pytest.mark.parametrize("case", WORDS)
def test_a_command_that_cannot_be_is_refused(case: str, command, tmp_path: Path) -> None:
    words, *essential = WORDS[case]
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "taken.toml").touch()
    filled = tuple(str(word).replace("{curve}", f"{SAMPLE}:curve") for word in words)
    assert_refused(command, tmp_path, filled, *essential)


@pytest.mark.parametrize(
    ("text", "essential"),
    [
        ("raise RuntimeError('first\\nsecond')\n", ("RuntimeError", "first second")),
        ("import nothing_at_all\n", ("ModuleNotFoundError", "nothing_at_all")),
        ("def f(:\n", ("SyntaxError", "line 1")),
        ("import sys\nsys.exit('usage: mine')\n", ("SystemExit", "usage: mine")),
        ("f = 3\n", ("neither a task nor a function",)),
        ("def f(): return 1.0\nf.space = {'x': {'low': 0, 'high': 1}}\n", ("too many positional arguments",)),
        ("def f(spec): return 1.0\n", ("nothing to search", "[space]")),
        ("def f(spec): return 1.0\nf.space = {'x': {'low': 1, 'high': 0}}\n", ("low=1", "high=0")),
    ],
)
def test_an_objective_that_cannot_be_loaded_is_refused(
    text: str, essential: tuple[str, ...], command, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(text)
    assert_refused(command, tmp_path, ("search", "mine.py:f"), "mine.py", *essential)


def test_an_error_inside_a_task_is_told_with_its_place(command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        f"import sys\nsys.path.insert(0, {str(SAMPLE.parent)!r})\n"
        "from objectives_sample import Line\n"
        "class Task(Line):\n"
        "    def loss(self, model, batch, hyper):\n"
        "        return batch['z'].mean()\n"
    )
    words = ("search", "mine.py:Task", "--set", "runner.name=lanes", "--set", "runner.compile=never")
    assert_refused(command, tmp_path, words, "mine.py, line 6", "KeyError", "'z'")


def test_the_traceback_is_there_for_those_who_ask(command, tmp_path: Path, monkeypatch) -> None:
    from hpo.cli.main import main
    from hpo.errors import UsageError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hpo", "search", "digist", "--debug"])
    with pytest.raises(UsageError, match="did you mean 'digits'"):
        main()


def test_steps_between_two_ticks_are_rounded_up_and_that_is_said(command, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(LINE + '[trial]\nsteps = 25\n[runner]\nname = "lanes"\n' + NONE)
    said = command("search", "study.toml", "--trials", 2, "--set", "runner.compile=never")
    assert said.code == 0
    assert "steps = 25 is not a multiple of the tick of 10: 30 are used" in said.out + said.err
    assert "after 30 steps" in said.out


# -- journals ---------------------------------------------------------------------------------------------


@pytest.fixture
def study(command, tmp_path: Path) -> Path:
    """The journal of a study of three trials."""
    words = ("search", f"{SAMPLE}:curve", "--name", "study", "--trials", 3, "--steps", 20)
    assert command(*words, "--tracking", "none").code == 0
    return tmp_path / "studies" / "study" / "journal.jsonl"


READERS = [
    ("show", "study"),
    ("best", "study"),
    ("report", "study"),
    ("export", "study"),
    ("resume", "study", "--trials", 9),
]


def test_a_study_that_exists_is_not_searched_again(command, study: Path, tmp_path: Path) -> None:
    words = ("search", f"{SAMPLE}:curve", "--name", "study")
    assert_refused(
        command, tmp_path, words, "study 'study' exists in studies/", "`hpo resume study`", "--name"
    )
    elsewhere = ("--dir", str(tmp_path / "studies"))
    assert_refused(command, tmp_path, (*words, *elsewhere), f"`hpo resume {tmp_path}/studies/study`")


def test_a_folder_that_is_no_study_is_not_written_to(command, tmp_path: Path) -> None:
    (tmp_path / "studies" / "mine").mkdir(parents=True)
    (tmp_path / "studies" / "mine" / "precious.txt").write_text("mine")
    words = ("search", f"{SAMPLE}:curve", "--name", "mine")
    assert_refused(command, tmp_path, words, "studies/mine exists and is no study", "--name")


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
def test_a_journal_of_a_newer_format_is_refused(words: tuple, command, study: Path, tmp_path: Path) -> None:
    study.write_bytes(study.read_bytes().replace(b'"format":6', b'"format":7', 1))
    assert_refused(
        command,
        tmp_path,
        words,
        "journal.jsonl, line 1",
        "journal format 7",
        "formats 1, 2, 3, 4, 5",
        "a newer version",
    )


@pytest.mark.parametrize("words", READERS, ids=lambda words: words[0])
@pytest.mark.parametrize("damage", ["cut", "foreign", "unknown field"])
def test_a_damaged_line_in_the_middle_of_a_journal_is_named(
    damage: str, words: tuple, command, study: Path, tmp_path: Path
) -> None:
    lines = study.read_bytes().splitlines(keepends=True)
    lines[3] = {
        "cut": lines[3][:20] + b"\n",
        "foreign": b"\x00\xff\n",
        "unknown field": lines[3].replace(b'"time"', b'"tame"'),
    }[damage]
    study.write_bytes(b"".join(lines))
    assert_refused(command, tmp_path, words, "journal.jsonl, line 4")


def test_one_damaged_study_does_not_hide_the_others(command, study: Path, tmp_path: Path) -> None:
    broken = tmp_path / "studies" / "broken" / "journal.jsonl"
    broken.parent.mkdir()
    broken.write_bytes(b"nothing\n" + study.read_bytes())
    said = command("list")
    assert said.code == 0
    assert "line 1" in said.out
    assert any(line.startswith("study ") and "finished" in line for line in said.out.splitlines())


def test_a_torn_last_line_is_dropped_and_that_is_said(command, study: Path) -> None:
    whole = study.read_bytes()
    lines = whole.splitlines(keepends=True)
    kept = b"".join(lines[:-2])
    study.write_bytes(kept + lines[-2][:-9])
    said = command("show", "study")
    assert said.code == 0
    assert "the last line of the journal is torn" in said.err
    assert study.read_bytes() == kept + lines[-2][:-9], "looking changes nothing"
    said = command("resume", "study")
    assert said.code == 0
    assert "the last line was torn when the search was killed; it is dropped" in said.err
    assert study.read_bytes().startswith(kept)
    assert len(list(Journal(study))) == len(lines) + 1


@pytest.mark.parametrize(
    "setting", ["trial.steps=40", "space.x.low=0", "metric=other", "search.seed=4", "task=digits"]
)
def test_what_makes_trials_comparable_cannot_change(
    setting: str, command, study: Path, tmp_path: Path
) -> None:
    words = ("resume", "study", "--trials", 9, "--set", setting)
    assert_refused(
        command, tmp_path, words, f"{setting.partition('=')[0]} of a study cannot change", "--name"
    )


def test_a_trial_that_is_not_there_cannot_be_exported(command, study: Path, tmp_path: Path) -> None:
    assert_refused(command, tmp_path, ("export", "study", "--trial", 7), "has no trial 7", "0 to 2")


def test_the_schedule_of_a_function_cannot_be_exported(command, study: Path, tmp_path: Path) -> None:
    assert_refused(command, tmp_path, ("export", "study", "--what", "schedule"), "is a function")


# -- folders ----------------------------------------------------------------------------------------------


def test_a_file_in_place_of_the_folder_of_studies_is_said(command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    words = ("search", f"{SAMPLE}:curve", "--dir", "file")
    assert_refused(command, tmp_path, words, "file", "is not a folder")


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self").exists(), reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(command, tmp_path: Path) -> None:
    # Even root cannot make a folder in /proc; others cannot in one without the right.
    closed = Path("/proc/self")
    if os.geteuid() != 0:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o555)
    words = ("search", f"{SAMPLE}:curve", "--dir", closed, "--tracking", "none")
    assert_refused(command, tmp_path, words, str(closed), "written")


def test_files_that_cannot_be_written_are_said(command, study: Path, tmp_path: Path) -> None:
    assert_refused(command, tmp_path, ("export", "study", "--out", "no/such/place"), "no/such/place")
    assert_refused(command, tmp_path, ("report", "study", "-o", str(tmp_path)), "is a folder")
    (tmp_path / "file").touch()
    assert_refused(
        command, tmp_path, ("report", "study", "-o", "file/report.html"), "no report was written", "'file'"
    )
