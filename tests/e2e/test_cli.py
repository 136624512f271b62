"""Every command and its flags, as a user types them."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from hpo.codec import decode
from hpo.history import History, Trial
from hpo.store import Journal
from schedules import from_csv, from_toml, replay
from schedules.spec import from_config

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "tests" / "objectives_sample.py"
LANES = ("--set", "runner.name=lanes", "--set", "runner.compile=never", "--tracking", "none")

# Growing this list is a decision: it needs a page in docs/decisions.
CLUSTER = {
    *("--runner", "--address", "--cpus-per-worker", "--gpus-per-worker"),
    *("--memory-per-worker", "--save-every", "--save-to", "--stall-seconds"),
}
FLAGS = {
    "search": {
        *CLUSTER,
        *("--trials", "--steps", "--seconds", "--sampler", "--pruner", "--lanes", "--workers", "--seed"),
        *("--device", "--dir", "--name", "--tracking", "--dry-run", "--json", "--set", "--debug", "--force"),
        *("--replicas", "--from", "--min-improvement"),
    },
    "resume": {
        *CLUSTER,
        *("--trials", "--seconds", "--lanes", "--workers", "--device", "--dir", "--tracking"),
        *("--json", "--set", "--debug", "--force", "--replicas", "--min-improvement"),
    },
    "train": {
        *("--steps", "--schedule", "--lr", "--set", "--seed", "--lanes", "--device", "--save", "--trace"),
        *("--export-schedule", "--against", "--debug"),
    },
    "extend": {
        *("--trial", "--steps", "--schedule", "--peak", "--cooldowns", "--shape", "--dir", "--debug"),
    },
    "bench": {
        *("--problems", "--seeds", "--first-seed", "--spent", "--lanes", "--workers", "--data", "--html"),
        *("--json", "--debug"),
    },
    "list": {"--dir", "--json", "--debug"},
    "show": {"--dir", "--json", "--debug"},
    "best": {"--dir", "--horizon", "--json", "--debug"},
    "explain": {"--dir", "--json", "--debug"},
    "report": {"--out", "-o", "--dir", "--debug"},
    "export": {"--trial", "--what", "--format", "--out", "-o", "--dir", "--debug"},
    "schedule list": {"--debug"},
    "schedule show": {"--steps", "--lr", "--compare", "--html", "--debug"},
    "schedule fit": {
        *("--out", "-o", "--law", "--study", "--trial", "--warmup", "--dir", "--json", "--debug"),
    },
    "schedule predict": {"--out", "-o", "--json", "--debug"},
    "schedule optimise": {
        *("--steps", "--peak", "--warmup", "--floor", "--least-cooldown", "--out", "-o", "--json", "--debug"),
    },
    "schedule refine": {"--trial", "--smoothing", "--out", "-o", "--dir", "--json", "--debug"},
    "pause": {"--address", "--there", "--dir", "--debug"},
    "scale": {"--address", "--there", "--dir", "--debug"},
    "submit": {"--address", "--debug", "--detach", "--module", "--name", "--resume", "--set", "--there"},
    "fetch": {"--address", "--debug", "--dir", "--there", "--tracking"},
    "init": {"--debug"},
    "doctor": {"--debug"},
    "ui": {"--uri", "--port", "--debug"},
}


def hpo(folder: Path, *words: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "hpo", *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_the_commands_and_their_flags_are_these() -> None:
    from hpo.cli.main import app

    def commands(group: Any, before: str = "") -> Iterator[tuple[str, set[str]]]:
        for name, command in group.commands.items():
            if hasattr(command, "commands"):
                yield from commands(command, f"{before}{name} ")
            else:
                options = [one for one in command.params if one.param_type_name == "option"]
                yield f"{before}{name}", {flag for one in options for flag in one.opts}

    assert dict(commands(typer.main.get_command(app))) == FLAGS


def test_each_command_explains_itself_and_each_flag(command) -> None:
    assert "Commands:" in command("--help").out
    assert command().out == command("--help").out
    for name, flags in FLAGS.items():
        said = command(*name.split(), "--help")
        assert said.code == 0
        for flag in flags:
            assert flag in said.out


HEAVY = {"torch", "ray", "optuna", "mlflow", "plotly", "sklearn", "rich", "scipy", "pandas"}


@pytest.mark.parametrize(
    "words",
    [["--help"], ["search", "--help"], ["list"], ["show", "nothing"], ["schedule", "show", "cosine"]],
)
def test_looking_around_loads_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    script = (
        "import sys\nfrom hpo.cli.main import main\n"
        f"sys.argv = ['hpo', *{words!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    loaded = done.stdout.partition("LOADED")[2].split()
    assert "hpo.cli.search" in loaded
    assert not HEAVY & {name.partition(".")[0] for name in loaded}


# -- searching --------------------------------------------------------------------------------------------


def test_a_dry_run_says_what_would_happen_and_writes_nothing(command, sample, tmp_path: Path) -> None:
    said = command("search", sample("Line"), "--dry-run", "--steps", 35, "--seed", 7, "--trials", 5, *LANES)
    assert said.code == 0, said.err
    assert "steps = 35 is not a multiple of the tick of 10: 40 are used" in said.err
    for line in (
        "study      objectives_sample-Line in studies/objectives_sample-Line (nothing was written)",
        "metric     val_loss, minimised",
        "reports    train_loss, val_loss",
        "space      3 searched: lr, schedule, warmup_fraction",
        "fixed      optimizer=sgd, batch_size=8",
        "trials     5 of 40 steps, reports at 10, 20, 30, 40",
        "search     sampler curve, pruner asha, seed 7",
        "tracking   none",
    ):
        assert line in said.out.splitlines()
    (lanes,) = re.findall(
        r"^runner     lanes: 1 worker of (\d+) lanes? \(measured\)$", said.out, re.MULTILINE
    )
    assert 1 <= int(lanes) <= 5
    said = command("search", sample("Line"), "--dry-run", "--lanes", 3, *LANES)
    assert "runner     lanes: 1 worker of 3 lanes" in said.out.splitlines()
    assert not list(tmp_path.iterdir())


def test_flags_beat_the_study_file_and_settings_beat_flags(command, sample, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(f'task = "{sample("curve")}"\n[limits]\ntrials = 9\n')
    words = ("search", "mine.toml", "--dry-run", "--trials", 8)
    assert "trials     8 of" in command(*words).out
    assert "trials     7 of" in command(*words, "--set", "limits.trials=7").out
    # A study file can be named without its ending, and a task and a study may share a name.
    assert "study      mine in" in command("search", "mine", "--dry-run").out


def test_a_tracking_address_may_hold_any_letter(command, sample) -> None:
    address = """sqlite:////tmp/it's "mine"\\größe.db"""
    said = command("search", sample("curve"), "--dry-run", "--tracking", address)
    assert f"tracking   {address}" in said.out.splitlines()


