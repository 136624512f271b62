"""Hypothesis strategies for the searching half: spaces, configs, and what happens in a study."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

import numpy as np
from hypothesis import strategies as st

from hpo.events import (
    DataLoaded,
    DataSet,
    EarlierResult,
    EarlierTaken,
    Event,
    Noticed,
    Outcome,
    StudyFinished,
    StudyPaused,
    StudyResumed,
    StudyScaled,
    StudyStarted,
    TrialFinished,
    TrialPaused,
    TrialReported,
    TrialResumed,
    TrialScored,
    TrialStarted,
    TrialStopped,
)
from hpo.space import Choice, Domain, Float, Int, Space
from trials.seeding import stream
from trials.spec import Config, Report, TrialSpec, Value
from trials.validation import FoldModel

BUDGET = 27
RUNGS = (3, 9, 18, 27)

seeds = st.integers(0, 2**31)
unit = st.floats(0, 1)
texts = st.text(st.characters(codec="utf-8"), max_size=8)
numbers = st.floats(-1e9, 1e9)
values: st.SearchStrategy[Value] = st.one_of(st.booleans(), st.integers(-50, 50), numbers, texts)


@st.composite
def floats(draw: st.DrawFn) -> Float:
    """A linear or log range of real numbers."""
    if draw(st.booleans()):
        low, high = sorted(draw(st.tuples(st.floats(1e-9, 1e9), st.floats(1e-9, 1e9))))
        return Float(low, high if high > 1.001 * low else 2 * high, "log")
    low, high = sorted(draw(st.tuples(numbers, numbers)))
    return Float(low, high if high > low else abs(high) + 1)


@st.composite
def ints(draw: st.DrawFn, most: int = 2**40) -> Int:
    """A linear or log range of integers, at most so far apart."""
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -(2**40) + most, 2**40 - most - 1 if most < 2**40 else 2**39))
    return Int(low, min(2**40, low + draw(st.integers(1, most))), "log" if log else "linear")


def choices(least: int = 1) -> st.SearchStrategy[Choice]:
    """A few values of any type."""
    return st.lists(values, min_size=least, max_size=4, unique=True).map(lambda found: Choice(tuple(found)))


domains: st.SearchStrategy[Domain] = st.one_of(floats(), ints(), choices())


@st.composite
def spaces(draw: st.DrawFn, most: int = 6, small: bool = False) -> Space:
    """Searched, fixed and conditional hyperparameters in any order; with `small`, few integers."""
    names = draw(st.permutations([f"h{index}" for index in range(draw(st.integers(1, most)))]))
    kinds = st.one_of(floats(), ints(6), choices()) if small else domains
    found = {name: draw(kinds) for name in names}
    fixed = {f"f{index}": draw(values) for index in range(draw(st.integers(0, 2)))}
    when: dict[str, dict[str, tuple[Value, ...]]] = {}
    order = sorted(names)  # a condition names what comes before it in this order, so there are no circles
    for position, name in enumerate(order):
        parents = [other for other in order[:position] if not isinstance(found[other], Float)]
        for parent in (
            draw(st.lists(st.sampled_from([*parents, *fixed]), max_size=2, unique=True))
            if (parents or fixed)
            else []
        ):
            wanted = (
                st.just(fixed[parent])
                if parent in fixed
                else unit.map(found[parent].decode)  # a value of its domain
            )
            when.setdefault(name, {})[parent] = tuple(draw(st.lists(wanted, min_size=1, max_size=2)))
    return Space(found, fixed, when)


def configs(space: Space) -> st.SearchStrategy[dict[str, Value]]:
    """Configs of the space."""
    size = len(space.names)
    return st.lists(unit, min_size=size, max_size=size).map(space.decode)


EXAMPLE = Space(
    {
        "lr": Float(1e-4, 1e-1, "log"),
        "optimizer": Choice(("adamw", "sgd")),
        "momentum": Float(0.8, 0.99),
        "nesterov": Choice((True, False)),
        "layers": Int(1, 4),
        "width": Int(8, 256, "log"),
        "task": Choice(("only",)),
    },
    {"batch_size": 64},
    {
        "momentum": {"optimizer": ("sgd",)},
        "nesterov": {"optimizer": ("sgd",)},
        "width": {"layers": (2, 3, 4)},
    },
)

# What may happen next in a study, and a number that says how.
ACTIONS = (
    "start",
    "start",
    "batch",
    "enqueue",
    "report",
    "report",
    "report",
    "stop",
    "pause",
    "resume",
    "complete",
    "diverge",
    "fail",
    "exhaust",
    "notice",
    "replicate",
)
actions = st.lists(st.tuples(st.sampled_from(ACTIONS), unit), min_size=10, max_size=30)


@dataclass
class Play:
    """A study that goes as the actions say: a journal that a search could have written.

    `ask` gives the configs of the trials to start; it is asked again before every action, for more than is
    needed. Trials that were judged may go on all the same, as reports on their way do.
    """

    space: Space
    ask: Callable[[int], Sequence[Config]]
    hear: Callable[[Event], None] = lambda event: None
    metric: str = "val_loss"
    others: tuple[str, ...] = ()  # further metrics that reports have
    events: list[Event] = field(default_factory=list[Event])
    rung: dict[int, int] = field(default_factory=dict[int, int])  # running trial -> reports so far
    started: int = 0
    paused: dict[int, int] = field(default_factory=dict[int, int])  # as `rung`, of paused trials

    def tell(self, event: Event) -> None:
        self.events.append(event)
        self.hear(event)

    def run(self, actions: Sequence[tuple[str, float]]) -> list[Event]:
        self.tell(StudyStarted("play", {}, 0, {}, "", 0.0))
        for position, (action, number) in enumerate(actions):
            self.ask(1 + position % 3)
            if action == "start":
                self.start(self.ask(1))
            elif action == "batch":
                self.start(self.ask(3))
            elif action == "enqueue":
                self.start([self.space.sample(stream(position, "enqueued"))])
            elif action == "resume":
                self.resume(number)
            elif action == "replicate":
                self.replicate(number)
            elif action == "notice":
                self.tell(Noticed("compile", f"line {position % 2}", 0.0))
            elif self.rung:
                self.act(action, sorted(self.rung)[int(number * 0.999 * len(self.rung))], number)
        return self.events

    def start(self, configs: Sequence[Config]) -> None:
        for config in configs:
            spec = TrialSpec(self.started, config, self.started, BUDGET, RUNGS, BUDGET, 0)
            self.rung[self.started] = 0
            self.started += 1
            self.tell(TrialStarted(spec, 0.0))

    def replicate(self, number: float) -> None:
        """A completed trial's config once more."""
        ended = [
            event.trial
            for event in self.events
            if isinstance(event, TrialFinished) and event.outcome == "completed"
        ]
        begun = {event.spec.trial: event for event in self.events if isinstance(event, TrialStarted)}
        first = [trial for trial in ended if begun[trial].replica_of is None]
        if first:
            trial = first[int(number * 0.999 * len(first))]
            spec = replace(begun[trial].spec, trial=self.started, seed=self.started)
            self.rung[self.started] = 0
            self.started += 1
            self.tell(TrialStarted(spec, 0.0, f"replica: of trial {trial}", trial))

    def resume(self, number: float) -> None:
        if not self.paused:
            return
        trial = sorted(self.paused)[int(number * 0.999 * len(self.paused))]
        self.rung[trial] = self.paused.pop(trial)
        following = [*RUNGS, BUDGET][self.rung[trial]]
        self.tell(TrialResumed(trial, following, "play", 0.0))

    def report(self, trial: int, value: float) -> None:
        if self.rung[trial] < len(RUNGS):
            spent = RUNGS[self.rung[trial]]
            self.rung[trial] += 1
            # Against each other in part: the lower the first, the higher is every other, by the trial.
            more = {name: (trial * 7 + 3 * place) % 5 - value for place, name in enumerate(self.others)}
            self.tell(TrialReported(Report(trial, spent, spent, 0.1, {self.metric: value, **more}), 0.0))

    def act(self, action: str, trial: int, number: float) -> None:
        value = 3.0 * number + 1.0 / (1 + self.rung[trial])
        if action == "report":
            self.report(trial, value)
            return
        if action in ("stop", "pause") and not self.rung[trial]:
            return
        if action == "pause":
            self.paused[trial] = self.rung.pop(trial)
            self.tell(TrialPaused(trial, RUNGS[self.paused[trial] - 1], "play", 0.0))
            return
        if action == "stop":
            self.tell(TrialStopped(trial, RUNGS[self.rung[trial] - 1], "play", 0.0))
            self.tell(TrialFinished(trial, "stopped", 0.0))
        elif action == "complete":
            while self.rung[trial] < len(RUNGS):
                self.report(trial, value)
            self.tell(TrialFinished(trial, "completed", 0.0))
        elif action == "diverge":
            self.report(trial, math.nan if number < 0.5 else math.inf)
            self.tell(TrialFinished(trial, "diverged", 0.0))
        elif action == "exhaust":
            self.tell(TrialFinished(trial, "out_of_memory", 0.0, error="no memory"))
        else:
            self.tell(TrialFinished(trial, "failed", 0.0, error="Traceback"))
        del self.rung[trial]


