"""A study, checked as a whole: its task, space, limits and what they build.

Every error is a UsageError of one line: file, key, value, and what would be right.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast

from hpo import rate_bounds, studyfile, validation
from hpo.earlier import source
from hpo.errors import UsageError
from hpo.gain import Gains
from hpo.limits import Limits
from hpo.loop import SECONDS
from hpo.objective import Objective
from hpo.options import read_options, unknown
from hpo.plan import Plan, check_named_seeds, drawn_test_seeds
from hpo.pruners import base as pruners
from hpo.pruners.base import PRUNERS, Pruner
from hpo.replicas import Replicas, usual
from hpo.runners import placing
from hpo.runners.base import RUNNERS, Cluster, Target
from hpo.runners.storage import place_of
from hpo.samplers import base as samplers
from hpo.samplers.base import SAMPLERS, Sampler
from hpo.samplers.earlier import EarlierStarts
from hpo.samplers.starts import Starts, read_starts
from hpo.schedule_space import check_schedules, schedules_of
from hpo.space import Choice, Int, Space
from hpo.space import table as space_table
from schedules.tuner_spec import is_tuner
from trials.names import TASKS, load_object
from trials.seeding import key, stream
from trials.spec import SIZES, Config, Value
from trials.validation import PLAIN, Validation

DEFAULT_TRIALS = 32
_FEW_LANES = 4  # of a processor: what one compiled call takes

Kind = Literal["task", "function"]

# Searched where a task says nothing of its own and there is no study file.
_TASK_SPACE: dict[str, Any] = {
    "lr": {"low": 1e-4, "high": 1e-1, "scale": "log"},
    "weight_decay": {"low": 1e-5, "high": 1e-1, "scale": "log"},
    "schedule": {"choice": ["cosine", "linear", "rex", "wsd"]},
    "warmup_fraction": {"low": 0.0, "high": 0.2},
}


def cores() -> int:
    """Processors that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


_STALL_SECONDS = 900.0  # that a tick may take on a cluster
_SAVE_EVERY = 20  # ticks
_PROBES = 6  # lanes for the probes of trials that listen, at least


