"""`hpo schedule fit`, `predict`, `optimise` and `refine`, as a user types them, on files."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hpo.traces import load_trace, trace_name
from schedules import constant, from_config, from_csv, linear, wsd
from schedules.laws import LAWS, Coefficients, FittedLaw, planned
from tests.e2e.test_errors import assert_refused
from tests.shared_data import CURVES, FITTED, HELD_OUT, needs_curves

STEPS = 400


def losses(schedule, peak: float = 0.1, seed: int = 0) -> np.ndarray:
    """Of a run of 400 steps, with a little noise."""
    made = FittedLaw(
        "progress", peak, Coefficients(0.5, 0.05, 0.5, 0.2), LAWS["progress"].constants, STEPS, 0, 0
    )
    noise = np.random.default_rng(seed).standard_normal(STEPS)
    return made.predict(planned(schedule, STEPS, peak)).losses * np.exp(0.01 * noise)


def write(path: Path, schedule, peak: float = 0.1, header: str = "step,lr,loss") -> Path:
    rows = zip(range(STEPS), peak * schedule(np.arange(STEPS)), losses(schedule, peak), strict=True)
    path.write_text("\n".join([header, *(f"{step},{lr:.17g},{loss:.6f}" for step, lr, loss in rows)]) + "\n")
    return path


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with recorded runs."""
    write(tmp_path / "wsd.csv", wsd(STEPS))
    write(tmp_path / "constant.csv", constant())
    write(tmp_path / "linear.csv", linear(STEPS))
    write(tmp_path / "hot.csv", wsd(STEPS), peak=0.5)
    return tmp_path


def test_a_law_is_fitted_asked_and_optimised_on(command, runs: Path):
    said = command("schedule", "fit", "wsd.csv", "constant.csv", "linear.csv", "-o", "mine.json")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == "saved      mine.json"
    assert "interval   jackknife" in said.out

    said = command("schedule", "predict", "mine.json", "wsd.csv", "--json", "-o", "predicted.csv")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert found["mean_relative_error"] < 0.015 < found["worst_relative_error"]
    assert found["coverage"] > 0.8
    assert found["mae"] > 0
    assert len(found["predicted"]) == len(found["step"]) == len(found["loss"]) == STEPS
    assert found["last"]["low"] < found["last"]["predicted"] < found["last"]["high"]
    header, *rows = (runs / "predicted.csv").read_text().splitlines()
    assert header == "step,lr,predicted,low,high"
    assert float(rows[-1].split(",")[2]) == found["predicted"][-1]

    said = command(
        "schedule", "optimise", "mine.json", "--steps", STEPS, "--peak", 0.1, "-o", "best.csv", "--json"
    )
    assert said.code == 0, said.err
    best = json.loads(said.out)
    assert best["last_losses"]["optimised"]["loss"] == min(
        one["loss"] for one in best["last_losses"].values()
    )
    rates = from_csv((runs / "best.csv").read_text())
    assert rates.lr == 0.1
    assert rates.horizon == STEPS
    # The text can be searched with, and is the schedule that was found.
    text = from_config({"schedule": best["schedule"]}, STEPS)(np.arange(STEPS))
    np.testing.assert_allclose(text, rates.factors, atol=0.006)

    said = command("schedule", "predict", "mine.json", "best.csv")
    assert said.out.startswith(f"last loss  {best['last_losses']['optimised']['loss']:.5g} (")


def test_what_a_law_predicts_is_told_in_lines(command, runs: Path):
    assert command("schedule", "fit", "wsd.csv").err.startswith("hpo: the interval is that of other runs")
    lines = command("schedule", "predict", "law.json", "linear.csv").out.splitlines()
    assert [line.rsplit(maxsplit=1)[0] for line in lines[1:]] == [
        *("rows", "mae", "mean relative error", "worst relative error", "coverage")
    ]
    out = command("schedule", "optimise", "law.json", "--steps", 1000, "--warmup", 100).out
    assert out.startswith("hold the peak for ")
    assert "after 100 of warm-up" in out
    assert [line.split()[0] for line in out.splitlines()[1:]] == [
        *("optimised", "wsd", "cosine", "linear", "constant", "schedule")
    ]


def test_a_law_that_does_not_fit_says_so(command, runs: Path):
    steps = range(STEPS)
    rows = [f"{step},{0.1 * rate},{1 + step}" for step, rate in zip(steps, wsd(STEPS)(steps), strict=True)]
    (runs / "rising.csv").write_text("\n".join(["step,lr,loss", *rows]))
    said = command("schedule", "fit", "rising.csv")
    assert said.code == 0
    assert "the law fits rising.csv badly" in said.err


def test_another_peak_near_by_is_a_guess_and_says_so(command, runs: Path):
    command("schedule", "fit", "wsd.csv")
    said = command("schedule", "optimise", "law.json", "--steps", 400, "--peak", 0.15)
    assert said.code == 0
    assert "the law was fitted at the peak 0.1, this is 0.15" in said.err


