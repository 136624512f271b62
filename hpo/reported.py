"""Whether trials report every metric that a study seeks or bounds."""

from collections.abc import Collection

from hpo.history import History
from hpo.objective import Objective
from hpo.options import unknown


class Reported:
    """Looks until every metric was reported, then no more."""

    def __init__(self) -> None:
        self._is_told = False

    def lacks(self, history: History) -> str:
        """Why the study cannot go on: no trial reports a metric that is sought or bounded; "" otherwise."""
        objective = history.objective
        if self._is_told:
            return ""
        if not any(trial.state == "completed" for trial in history.trials.values()):
            return ""
        told = {name for trial in history.trials.values() for one in trial.reports for name in one.metrics}
        names = [part.metric for part in objective.parts]
        if not objective.is_lenient:
            names += [bound.metric for bound in objective.bounds]
        lacking = [name for name in names if name not in told]
        self._is_told = not lacking
        return _lack(objective, lacking[0], told) if lacking else ""


def _lack(objective: Objective, name: str, told: Collection[str]) -> str:
    """That no trial reports a metric, and what can be done."""
    bounds = [bound.words() for bound in objective.bounds if bound.metric == name]
    known = ", ".join(sorted(told)) or "nothing"
    if not bounds:
        return f"{unknown('metric', name, told)}: no trial reports it, so that none can be compared"
    return (
        f"no trial reports {name!r}, which [constraints] bounds ({bounds[0]}); they report {known}: correct "
        "the name in a new study, or go on without this constraint with `hpo resume STUDY --force`"
    )