@dataclass(frozen=True)
class StudyConfig:
    """A study, checked. `table` is what it was read from, with the defaults filled in."""

    table: Mapping[str, Any]
    where: str  # file name, for messages
    name: str
    reference: str  # of the task or objective
    options: Mapping[str, Value]
    kind: Kind
    objective: Objective
    space: Space
    limits: Limits
    notices: tuple[str, ...] = ()  # what was changed on the user's behalf
    base: Path = field(default_factory=Path.cwd)  # folder that relative names are looked up in
    validation: Validation = PLAIN
    starts: tuple[Config, ...] = ()  # tried first

    # -- what it builds -----------------------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """Of the study."""
        return int(self.table["search"]["seed"])

    @property
    def steps(self) -> int:
        """Budget of one trial."""
        return int(self.table["trial"]["steps"])

    def plan(self) -> Plan:
        """Budget, rungs and seeds of its trials."""
        trial = self.table["trial"]
        steps, reports = self.steps, int(trial["reports"])
        tick = int(trial["tick"]) if self.kind == "task" else 1  # a function may report at any step
        rungs = sorted({min(steps, -(-steps * k // (reports * tick)) * tick) for k in range(1, reports + 1)})
        tuning, test = self.table["seeds"]["tuning"], self.table["seeds"]["test"]
        return Plan(
            *(steps, tuple(rungs), int(trial["horizon"]) or steps, self.seed, int(trial["split_seed"])),
            folds="beside" if self.has_folds_beside() else "none",
            tuning=tuple(tuning),
            test=drawn_test_seeds(self.seed, test) if isinstance(test, int) else tuple(test),
        )

    def check_metrics(self, reported: Sequence[str]) -> None:
        """Refuse metrics that trials will not report, given the names of those they will; () when unknown.

        Raises:
            UsageError: the name, and what it could have been.
        """
        if not reported:
            return
        sizes = SIZES if self.kind == "task" else ()
        for name in self.objective.names:
            if name not in (*reported, *sizes, SECONDS):
                raise UsageError(f"{self.where}: {unknown('metric', name, (*reported, *sizes, SECONDS))}")

    def replicas(self) -> Replicas:
        """How many seeds its leading configs are to have."""
        seeds = self.table["seeds"]
        if seeds["replicas"] != "auto":
            return Replicas(int(seeds["replicas"]), int(seeds["leading"]))
        # A grid is to be tried as a whole; scores on shifted copies rank trials, not configs.
        if self.table["search"]["sampler"] == "grid" or self.objective.is_ranked:
            return Replicas()
        most = [self.limits.trials, self.limits.total_steps and self.limits.total_steps // self.steps]
        found = usual(min((one for one in most if one is not None), default=None))
        return replace(found, leading=min(found.leading, int(seeds["leading"])))

    def gains(self) -> Gains | None:
        """What says whether going on is worth while; None where no bound is stated."""
        bound = self.limits.min_improvement
        if bound is None:
            return None
        each = (
            [bound[part.metric] for part in self.objective.parts] if isinstance(bound, Mapping) else [bound]
        )
        return Gains(self.space, self.objective, self.seed, *each)

    def sampler(self) -> Sampler:
        """The sampler it names."""
        # One that goes on from others draws what none of them drew, though all have the seed they began with.
        seed = key(self.seed, "search", *self.earlier) & 0x7FFFFFFF
        search = self.table["search"]
        inner = samplers.build(search["sampler"], self.space, self.objective, seed, self.table["sampler"])
        if self.earlier and SAMPLERS[search["sampler"]].earlier == "starts":
            inner = EarlierStarts(inner, self.space, seed)
        return Starts(inner, self.space, self.starts, seed) if self.starts else inner

    @property
    def earlier(self) -> tuple[str, ...]:
        """Earlier studies whose results it begins with, as `--from` names them."""
        return tuple(self.table["search"]["from"])

    def pruner(self) -> Pruner:
        """The pruner it names."""
        return pruners.build(self.table["search"]["pruner"], self.objective, self.table["pruner"])

    def runner_name(self) -> str:
        """The runner it names, or the one that fits."""
        name = str(self.table["runner"]["name"])
        if name != "auto":
            return name
        if self.workers() > 1:
            return "processes"
        return "lanes" if self.kind == "task" else "inline"

    def workers(self) -> int:
        """Processes that train; of a cluster whose room is not known here, one."""
        given, name = self.table["runner"]["workers"], self.table["runner"]["name"]
        if given != "auto":
            return int(given)
        if name in ("lanes", "inline", "replayed", "ray") or (self.kind == "function" and name == "auto"):
            return 1
        device, present = self.table["runner"]["device"], placing.cuda_devices()
        if device not in ("", "cuda", "cpu") or (device == "cuda" and not present):
            return 1
        # One program fills a device, and the cores have enough to do for it.
        places = present if present and device != "cpu" else cores()
        return max(1, min(places, self.limits.trials or places))

    def most_workers(self) -> int | None:
        """Workers to have at most; None: as many as a cluster has room for."""
        runner = self.table["runner"]
        return None if (runner["name"], runner["workers"]) == ("ray", "auto") else self.workers()

    def cluster(self) -> Cluster:
        """Where runner `ray` finds its workers."""
        runner = self.table["runner"]
        gpus, stall = runner["gpus_per_worker"], runner["stall_seconds"]
        memory = runner["memory_per_worker"]
        # A tick of a task takes seconds; how long a function takes nobody knows.
        default = _STALL_SECONDS if self.kind == "task" else None
        return Cluster(
            runner["address"],
            float(runner["cpus_per_worker"]),
            None if gpus == "auto" else float(gpus),
            default if stall == "auto" else float(stall),
            None if memory == "auto" else float(memory),
        )

    def lanes(self) -> int | None:
        """Trials that a worker trains at a time; None: as many as are measured to be best."""
        given = self.table["runner"]["lanes"]
        if given != "auto":
            return int(given)
        return None if self.kind == "task" else 1

    def target(self, folder: Path) -> Target:
        """What workers are told."""
        limit = self.limits
        steps = (limit.trials or DEFAULT_TRIALS) * self.steps
        runner, trial = self.table["runner"], self.table["trial"]
        at_once = self._at_once()
        # A trial with its fold models beside it takes as many lanes more.
        most = at_once * (1 + self.validation.folds if self.has_folds_beside() else 1)
        return Target(
            self.reference,
            dict(self.options),
            str(self.base),
            str(folder),
            metric=self.objective.metric,
            sizes=tuple(name for name in SIZES if name in self.objective.names),
            split_seed=int(trial["split_seed"]),
            targets=dict(self.table["report"]["targets"]),
            tick=int(trial["tick"]),
            compile=runner["compile"],
            expected_steps=min(steps, limit.total_steps or steps),
            save=trial["save"] != "none",
            sharpness=bool(trial["sharpness"]),
            device=runner["device"],
            kind="lanes" if self.kind == "task" else "inline",
            save_every=self._save_every(),
            save_to=str(self.table["runner"]["save_to"]),
            most_lanes=max(most, _PROBES) if self.listens() and at_once else most,
            most_trials=at_once if self.listens() or self.has_folds_beside() else 0,
            validation=asdict(self.validation),
        )

    def _at_once(self) -> int:
        """Trials that a worker has at once at the most; 0: one in each of its lanes.

        Half of the study's, as the sampler has to hear of some before it asks on. Where steps are limited it
        has as many as whole trainings: of more, hardly any would come to its end.
        """
        limit, runner = self.limits, self.table["runner"]
        paid = max(1, limit.total_steps // self.steps) if limit.total_steps else math.inf
        trials = min(limit.trials or math.inf, paid)
        if math.isfinite(trials):
            return math.ceil(trials / (2 * self.workers()))
        # How many time will pay for is not known. On processors more lanes than a few gain next to nothing.
        device = str(runner["device"]) or ("cuda" if placing.cuda_devices() else "cpu")
        if device != "cpu" or runner["name"] == "ray":
            return 0
        return max(_FEW_LANES, math.ceil(DEFAULT_TRIALS / (2 * self.workers())))

    def _save_every(self) -> int:
        """Ticks between two rows of a trial under way; on a cluster, where workers come and go, there are."""
        given = self.table["runner"]["save_every"]
        if given != "auto":
            return int(given)
        return _SAVE_EVERY if self.runner_name() == "ray" or self.table["runner"]["save_to"] else 0

    def with_rows_of_its_own(self, is_fresh: bool) -> "StudyConfig":
        """The same study, with a folder that no other has where it saves trials under way at a URL."""
        url = str(self.table["runner"]["save_to"])
        if not url:
            return self
        runner = {**self.table["runner"], "save_to": place_of(url, self.name, is_fresh)}
        return replace(self, table={**self.table, "runner": runner})

    def has_folds_beside(self) -> bool:
        """Whether every trial that trains on families has its fold models beside it."""
        return self.validation.kind == "shifted-kfold" and self.validation.folds_for == "all"

    def listens(self) -> bool:
        """Whether trials may find their learning rate while they are trained."""
        return self.kind == "task" and any(is_tuner({"schedule": name}) for name in schedules_of(self.space))

    def wants_rate_bounds(self) -> bool:
        """Whether the bounds of `lr` are still to be found by a range test."""
        return rate_bounds.is_wanted(self.table["space"])

    def with_rate_bounds(self, low: float, high: float) -> "StudyConfig":
        """The same study with these bounds of `lr`, in its table too."""
        table = {**self.table, "space": rate_bounds.with_bounds(self.table["space"], low, high)}
        return replace(self, table=table, space=_space(table["space"], self.where))

    def examples(self) -> list[dict[str, Value]]:
        """A few configs that together take every choice, to try the task on."""
        domains = self.space.domains.values()
        # Every choice, and both ends of every whole number: a task may read some only there.
        widest = max(
            [len(d.choices) if isinstance(d, Choice) else 2 * isinstance(d, Int) for d in domains] + [1]
        )
        drawn = [self.space.sample(stream(self.seed, "examples", n)) for n in range(widest)]
        for number, config in enumerate(drawn):
            for name, domain in self.space.domains.items():
                if isinstance(domain, Choice) and name in config:
                    config[name] = domain.choices[number % len(domain.choices)]
                elif isinstance(domain, Int) and name in config:
                    config[name] = (domain.low, domain.high)[number % 2]
        return [self.space.complete(_active(self.space, config)) for config in drawn]


def _active(space: Space, config: Mapping[str, Value]) -> dict[str, Value]:
    """The config after some choices were changed: without what is inactive now, with what became active."""
    found = dict(config)
    drawn = space.sample(stream(0, "examples"))
    for name, domain in space.domains.items():
        if not space.is_active(name, found):
            found.pop(name, None)
        elif name not in found:
            found[name] = drawn.get(name, domain.decode(0.5))
    return found


def _task(value: Any, where: str) -> tuple[str, dict[str, Value]]:
    if value is None:
        raise UsageError(
            f'{where}: task is missing: write task = "digits", "module:Class" or "path/to/file.py:Class"'
        )
    options: dict[str, Value] = {}
    if isinstance(value, Mapping):
        options = dict(cast(Mapping[str, Value], value))
        value = options.pop("name", None)
        if not isinstance(value, str):
            raise UsageError(f'{where} task: name = {value!r} must be a text, such as "charlm"')
    if ":" not in value and value not in TASKS:
        message = unknown("task", value, TASKS)
        raise UsageError(f'{where} task: {message}; or an object, "module:Class" or "file.py:Class"')
    return value, options


def _kind(reference: str, base: Path, where: str) -> tuple[Kind, Mapping[str, Any]]:
    """Whether the reference is a task or a function, and the space it brings along."""
    if reference in TASKS:
        return "task", {}
    try:
        found = load_object(reference, base)
    except ValueError as error:
        raise UsageError(f"{where} task: {error}") from error
    # Importing runs the user's code: whatever it raises is told as one line, `sys.exit` of a script included.
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{where} task: importing {reference!r} raised {type(error).__name__}: {error}"
        ) from error
    space = getattr(found, "space", {})
    if not isinstance(space, Mapping):
        raise UsageError(f"{where} task: {reference}.space must be a mapping, as in [space]")
    verbs = ("data", "model", "loss", "metrics")
    if all(callable(getattr(found, verb, None)) for verb in verbs):
        return "task", cast(Mapping[str, Any], space) or _TASK_SPACE
    if isinstance(found, type):
        missing = [verb for verb in verbs if not callable(getattr(found, verb, None))]
        raise UsageError(f"{where} task: {reference!r} is no task: it has no method {', '.join(missing)}")
    if not callable(found):
        raise UsageError(f"{where} task: {reference!r} is neither a task nor a function")
    return "function", cast(Mapping[str, Any], space)


def build(
    table: Mapping[str, Any],
    where: str,
    base: Path,
    name: str = "",
    load: bool = True,
    searches: bool = True,
) -> StudyConfig:
    """Check a study's table and fill in its defaults.

    With `load` false, the study is one that ran: what it trains is not imported. With `searches` false it is
    for one trial, so that there need not be anything to search.

    Raises:
        UsageError: anything in it that cannot be.
    """
    notices: list[str] = []
    filled = studyfile.filled(table, where)
    base = base.resolve()
    reference, options = _task(filled["task"], where)
    for option, value in options.items():
        # A file named beside the study file is found from any folder, now and when the study is taken up.
        if isinstance(value, str) and value and (base / value).is_file():
            options[option] = str(base / value)
    if options:
        filled["task"] = {"name": reference, **options}
    kind: Kind = "function"
    own_space: Mapping[str, Any] = {}
    if load:
        kind, own_space = _kind(reference, base, where)
        filled["kind"] = kind
    elif filled["kind"] == "task":
        kind = "task"
    objective = Objective.of_study(filled, where)
    if not filled["space"]:
        if not own_space and searches:
            raise UsageError(
                f"{where}: there is nothing to search: add a section [space] to a study file "
                f"(`hpo init` writes one), or give the function a `space`"
            )
        filled["space"] = dict(own_space)
    if rate_bounds.is_wanted(filled["space"]) and kind != "task":
        raise UsageError(
            f"{where} [space] lr = {rate_bounds.WORDS!r} is for tasks, which are trained step by "
            f"step: give lr a range"
        )
    space = _space(filled["space"], where)
    if not space.domains and searches:
        raise UsageError(
            f"{where} [space]: every hyperparameter is fixed: give at least one a range or a choice"
        )
    validated = validation.read(filled["validation"], space, where)
    validation.check_objective(objective, validated, where)
    listens = any(is_tuner({"schedule": name}) for name in schedules_of(space))
    if validated.kind == "shifted-kfold" and listens:
        raise UsageError(
            f"{where} [validation] kind = 'shifted-kfold': fold models follow the schedule of their trial, "
            "and one that finds its rates while training would give them others; use such as 'cosine'"
        )
    trial = filled["trial"]
    tick = trial["tick"]
    if kind == "task" and searches and trial["steps"] % tick:
        rounded = -(-trial["steps"] // tick) * tick
        notices.append(
            f"steps = {trial['steps']} is not a multiple of the tick of {tick}: {rounded} are used"
        )
        trial["steps"] = rounded
    if trial["horizon"] and trial["horizon"] < trial["steps"]:
        raise UsageError(
            f"{where} [trial] horizon = {trial['horizon']} must be at least steps = {trial['steps']}"
        )
    if kind == "task" and searches:
        check_schedules(space, where, trial["steps"], trial["horizon"] or trial["steps"])
    _check_targets(filled, kind, where)
    limits = Limits(**filled["limits"])
    if objective.chosen_by is not None and limits.target is not None:
        raise UsageError(
            f"{where} [limits] target is a value of {objective.final.metric}, which is known when the search "
            'is over: leave it out, or write [validation] folds_for = "all"'
        )
    _check_improvement(limits.min_improvement, objective, f"{where} [limits] min_improvement")
    if limits == Limits() or (limits.seconds is None and limits == Limits(target=limits.target)):
        limits = Limits(trials=DEFAULT_TRIALS, target=limits.target)
        filled["limits"]["trials"] = DEFAULT_TRIALS
    if limits.total_steps is not None and limits.total_steps < trial["steps"]:
        raise UsageError(
            f"{where} [limits] total_steps = {limits.total_steps} is less than one trial's "
            f"steps = {trial['steps']}"
        )
    search, runner = filled["search"], filled["runner"]
    for what, known in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        if search[what] not in known:
            raise UsageError(f"{where} [search]: {unknown(what, search[what], known)}")
    source.check(search["from"], f"{where} [search] from:")
    if runner["name"] not in ("auto", *RUNNERS):
        raise UsageError(f"{where} [runner]: {unknown('runner', runner['name'], ['auto', *RUNNERS])}")
    if runner["name"] in ("inline", "replayed") and kind == "task":
        raise UsageError(
            f"{where} [runner] name = {runner['name']!r} runs functions; a task needs 'lanes' or 'processes'"
        )
    if runner["name"] == "lanes" and kind == "function":
        raise UsageError(
            f"{where} [runner] name = 'lanes' runs tasks; a function needs 'inline' or 'processes'"
        )
    if load and kind == "function" and validated != PLAIN:
        raise UsageError(
            f"{where} [validation] is about the data of a task; a function validates itself: remove it"
        )
    if runner["name"] != "ray":
        for option in ("address", "cpus_per_worker", "gpus_per_worker", "stall_seconds", "memory_per_worker"):
            if runner[option] != studyfile.default("runner", option):
                raise UsageError(
                    f"{where} [runner] {option} = {runner[option]!r} is of runner 'ray': add --runner ray"
                )
    if load and kind == "function" and runner["device"]:
        raise UsageError(
            f"{where} [runner] device = {runner['device']!r} is where a task is trained; a function chooses "
            "its device itself"
        )
    if runner["save_to"] and "://" not in runner["save_to"]:
        runner["save_to"] = str(base / runner["save_to"])
    _check_pauses(filled, validated, where)
    _check_replicas(filled, objective, limits, where)
    study_name = name or filled["name"] or _default_name(reference, where)
    studyfile.check_name(study_name)
    filled.update(name=study_name, base=str(base))
    config = StudyConfig(
        *(filled, where, study_name, reference, options, kind, objective, space, limits, tuple(notices)),
        base=base,
        validation=validated,
        starts=tuple(read_starts(filled["start"], space, where)),
    )
    if load:
        _check_save_to(config)
    named = filled["seeds"]
    check_named_seeds(named["tuning"], named["test"], config.replicas().seeds, f"{where} [seeds]")
    try:
        # Options of the sampler and pruner, found out now; the sampler itself loads its library later.
        config.pruner()
        samplers.check(search["sampler"], objective, space, search["from"])
        read_options(filled["sampler"], SAMPLERS[search["sampler"]].options, f"sampler {search['sampler']!r}")
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error
    return config


def _check_pauses(filled: Mapping[str, Any], validated: Validation, where: str) -> None:
    """A pruner that pauses needs trials that can be: each by itself."""
    name = filled["search"]["pruner"]
    if PRUNERS[name].pauses and validated.kind == "shifted-kfold" and validated.folds_for == "all":
        raise UsageError(
            f"{where} [search] pruner = {name!r} pauses trials, which have their fold models beside them: "
            "write [validation] folds_for = 'leading', or pruner = 'trust'"
        )


def _check_improvement(given: float | Mapping[str, float] | None, objective: Objective, place: str) -> None:
    """What is worth going on for is said in the units of each metric."""
    names = [part.metric for part in objective.parts]
    if given is None or (not isinstance(given, Mapping) and len(names) == 1):
        return
    bounds = dict(given) if isinstance(given, Mapping) else dict.fromkeys(names, given)
    for name in bounds:
        if name not in names:
            raise UsageError(f"{place}: {unknown('metric', name, names)}")
    if bounds != given or len(bounds) < len(names):
        right = ", ".join(f"{name} = {bounds.get(name, 0.001):g}" for name in names)
        lacking = ", ".join(name for name in names if name not in bounds)
        said = "one number" if bounds != given else f"nothing of {lacking}"
        raise UsageError(
            f"{place} says {said}, and the study {objective.words()}: write a number for each metric, in its "
            f"units, such as {{{right}}}; on the command line --set 'limits.min_improvement={{{right}}}'"
        )


def _check_replicas(filled: Mapping[str, Any], objective: Objective, limits: Limits, where: str) -> None:
    """Replicas are what the limits leave after the search, and are ranked by values of their own."""
    seeds, place = filled["seeds"], f"{where} [seeds] replicas = {filled['seeds']['replicas']!r}"
    if seeds["replicas"] in ("auto", 1):
        return
    if objective.is_ranked:
        raise UsageError(
            f"{place}: the winner is chosen by scores on shifted copies, which rank single trials and have "
            "no mean over seeds: write replicas = 1"
        )
    most = Replicas(seeds["replicas"], seeds["leading"]).most
    for name, limit in (("trials", limits.trials), ("total_steps", limits.total_steps)):
        part = 1 if name == "trials" else filled["trial"]["steps"]
        if limit is not None and limit < (most + 1) * part:
            raise UsageError(
                f"{place}: {most} trials for the {seeds['leading']} leading configs leave none to search: "
                f"[limits] {name} = {limit} must be at least {(most + 1) * part}"
            )


def _check_save_to(config: StudyConfig) -> None:
    """Rows saved elsewhere are those of a task, and are found by who did not save them."""
    runner = config.table["runner"]
    url, place = runner["save_to"], f"{config.where} [runner] save_to = {runner['save_to']!r}"
    if not url:
        return
    if config.kind == "function":
        raise UsageError(f"{place} is for rows of tasks; a function has none")
    if runner["save_every"] == 0:
        raise UsageError(f"{place}: with save_every = 0 nothing is saved: leave one of them out")
    if url.startswith("memory:") and config.runner_name() in ("processes", "ray"):
        raise UsageError(
            f"{place}: each process of runner {config.runner_name()!r} has a memory of its own: use a URL "
            "that all of them have, such as s3://BUCKET/FOLDER or file:///FOLDER"
        )


def _space(table: Mapping[str, Any], where: str) -> Space:
    if rate_bounds.is_wanted(table):
        table = rate_bounds.with_bounds(table)
    return space_table.read(table, f"{where} [space]")


def _check_targets(filled: Mapping[str, Any], kind: Kind, where: str) -> None:
    """Targets have names that a file can have; where each lies is found out by what trains."""
    for name, reference in filled["report"]["targets"].items():
        place = f"{where} [report] targets.{name}"
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
            raise UsageError(f"{place}: a target's name must be of letters, digits, dashes and underscores")
        if not isinstance(reference, str) or not reference:
            raise UsageError(f'{place} = {reference!r} must be "module:function" or "path/to/file.npz"')
        if kind != "task":
            raise UsageError(f"{place}: only a task is evaluated on targets; this study runs a function")
        if filled["trial"]["save"] == "none":
            raise UsageError(f'{place}: targets are read with saved rows: set save = "best" under [trial]')


def _default_name(reference: str, where: str) -> str:
    if where.endswith(".toml"):
        return Path(where).stem
    return re.sub(r"[^\w.-]+", "-", reference.rpartition("/")[2].replace(".py", "")).strip("-.") or "study"
