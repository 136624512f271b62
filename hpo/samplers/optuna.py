"""Optuna's tree-structured Parzen estimator, Gaussian process, CMA-ES and NSGA-II behind ask and tell.

Optuna's samplers read a study and remember things: in themselves, in attributes of trials and of the study.
Here every suggestion comes from a sampler of its own, seeded by the number of the trial, over a study laid
out from what was told. What Optuna writes into attributes while it suggests belongs to the suggestion; it
counts once the suggestion has become a trial, and a replay, which makes the same suggestions again, finds the
same.
"""

import math
import sys
import warnings
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hpo.dominance import fronts
from hpo.events import Event, Suggestion, TrialFinished, TrialPaused, TrialResumed, TrialStarted
from hpo.history import History
from hpo.objective import Objective
from hpo.samplers.finals import clipped, finals, worst
from hpo.space import Choice, Domain, Float, Space
from trials.seeding import key
from trials.spec import Config, Value

Options = Mapping[str, Any]

MOST_GOOD = 25  # trials that count as good in TPE


@dataclass(frozen=True, slots=True)
class Method:
    """One of Optuna's samplers and how it wants a study laid out."""

    build: Callable[[int, Options, "Known"], BaseSampler]  # from a seed
    conditional: bool = False  # inactive hyperparameters are left out; otherwise they stay in their middle
    unit: bool = False  # hyperparameters are coordinates of the unit cube
    remembers: bool = False  # state is kept in attributes, and trials as they were suggested
    clips: bool = False  # values are modelled, not their ranks
    constrained: bool = True  # takes several values of a trial, and how far it is beyond constraints
    most: int = sys.maxsize  # finished trials to learn from: the best and the newest


@dataclass(frozen=True, slots=True)
class Known:
    """How many finished trials there are."""

    finished: int
    with_value: int  # or a stand-in; the others diverged or failed

    def startup(self, options: Options) -> int:
        """Optuna's `n_startup_trials`, which would count trials without a value too."""
        return 0 if self.with_value >= max(1, options["startup_trials"]) else sys.maxsize


def _tpe(seed: int, options: Options, known: Known) -> BaseSampler:
    # As many good trials as Optuna's default, but never one without a value.
    good = min(math.ceil(options["gamma"] * known.finished), MOST_GOOD, known.with_value)

    return TPESampler(
        seed=seed,
        n_startup_trials=known.startup(options),
        n_ei_candidates=options["candidates"],
        gamma=lambda n: good,
        multivariate=True,
        constant_liar=True,
    )


def _gp(seed: int, options: Options, known: Known) -> BaseSampler:
    return GPSampler(
        seed=seed,
        n_startup_trials=known.startup(options),
        deterministic_objective=options["deterministic"],
    )


def _cmaes(seed: int, options: Options, known: Known) -> BaseSampler:
    return CmaEsSampler(
        seed=seed,
        n_startup_trials=known.startup(options),
        popsize=options["population_size"] or None,
    )


def _nsga2(seed: int, options: Options, known: Known) -> BaseSampler:
    return NSGAIISampler(
        seed=seed,
        population_size=options["population_size"],
        crossover_prob=options["crossover_probability"],
        swapping_prob=options["swapping_probability"],
    )


METHODS: dict[str, Method] = {
    "tpe": Method(_tpe, conditional=True, most=150),
    "gp": Method(_gp, most=250, clips=True),
    "cmaes": Method(_cmaes, unit=True, remembers=True, constrained=False),
    "nsga2": Method(_nsga2, remembers=True),
}


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's word for a domain."""
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.choices)
    log = domain.scale == "log"
    if isinstance(domain, Float):
        return FloatDistribution(domain.low, domain.high, log=log)
    return IntDistribution(domain.low, domain.high, log=log)