def test_equal_seeds_begin_equally_and_others_do_not(command, sample, tmp_path: Path) -> None:
    configs = {}
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        words = ("--name", name, "--seed", seed, "--trials", 3, "--steps", 20, "--tracking", "none")
        assert command("search", sample("curve"), *words).code == 0
        history = History(events=Journal(tmp_path / "studies" / name / "journal.jsonl"))
        configs[name] = [trial.spec.config for trial in history.trials.values()]
    assert configs["a"] == configs["b"] != configs["c"]


def test_a_plain_function_is_searched(command, sample, tmp_path: Path) -> None:
    said = command("search", sample("plain"), "--trials", 4, "--tracking", "none", "--name", "plain")
    assert said.code == 0
    history = History(events=Journal(tmp_path / "studies" / "plain" / "journal.jsonl"))
    assert [len(trial.reports) for trial in history.trials.values()] == [1] * 4


def test_a_function_reports_at_as_many_rungs_as_asked_for_however_few_its_steps(
    command, sample, tmp_path: Path
) -> None:
    words = ("--steps", 5, "--trials", 2, "--tracking", "none", "--name", "few", "--pruner", "never")
    command("search", sample("curve"), *words)
    history = History(events=Journal(tmp_path / "studies" / "few" / "journal.jsonl"))
    assert [report.spent for report in history.trials[0].reports] == [1, 2, 3, 4, 5]


