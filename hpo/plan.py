"""What every trial of a study has in common, and the seeds they are given."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from hpo.events import Suggestion
from trials.seeding import key
from trials.spec import TrialSpec

_DRAWN = 0x7FFFFFFF  # 31 bits


@dataclass(frozen=True, slots=True)
class Plan:
    """What every trial of a study has in common."""

    budget: int  # steps
    rungs: tuple[int, ...]
    horizon: int
    seed: int
    split_seed: int
    folds: Literal["none", "beside"] = "none"  # whether trials have their fold models beside them

    def spec(self, trial: int, suggestion: Suggestion) -> TrialSpec:
        """The trial that a suggestion becomes."""
        budget = suggestion.budget or self.budget
        rungs = tuple(rung for rung in self.rungs if rung < budget)
        return TrialSpec(
            trial,
            dict(suggestion.config),
            self._seed(trial, ()),
            budget,
            (*rungs, budget),
            self.horizon,
            self.split_seed,
            suggestion.parent,
            self.folds,
        )

    def replica(self, first: TrialSpec, trial: int, used: Collection[int]) -> TrialSpec:
        """The same config once more, with a seed that is none of those used for it."""
        return replace(first, trial=trial, seed=self._seed(trial, used))

    def _seed(self, trial: int, used: Collection[int]) -> int:
        """Drawn for the trial of this number; once more where that was used."""
        found, draws = key(self.seed, "trial", trial) & _DRAWN, 0
        while found in used:
            draws += 1
            found = key(self.seed, "trial", trial, draws) & _DRAWN
        return found
