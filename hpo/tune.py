"""Our samplers and pruners inside a `Tuner` of Ray Tune, for those who have one already.

    search = TuneSampler({"lr": {"low": 1e-4, "high": 1.0, "scale": "log"}}, "curve", steps=30)
    early = TunePruner("asha", steps=30)
    Tuner(train, tune_config=TuneConfig(search_alg=search, scheduler=early, num_samples=50)).fit()

Tune tells a searcher that a trial it stopped is complete. Here it is what it was: a trial that ended before
its `steps` was stopped, one whose metric is not finite has diverged, one that raised has failed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.sample import Domain

from hpo import codec
from hpo.errors import UsageError
from hpo.events import Event, Listener, Outcome, Suggestion, TrialFinished, TrialReported, TrialStarted
from hpo.loop import Plan
from hpo.objective import Objective, is_known
from hpo.pruners import base as pruners
from hpo.samplers import base as samplers
from hpo.space import Space
from hpo.space import table as space_table
from trials.seeding import key
from trials.spec import Report

_TIME = "training_iteration"  # Tune's count of reports


class _Told:
    """What Tune says, as events for one listener; a trial of Tune's is a number here."""

    def __init__(self, listener: Listener, objective: Objective, steps: int, seed: int, time: str) -> None:
        if steps < 1:
            raise UsageError(f"steps={steps} must be at least 1: the {time} at which a trial is complete")
        self.listener, self.objective, self._time = listener, objective, time
        self._plan = Plan(steps, (steps,), steps, seed, 0)
        self.numbers: dict[str, int] = {}  # trial of Tune's -> ours
        self._spent: dict[int, int] = {}  # trial that runs -> its last report
        self._infinite: dict[int, str] = {}  # trial that runs -> what of its last report is not finite
        self.events: list[Event] = []

    def start(self, name: str, suggestion: Suggestion) -> None:
        number = self.numbers.setdefault(name, len(self.numbers))
        self.tell(TrialStarted(self._plan.spec(number, suggestion), 0.0))

    def report(self, name: str, result: Mapping[str, Any]) -> None:
        """Take in a result, once."""
        number, spent = self.numbers.get(name), int(result.get(self._time, 0))
        if number is None or not self._spent.get(number, spent) < spent:
            return
        metrics = {
            metric: float(value)
            for metric, value in result.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool)
        }
        self.tell(TrialReported(Report(number, spent, spent, 0.0, metrics), 0.0))

    def end(self, name: str, result: Mapping[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over; told again, it is no news."""
        if result is not None:
            self.report(name, result)
        number = self.numbers.get(name)
        if number is None or number not in self._spent:
            return
        outcome: Outcome = "completed" if self._spent[number] >= self._plan.budget else "stopped"
        if error:
            outcome = "failed"
        elif number in self._infinite:
            outcome = "diverged"
        self.tell(TrialFinished(number, outcome, 0.0, self._infinite.get(number, "")))

    def is_infinite(self, name: str) -> bool:
        return self.numbers.get(name) in self._infinite

    def tell(self, event: Event) -> None:
        match event:
            case TrialStarted(spec):
                self._spent[spec.trial] = 0
            case TrialReported(report):
                self._spent[report.trial] = report.spent
                value = report.metrics.get(self.objective.metric, 0.0)
                if not is_known(value):
                    self._infinite[report.trial] = f"{self.objective.metric} is {value}"
            case TrialFinished(trial=trial):
                del self._spent[trial]
                self._infinite.pop(trial, None)
            case _:
                pass
        self.events.append(event)
        self.listener.tell(event)

    # What Tune keeps of it: what happened. Replayed, it is the same again.

    def save(self, path: str) -> None:
        lines = [json.dumps(self.numbers), *map(codec.encode, self.events)]
        Path(path).write_text("\n".join(lines), encoding="utf-8")

    def restore(self, path: str) -> None:
        names, *lines = Path(path).read_text(encoding="utf-8").splitlines()
        self.numbers = json.loads(names)
        for line in lines:
            self.tell(codec.decode(line.encode()))


class TuneSampler(Searcher):
    """One of our samplers, as a `Searcher`: `TuneConfig(search_alg=TuneSampler(space, "gp", steps=30))`.

    Args:
        space: what is searched, or its table as in a study file's [space].
        sampler: random, sobol, grid, curve, tpe, gp, cmaes or nsga2.
        steps: the `time_attr` at which a trial is complete.
        metric: its name in the results.
        mode: "min" or "max".
        seed: equal seeds and results give equal suggestions.
        time_attr: which number of a result counts how far a trial is.
        options: of the sampler.

    Raises:
        UsageError: something of it that cannot be.
    """

    def __init__(
        self,
        space: Space | Mapping[str, Any],
        sampler: str = "curve",
        *,
        steps: int,
        metric: str = "val_loss",
        mode: str = "min",
        seed: int = 0,
        time_attr: str = _TIME,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        objective = Objective.read({"name": metric, "goal": mode})
        known = space if isinstance(space, Space) else space_table.read(space, "space")
        self._sampler = samplers.build(
            sampler, known, objective, key(seed, "search") & 0x7FFFFFFF, options or {}
        )
        self._told = _Told(self._sampler, objective, steps, seed, time_attr)

    @property
    def events(self) -> list[Event]:
        """What the sampler was told."""
        return list(self._told.events)

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """What the `Tuner` says of metric and space has to be what the sampler knows."""
        searched = [name for name, value in config.items() if isinstance(value, Domain)]
        if searched:
            raise UsageError(
                f"param_space searches {', '.join(searched)}: tell TuneSampler what is searched; param_space "
                "is for values that are fixed"
            )
        return metric in (None, self.metric) and mode in (None, self.mode)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """A config for a new trial; `FINISHED`, a text, when the space is exhausted."""
        suggestions = self._sampler.ask(1)
        if not suggestions:
            return cast(Any, Searcher.FINISHED)
        self._told.start(trial_id, suggestions[0])
        return dict(suggestions[0].config)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A result of a trial that goes on."""
        self._told.report(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial is over, in whatever way."""
        self._told.end(trial_id, result, error)

    def save(self, checkpoint_path: str) -> None:
        """Write down what happened."""
        self._told.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Hear again what happened; for a new sampler."""
        self._told.restore(checkpoint_path)


class TunePruner(TrialScheduler):
    """One of our pruners, as a `TrialScheduler`: `TuneConfig(scheduler=TunePruner("asha", steps=30))`.

    A trial whose metric is not finite is stopped too. Trials are run in the order in which they came.

    Args:
        pruner: never, median, asha or trust.
        steps: the `time_attr` at which a trial is complete.
        metric: its name in the results.
        mode: "min" or "max".
        time_attr: which number of a result counts how far a trial is.
        options: of the pruner.

    Raises:
        UsageError: something of it that cannot be.
    """

    def __init__(
        self,
        pruner: str = "asha",
        *,
        steps: int,
        metric: str = "val_loss",
        mode: str = "min",
        time_attr: str = _TIME,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        objective = Objective.read({"name": metric, "goal": mode})
        self._metric, self._mode = metric, mode
        self._pruner = pruners.build(pruner, objective, options or {})
        if isinstance(self._pruner, pruners.Pauser):
            raise UsageError(
                f"pruner {pruner!r} pauses trials, which it cannot tell Ray Tune to: use 'trust'"
            )
        self._told = _Told(self._pruner, objective, steps, 0, time_attr)

    @property
    def events(self) -> list[Event]:
        """What the pruner was told."""
        return list(self._told.events)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """What the `Tuner` says of the metric has to be what the pruner knows."""
        return metric in (None, self._metric) and mode in (None, self._mode)

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """A trial waits to be run."""
        self._told.start(trial.trial_id, Suggestion({}))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Whether a trial goes on after this result."""
        self._told.report(trial.trial_id, result)
        keeps = self._pruner.keep(self._told.numbers[trial.trial_id])
        if keeps and not self._told.is_infinite(trial.trial_id):
            return TrialScheduler.CONTINUE
        return TrialScheduler.STOP

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """A trial is over."""
        self._told.end(trial.trial_id, result)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """A trial has raised."""
        self._told.end(trial.trial_id, error=True)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """A trial that did not run is gone."""
        self._told.end(trial.trial_id)

    def choose_trial_to_run(self, tune_controller: Any) -> Any:
        """The first trial that waits."""
        trials = cast(list[Any], tune_controller.get_trials())
        for status in ("PENDING", "PAUSED"):
            for trial in trials:
                if trial.status == status:
                    return trial
        return None

    def debug_string(self) -> str:
        """One line for Tune's console."""
        return f"hpo's pruner, {len(self._told.numbers)} trials"

    def save(self, checkpoint_path: str) -> None:
        """Write down what happened."""
        self._told.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Hear again what happened; for a new pruner."""
        self._told.restore(checkpoint_path)
