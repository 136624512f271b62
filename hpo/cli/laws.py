"""`hpo schedule fit`, `predict` and `optimise`: schedules judged and found before they are run."""

import math
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from hpo import study
from hpo.cli.export import choose
from hpo.cli.look import print_json, print_line
from hpo.cli.options import Debug, Json, Root
from hpo.curves import read_curve, trial_curve, write_curve, write_text
from hpo.errors import UsageError
from hpo.history import Trial
from schedules import (
    HYPERPARAMETERS,
    constant,
    cosine,
    every_step,
    linear,
    thin,
    to_csv,
    to_text,
    warmup,
    wsd,
)
from schedules.laws import LAWS, Curve, FittedLaw, from_json, planned, to_json
from schedules.laws import fit as fit_law
from schedules.laws import optimise as optimise_law
from schedules.types import Schedule

LawFile = Annotated[Path, typer.Argument(metavar="LAW", help="File that `hpo schedule fit` wrote.")]


def fit(
    curves: Annotated[
        list[Path] | None,
        typer.Argument(metavar="CURVE.csv …", help="Recorded runs: columns step, lr, loss."),
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("law.json"),
    law: Annotated[str, typer.Option("--law", help=f"Which law: {', '.join(LAWS)}.")] = "progress",
    which: Annotated[
        str | None, typer.Option("--study", metavar="STUDY", help="Take trials of this study.")
    ] = None,
    trial: Annotated[list[int] | None, typer.Option("--trial", help="Number of a trial; repeatable.")] = None,
    warmup_steps: Annotated[
        int | None,
        typer.Option("--warmup", help="Steps of warm-up before the first row; default all steps before it."),
    ] = None,
    root: Root = Path(study.DEFAULT_ROOT),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Fit a loss law on one to several runs that differ in their schedule only.

    One run that holds its peak and then cools down is enough, or a cosine and a constant.
    """
    if (which is None) != (not trial):
        raise UsageError("--study and --trial belong together: --study NAME --trial 3 --trial 7")
    found = [read_curve(path, needs_loss=True, warmup_steps=warmup_steps) for path in curves or ()]
    if which is not None:
        found += _of_trials(study.find(which, root), trial or [])
    if not found:
        raise UsageError("name at least one CURVE.csv, or a study and trials: --study NAME --trial 3")
    try:
        fitted = fit_law(found, law)
    except ValueError as error:
        raise UsageError(str(error)) from None
    write_text(out, to_json(fitted))
    errors = {curve.name: _compared(fitted, curve) for curve in found}
    if json:
        print_json({"out": str(out), **_facts(fitted), "curves": errors})
        return
    for key, value in _facts(fitted).items():
        print_line(f"{key:<10} {_words(value)}")
    for name, error in errors.items():
        print_line(
            f"{name:<10} mean relative error {error['mean_relative_error']:.5f}, worst {error['worst_relative_error']:.4f}"
        )
        if error["mean_relative_error"] > max(0.02, 3 * fitted.noise):
            _say(f"the law fits {name} badly: are its losses of the rates beside them?")
    if fitted.interval == "fixed":
        _say(
            "the interval is that of other runs, twice as wide: three curves, every two of which identify the law, "
            "give one of their own"
        )
    print_line(f"saved      {out}")


def predict(
    law: LawFile,
    curve: Annotated[
        Path, typer.Argument(metavar="CURVE.csv", help="A schedule: columns step, lr; loss to compare with.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write: step, lr, predicted, low, high.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Predict the losses of a schedule, with a 90 % interval; compare where it has losses."""
    fitted = _load(law)
    run = read_curve(curve, needs_loss=False)
    try:
        said = fitted.predict(run)
    except ValueError as error:
        raise UsageError(f"{curve}: {error}") from None
    _check_peak(fitted, run.peak)
    columns = {"predicted": said.losses, "low": said.low, "high": said.high}
    metrics = _compared(fitted, run) if run.losses is not None else {}
    last = {name: float(values[-1]) for name, values in columns.items()}
    if out is not None:
        rows = [("step", run.steps.tolist()), ("lr", run.lrs.tolist())]
        write_curve(out, [*rows, *((name, values.tolist()) for name, values in columns.items())])
    if json:
        losses = {} if run.losses is None else {"loss": run.losses.tolist()}
        table: dict[str, Any] = {
            "law": str(law),
            "curve": str(curve),
            "level": said.level,
            "last": last,
            **metrics,
        }
        table |= {"step": run.steps.tolist(), "lr": run.lrs.tolist(), **losses}
        # No law speaks of warm-up: nothing is predicted there.
        table |= {
            name: [None if math.isnan(one) else one for one in values] for name, values in columns.items()
        }
        print_json(table)
        return
    print_line(
        f"last loss  {last['predicted']:.5g} ({last['low']:.5g} to {last['high']:.5g}) at step {run.steps[-1]}"
    )
    for name, value in metrics.items():
        print_line(f"{name.replace('_', ' '):<20} {value:.5g}")
    if out is not None:
        print_line(f"saved      {out}")


def optimise(
    law: LawFile,
    steps: Annotated[int, typer.Option("--steps", help="Of the run, warm-up included.")],
    peak: Annotated[float | None, typer.Option("--peak", help="Learning rate; default the law's.")] = None,
    warmup_steps: Annotated[
        int | None, typer.Option("--warmup", help="Steps of warm-up; default the law's, at most a tenth.")
    ] = None,
    floor: Annotated[float, typer.Option("--floor", help="Lowest share of the peak.")] = 0.0,
    least_cooldown: Annotated[
        float, typer.Option("--least-cooldown", help="Least share of the steps spent cooling down.")
    ] = 0.1,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write: step, factor, lr.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find the schedule with the lowest predicted last loss: how long to hold the peak, how to cool down."""
    fitted = _load(law)
    try:
        best = optimise_law(fitted, steps, peak, warmup_steps, floor, least_cooldown)
    except ValueError as error:
        raise UsageError(
            f"--{str(error).replace('warmup_steps', 'warmup').replace('least_cooldown', 'least-cooldown')}"
        ) from None
    peak = fitted.peak if peak is None else peak
    _check_peak(fitted, peak)
    horizon = steps - best.warmup_steps
    rivals: dict[str, Schedule] = {
        "optimised": best.schedule,
        "wsd": warmup(best.warmup_steps, wsd(horizon, floor=floor)),
        "cosine": warmup(best.warmup_steps, cosine(horizon, floor)),
        "linear": warmup(best.warmup_steps, linear(horizon, floor)),
        "constant": warmup(best.warmup_steps, constant()),
    }
    losses: dict[str, dict[str, float]] = {}
    for name, schedule in rivals.items():
        said = fitted.predict(planned(schedule, steps, peak))
        losses[name] = {
            "loss": float(said.losses[-1]),
            "low": float(said.low[-1]),
            "high": float(said.high[-1]),
        }
    factors = best.schedule(np.arange(steps))
    if out is not None:
        write_text(out, to_csv(every_step(factors, peak)))
    text = to_text(thin(factors))
    if json:
        found = {"hold_fraction": best.hold_fraction, "power": best.power, "warmup_steps": best.warmup_steps}
        print_json({**found, "steps": steps, "peak": peak, "last_losses": losses, "schedule": text})
        return
    print_line(
        f"hold the peak for {best.hold_fraction:.1%} of the steps after {best.warmup_steps} of warm-up, "
        f"then (1 - c)^{best.power:.2f} down to {floor:g} of it"
    )
    for name, one in losses.items():
        print_line(f"{name:<10} last loss {one['loss']:.5g} ({one['low']:.5g} to {one['high']:.5g})")
    print_line(f"schedule   {text}")
    if out is not None:
        print_line(f"saved      {out}")


def _of_trials(folder: Path, numbers: list[int]) -> list[Curve]:
    history, _, _ = study.read(folder)
    trials = [choose(history, number, folder.name) for number in dict.fromkeys(numbers)]
    for other in trials[1:]:
        differing = _differing(trials[0], other)
        if differing:
            _say(
                f"trials {trials[0].spec.trial} and {other.spec.trial} differ in {', '.join(differing)}: "
                f"a law speaks of runs that differ in their schedule only"
            )
    return [trial_curve(folder, one) for one in trials]


def _differing(first: Trial, second: Trial) -> list[str]:
    """Names of hyperparameters, those of the schedule apart, that differ."""
    names = sorted({*first.spec.config, *second.spec.config} - set(HYPERPARAMETERS))
    return [name for name in names if first.spec.config.get(name) != second.spec.config.get(name)]


def _load(path: Path) -> FittedLaw:
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    except ValueError as error:  # a text of another encoding included
        raise UsageError(f"{path}: {error}") from None


def _check_peak(law: FittedLaw, peak: float) -> None:
    if not 0.98 <= peak / law.peak <= 1.02:
        _say(
            f"the law was fitted at the peak {law.peak:g}, this is {peak:g}: laws are not known to hold at "
            f"another peak, fit one there"
        )


def _compared(law: FittedLaw, curve: Curve) -> dict[str, float]:
    """How far predictions are from the losses of settled rows."""
    said, losses, rows = law.predict(curve), curve.observed(), curve.settled()
    errors = np.abs(said.losses - losses)[rows]
    relative = errors / losses[rows]
    covered = ((said.low <= losses) & (losses <= said.high))[rows]
    return {
        "rows": int(rows.sum()),
        "mae": float(errors.mean()),
        "mean_relative_error": float(relative.mean()),
        "worst_relative_error": float(relative.max()),
        "coverage": float(covered.mean()),
    }


def _facts(law: FittedLaw) -> dict[str, Any]:
    numbers = law.coefficients
    return {
        "law": law.law,
        "peak": law.peak,
        "numbers": {
            "limit": numbers.limit,
            "amplitude": numbers.amplitude,
            "exponent": numbers.exponent,
            "gain": numbers.gain,
        },
        "constants": dict(law.constants),
        "interval": law.interval,
    }


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {number:.4g}" for name, number in value.items())  # pyright: ignore
    return f"{value:g}" if isinstance(value, float) else str(value)


def _say(text: str) -> None:
    sys.stderr.write(f"hpo: {text}\n")
