"""A user's function as a trial: loaded by name, run as a generator, what it says read as reports.

An objective takes a `TrialSpec` and yields `Report`s, or mappings of metrics, one for each rung in order (a
mapping may give its own "step"); or it is a plain function that returns a number, the objective's metric,
or a mapping of metrics. A trial is complete once it has reported at its budget, or when its function ends.
"""

import contextlib
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, SupportsFloat, cast

from hpo.errors import UsageError
from hpo.events import Outcome
from hpo.objective import is_known
from hpo.runners.base import Target
from trials.spec import Report, TrialSpec, is_out_of_memory

# What a trial may raise at the worker boundary, where it becomes a failed trial. A script that calls
# sys.exit ends its trial, not the search; Ctrl-C is the user's.
RAISED = (Exception, SystemExit)


class Function:
    """The function a target names, loaded when it is first needed, or the one given."""

    def __init__(self, target: Target, given: Callable[[TrialSpec], Any] | None = None) -> None:
        self._target, self._loaded = target, given

    def _load(self) -> Callable[[TrialSpec], Any]:
        if self._loaded is None:
            from trials.names import load_object

            found = load_object(self._target.reference, Path(self._target.base))
            if not callable(found):
                raise ValueError(f"{self._target.reference!r} is not a function")
            self._loaded = cast(Callable[[TrialSpec], Any], found)
        return self._loaded

    def check(self) -> None:
        """Only that it can be loaded and called with one argument.

        Raises:
            UsageError: it cannot.
        """
        reference = self._target.reference
        try:
            inspect.signature(self._load()).bind(None)
        except (ValueError, TypeError) as error:
            raise UsageError(f"objective {reference!r}: {error}") from error
        # Importing runs the user's code: whatever it raises is told as one line.
        except Exception as error:
            raise UsageError(f"objective {reference!r}: {type(error).__name__}: {error}") from error

    def values(self, spec: TrialSpec) -> Iterator[Any]:
        """What the function says of this trial; nothing of it runs before the first is asked for."""
        # A copy: what the function does to its config must not reach the study.
        made = self._load()(replace(spec, config=dict(spec.config)))
        if isinstance(made, Iterator):
            yield from cast(Iterator[Any], made)
        else:
            # A plain function: its one value belongs to the whole budget.
            yield _Final(made)


class _Final:
    """The value that a plain function returned."""

    def __init__(self, value: Any) -> None:
        self.value = value


def as_report(spec: TrialSpec, value: Any, last: Report | None, metric: str, seconds: float) -> Report:
    """The report that a function's value is, after the last one; `seconds` where it does not say.

    Raises:
        TypeError, ValueError: it cannot be one.
    """
    if isinstance(value, Report):
        report = value
    else:
        final = isinstance(value, _Final)
        found = value.value if final else value
        # Anything that turns into a float: a number of numpy's or a tensor of one element too.
        if isinstance(found, SupportsFloat) and not isinstance(found, bool):
            found = {metric: found}
        if not isinstance(found, Mapping):
            raise TypeError(
                f"the objective gave {type(found).__name__}; "
                "a Report, a mapping of metrics or a number is wanted"
            )
        metrics = {str(name): _number(name, one) for name, one in cast(Mapping[Any, Any], found).items()}
        before = last.spent if last else 0
        following = next((rung for rung in spec.rungs if rung > before), before + 1)
        said = spec.budget if final else metrics.pop("step", following)
        step = int(said) if float(said).is_integer() else -1
        if step < 0:
            raise ValueError(f"step = {said:g} must be a whole number of at least 0")
        report = Report(spec.trial, step, step, seconds, metrics)
    if report.trial != spec.trial:
        raise ValueError(f"the objective reported for trial {report.trial}, it runs trial {spec.trial}")
    if last is not None and report.spent <= last.spent:
        raise ValueError(f"reports must increase in spent steps: {report.spent} after {last.spent}")
    if report.spent > spec.budget:
        raise ValueError(f"a report at {report.spent} spent steps is past the budget of {spec.budget}")
    return report


def _number(name: Any, found: Any) -> float:
    try:
        return float(found)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} = {found!r} must be a number") from error


def forgotten(values: Iterator[Any]) -> None:
    """Close the function of a trial that will not go on; what its `finally` raises is nobody's any more."""
    with contextlib.suppress(*RAISED):
        cast(Generator[Any], values).close()


def undefined(report: Report, metric: str) -> str:
    """What of a report says that its trial has diverged, in words; "" for none.

    >>> undefined(Report(0, 1, 1, 0.0, {"val_loss": math.inf}), "val_loss")
    'val_loss is inf'
    """
    telling = ("train_loss", metric)  # others may be undefined early
    bad = [name for name in telling if not is_known(report.metrics.get(name, 0.0))]
    return f"{bad[0]} is {report.metrics[bad[0]]}" if bad else ""


def broken(raised: BaseException) -> Outcome:
    """How a trial ended that raised this."""
    return "out_of_memory" if is_out_of_memory(raised) else "failed"
