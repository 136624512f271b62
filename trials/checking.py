"""Whether a task and the configs of a study fit together, found out before anything is written."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches

import torch

from schedules import spec as schedule_spec
from schedules.hypergradient import FLOATS, RULES
from schedules.tuner_spec import is_tuner, tuner_table_of
from trials.data.stream import chunks
from trials.optim import OPTIMIZERS
from trials.program import Program
from trials.recipe import CLIP, RATIO, recipe
from trials.spec import Config, TrialSpec, is_out_of_memory
from trials.task import Splits, Task, attribute
from trials.validation import SHIFT_SHARE, SHIFTED, TRAIN_FAMILIES


def dry_run(program: Program, spec: TrialSpec) -> tuple[str, ...]:
    """Take one step and evaluate a few examples on rows that are thrown away; the names of the metrics.

    Raises:
        ValueError, TypeError: what the task returned is not what is wanted.
    """
    row, block = program.first_row(spec), program.block(1)
    block.weights[0], block.buffers[0] = row.weights, row.buffers
    block.hyper[0] = torch.tensor([row.hyper[name] for name in program.float_names])
    index = torch.zeros(1, program.batch_size, dtype=torch.int64, device=program.device)
    with torch.no_grad():
        program.step(*block.tensors(), torch.zeros(1, device=program.device), index, *program.data(1))
    few = next(chunks(program.splits.val, 2, program.device))
    names = tuple(program.evaluate(block, few))
    shifted = tuple(f"{SHIFTED}{name}" for name in names) if program.splits.shifted else ()
    return ("train_loss", *(f"val_{name}" for name in names), *shifted)


def check(task: Task, splits: Splits, configs: Sequence[Config], device: torch.device) -> tuple[str, ...]:
    """Names of the metrics that trials of these configs will report.

    Raises:
        ValueError, TypeError: the task and the configs do not fit; the message names what to change.
    """
    metrics: tuple[str, ...] = ()
    read: set[str] = {*schedule_spec.HYPERPARAMETERS, TRAIN_FAMILIES}
    seen: set[object] = set()
    for config in configs:
        parts = recipe(task, config, splits.views)
        if is_tuner(config):
            tuner_table_of(config)
        else:
            schedule_spec.from_config(config, 100)
        if parts.key in seen:
            continue
        seen.add(parts.key)
        program = Program(task, splits, parts.structure, tuple(name for name, _ in parts.floats), device)
        try:
            found = dry_run(program, TrialSpec(0, config, 0, 1, (1,), 100, 0))
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            # Not a mistake: its trials may end so, the others can be trained.
            read |= program.read
            continue
        if metrics and found != metrics:
            raise ValueError(f"Task.metrics returns {found[1:]} for one config and {metrics[1:]} for another")
        metrics = found
        read |= program.read
    _refuse_unread({name for config in configs for name in config}, read, task)
    return metrics


def _refuse_unread(names: Iterable[str], read: set[str], task: Task) -> None:
    optimizers = {name: {*entry.defaults} for name, entry in OPTIMIZERS.items()}
    known = read | {*attribute(task, "defaults"), CLIP, *schedule_spec.HYPERPARAMETERS}
    if attribute(task, "shifts"):
        known |= {TRAIN_FAMILIES, SHIFT_SHARE}
    known |= {f"{RATIO}{group}" for group in attribute(task, "groups")}
    for name in sorted(names):
        if name in read:
            continue
        owners = [optimizer for optimizer, defaults in optimizers.items() if name in defaults]
        if owners:
            raise ValueError(
                f"hyperparameter {name!r} belongs to optimizer {' or '.join(map(repr, owners))}, "
                "which this study never uses: remove it, or add the optimizer"
            )
        if name in FLOATS:
            raise ValueError(
                f"hyperparameter {name!r} belongs to rules, and this study never uses one: remove it, or add "
                f"rule = {next(iter(RULES))!r}"
            )
        near = get_close_matches(name, sorted(known.union(*optimizers.values())), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(
            f"unknown hyperparameter {name!r}: neither the task nor its optimizer or schedule reads it; "
            f"{hint}known: {', '.join(sorted(known))}"
        )
