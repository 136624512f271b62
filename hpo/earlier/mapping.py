"""Earlier trials in the words of another space: by the names of hyperparameters.

A hyperparameter is mapped if any earlier trial has a value of that name, and those that decide here whether
it is active are mapped too, or fixed. Scales and conditions may differ; a trial with a value that its domain
here does not hold is left out. What is fixed here is not compared: it says which task a study is about, and
how much an earlier one has to say of this one is learnt from results.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hpo.bounds import Bound
from hpo.dominance import fronts
from hpo.earlier.former import FormerStudy, FormerTrial, ends
from hpo.errors import UsageError
from hpo.events import EarlierResult, EarlierTaken
from hpo.space import Choice, Domain, Int, Space
from hpo.space.domains import same
from trials.spec import Value

MOST = 400  # trials of one source
_LEAST_WITHIN = 2  # trials within the constraints, before the others count as broken off


def mapped(space: Space, names: set[str]) -> tuple[str, ...]:
    """The hyperparameters of the space that an earlier study with these names says something of."""
    found: dict[str, None] = {}
    for name in space.names:
        if name in names and all(
            parent in found or parent in space.fixed for parent in space.when.get(name, {})
        ):
            found[name] = None
    return tuple(found)


def restricted(space: Space, names: Sequence[str]) -> Space:
    """The space of these hyperparameters alone; what is fixed, and decides over some, stays.

    >>> from hpo.space import Float
    >>> restricted(Space({"a": Float(0, 1), "b": Float(0, 1)}), ["b"]).names
    ('b',)
    """
    when = {name: space.when[name] for name in names if name in space.when}
    return Space({name: space.domains[name] for name in names}, space.fixed, when)


def taken(
    source: str,
    former: FormerStudy,
    space: Space,
    place: str,
    time: float,
    bounds: Sequence[Bound] = (),
) -> EarlierTaken:
    """What of an earlier study this one can begin with.

    Raises:
        UsageError: no name in common, or no trial that can be taken.
    """
    if not former.trials:
        raise UsageError(f"{place}: none of its trials has ended, of {former.under_way} that began")
    known = {name for trial in former.trials for name in trial.config}
    names = mapped(space, known)
    if not names:
        raise UsageError(
            f"{place}: no hyperparameter has the same name in both: it has "
            f"{', '.join(sorted(known)) or 'none'}; searched here are {', '.join(space.names)}"
        )
    here = restricted(space, names)
    left_out: Counter[str] = Counter()
    if former.under_way:
        left_out["under way"] = former.under_way
    found: list[EarlierResult] = []
    for trial, end in zip(former.trials, ends(former.trials, bounds), strict=True):
        config, why = _config(trial, here)
        if why or end is None:
            left_out[why or "nothing is known of their ends"] += 1
        else:
            found.append(EarlierResult(config, end.values, end.spread, end.excess))
    if not any(_is_value(one.values) for one in found):
        reasons = "; ".join(f"{count} {why}" for why, count in left_out.items())
        broke = f"{len(found)} broke off" if found else ""
        raise UsageError(
            f"{place}: none of its trials can be begun with: {'; '.join(filter(None, [broke, reasons]))}"
        )
    kept = _thinned(_whole(found))
    if len(kept) < len(found):
        left_out[f"beyond the {MOST} that are kept"] = len(found) - len(kept)
    lacking = tuple(name for name in space.names if name not in names)
    others = tuple(sorted(known - {*space.domains, *space.fixed}))
    return EarlierTaken(source, former.metric, tuple(kept), names, lacking, others, dict(left_out), time)


def _is_value(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def _whole(found: Sequence[EarlierResult]) -> list[EarlierResult]:
    """The same, those that broke off with as many values as the others."""
    count = max(len(one.values) for one in found)
    return [one if len(one.values) == count else replace(one, values=(math.inf,) * count) for one in found]


def order(results: Sequence[EarlierResult]) -> list[int]:
    """Places of the results, best first: within the constraints, beyond them, broken off."""
    values = np.array([one.values for one in results], float)
    excess = np.array([one.excess if _is_value(one.values) else math.inf for one in results])
    ranks = fronts(np.where(np.isfinite(values), values, 1e300), excess)
    return sorted(range(len(values)), key=lambda place: (ranks[place], values[place, 0], place))


def judged(results: Sequence[EarlierResult]) -> list[float]:
    """Of every result what it counts for, by its first metric: as a trial of this study would.

    One beyond the constraints counts as one that broke off; while hardly any keeps them, what counts is how
    far each is beyond them (`hpo.samplers.scalarised`).
    """
    if sum(_is_value(one.values) and one.excess == 0 for one in results) < min(_LEAST_WITHIN, len(results)):
        return [one.excess if _is_value(one.values) else math.inf for one in results]
    return [one.values[0] if one.excess == 0 else math.inf for one in results]


def _thinned(results: list[EarlierResult]) -> list[EarlierResult]:
    """At most `MOST`: the better half of those, and an even share of the rest; in their order."""
    if len(results) <= MOST:
        return results
    best = order(results)
    half = MOST // 2
    rest = [best[int(place)] for place in np.linspace(half, len(best) - 1, MOST - half)]
    return [results[place] for place in sorted({*best[:half], *rest})]


def _config(trial: FormerTrial, space: Space) -> tuple[dict[str, Value], str]:
    """Its values of what is active here; or why it is left out."""
    found: dict[str, Value] = {}
    for name in space.names:
        if not space.is_active(name, {**space.fixed, **found}):
            continue
        if name not in trial.config:
            return {}, f"without {name}, which is active here"
        value = as_value(space.domains[name], trial.config[name])
        if value is None:
            return {}, f"outside of the bounds here ({name})"
        found[name] = value
    return found, ""


def as_value(domain: Domain, given: Any) -> Value | None:
    """The value of the domain that was meant, also by a text; None if it holds none such.

    >>> as_value(Int(1, 64), "32"), as_value(Int(1, 64), 32.0), as_value(Choice((True, False)), "True")
    (32, 32, True)
    """
    if isinstance(domain, Choice):
        alike = [one for one in domain.choices if _is_same(one, given)]
        return alike[0] if alike else None
    if isinstance(given, str):
        try:
            given = float(given)
        except ValueError:
            return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not math.isfinite(given):
        return None
    if isinstance(domain, Int):
        whole = int(given)
        return whole if whole == given and domain.contains(whole) else None
    return float(given) if domain.contains(float(given)) else None


def _is_same(choice: Value, given: Any) -> bool:
    if isinstance(given, str) and not isinstance(choice, str):
        return str(choice) == given or (not isinstance(choice, bool) and _number(given) == choice)
    return isinstance(given, (bool, int, float, str)) and same(choice, given)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def unsaid(former: FormerStudy, bounds: Sequence[Bound]) -> str:
    """That trials say nothing of what is bounded here, and how they are taken; "" where all do."""
    told = [trial for trial in former.trials if trial.reports]
    lacking = {bound.metric: sum(not one.bounded.get(bound.metric) for one in told) for bound in bounds}
    some = [f"{count} of {len(told)} do not report {name}" for name, count in lacking.items() if count]
    return f"{' and '.join(some)}, which is bounded here: taken as if they kept it" if some else ""


def words(told: EarlierTaken, unsaid: str = "") -> str:
    """What was taken, in one line."""
    broke = sum(not _is_value(one.values) for one in told.results)
    beyond = sum(one.excess > 0 and _is_value(one.values) for one in told.results)
    forecast = sum(one.spread > 0 for one in told.results)
    trials = f"{len(told.results)} trial{'s' * (len(told.results) != 1)}"
    detail = [
        f"{broke} broke off" * bool(broke),
        f"{beyond} beyond the constraints here" * bool(beyond),
        f"{forecast} by forecasts of their ends" * bool(forecast),
    ]
    line = f"from {told.source}: {trials} by {told.metric}"
    if any(detail):
        line += f" ({', '.join(filter(None, detail))})"
    line += f"; mapped {', '.join(told.mapped)}"
    if told.lacking:
        line += f"; not there {', '.join(told.lacking)}"
    if told.others:
        line += f"; not here {', '.join(told.others)}"
    for why, count in told.left_out.items():
        line += f"; {count} left out: {why}"
    return f"{line}; {unsaid}" if unsaid else line
