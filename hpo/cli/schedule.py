"""`hpo schedule`: the commands about schedules, by name."""

from collections.abc import Callable

from hpo.cli.laws import fit, optimise, predict
from hpo.cli.list_schedules import list_schedules
from hpo.cli.refine import refine_trial
from hpo.cli.show_schedule import show_schedule

commands: dict[str, Callable[..., None]] = {
    "list": list_schedules,
    "show": show_schedule,
    "fit": fit,
    "predict": predict,
    "optimise": optimise,
    "refine": refine_trial,
}