def test_what_init_writes_can_be_searched(command, tmp_path: Path) -> None:
    said = command("init", "moons")
    assert said.code == 0
    assert said.out.splitlines()[-1] == "run it with: hpo search moons.toml"
    assert {path.name for path in tmp_path.iterdir()} == {"moons.toml", "moons_task.py"}
    said = command("search", "moons.toml", "--trials", 3, "--steps", 30, *LANES)
    assert said.code == 0, said.err
    history = History(events=Journal(tmp_path / "studies" / "moons" / "journal.jsonl"))
    assert {trial.state for trial in history.trials.values()} <= {"completed", "stopped"}
    assert history.finish is not None
    assert set(history.finish.test) == {"test_loss", "test_accuracy"}


# -- looking ----------------------------------------------------------------------------------------------

NAME = "größe 1 ☃"


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study of the smallest task, whose name has blanks and more."""
    folder = tmp_path_factory.mktemp("lines")
    words = ("search", f"{SAMPLE}:Line", "--name", NAME, "--trials", 5, "--steps", 40)
    process = hpo(folder, *words, *LANES)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert f"report: studies/{NAME}/report.html" in out
    return folder


@pytest.fixture
def history(lines: Path) -> History:
    return History(events=Journal(lines / "studies" / NAME / "journal.jsonl"))


@pytest.fixture
def look(command, lines: Path, monkeypatch: pytest.MonkeyPatch):
    """`hpo` in the folder of that study."""
    monkeypatch.chdir(lines)

    def run(*words: object):
        said = command(*words)
        assert said.code == 0, said.err
        return said.out

    return run


def test_list_tells_of_every_study(look, history: History) -> None:
    first = look("list").splitlines()[1]
    assert first.startswith(NAME)
    assert "finished" in first
    (found,) = json.loads(look("list", "--json"))
    assert (found["name"], found["state"], found["trials"]) == (NAME, "finished", 5)
    assert found["best"]["value"] == history.value(history.best)
    assert found["spent"] == history.spent


def test_show_tells_of_every_trial(look, history: History) -> None:
    out = look("show", NAME)
    found = json.loads(look("show", NAME, "--json"))
    assert len(found["all"]) == 5
    for trial, told in zip(history.trials.values(), found["all"], strict=True):
        assert told["config"] == trial.spec.config
        assert told["metrics"] == trial.reports[-1].metrics
        assert told["state"] == trial.state
        assert any(
            line.split()[:3] == [str(trial.spec.trial), trial.state, str(trial.spent)]
            for line in out.splitlines()
        )


def test_best_tells_config_metrics_test_and_row(look, history: History, lines: Path) -> None:
    assert look("best", NAME).startswith(f"best: trial {history.best.spec.trial} of 5")
    found = json.loads(look("best", NAME, "--json"))
    assert found["config"] == history.best.spec.config
    assert found["test"] == history.finish.test
    assert list(found["test"]) == ["test_loss"]
    assert (lines / found["row"]).is_file()


def test_a_study_is_named_by_name_folder_or_file(look, lines: Path) -> None:
    folder = lines / "studies" / NAME
    outputs = {
        look("best", name)
        for name in (NAME, f"studies/{NAME}", f"studies/{NAME}/", f"studies/{NAME}/journal.jsonl")
    }
    assert len(outputs) == 1
    assert look("best", folder, "--json") == look("best", NAME, "--json", "--dir", lines / "studies").replace(
        '"row": "studies', f'"row": "{lines}/studies'
    )


def test_report_is_written_where_it_is_wanted(look, lines: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert look("report", NAME, "-o", out).startswith(str(out))
    assert "<html" in out.read_text()
    (lines / "studies" / NAME / "report.html").unlink()
    look("report", NAME)
    assert (lines / "studies" / NAME / "report.html").is_file()


def test_the_exported_config_is_that_of_the_trial(look, history: History) -> None:
    table = tomllib.loads(look("export", NAME, "--trial", 2))
    assert table["config"] == history.trials[2].spec.config
    assert table["run"]["steps"] == 40
    assert tomllib.loads(look("export", NAME))["config"] == history.best.spec.config


def followed(trial: Trial) -> np.ndarray:
    return from_config(trial.spec.config, 40)(np.arange(40))


def test_the_exported_schedule_is_the_one_that_was_followed(look, history: History) -> None:
    best = history.best.spec.trial
    words = ("export", NAME, "--what", "schedule")
    assert look(*words) == look(*words, "--trial", best, "--format", "toml")
    for number, trial in history.trials.items():
        lr, factors = trial.spec.config["lr"], followed(trial)
        knots = from_toml(look(*words, "--trial", number))
        assert knots.lr == lr
        np.testing.assert_allclose(replay(knots)(np.arange(40)), factors, atol=0.005 * factors.max())
        rows = from_csv(look(*words, "--trial", number, "--format", "csv"))
        np.testing.assert_array_equal(rows.factors, factors)
        table = json.loads(look(*words, "--trial", number, "--format", "json"))
        np.testing.assert_array_equal(table["factors"], factors)
        np.testing.assert_allclose(table["rates"], lr * factors, rtol=1e-12)


def test_the_exported_text_can_be_searched_with(look, history: History) -> None:
    text = look("export", NAME, "--what", "schedule", "--format", "text").strip()
    factors = from_config({"schedule": text}, 40)(np.arange(40))
    np.testing.assert_allclose(factors, followed(history.best), atol=0.005)
    # It is also said where it will be read.
    comment = look("export", NAME, "--what", "schedule").splitlines()[0]
    assert comment.endswith(f"In a study file: schedule = '{text}'")


def test_the_exported_snippet_gives_the_factors(look, history: History, tmp_path: Path) -> None:
    out = tmp_path / "rate.py"
    assert look("export", NAME, "--what", "schedule", "--format", "torch", "-o", out) == f"{out}\n"
    space: dict[str, Any] = {}
    exec(out.read_text(encoding="utf-8"), space)
    found = [space["factor"](step) for step in range(40)]
    np.testing.assert_allclose(found, followed(history.best), atol=0.005)
    assert space["LR"] == history.best.spec.config["lr"]


def test_factors_that_were_found_while_training_are_exported_as_they_were(
    command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raced.toml").write_text(
        f'task = "{SAMPLE}:Line"\n[space]\nlr = {{low = 0.01, high = 0.1}}\nschedule = "race(k=4)"\n'
    )
    process = hpo(tmp_path, "search", "raced.toml", "--trials", 2, "--steps", 200, *LANES)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    with np.load(tmp_path / "studies" / "raced" / "traces" / "trial-00000.npz") as file:
        factors, probes = file["factor"], file["probe_steps"]
    # 20 steps of four candidates, one of them kept: what is left of the budget of 200.
    assert (len(factors), probes.tolist()) == (140, [20] * 4)
    words = ("export", "raced", "--trial", 0, "--what", "schedule")

    def told(*more: object) -> str:
        said = command(*words, *more)
        assert said.code == 0, said.err
        return said.out

    np.testing.assert_allclose(from_csv(told("--format", "csv")).factors, factors, rtol=1e-6)
    assert from_toml(told()).steps[-1] == 139
    assert "schedule" not in json.loads(told("--format", "json"))
    script = tmp_path / "again.py"
    command(*words[:-1], "script", "-o", script)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    again = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert "step    140  spent    200" in again.stdout, again.stderr


@pytest.mark.parametrize("which", ["first", "best"])
def test_the_exported_script_trains_the_trial_again(
    look, history: History, which: str, tmp_path: Path
) -> None:
    number = 0 if which == "first" else history.best.spec.trial
    script = tmp_path / "again.py"
    look("export", NAME, "--trial", number, "--what", "script", "-o", script)
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line.split() for line in done.stdout.splitlines()]
    steps = {int(words[1]): dict(zip(words[4::2], map(float, words[5::2]), strict=True)) for words in said}
    for report in history.trials[number].reports:
        for name, value in report.metrics.items():
            assert steps[report.step][name] == pytest.approx(value, rel=1e-3, abs=2e-5)


def test_the_exported_script_of_a_function_calls_it_again(command, sample, tmp_path: Path) -> None:
    words = ("--trials", 2, "--steps", 20, "--tracking", "none", "--name", "curve", "--pruner", "never")
    command("search", sample("curve"), *words)
    script = command("export", "curve", "--trial", 1, "--what", "script").out
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    history = History(events=Journal(tmp_path / "studies" / "curve" / "journal.jsonl"))
    last = history.trials[1].reports[-1].metrics
    assert f"'val_loss': {last['val_loss']!r}" in done.stdout.splitlines()[-1]


def test_output_may_be_cut_off(lines: Path) -> None:
    line = f'"{sys.executable}" -m hpo show "{NAME}" | head -n 1; echo "${{PIPESTATUS[@]}}"'
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=lines,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "0 0"
    assert done.stderr == ""


def test_what_to_type_next_is_quoted(command, lines: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(lines)
    assert f"`hpo resume '{NAME}' --trials 10`" in command("resume", NAME).out
    said = command("search", f"{SAMPLE}:Line", "--name", NAME, *LANES)
    assert f"`hpo resume '{NAME}'`" in said.err


# -- taking up --------------------------------------------------------------------------------------------


def test_resume_with_raised_limits_goes_on(command, sample, tmp_path: Path) -> None:
    words = ("search", sample("curve"), "--name", "more", "--steps", 20, "--tracking", "none")
    command(*words, "--trials", 2)
    journal = tmp_path / "studies" / "more" / "journal.jsonl"
    before = journal.read_bytes()
    said = command("resume", "more", "--trials", 5, "--workers", 2, "--lanes", 2, "--json")
    assert said.code == 0
    assert journal.read_bytes().startswith(before)
    added = [decode(line) for line in journal.read_bytes()[len(before) :].splitlines()]
    assert [decode(line) for line in said.out.splitlines()] == added
    history = History(events=Journal(journal))
    assert len(history.trials) == 5
    assert history.finish is not None
    assert history.finish.reason == "5 trials"


def test_a_space_that_is_exhausted_is_not_searched_again(command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def f(spec): return float(spec.config['x'])\nf.space = {'x': {'choice': [3, 1, 2]}}\n"
    )
    command("search", "mine.py:f", "--sampler", "grid", "--tracking", "none", "--name", "grid")
    journal = tmp_path / "studies" / "grid" / "journal.jsonl"
    before = journal.read_bytes()
    said = command("resume", "grid")
    assert said.out.startswith("study 'grid' is finished (the space is exhausted)")
    assert journal.read_bytes() == before


def test_a_task_that_moved_is_taken_up_with_its_new_folder(command, tmp_path: Path) -> None:
    text = "def f(spec): return float(spec.config['x'])\nf.space = {'x': {'low': 0.0, 'high': 1.0}}\n"
    (tmp_path / "mine.py").write_text(text)
    command("search", "mine.py:f", "--trials", 1, "--tracking", "none", "--name", "moved")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine.py").rename(tmp_path / "elsewhere" / "mine.py")
    assert command("resume", "moved", "--trials", 2).code == 2
    words = ("--trials", 2, "--set", f'base="{tmp_path}/elsewhere"')
    assert command("resume", "moved", *words).code == 0


# -- side by side -----------------------------------------------------------------------------------------


def test_two_studies_are_searched_at_once_in_one_folder(tmp_path: Path) -> None:
    words = ("search", f"{SAMPLE}:slow_curve", "--steps", 20, "--trials", 4)
    both = [hpo(tmp_path, *words, "--name", name) for name in ("one", "two")]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        assert err == ""
    for name in ("one", "two"):
        assert len(History(events=Journal(tmp_path / "studies" / name / "journal.jsonl")).trials) == 4
    with sqlite3.connect(f"file:{tmp_path}/mlflow.db?mode=ro", uri=True) as store:
        found = store.execute(
            "select p.value, count(*) from tags p where p.key = 'mlflow.parentRunId' group by p.value"
        ).fetchall()
    assert [count for _, count in found] == [4, 4]


def test_one_study_is_not_searched_by_two_at_once(command, tmp_path: Path) -> None:
    words = ("search", f"{SAMPLE}:waiting", "--name", "study", "--trials", 50, "--tracking", "none")
    first = hpo(tmp_path, *words)
    try:
        journal = tmp_path / "studies" / "study" / "journal.jsonl"
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        said = command("resume", "study")
        assert said.code == 2
        assert "is being written by another process" in said.err
        assert said.err.count("\n") == 1
        said = command(*words)
        assert said.code == 2
        assert "study 'study' exists" in said.err
        assert command("show", "study").code == 0
        first.send_signal(signal.SIGINT)
        assert first.wait(30) == 3
    finally:
        first.kill()
        first.communicate()


def test_of_two_that_begin_one_study_at_the_same_time_one_does(tmp_path: Path) -> None:
    words = ("search", f"{SAMPLE}:slow_curve", "--name", "study", "--trials", 4, "--tracking", "none")
    both = [hpo(tmp_path, *words) for _ in range(2)]
    said = {process.communicate(timeout=120)[1] for process in both}
    assert sorted(process.returncode for process in both) == [0, 2]
    (refused,) = filter(None, said)
    assert "another process" in refused or "study 'study' exists" in refused
    history = History(events=Journal(tmp_path / "studies" / "study" / "journal.jsonl"))
    assert (history.sessions, len(history.trials)) == (1, 4)


# -- the machine ------------------------------------------------------------------------------------------


def test_doctor_says_what_there_is(command) -> None:
    said = command("doctor")
    assert said.code == 0, said.out
    for word in ("python", "torch", "mlflow", "cores", "CUDA device", "C++ compiler", "cache", "disk"):
        assert any(line.split("  ")[1].strip().startswith(word) for line in said.out.splitlines())


def test_doctor_says_what_is_wrong(command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_CACHE_DIR", "/proc/self/nothing")
    said = command("doctor")
    assert said.code == 1
    assert "/proc/self/nothing cannot be written: set HPO_CACHE_DIR" in said.out


@pytest.mark.slow
def test_ui_serves_the_tracking_store_until_it_is_ended(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = hpo(tmp_path, "search", f"{SAMPLE}:curve", "--steps", 20, "--trials", 1)
    process.communicate(timeout=120)
    assert process.returncode == 0
    server = subprocess.Popen(
        [sys.executable, "-m", "hpo", "ui", "--port", str(port)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # as a shell does, so that Ctrl-C reaches the server's own processes too
    )
    try:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            assert server.poll() is None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as page:
                    assert b"MLflow" in page.read()
                    break
            except OSError:
                time.sleep(0.2)
        else:
            pytest.fail("nothing answers")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(30)
        finally:
            if server.poll() is None:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2)