@pytest.mark.parametrize("name", LAWS)
def test_every_law_can_be_named(command, runs: Path, name: str):
    words = ("schedule", "fit", "wsd.csv", "constant.csv", "linear.csv", "--law", name, "--json")
    found = json.loads(command(*words).out)
    assert found["law"] == name
    assert set(found["curves"]) == {"wsd.csv", "constant.csv", "linear.csv"}
    assert json.loads(command("schedule", "predict", "law.json", "wsd.csv", "--json").out)["coverage"] > 0.5


@needs_curves
@pytest.mark.parametrize("size", ["25", "100"])
def test_recorded_runs_are_predicted_from_the_command_line(tmp_path: Path, size: str):
    def hpo(*words: object) -> str:
        command = [sys.executable, "-m", "hpo", "schedule", *map(str, words)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    hpo("fit", *(CURVES / size / f"{name}.csv" for name in FITTED), "-o", "law.json")
    found = [
        json.loads(hpo("predict", "law.json", CURVES / size / f"{name}.csv", "--json")) for name in HELD_OUT
    ]
    assert np.mean([one["mean_relative_error"] for one in found]) <= 0.00095
    assert max(one["worst_relative_error"] for one in found) <= 0.0068
    assert np.mean([one["coverage"] for one in found]) >= 0.85


# -- trials of a study ------------------------------------------------------------------------------------


@pytest.fixture
def study(command, sample, tmp_path: Path) -> Path:
    """A study whose trials 0 and 1 have traces, at one peak, as if they had been recorded."""
    words = ("--trials", 3, "--steps", 20, "--tracking", "none", "--name", "mine", "--pruner", "never")
    assert command("search", sample("curve"), *words).code == 0
    folder = tmp_path / "studies" / "mine"
    # Trials of a task at one learning rate, as far as the journal tells.
    journal = folder / "journal.jsonl"
    events = [json.loads(line) for line in journal.read_text().splitlines()]
    for event in events:
        if event["event"] == "TrialStarted":
            event["spec"]["config"] = {
                "lr": 0.1,
                "schedule": ["wsd", "constant", "wsd"][event["spec"]["trial"]],
            }
    journal.write_text("".join(json.dumps(event) + "\n" for event in events))
    (folder / "traces").mkdir()
    for trial, schedule in enumerate((wsd(STEPS), constant())):
        factor = schedule(np.arange(STEPS))
        norms = np.full(STEPS, 2.0)
        seen = losses(schedule, seed=trial)
        np.savez(folder / trace_name(trial), factor=factor, loss=seen, grad_l1=norms, grad_l2=norms)
    return folder


def test_a_law_is_fitted_on_trials_of_a_study(command, study: Path):
    said = command("schedule", "fit", "--study", "mine", "--trial", 0, "--trial", 1, "--json")
    assert said.code == 0, said.err
    found = json.loads(said.out)
    assert set(found["curves"]) == {"trial 0", "trial 1"}
    assert found["curves"]["trial 0"]["mean_relative_error"] < 0.015
    assert found["peak"] == pytest.approx(0.1)


def test_a_schedule_is_refined_from_the_norms_of_a_trial(command, study: Path):
    said = command("schedule", "refine", "mine", "--trial", 0, "-o", "refined.csv")
    assert said.code == 0, said.err
    assert said.out.splitlines()[0].startswith("schedule   knots(factors=[1.0, 0.0")
    found = from_csv(Path("refined.csv").read_text())
    assert found.lr == pytest.approx(0.1)
    np.testing.assert_allclose(found.factors, linear(STEPS - 1)(np.arange(STEPS)), atol=1e-12)
    table = json.loads(command("schedule", "refine", "mine", "--trial", 0, "--json").out)
    assert (table["steps"], table["norm"]) == (STEPS, "l1")
    np.testing.assert_allclose(table["factors"], found.factors)


def test_traces_that_are_not_there_or_damaged_are_told_from_each_other(command, study: Path, tmp_path: Path):
    fit = ("schedule", "fit", "--study", "mine", "--trial")
    assert_refused(command, tmp_path, (*fit, 7), "study 'mine' has no trial 7; it has 0 to 2")
    assert_refused(
        command,
        tmp_path,
        (*fit, 2),
        "trial 2 of study 'mine' has no traces/trial-00002.npz",
        "kept no traces",
    )
    path = study / trace_name(2)
    whole = (study / trace_name(0)).read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        assert_refused(command, tmp_path, (*fit, 2), "trial-00002.npz is damaged")
    np.savez(path, factor=np.ones(3))
    assert_refused(command, tmp_path, ("schedule", "refine", "mine", "--trial", 2), "trial-00002.npz", "loss")
    np.savez(path, factor=np.ones(3), loss=np.ones(4), grad_l1=np.ones(3), grad_l2=np.ones(3))
    assert_refused(command, tmp_path, (*fit, 2), "is damaged: its arrays must be one number for each step")
    np.savez(path, factor=np.ones(3), loss=[1, np.nan, 1], grad_l1=np.zeros(3), grad_l2=np.zeros(3))
    assert_refused(command, tmp_path, (*fit, 2), "study 'mine': trial 2: loss=nan in row 2 must be a finite")
    assert_refused(
        command, tmp_path, ("schedule", "refine", "mine", "--trial", 2), "norms are 0 nearly everywhere"
    )
    assert load_trace(study, 0).factor.shape == (STEPS,)


# -- what is refused --------------------------------------------------------------------------------------


def test_a_lone_constant_or_cosine_is_refused_with_the_missing_curve(command, runs: Path):
    words = ("schedule", "fit")
    assert_refused(
        command, runs, (*words, "constant.csv"), "constant.csv: no rate falls", "a wsd or a cosine"
    )
    assert_refused(
        command, runs, (*words, "linear.csv"), "linear.csv: no rate holds its peak", "a constant, or a wsd"
    )
    assert_refused(command, runs, (*words, "wsd.csv", "hot.csv"), "wsd.csv has the peak 0.1, hot.csv 0.5")


@pytest.mark.parametrize(
    ("text", "essential"),
    [
        ("", "is empty: columns step, lr, loss are wanted"),
        ("step,lr,loss\n", "0 row(s): a curve needs at least 2"),
        ("step,lr,loss\n0,0.1,1\n", "1 row(s)"),
        ("step,lr\n0,0.1\n1,0.1\n", "has no column loss: its first line is 'step,lr'"),
        ("0,0.1,1\n1,0.1,1\n", "has no column step, lr, loss"),
        ("step,lr,loss\n0,0.1,1\n2,0.1,1\n1,0.1,1\n", "steps must increase: 1 comes after 2"),
        ("step,lr,loss\n0,0.1,1\n1,0.1,nan\n", "loss=nan in row 2 must be a finite number"),
        ("step,lr,loss\n0,0.1,1\n1,0.1,\n", "line 3: loss is '', a number is wanted"),
        ("step,lr,loss\n0,0.1,1\n1,0.1\n", "line 3: loss is ''"),
        ("step,lr,loss\n0,x,1\n1,0.1,1\n", "line 2: lr is 'x', a number is wanted"),
        ("step,lr,loss\n0,0,1\n1,0,1\n", "the rate is 0 everywhere"),
        ("step,lr,loss\n0,0.1,1\n1,0.1,1\n", "2 rows after warm-up"),
        ("\x00\x01", "has no column"),
    ],
)
def test_a_file_that_is_no_curve_is_one_clear_error(command, tmp_path: Path, text: str, essential: str):
    (tmp_path / "curve.csv").write_text(text)
    assert_refused(command, tmp_path, ("schedule", "fit", "curve.csv"), "curve.csv", essential)


def test_words_that_do_not_fit_are_refused(command, runs: Path):
    command("schedule", "fit", "wsd.csv")
    law = json.loads((runs / "law.json").read_text())
    (runs / "newer.json").write_text(json.dumps({**law, "format": 2}))
    (runs / "torn.json").write_text((runs / "law.json").read_text()[:50])
    (runs / "binary.csv").write_bytes(b"\xff\xfe\x00")
    fit, predict = ("schedule", "fit"), ("schedule", "predict")
    optimise = ("schedule", "optimise", "law.json", "--steps")
    for words, essential in [
        (fit, "name at least one CURVE.csv"),
        ((*fit, "nothing.csv"), "nothing.csv: No such file"),
        ((*fit, "."), "Is a directory"),
        ((*fit, "binary.csv"), "binary.csv is no text of comma-separated values"),
        ((*fit, "wsd.csv", "--law", "progres"), "law='progres' must be one of"),
        ((*fit, "wsd.csv", "--trial", 3), "--study and --trial belong together"),
        ((*fit, "--study", "mine"), "--study and --trial belong together"),
        ((*fit, "--study", "mine", "--trial", 3), "unknown study 'mine'"),
        ((*fit, "wsd.csv", "--warmup", -3), "warmup_steps=-3 must be at least 0"),
        ((*fit, "wsd.csv", "-o", "no/law.json"), "--out no/law.json: No such file"),
        ((*predict, "newer.json", "wsd.csv"), "newer.json: format 2 is not 1"),
        ((*predict, "torn.json", "wsd.csv"), "torn.json: not JSON"),
        ((*predict, "wsd.csv", "wsd.csv"), "wsd.csv: not JSON"),
        ((*predict, "binary.csv", "wsd.csv"), "binary.csv"),
        ((*predict, "law.json", "hot.csv"), "hot.csv: peak=0.5 is too far from 0.1"),
        ((*predict, "law.json", "law.json"), "law.json has no column"),
        ((*optimise, -4), "--steps=-4 must be a whole number at least 2"),
        ((*optimise, 0), "--steps=0"),
        ((*optimise, 400, "--peak", -1), "--peak=-1.0 must be a number above 0"),
        ((*optimise, 400, "--peak", "nan"), "--peak=nan must be a number above 0"),
        ((*optimise, 400, "--peak", 30), "--peak=30 is too far from 0.1"),
        ((*optimise, 400, "--warmup", 400), "--warmup=400 must be a whole number"),
        ((*optimise, 400, "--least-cooldown", 2), "--least-cooldown=2.0 must be"),
        ((*optimise, 400, "--floor", 2), "--floor=2.0 must be"),
    ]:
        assert_refused(command, runs, words, essential)
