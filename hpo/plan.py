"""What every trial of a study has in common, and the seeds that trials are given.

Configs are tuned by some seeds and the winner is reported by others (Eimer, Lindauer and Raileanu,
"Hyperparameters in Reinforcement Learning and How To Tune Them", ICML 2023, arXiv:2306.01324): those that are
drawn for tuning have 31 bits, those drawn for the report one more, and where the user names some, the others
are drawn around them. So no seed ever serves both.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Literal

from hpo.errors import UsageError
from hpo.events import Suggestion
from trials.seeding import key
from trials.spec import TrialSpec

TUNING_SEEDS = 2**31  # below it lie those that configs are tuned by
TEST_SEEDS = 2**32  # below it, and not below the others', those drawn for the report


@dataclass(frozen=True, slots=True)
class Plan:
    """What every trial of a study has in common."""

    budget: int  # steps
    rungs: tuple[int, ...]
    horizon: int
    seed: int
    split_seed: int
    folds: Literal["none", "beside"] = "none"  # whether trials have their fold models beside them
    tuning: tuple[int, ...] = ()  # seeds of trials: the first, and one after another for replicas; (): drawn
    test: tuple[int, ...] = ()  # seeds that the winner is trained with again

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

    def retrained(self, best: TrialSpec, first: int, known: Collection[str]) -> list[TrialSpec]:
        """The winner with each test seed that is not known yet, under numbers from `first` on."""
        seeds = [seed for seed in self.test if str(seed) not in known]
        return [
            replace(best, trial=first + place, seed=seed, folds="none") for place, seed in enumerate(seeds)
        ]

    def check_seeds(self, specs: Iterable[TrialSpec]) -> None:
        """Refuse trials that were tuned by a seed that is to report.

        Raises:
            UsageError: with the seeds.
        """
        if not self.test:
            return
        shared = sorted({spec.seed for spec in specs} & set(self.test))
        if shared:
            raise UsageError(
                f"[seeds] test: {', '.join(map(str, shared))} trained trials that were chosen among: "
                "the winner can be reported only by seeds that chose nothing"
            )

    def _seed(self, trial: int, used: Collection[int]) -> int:
        """The next of the tuning seeds; or drawn for the trial of this number, again where it is taken."""
        for seed in self.tuning:
            if seed not in used:
                return seed
        found, draws = key(self.seed, "trial", trial) % TUNING_SEEDS, 0
        while found in used or found in self.test:
            draws += 1
            found = key(self.seed, "trial", trial, draws) % TUNING_SEEDS
        return found


def drawn_test_seeds(seed: int, count: int) -> tuple[int, ...]:
    """So many different seeds that no trial is ever tuned by.

    >>> found = drawn_test_seeds(0, 5)
    >>> len(set(found)), min(found) >= TUNING_SEEDS, max(found) < TEST_SEEDS
    (5, True, True)
    """
    found: dict[int, None] = {}
    draws = 0
    while len(found) < count:
        found[TUNING_SEEDS + key(seed, "test", draws) % (TEST_SEEDS - TUNING_SEEDS)] = None
        draws += 1
    return tuple(found)


def check_named_seeds(
    tuning: Collection[int], test: int | Collection[int], replicas: int, place: str
) -> None:
    """Refuse seeds named in a study file that cannot be: twice, too few, too large, or shared.

    Raises:
        UsageError: with the key and the seeds.
    """
    named = () if isinstance(test, int) else test
    for name, seeds, most in (("tuning", tuning, TUNING_SEEDS), ("test", named, TEST_SEEDS)):
        twice = sorted({seed for seed in seeds if list(seeds).count(seed) > 1})
        if twice:
            raise UsageError(f"{place} {name}: {', '.join(map(str, twice))} is named twice")
        if seeds and max(seeds) >= most:
            raise UsageError(f"{place} {name}: {max(seeds)} must be below {most}")
    shared = sorted(set(tuning) & set(named))
    if shared:
        raise UsageError(
            f"{place} tuning and test share {', '.join(map(str, shared))}: the winner can be reported only "
            "by seeds that chose nothing"
        )
    if tuning and len(tuning) < replicas:
        raise UsageError(
            f"{place} tuning names {len(tuning)} seed{'s' if len(tuning) > 1 else ''}, and "
            f"replicas = {replicas} needs {replicas}"
        )
