"""What a user believes of a hyperparameter before anything was tried: where it is good, and how sure that is.

lr = {low = 1e-4, high = 1e-1, scale = "log", prior = {center = 1e-3, confidence = "medium"}}
optimizer = {choice = ["adamw", "sgd"], prior = {center = "adamw"}}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, cast

import numpy as np

from hpo.errors import UsageError
from hpo.options import unknown
from hpo.space.domains import Choice, Domain
from trials.spec import Value

# Confidence -> (standard deviation, of a range of length 1 on its scale: a half, a quarter, an eighth;
# how much likelier the centre of a choice is than each other value).
_CONFIDENCES: dict[str, tuple[float, float]] = {
    "low": (0.5, 2.0),
    "medium": (0.25, 4.0),
    "high": (0.125, 8.0),
}
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Prior:
    """A normal around the centre, cut at the bounds; of a choice, a likelier value.

    *Laws.* A uniform number becomes one drawn from the prior; the density is that of the drawn numbers.
    """

    domain: Domain
    center: Value
    confidence: str = "medium"

    def __post_init__(self) -> None:
        if self.confidence not in tuple(_CONFIDENCES):
            raise UsageError(f"prior: {unknown('confidence', self.confidence, _CONFIDENCES)}")
        if not self.domain.contains(self.center):
            raise UsageError(f"prior: center={self.center!r} must be {self.domain}")

    @property
    def place(self) -> float:
        """The centre on the unit interval."""
        return self.domain.encode(self.center)

    def _cut(self) -> tuple[float, float, float]:
        """(standard deviation, mass below the interval, mass within it) of the normal."""
        width = _CONFIDENCES[self.confidence][0]
        below = _NORMAL.cdf(-self.place / width)
        return width, below, _NORMAL.cdf((1 - self.place) / width) - below

    def _shares(self, domain: Choice) -> np.ndarray:
        shares = np.ones(len(domain.choices))
        shares[domain.index(self.center)] = _CONFIDENCES[self.confidence][1]
        return shares / shares.sum()

    def drawn(self, uniform: float) -> float:
        """A coordinate drawn from the prior, by a uniform number.

        >>> from hpo.space.domains import Float
        >>> round(Prior(Float(0.0, 1.0), 0.5).drawn(0.5), 6)
        0.5
        """
        if isinstance(self.domain, Choice):
            edges = np.cumsum(self._shares(self.domain))
            index = min(int(np.searchsorted(edges, uniform, "right")), len(edges) - 1)
            return (index + 0.5) / len(edges)
        width, below, within = self._cut()
        level = min(max(below + uniform * within, 1e-12), 1 - 1e-12)
        return min(1.0, max(0.0, self.place + width * _NORMAL.inv_cdf(level)))

    def log_density(self, coordinates: np.ndarray) -> np.ndarray:
        """(n,) logarithms, relative to a uniform, at (n,) coordinates."""
        if isinstance(self.domain, Choice):
            shares = self._shares(self.domain) * len(self.domain.choices)
            index = np.clip(np.floor(coordinates * len(shares)).astype(int), 0, len(shares) - 1)
            return np.log(shares)[index]
        width, _, within = self._cut()
        height = -math.log(width * math.sqrt(2 * math.pi) * within)
        return height - 0.5 * np.square((coordinates - self.place) / width)


def read_prior(entry: Any, domain: Domain) -> Prior:
    """The prior that a hyperparameter's entry names.

    Raises:
        UsageError: anything but {center = ..., confidence = ...}, or a centre outside of the domain.
    """
    if not isinstance(entry, Mapping) or "center" not in entry:
        raise UsageError(f'prior={entry!r} must be a table such as {{center = 1e-3, confidence = "medium"}}')
    table = cast(Mapping[str, Any], entry)
    for name in table:
        if name not in ("center", "confidence"):
            raise UsageError(f"prior: {unknown('key', name, ['center', 'confidence'])}")
    return Prior(domain, table["center"], table.get("confidence", "medium"))
