"""Which trials have the program of another one, as far as a config alone says it.

As in `trials.recipe`, which knows the task as well: whole numbers, words and switches decide a program.
Floats ride in its rows, and so do the schedule and the families of shifts that a trial trains with.
"""

from typing import NamedTuple

from schedules import HYPERPARAMETERS
from trials.spec import Config, Value
from trials.validation import TRAIN_FAMILIES


class Program(NamedTuple):
    """Equal for trials that share a program."""

    branch: tuple[tuple[str, Value | None], ...]  # words, switches, and which floats it reads; sorted
    sizes: tuple[tuple[str, int], ...]  # whole numbers; sorted


def program_of(config: Config) -> Program:
    """The program of a config.

    >>> program_of({"lr": 0.1, "optimizer": "sgd", "width": 64, "schedule": "rex", "nesterov": True})
    Program(branch=(('lr', None), ('nesterov', True), ('optimizer', 'sgd')), sizes=(('width', 64),))
    """
    branch: list[tuple[str, Value | None]] = []
    sizes: list[tuple[str, int]] = []
    for name, value in sorted(config.items()):
        if name in HYPERPARAMETERS or name == TRAIN_FAMILIES:
            continue
        if isinstance(value, (str, bool)):
            branch.append((name, value))
        elif isinstance(value, float):
            branch.append((name, None))
        else:
            sizes.append((name, value))
    return Program(tuple(branch), tuple(sizes))