metric_values = st.one_of(st.floats(-1e6, 1e6), st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]))
tables = st.recursive(
    st.one_of(st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)
times = st.floats(0, 4e9)
names = texts


@st.composite
def specs(draw: st.DrawFn) -> TrialSpec:
    """Any spec."""
    rungs = tuple(sorted(draw(st.sets(st.integers(1, 1000), min_size=1, max_size=4))))
    return TrialSpec(
        trial=draw(st.integers(0, 10**6)),
        config=draw(st.dictionaries(names, values, max_size=4)),
        seed=draw(st.integers(0, 2**63 - 1)),
        budget=rungs[-1],
        rungs=rungs,
        horizon=draw(st.integers(1, 10**6)),
        split_seed=draw(st.integers(0, 2**63 - 1)),
        parent=draw(st.none() | texts),
        folds=draw(st.sampled_from(["none", "beside", "alone"])),
    )


reports = st.builds(
    Report,
    trial=st.integers(0, 10**6),
    step=st.integers(0, 10**6),
    spent=st.integers(0, 10**6),
    seconds=st.floats(0, 1e6),
    metrics=st.dictionaries(names, metric_values, max_size=4),
)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        StudyStarted,
        name=texts,
        study=st.dictionaries(names, tables, max_size=3),
        seed=st.integers(0, 2**63 - 1),
        versions=st.dictionaries(names, texts, max_size=3),
        source=texts,
        time=times,
    ),
    st.builds(
        TrialStarted, spec=specs(), time=times, origin=texts, replica_of=st.none() | st.integers(0, 10**6)
    ),
    st.builds(TrialReported, report=reports, time=times),
    st.builds(
        TrialScored,
        trial=st.integers(0),
        metrics=st.dictionaries(names, metric_values, max_size=4),
        steps=st.integers(0),
        folds=st.lists(
            st.sampled_from([FoldModel((), ("blur",)), FoldModel(("blur",), ("edges", "color"))])
        ).map(tuple),
        time=times,
        error=texts,
    ),
    st.builds(TrialPaused, trial=st.integers(0), spent=st.integers(0), reason=texts, time=times),
    st.builds(TrialResumed, trial=st.integers(0), until=st.integers(1), reason=texts, time=times),
    st.builds(StudyPaused, time=times, order=texts),
    st.builds(StudyResumed, time=times, order=texts),
    st.builds(StudyScaled, workers=st.integers(1), time=times, order=texts, error=texts),
    st.builds(TrialStopped, trial=st.integers(0), spent=st.integers(0), reason=texts, time=times),
    st.builds(
        TrialFinished,
        trial=st.integers(0),
        outcome=st.sampled_from(get_args(Outcome)),
        time=times,
        error=texts,
        row=texts,
    ),
    st.builds(
        StudyFinished,
        reason=texts,
        time=times,
        best=st.none() | st.integers(0),
        test=st.dictionaries(names, metric_values, max_size=2),
        gain=st.dictionaries(names, metric_values, max_size=2),
        seeds=st.dictionaries(
            st.integers(0, 99).map(str), st.dictionaries(names, metric_values, max_size=2), max_size=2
        ),
        targets=st.dictionaries(
            st.integers(0, 99).map(str),
            st.dictionaries(names, st.dictionaries(names, metric_values, max_size=2), max_size=2),
            max_size=2,
        ),
    ),
    st.builds(
        DataLoaded,
        sets=st.lists(
            st.builds(DataSet, name=names, digest=names, examples=st.integers(0), role=names), max_size=3
        ).map(tuple),
        time=times,
    ),
    st.builds(
        EarlierTaken,
        source=texts,
        metric=texts,
        results=st.lists(
            st.builds(
                EarlierResult,
                config=st.dictionaries(names, values, max_size=3),
                values=st.lists(metric_values, min_size=1, max_size=2).map(tuple),
                spread=st.floats(0, 1e6),
                excess=st.floats(0, 1e9),
            ),
            max_size=3,
        ).map(tuple),
        mapped=st.lists(names, max_size=3).map(tuple),
        lacking=st.lists(names, max_size=2).map(tuple),
        others=st.lists(names, max_size=2).map(tuple),
        left_out=st.dictionaries(texts, st.integers(1), max_size=2),
        time=times,
    ),
    st.builds(Noticed, topic=texts, text=texts, time=times),
)


def random_points(space: Space, count: int, seed: int = 0) -> np.ndarray:
    """(count, d) uniform points of the unit cube."""
    return np.random.default_rng(seed).random((count, len(space.names)))
