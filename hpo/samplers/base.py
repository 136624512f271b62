"""What proposes configs: the `Sampler` protocol and the table of samplers.

A sampler hears every event and can be asked. Its randomness comes from streams keyed by the study's seed and
the number of the trial, so what it proposes depends on what it was told and on nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from hpo.errors import UsageError
from hpo.events import Listener, Suggestion
from hpo.objective import Objective
from hpo.options import Option, read_options, unknown
from hpo.samplers.grid import Grid
from hpo.samplers.random import Random
from hpo.samplers.sobol import Sobol
from hpo.space import Space


class Sampler(Listener, Protocol):
    """Proposes configs.

    *Laws.* `ask` changes nothing: twice is once, and `ask(k)` is `ask(n)[:k]`. A fresh sampler told the same
    events asks the same. Suggestions lie in the space. Stopped, failed and diverged trials are survived.
    """

    def ask(self, n: int) -> list[Suggestion]:
        """Up to n suggestions for the next trials, chosen jointly; fewer when the space is exhausted."""
        ...


Options = Mapping[str, Any]
Build = Callable[[Space, Objective, int, Options], Sampler]


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the table: how to build a sampler, and its options."""

    build: Build
    options: Mapping[str, Option] = field(default_factory=dict[str, Option])
    priors: bool = False  # whether it goes by what the space says is believed
    several: bool = True  # whether it searches by several metrics at once, or by none of them
    # What it makes of earlier studies: a part of its model, configs to begin with, or nothing.
    earlier: Literal["model", "starts", "no"] = "starts"


def _optuna(name: str) -> Build:
    def build(space: Space, objective: Objective, seed: int, options: Options) -> Sampler:
        from hpo.samplers.optuna import METHODS, OptunaSampler

        return OptunaSampler(space, objective, seed, METHODS[name], options)

    return build


def _curve(space: Space, objective: Objective, seed: int, options: Options) -> Sampler:
    from hpo.samplers.curve import Curve

    return Curve(space, objective, seed, **options)


_STARTUP = Option(10, low=0)  # trials with a value before the model is used
_COST = Option("auto", choices=("auto", "always", "never"))  # whether improvement is sought per second

SAMPLERS: dict[str, Entry] = {
    "random": Entry(lambda space, objective, seed, options: Random(space, seed), priors=True),
    "sobol": Entry(lambda space, objective, seed, options: Sobol(space, seed)),
    "grid": Entry(
        lambda space, objective, seed, options: Grid(space, seed, options["points"], options["shuffle"]),
        {"points": Option(5, low=1), "shuffle": Option(True)},
        earlier="no",
    ),
    "curve": Entry(_curve, {"startup_trials": _STARTUP, "cost": _COST}, priors=True, earlier="model"),
    "tpe": Entry(
        _optuna("tpe"),
        {
            "startup_trials": _STARTUP,
            "candidates": Option(24, low=1),
            "gamma": Option(0.1, low=0, high=1),
            "multivariate": Option(False),
        },
    ),
    "gp": Entry(_optuna("gp"), {"startup_trials": _STARTUP, "deterministic": Option(False)}),
    "cmaes": Entry(
        _optuna("cmaes"),
        {"startup_trials": Option(1, low=1), "population_size": Option(0, low=4)},  # left out: by dimension
        several=False,
    ),
    "nsga2": Entry(
        _optuna("nsga2"),
        {
            "population_size": Option(50, low=2),
            "crossover_probability": Option(0.9, low=0, high=1),
            "swapping_probability": Option(0.5, low=0, high=1),
        },
    ),
}


def check(name: str, objective: Objective, space: Space, earlier: Sequence[str] = ()) -> None:
    """Refuse a sampler that there is none of, or that takes no priors, metrics or earlier studies as given.

    Raises:
        UsageError: with the names of those that can.
    """
    if name not in SAMPLERS:
        raise UsageError(unknown("sampler", name, SAMPLERS))
    if objective.others and not SAMPLERS[name].several:
        able = ", ".join(sorted(one for one, entry in SAMPLERS.items() if entry.several))
        metrics = ", ".join(part.metric for part in objective.parts)
        raise UsageError(f"sampler {name!r} searches by one metric, not by {metrics}; by several do: {able}")
    if earlier and SAMPLERS[name].earlier == "no":
        able = ", ".join(sorted(one for one, entry in SAMPLERS.items() if entry.earlier != "no"))
        raise UsageError(f"sampler {name!r} begins with nothing of earlier studies; those that do: {able}")
    if space.priors and not SAMPLERS[name].priors:
        able = ", ".join(sorted(one for one, entry in SAMPLERS.items() if entry.priors))
        raise UsageError(
            f"sampler {name!r} takes no prior of {', '.join(space.priors)}; those that do: {able}"
        )


def build(
    name: str, space: Space, objective: Objective, seed: int = 0, options: Options | None = None
) -> Sampler:
    """The named sampler.

    Raises:
        UsageError: an unknown sampler, an unknown option, or a value that does not fit; as `check`.
    """
    check(name, objective, space)
    entry = SAMPLERS[name]
    return entry.build(
        space, objective, seed, read_options(options or {}, entry.options, f"sampler {name!r}")
    )
