"""How far a level of the budget ranks trials as they end, first of all those of one program.

Trials of other structure may be ranked otherwise. What is known of a program itself counts with the number of
its ends, against a few ends' worth of what is known of all: a program with few ends is trusted as the others
are, and one that a level misleads about is not, however many others it ranks rightly. Between the two are
trials that differ in sizes only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpo.forecasts import Ends
from hpo.programs import Program
from hpo.pruners.concordance import agreements, share_of, wilson_low

_BESIDE = 0.5  # what a neighbouring level counts: what holds here mostly holds there
_BORROWED = 4  # ends that a share of more trials counts as, against one of fewer


@dataclass(frozen=True, slots=True)
class Share:
    """Of pairs that are ranked as they end."""

    share: float
    count: int  # of ends


@dataclass(frozen=True, slots=True)
class Ranking:
    """What is known of a level, for one program."""

    low: float  # end of the interval of the share of pairs ranked rightly
    everyone: Share
    own: Share | None = None  # of the same program, or of what differs in sizes only; None: too few, or all
    is_program: bool = False  # `own` is the first of the two

    def words(self) -> str:
        """What trust rests on.

        >>> Ranking(0.8, Share(0.9, 12), Share(1.0, 5), True).words()
        'it ranks 90% of the pairs of 12 ends rightly, and 100% of the 5 of its own program'
        """
        said = f"it ranks {self.everyone.share:.0%} of the pairs of {self.everyone.count} ends rightly"
        if self.own is None:
            return said
        whose = "of its own program" if self.is_program else "that differ from it in sizes only"
        return f"{said}, and {self.own.share:.0%} of the {self.own.count} {whose}"


class Least(NamedTuple):
    """How many completed trials are needed."""

    of_all: int
    of_branch: int  # of the same words and switches, where there are others


def ranking(
    ends: Callable[[int], Ends], level: int, programs: Mapping[int, Program], trial: int, least: Least
) -> Ranking | None:
    """What is known of a level for a trial's program; None where fewer than the `least` completed beyond it.

    Args:
        ends: level -> what ended trials had there.
        level: the one that is asked about.
        programs: of every trial.
        trial: whose program it is.
        least: completed trials that are needed.
    """
    found = [_completed(ends(level), programs)]
    if len(found[0].programs) < least.of_all:
        return None
    found += [_completed(ends(level - 1), programs), _completed(ends(level + 1), programs)]
    everyone = _share(found, [np.ones(len(one.programs), bool) for one in found])
    program, own, is_program = programs[trial], None, False
    share, count = everyone.share, float(everyone.count)
    for by_sizes in (False, True):
        members = [one.same(program) if by_sizes else one.of_branch(program) for one in found]
        narrower = _share(found, members)
        if not by_sizes and narrower.count < min(least.of_branch, everyone.count):
            return None
        if own is not None and narrower.count == own.count:
            is_program = True
        if narrower.count < 2 or narrower.count == (own or everyone).count:
            continue
        own, is_program = narrower, by_sizes
        weight = own.count / (own.count + _BORROWED)
        share = weight * own.share + (1 - weight) * share
        # As if both were shares of different trials.
        count = 1 / (weight**2 / own.count + (1 - weight) ** 2 / count)
    return Ranking(wilson_low(share, count), everyone, own, is_program)


@dataclass(frozen=True, slots=True, eq=False)
class _Completed:
    """Trials whose final value was seen."""

    programs: Sequence[Program]  # n of them
    agreed: np.ndarray  # (n, n) whether two are ranked as they end

    def same(self, program: Program) -> np.ndarray:
        """(n,) whether it is of the program."""
        return np.array([one == program for one in self.programs], bool)

    def of_branch(self, program: Program) -> np.ndarray:
        """(n,) whether it is of the program's branch."""
        branch = program.branch
        return np.array([one.branch == branch for one in self.programs], bool)


def _completed(ends: Ends, programs: Mapping[int, Program]) -> _Completed:
    seen = ends.spreads == 0.0
    trials = np.array(ends.trials, int)[seen].tolist()
    return _Completed([programs[trial] for trial in trials], agreements(ends.values[seen], ends.finals[seen]))


def _share(found: Sequence[_Completed], members: Sequence[np.ndarray]) -> Share:
    """Of pairs that both belong: at a level, with its neighbours after it."""
    shares: list[float] = []
    weights: list[float] = []
    counts = [int(member.sum()) for member in members]
    for place, (one, member, count) in enumerate(zip(found, members, counts, strict=True)):
        if count > 1:
            shares.append(share_of(one.agreed if member.all() else one.agreed[member][:, member]))
            weights.append((_BESIDE if place else 1.0) * count)
    return Share(float(np.average(shares, weights=weights)) if shares else 1.0, counts[0])
