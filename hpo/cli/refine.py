"""`hpo schedule refine`: a better schedule from the gradient norms of a finished trial."""

import math
from pathlib import Path
from typing import Annotated

import typer

from hpo import study
from hpo.cli.export import choose
from hpo.cli.look import print_json, print_line
from hpo.cli.options import Debug, Json, Root, Study
from hpo.curves import write_text
from hpo.errors import UsageError
from hpo.traces import load_trace
from schedules import every_step, refine, thin, to_csv, to_text

SGD = ("sgd", "nesterov")  # the others forget the size of the gradient, as Adam does


def refine_trial(
    which: Study,
    trial: Annotated[
        int | None, typer.Option("--trial", help="Number of the trial; default the best.")
    ] = None,
    smoothing: Annotated[
        float, typer.Option("--smoothing", help="Width of the median filter, as a share of the steps.")
    ] = 0.1,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write: step, factor, lr at the trial's peak.")
    ] = None,
    root: Root = Path(study.DEFAULT_ROOT),
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Refine a schedule from the gradient norms of a finished trial. Its peak is to be searched again."""
    folder = study.find(which, root)
    history, _, _ = study.read(folder)
    one = choose(history, trial, folder.name)
    number, config = one.spec.trial, one.spec.config
    trace = load_trace(folder, number)
    optimizer = trace.optimizer or str(config.get("optimizer", "adamw"))
    is_sgd = optimizer in SGD
    try:
        norms = trace.grad_l2 if is_sgd else trace.grad_l1
        factors = refine(norms, form="sgd" if is_sgd else "adam", smoothing=smoothing)
    except ValueError as error:
        raise UsageError(f"trial {number} of study {folder.name!r}: {error}") from None
    lr = config.get("lr", trace.lr)
    peak = float(lr * trace.factor.max()) if isinstance(lr, (int, float)) and math.isfinite(lr) else None
    text = to_text(thin(factors))
    if out is not None:
        write_text(out, to_csv(every_step(factors, peak)))
    if json:
        table = {
            "study": folder.name,
            "trial": number,
            "optimizer": optimizer,
            "norm": "l2" if is_sgd else "l1",
        }
        print_json(
            {**table, "steps": len(factors), "peak": peak, "schedule": text, "factors": factors.tolist()}
        )
        return
    print_line(f"schedule   {text}")
    print_line(
        f"from       {'l2' if is_sgd else 'l1'} norms of {len(factors)} steps of trial {number} ({optimizer})"
    )
    if out is not None:
        print_line(f"saved      {out}")
