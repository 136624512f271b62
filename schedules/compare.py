"""Which candidate did best, and whether the validation split is large enough to tell."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schedules.types import Trace, TunerError

STANDARD_ERRORS = 2.0  # by which two candidates must differ where there are many examples

Floats = NDArray[np.floating[Any]]


def score(trace: Trace) -> float:
    """The validation loss at the end; infinite where a loss is not finite, or none was measured."""
    values = np.asarray(trace.val_losses, np.float64)
    if not values.size or not np.isfinite(values).all() or not np.isfinite(trace.losses).all():
        return math.inf
    return float(values[-1])


def difference(one: Floats, other: Floats) -> tuple[float, float]:
    """Mean of one minus other, example by example, and its standard error; both are (n,), the same examples.

    Losses of the same examples move together, so their differences vary far less than the losses themselves.

    >>> difference(np.array([1.0, 3.0, 5.0]), np.array([0.5, 2.5, 4.5]))
    (0.5, 0.0)
    """
    apart = np.asarray(one, np.float64) - np.asarray(other, np.float64)
    spread = float(apart.std(ddof=1)) if len(apart) > 1 else 0.0
    return float(apart.mean()), spread / math.sqrt(len(apart))


@functools.cache
def standard_errors(examples: int) -> float:
    """By how many of its standard errors the mean of so many must differ from 0: as rare as two of many.

    The quantile of Student's t with one degree of freedom fewer: a standard error that is itself guessed from
    three examples is often far too small.

    >>> [round(standard_errors(examples), 2) for examples in (2, 3, 10, 100, 10_000)]
    [13.97, 4.53, 2.32, 2.03, 2.0]
    """
    from scipy import special  # pyright: ignore

    chance = special.ndtr(STANDARD_ERRORS)  # pyright: ignore
    return float(special.stdtrit(examples - 1, chance))  # pyright: ignore


def are_equal(one: Trace, other: Trace) -> bool:
    """Whether their losses of the same examples differ by no more than chance may; unknown is not."""
    if one is other:
        return True
    if not len(one.example_losses) == len(other.example_losses) > 1:
        return False
    mean, error = difference(one.example_losses, other.example_losses)
    return abs(mean) < standard_errors(len(one.example_losses)) * error


def standard_error(losses: Floats) -> float:
    """Of the mean loss of these examples, (n,); nan where there are not two of them."""
    values = np.asarray(losses, np.float64)
    if len(values) < 2 or not np.isfinite(values).all():
        return math.nan
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def can_be_told_apart(traces: Sequence[Trace]) -> str:
    """Empty where best and worst differ by more than chance may; else what to change, in words.

    Candidates that are not finite take no part. Without losses of the examples nothing can be said, and so
    nothing is.
    """
    finite = [trace for trace in traces if math.isfinite(score(trace)) and len(trace.example_losses)]
    if len(finite) < 2:
        return ""
    if any(len(trace.example_losses) == 1 for trace in finite):
        return (
            "no candidate can be told from another by a single example: a validation split of at least "
            f"{examples_needed(1.0)} examples is needed"
        )
    best, worst = min(finite, key=score), max(finite, key=score)
    if len(best.example_losses) != len(worst.example_losses):
        return ""
    mean, error = difference(worst.example_losses, best.example_losses)
    have = len(best.example_losses)
    if not math.isfinite(error) or abs(mean) >= standard_errors(have) * error or error == 0.0:
        return ""
    words = (
        f"no candidate can be told from another: between best and worst the validation loss differs by "
        f"{abs(mean):.3g} with a standard error of {error:.3g} on {have} examples"
    )
    if mean == 0.0:
        return f"{words}: try rates that are further apart"
    needed = two_digits(examples_needed(error * math.sqrt(have) / abs(mean)))
    return f"{words}: a validation split of at least {needed} examples is needed, or rates further apart"


def examples_needed(spread: float) -> int:
    """How many tell a mean from 0 that the examples spread around by so many times its size.

    Two terms of the quantile in 1 / n examples: with z standard errors, t^2 = z^2 (1 + (z^2 + 1) / 2n).

    >>> [examples_needed(spread) for spread in (0.5, 1.0, 20.0)]
    [4, 7, 1603]
    """
    squared = STANDARD_ERRORS**2
    return math.ceil(squared * spread**2 + (squared + 1) / 2)


def check_apart(traces: Sequence[Trace]) -> None:
    """Do nothing if the candidates can be told apart.

    Raises:
        TunerError: they cannot; the message says how many examples it takes.
    """
    if words := can_be_told_apart(traces):
        raise TunerError(words)


def two_digits(value: float) -> int:
    """The next whole number above with at most two digits that are not 0.

    >>> [two_digits(value) for value in (7.2, 99.5, 1234)]
    [8, 100, 1300]
    """
    unit = 10 ** max(0, math.floor(math.log10(max(value, 1.0))) - 1)
    return math.ceil(value / unit) * unit
