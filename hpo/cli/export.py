"""`hpo export`: a trial's config, its schedule, or a script that trains it again."""

import pprint
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from hpo import study
from hpo.cli.export_schedule import Form, schedule
from hpo.cli.options import Debug, Root, Study
from hpo.config import StudyConfig
from hpo.errors import UsageError
from hpo.history import History, Trial


def export(
    which: Study,
    trial: Annotated[
        int | None, typer.Option("--trial", help="Number of the trial; default the best.")
    ] = None,
    what: Annotated[
        Literal["config", "schedule", "script"], typer.Option("--what", help="What to export.")
    ] = "config",
    form: Annotated[
        Form | None,
        typer.Option(
            "--format",
            help="Form of the schedule: knots (toml, the default), a row for every step (csv), Python that needs "
            "torch only (torch), a text for study files (text), or JSON.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write; default print it.")] = None,
    root: Root = Path(study.DEFAULT_ROOT),
    debug: Debug = False,
) -> None:
    """Export a trial: config (TOML), schedule (TOML, CSV, Python or JSON) or script (Python)."""
    if form is not None and what != "schedule":
        raise UsageError(f"--format {form} is for --what schedule, not for --what {what}")
    folder = study.find(which, root)
    history, _, _ = study.read(folder)
    assert history.study is not None
    chosen = choose(history, trial, folder.name)
    config = study.config_of(history.study, folder)
    if what == "schedule":
        text = schedule(config, chosen, folder, form or "toml")
    else:
        text = {"config": _config, "script": _script}[what](config, chosen)
    if out is None:
        sys.stdout.write(text)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out {out}: {error.strerror}") from error
    sys.stdout.write(f"{out}\n")


def choose(history: History, number: int | None, name: str) -> Trial:
    """The trial of this number, or the best.

    Raises:
        UsageError: there is none.
    """
    if number is None:
        if history.best is None:
            raise UsageError(f"study {name!r} has no best trial yet: name one with --trial")
        return history.best
    if number not in history.trials:
        known = f"0 to {max(history.trials)}" if history.trials else "none"
        raise UsageError(f"study {name!r} has no trial {number}; it has {known}")
    return history.trials[number]


def _config(config: StudyConfig, trial: Trial) -> str:
    import tomli_w

    task: Any = {"name": config.reference, **config.options} if config.options else config.reference
    table = {
        "task": task,
        "config": dict(trial.spec.config),
        "run": {
            "steps": trial.spec.budget,
            "horizon": trial.spec.horizon,
            "seed": trial.spec.seed,
            "split_seed": trial.spec.split_seed,
        },
    }
    return f"# Trial {trial.spec.trial} of study {config.name!r}.\n{tomli_w.dumps(table)}"


_SPEC = """
spec = TrialSpec(
    trial={number},
    config={config},
    seed={seed},
    budget={budget},
    rungs={rungs},
    horizon={horizon},
    split_seed={split_seed},
)

if __name__ == "__main__":
"""

_TASK_SCRIPT = (
    """# Trial {number} of study {name!r}: trains it again, with the same seed, split and schedule.
# Needs this project installed; the task's name is looked up in {base!r}.

from pathlib import Path

from trials.spec import TrialSpec
from trials.task import load_task
from trials.train import train
"""
    + _SPEC
    + """    task = load_task({reference!r}, {options}, Path({base!r}))
    for report in train(task, spec):
        metrics = "  ".join(f"{{name}} {{value:.5f}}" for name, value in report.metrics.items())
        print(f"step {{report.step:>6}}  spent {{report.spent:>6}}  {{metrics}}")
"""
)

_FUNCTION_SCRIPT = (
    """# Trial {number} of study {name!r}: calls the objective again with the same config and seed.

from pathlib import Path

from trials.names import load_object
from trials.spec import TrialSpec
"""
    + _SPEC
    + """    found = load_object({reference!r}, Path({base!r}))(spec)
    for report in found if hasattr(found, "__next__") else [found]:
        print(report)
"""
)


def _script(config: StudyConfig, trial: Trial) -> str:
    spec = trial.spec
    written = pprint.pformat(dict(spec.config), indent=4, width=100, sort_dicts=False)
    return (_TASK_SCRIPT if config.kind == "task" else _FUNCTION_SCRIPT).format(
        number=spec.trial,
        name=config.name,
        config=written.replace("\n", "\n    "),
        seed=spec.seed,
        budget=spec.budget,
        rungs=spec.rungs,
        horizon=spec.horizon,
        split_seed=spec.split_seed,
        reference=config.reference,
        options=dict(config.options),
        base=str(config.base),
    )
