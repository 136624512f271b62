"""What `hpo export --what schedule` writes: the factors that a trial followed, in one of several forms."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hpo.config import StudyConfig
from hpo.errors import UsageError
from hpo.history import UNDER_WAY, Trial
from hpo.traces import is_found_online, load_trace
from schedules import every_step, format, from_config, table_of, thin, to_csv, to_text, to_toml
from schedules import to_torch_snippet as to_torch

Form = Literal["toml", "csv", "torch", "text", "json"]
_READABLE = 24  # knots: a text of more is not for reading, and has a form of its own


def schedule(config: StudyConfig, trial: Trial, folder: Path, form: Form) -> str:
    """The factors of the steps that the trial kept, or was to make: knots, but every step for csv and json.

    Raises:
        UsageError: a function, whose rates are its own affair; a trial that ended without a result; a trace
            that cannot be read.
    """
    number = trial.spec.trial
    if config.kind != "task":
        raise UsageError(f"{config.reference} is a function: only it knows what its learning rate did")
    if trial.state not in ("completed", "stopped"):
        how = f"is still {trial.state}" if trial.state in UNDER_WAY else f"ended as {trial.state}"
        raise UsageError(
            f"trial {number} of study {config.name!r} {how}: name one that completed with --trial, "
            f"`hpo show {config.name}` lists them"
        )
    traced = load_trace(folder, number).factor if is_found_online(trial.spec.config) else None
    factors = planned(trial) if traced is None else traced
    lr = trial.spec.config.get("lr")
    rate = float(lr) if isinstance(lr, (int, float)) and not isinstance(lr, bool) else None
    about = f"Trial {number} of study {config.name!r}."
    try:
        if form == "json":
            return _json(config, trial, factors, rate, is_plain=traced is None)
        if form == "csv":
            return to_csv(every_step(factors, rate))
        knots = thin(factors, lr=rate)
        if form == "torch":
            return to_torch(knots, about)
        if form == "text":
            return to_text(knots) + "\n"
        if len(knots.steps) <= _READABLE:
            about += f" In a study file: schedule = '{to_text(knots)}'"
        return to_toml(knots, about)
    except ValueError as error:
        raise UsageError(f"trial {number} of study {config.name!r}: {error}") from error


def planned(trial: Trial) -> NDArray[np.float64]:
    """(T,) factors that the trial's config asks for."""
    try:
        return from_config(trial.spec.config, trial.spec.horizon)(np.arange(trial.spec.budget))
    except ValueError as error:
        raise UsageError(f"trial {trial.spec.trial}: {error}") from error


def _json(
    config: StudyConfig, trial: Trial, factors: NDArray[np.float64], rate: float | None, is_plain: bool
) -> str:
    table: dict[str, Any] = {"study": config.name, "trial": trial.spec.trial}
    if is_plain:
        table["schedule"] = format(table_of(trial.spec.config))
        table["horizon"] = trial.spec.horizon
    table["lr"] = rate
    table["factors"] = factors.tolist()
    if rate is not None:
        table["rates"] = (rate * factors).tolist()
    return json.dumps(table, indent=1) + "\n"