def frozen_trial(
    number: int,
    params: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    values: Sequence[float] | None = None,  # None: running
    attributes: Mapping[str, Any] | None = None,
) -> FrozenTrial:
    """Optuna's record of a trial."""
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=TrialState.RUNNING if values is None else TrialState.COMPLETE,
        value=None,
        values=values,
        datetime_start=None,
        datetime_complete=None,
        params=dict(params),
        distributions={name: distributions[name] for name in params},
        user_attrs={},
        system_attrs=dict(attributes or {}),
        intermediate_values={},
    )


@contextmanager
def quiet() -> Generator[None]:
    """Hide what Optuna logs, and what it warns of a release other than the one that is pinned."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", category=FutureWarning)
            warnings.simplefilter("ignore", category=ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


def _unused(*_: object, **__: object) -> Any:
    raise NotImplementedError("no sampler calls this part of a storage")


class Storage(BaseStorage):
    """A study as samplers see it: a list of trials and the attributes they may set.

    Optuna's own storage copies every trial it takes in, and never lets a finished trial change; a stand-in
    value does change when more is known.
    """

    def __init__(self, trials: list[FrozenTrial], attributes: Mapping[str, Any], objectives: int = 1) -> None:
        self.trials, self.objectives = trials, objectives
        self.attributes = dict(attributes)

    def get_study_id_from_name(self, study_name: str) -> int:
        """There is one study, number 0."""
        return 0

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Values are always minimised."""
        return [StudyDirection.MINIMIZE] * self.objectives

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """The trials in these states, by number; the records themselves, not copies."""
        return [trial for trial in self.trials if states is None or trial.state in states]

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """What samplers remember of the study."""
        return self.attributes

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """Remember something of the study."""
        self.attributes[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Remember something of the trial that is being suggested, the last one."""
        assert self.trials[-1].number == trial_id
        self.trials[-1].system_attrs[key] = value

    create_new_study: Any = _unused
    create_new_trial: Any = _unused
    delete_study: Any = _unused
    get_all_studies: Any = _unused
    get_study_name_from_id: Any = _unused
    get_study_user_attrs: Any = _unused
    get_trial: Any = _unused
    set_study_user_attr: Any = _unused
    set_trial_intermediate_value: Any = _unused
    set_trial_param: Any = _unused
    set_trial_state_values: Any = _unused
    set_trial_user_attr: Any = _unused


@dataclass(frozen=True, slots=True)
class _Asked:
    """A suggestion that is not a trial yet, what Optuna made of it, and the study's attributes after it."""

    config: Config
    trial: FrozenTrial
    attributes: Mapping[str, Any]
    origin: str


_CHANGES = (TrialFinished, TrialPaused, TrialResumed)  # what trials count for


class OptunaSampler:
    """Asks one of Optuna's samplers.

    Suggestions are kept until something is told that could change them. They stand in the study as running
    trials, so that later ones of the same `ask` keep their distance, and so do running trials.
    """

    def __init__(
        self, space: Space, objective: Objective, seed: int, method: Method, options: Options
    ) -> None:
        self._space, self._seed, self._method, self._options = space, seed, method, options
        self._distributions: dict[str, BaseDistribution] = {
            name: FloatDistribution(0.0, 1.0) if method.unit else distribution(domain)
            for name, domain in space.domains.items()
            if not (isinstance(domain, Choice) and len(domain.choices) == 1)
        }
        self._groups = self._grouped(options.get("multivariate", False))
        self._history = History(objective)
        self._parts = objective.parts
        self._finals: dict[int, tuple[float, ...]] | None = None  # None: something finished since
        self._trials: dict[int, FrozenTrial] = {}
        self._attributes: Mapping[str, Any] = {}  # of the study
        self._asked: list[_Asked] = []

    def _grouped(self, multivariate: bool) -> list[tuple[str, ...]]:
        """Hyperparameters to suggest together: all; those under the same conditions; or each by itself."""
        names = [name for name in self._space.names if name in self._distributions]
        if not self._method.conditional:
            return [tuple(names)] if names else []
        if not multivariate:
            return [(name,) for name in names]
        conditions = [self._space.when.get(name, {}) for name in names]
        first = [conditions.index(condition) for condition in conditions]
        return [
            tuple(name for name, other in zip(names, first, strict=True) if other == index)
            for index in dict.fromkeys(first)
        ]

    @property
    def _next(self) -> int:
        return max(self._history.trials, default=-1) + 1

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, TrialStarted) and event.replica_of is not None:
            self._asked.clear()  # a further measure of a config that is known
        elif isinstance(event, TrialStarted):
            number = event.spec.trial
            if self._method.remembers and number == self._next and not self._asked:
                self.ask(1)
            asked = self._asked[0] if self._asked else None
            if asked and asked.trial.number == number and self._agree(asked.config, event.spec.config):
                self._trials[number] = asked.trial
                self._attributes = asked.attributes
                del self._asked[0]
            else:
                self._asked.clear()
                self._add(number, event.spec.config)
        elif isinstance(event, _CHANGES):
            if isinstance(event, TrialResumed) and self._method.remembers:
                self._refresh()  # a generation that counts it is remembered: it keeps the stand-in it has now
            self._asked.clear()
        self._history.tell(event)
        if isinstance(event, _CHANGES):
            self._finals = None

    def _agree(self, asked: Config, started: Config) -> bool:
        return all(asked.get(name) == started.get(name) for name in self._space.names)

    def _add(self, number: int, config: Config) -> None:
        """A trial that was not suggested here; one outside the space (it was edited) is left out."""
        if self._space.holds(config):
            self._trials[number] = frozen_trial(number, self._params(config), self._distributions)

    def _params(self, config: Config) -> dict[str, Any]:
        """The config as Optuna shall see it."""
        if self._method.unit:
            point = self._space.encode([config])[0]
            columns = zip(self._space.names, point, strict=True)
            return {name: float(x) for name, x in columns if name in self._distributions}
        return {
            name: config[name] if name in config else self._space.domains[name].decode(0.5)
            for name in self._distributions
            if name in config or not self._method.conditional
        }

    def ask(self, n: int) -> list[Suggestion]:
        """The next n configs."""
        with quiet():
            while len(self._asked) < n:
                self._asked.append(self._suggest(self._next + len(self._asked)))
        return [Suggestion(dict(asked.config), origin=asked.origin) for asked in self._asked[:n]]

    def _refresh(self) -> dict[int, tuple[float, ...]]:
        """Give every finished trial the values it counts for now; those of trials that have all of them."""
        if self._finals is None:
            found = [finals(self._history, part) for part in self._parts]
            if not self._method.constrained:
                kept = self._history.excess
                found = [{n: v for n, v in one.items() if not kept(self._history.trials[n])} for one in found]
            if self._method.clips:
                found = [clipped(one) for one in found]
            penalties = [worst(one) for one in found]
            beyond = self._beyond() if self._method.constrained else {}
            for number, trial in self._trials.items():
                if self._history.trials[number].state == "running":
                    if trial.state == TrialState.COMPLETE and not self._method.remembers:  # it was paused
                        self._trials[number] = frozen_trial(
                            number, trial.params, self._distributions, None, trial.system_attrs
                        )
                    continue
                values = [one.get(number, penalty) for one, penalty in zip(found, penalties, strict=True)]
                attributes = {**trial.system_attrs, **beyond.get(number, {})}
                if values != trial.values or attributes != trial.system_attrs:
                    self._trials[number] = frozen_trial(
                        number, trial.params, self._distributions, values, attributes
                    )
            self._finals = {
                n: tuple(one[n] for one in found) for n in found[0] if all(n in one for one in found)
            }
        return self._finals

    def _beyond(self) -> dict[int, dict[str, float]]:
        """Finished trial -> how far it is beyond each side of the constraints, as attributes for Optuna.

        One that broke off is further than all others, so that it never counts among the good ones.
        """
        if not self._history.objective.bounds:
            return {}
        ended = [trial for trial in self._history.trials.values() if trial.state != "running"]
        rows: dict[int, tuple[float, ...]] = {}
        for trial in ended:
            if trial.state in ("completed", "stopped"):
                missing = 0.0 if trial.state == "stopped" else math.inf  # it might have been reported later
                rows[trial.spec.trial] = self._history.objective.margins(trial.metrics, missing)
        sides = len(self._history.objective.margins({}))
        most = [
            1.0 + max((row[side] for row in rows.values() if 0 < row[side] < math.inf), default=0.0)
            for side in range(sides)
        ]
        return {
            trial.spec.trial: {
                f"constraints:{side}": min(value, most[side])
                for side, value in enumerate(rows.get(trial.spec.trial, most))
            }
            for trial in ended
        }

    def _suggest(self, number: int) -> _Asked:
        values = self._refresh()
        trials = [self._trials[other] for other in sorted(self._trials)]
        known = Known(
            finished=sum(trial.state == TrialState.COMPLETE for trial in trials),
            with_value=sum(trial.number in values for trial in trials),
        )
        seed = key(self._seed, "sampler", number) % 2**32
        sampler = self._method.build(seed, self._options, known)
        trial = frozen_trial(number, {}, self._distributions)
        trials = [*self._learned_from(trials), *(asked.trial for asked in self._asked), trial]
        attributes = self._asked[-1].attributes if self._asked else self._attributes
        storage = Storage(trials, attributes, len(self._parts))
        study = optuna.Study(study_name="", storage=storage, sampler=sampler)
        params: dict[str, Any] = {}
        for group in self._groups:
            if self._method.conditional and not self._space.is_active(group[0], self._config(params)):
                continue
            wanted = {name: self._distributions[name] for name in group}
            params |= sampler.sample_relative(study, trial, wanted)
            for name in group:
                if name not in params:
                    params[name] = sampler.sample_independent(study, trial, name, wanted[name])
        config = self._config(params)
        if not self._method.remembers:
            trial = frozen_trial(number, self._params(config), self._distributions)
        else:
            trial = frozen_trial(number, params, self._distributions, attributes=trial.system_attrs)
        return _Asked({**config, **self._space.fixed}, trial, storage.attributes, self._origin(known))

    def _origin(self, known: Known) -> str:
        """Whether one of Optuna's models proposes, or chance until it can."""
        until = self._options.get("startup_trials", self._options.get("population_size", 0))
        if known.with_value < until:
            return f"random: until {until} trials have a result ({known.with_value} have)"
        return f"model: by {known.with_value} results"

    def _learned_from(self, trials: list[FrozenTrial]) -> list[FrozenTrial]:
        """All running trials; of the finished ones the best and the newest, so that asking stays cheap."""
        finished = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        if len(finished) <= self._method.most:
            return trials
        left_out = {trial.number for trial in finished[: -(self._method.most - MOST_GOOD)]}
        values = np.array([trial.values for trial in finished], float)
        excess = np.array([self._history.excess(self._history.trials[trial.number]) for trial in finished])
        ranks = [int(front) for front in fronts(values, excess)]
        order = sorted(zip(ranks, (trial.number for trial in finished), strict=True))
        left_out -= {number for _, number in order[:MOST_GOOD]}
        return [trial for trial in trials if trial.number not in left_out]

    def _config(self, params: Mapping[str, Any]) -> dict[str, Value]:
        """The active hyperparameters of Optuna's values, as far as those go."""
        found: dict[str, Value] = {}
        for name in self._space.names:
            domain = self._space.domains[name]
            if not self._space.is_active(name, found):
                continue
            if name not in self._distributions:
                found[name] = domain.decode(0.5)
            elif name in params:
                found[name] = self._value(domain, params[name])
        return found

    def _value(self, domain: Domain, found: Any) -> Value:
        if self._method.unit:
            return domain.decode(found)
        if isinstance(domain, Choice):
            return domain.choices[domain.index(found)]
        if isinstance(domain, Float):
            return min(domain.high, max(domain.low, float(found)))
        return int(found)
