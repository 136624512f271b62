"""What trials cost, learnt from the seconds their steps take, and how much that counts now.

Where seconds are what a study may spend, improvement is looked for per second: the logarithm of the expected
improvement, less that of the seconds expected (Snoek, Larochelle and Adams, "Practical Bayesian Optimization
of Machine Learning Algorithms", NeurIPS 2012, section 3.2). Cost counts in full at first and less as time
runs out, so that the dear configs are not left for never (cost cooling: Lee, Perrone, Archambeau and Seeger,
"Cost-Aware Bayesian Optimization", 2020, arXiv:2003.10870, section 3.2).
"""

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from hpo.events import Event, StudyStarted, TrialReported
from hpo.samplers.features import Features
from hpo.samplers.gaussian import Posterior, default, learn

_ROWS = 120  # trials that the process is told, the newest
_LEAST = 5  # trials that have taken time
_ALIKE = 0.1  # standard deviation of logarithms of seconds, below which costs do not count
_OTHERS = ("trials", "total_steps")  # limits beside which seconds are not what is spent


class Costs:
    """Hears every event; a process over logarithms of the seconds of a step."""

    def __init__(self, features: Features, mode: str) -> None:
        self._features, self._mode = features, mode
        self._rates: dict[int, float] = {}  # trial -> seconds of a step
        self._limit: float | None = None  # seconds of search
        self._is_limited_otherwise = False
        self._before = 0.0  # seconds of search of earlier sessions
        self._session = self._now = math.nan
        self._first = 0.0  # seconds of search when the model began
        self._kernel = default(features.owners, features.d)
        self._posterior: Posterior | None = None
        self._middle, self._width = 0.0, 1.0  # of the logarithms

    def tell(self, event: Event) -> None:
        """Take in one event."""
        if isinstance(event, StudyStarted):
            if not math.isnan(self._session):
                self._before += self._now - self._session
            self._session = event.time
            limits: Any = event.study.get("limits", {})
            limits = cast(Mapping[str, Any], limits) if isinstance(limits, Mapping) else {}
            self._limit = limits.get("seconds")
            self._is_limited_otherwise = any(limits.get(name) is not None for name in _OTHERS)
        elif isinstance(event, TrialReported) and event.report.seconds > 0 and event.report.spent > 0:
            self._rates[event.report.trial] = event.report.seconds / event.report.spent
        self._now = event.time

    @property
    def is_asked_for(self) -> bool:
        """Whether costs may count at all: seconds are the limit, or an option says so."""
        if self._mode == "auto":
            return self._limit is not None and not self._is_limited_otherwise
        return self._mode == "always"

    def _elapsed(self) -> float:
        return self._before + (0.0 if math.isnan(self._session) else max(0.0, self._now - self._session))

    def learn(self, points: np.ndarray, places: Mapping[int, int], most_rounds: int) -> None:
        """What the trials at these rows of (n, d) points took."""
        trials = [trial for trial in self._rates if trial in places][-_ROWS:]
        if not self.is_asked_for or len(trials) < _LEAST:
            return
        logs = np.log([self._rates[trial] for trial in trials])
        if logs.std() < _ALIKE:
            self._posterior = None
            return
        if self._posterior is None:
            self._first = self._elapsed()
        self._middle, self._width = float(logs.mean()), float(logs.std())
        values, extra = (logs - self._middle) / self._width, np.zeros(len(logs))
        rows = points[[places[trial] for trial in trials]]
        columns = self._features.columns(rows, self._features.active(rows))
        self._kernel = learn(columns, values, extra, self._kernel, most_rounds)
        self._posterior = Posterior(self._kernel, columns, values, extra)

    @property
    def weight(self) -> float:
        """How much the logarithm of seconds counts now: 0 where costs are alike, or not asked for."""
        if self._posterior is None or not self.is_asked_for:
            return 0.0
        if self._limit is None or self._limit <= self._first:
            return 1.0
        return min(1.0, max(0.0, (self._limit - self._elapsed()) / (self._limit - self._first)))

    def log_seconds(self, columns: np.ndarray) -> np.ndarray:
        """(m,) expected at (m, D) columns, relative to the usual trial."""
        assert self._posterior is not None
        return self._width * self._posterior.means(columns)
