"""A rule over the lanes of a program: what it remembers in the rows, and its arithmetic in the step.

What a lane remembers is one vector: the last change of the weights (P), then for each weight group the
factor, the size of the last change, and its product and cosine with the change before.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from schedules.hypergradient import Rule
from trials.rows import Place

_FACTS = 4  # for each group: factor, norm of the last change, its product and cosine with the one before
_TINY = 1e-30


class Ruled:
    """One rule, for all weights together or for each weight group.

    `groups` names groups by prefixes of weight names; weights of none of them are one more group.
    """

    def __init__(
        self, rule: Rule, places: Sequence[Place], groups: Mapping[str, str | Sequence[str]] | None
    ) -> None:
        self.rule = rule
        self.width = sum(place.size for place in places)
        self.names, self._ranges = _ranges(places, groups)
        self.size = self.width + _FACTS * len(self.names)
        member = torch.zeros(self.width, dtype=torch.int64)
        for group, ranges in enumerate(self._ranges):
            for start, stop in ranges:
                member[start:stop] = group
        self._member = member  # (P,) group of each weight

    def first(self) -> Tensor:
        """(size,) what a row remembers before its first step."""
        memory = torch.zeros(self.size)
        memory[self.width : self.width + len(self.names)] = 1.0
        return memory

    def _sums(self, values: Tensor) -> Tensor:
        """(K, P) -> (K, G), summed within each group."""
        if len(self.names) == 1:
            return values.sum(1, keepdim=True)
        parts = [sum((values[:, a:b].sum(1) for a, b in ranges)) for ranges in self._ranges]
        return torch.stack([part for part in parts if isinstance(part, Tensor)], 1)

    def _facts(self, memory: Tensor) -> list[Tensor]:
        """Views of the four facts, each (K, G)."""
        count = len(self.names)
        return [
            memory[:, self.width + place * count : self.width + (place + 1) * count]
            for place in range(_FACTS)
        ]

    def factors(
        self, memory: Tensor, gradients: Tensor, found: Tensor, hyper: Mapping[str, Tensor]
    ) -> Tensor:
        """(K, G) factors of this step; `memory` (K, size) is changed, `hyper` is each (K, 1).

        `found` (K, 3) is what the kernel `signals` says of the gradients and the last change.
        """
        factor, size, dot, cosine = self._facts(memory)
        if len(self.names) == 1:
            norm, product = found[:, 1:2], found[:, 2:3]
        else:
            norm = self._sums(gradients.square()).sqrt()
            product = self._sums(gradients * memory[:, : self.width])
        norms = norm * size
        signals = {
            "hypergradient": product / factor,
            "grad_cosine": product / norms.clamp(min=_TINY),
            "update_dot": dot,
            "update_cosine": cosine,
        }
        factor.copy_(self.rule.update(factor, signals, hyper))
        return factor

    def spread(self, factors: Tensor) -> Tensor:
        """(K, G) -> (K, 1) for all weights, or (K, P)."""
        return factors if len(self.names) == 1 else factors[:, self._member.to(factors.device)]

    def remember(self, memory: Tensor, change: Tensor) -> None:
        """Take in what the update did: `change` (K, P), weights before less weights after."""
        _, size, dot, cosine = self._facts(memory)
        product = self._sums(change * memory[:, : self.width])
        norm = self._sums(change.square()).sqrt()
        cosine.copy_(product / (norm * size).clamp(min=_TINY))
        dot.copy_(product)
        size.copy_(norm)
        memory[:, : self.width].copy_(change)


def _ranges(
    places: Sequence[Place], groups: Mapping[str, str | Sequence[str]] | None
) -> tuple[tuple[str, ...], list[list[tuple[int, int]]]]:
    """Names of the groups, and the stretches of a row that each of them has."""
    names = (*groups, "others") if groups else ("",)
    ranges: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
    for place in places:
        name = names[-1]
        for group, prefixes in (groups or {}).items():
            if place.name.startswith(prefixes if isinstance(prefixes, str) else tuple(prefixes)):
                name = group
                break
        stretch = ranges[name]
        if stretch and stretch[-1][1] == place.start:
            stretch[-1] = (stretch[-1][0], place.start + place.size)
        else:
            stretch.append((place.start, place.start + place.size))
    used = tuple(name for name in names if ranges[name])
    return used, [ranges[name] for name in used]
