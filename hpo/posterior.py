"""What several seeds say of a config: the mean that further seeds would have, with an interval.

A normal model with two variances, fitted to the study itself. Seeds of a config scatter around its mean with
one variance for all, pooled over the configs that were trained more than once; the means of configs scatter
around that of all with another, which is what is left of their scatter (method of moments). The posterior
mean of a config draws its plain mean towards that of all, the more the fewer its seeds and the larger their
scatter: the lowest of many single results is partly luck, and what is drawn in corrects for having been
chosen.

Morris, "Parametric Empirical Bayes Inference: Theory and Applications", Journal of the American Statistical
Association 78 (1983); that a posterior need not be corrected for selection: Efron, "Tweedie's Formula and
Selection Bias", Journal of the American Statistical Association 106 (2011).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

LEVEL = 0.95  # of the intervals


@dataclass(frozen=True, slots=True)
class Estimate:
    """Of the mean over seeds, minimised; infinite where a seed broke off."""

    mean: float
    low: float  # ends of the interval
    high: float
    seeds: int  # that it rests on


def estimates(values: Mapping[int, Sequence[float]]) -> dict[int, Estimate]:
    """Config -> its estimate, from the values of its seeds; {} while no config has two finite ones.

    With means `y_i` of `n_i` seeds, the pooled variance `s^2` of a single seed on `f` degrees of freedom, and
    `t^2`, `m` variance and mean of the `k` configs: `b_i = 1 - (k - 3) / (k - 1) s^2 / (s^2 + n_i t^2)`,
    posterior mean `b_i y_i + (1 - b_i) m`, interval `± q sqrt(b_i s^2 / n_i + v_i)` with the quantile `q` of
    Student's t for `f`. That `b_i` is estimated too is in `v_i`, which is
    `(1 - b_i)^2 (y_i - m)^2 (2 / (k - 3) + 2 / f)`. The factor of `k` (Morris) keeps `b_i` above 0 where
    `t^2` is estimated as 0: configs that seeds can hardly tell apart are still in the order of their means.
    In `m` and `t` a config counts as at most three times as far above the median as the best is below it.

    >>> found = estimates({0: [1.0, 1.2, 1.1], 1: [2.0], 2: [3.0], 3: [2.0], 4: [2.0]})
    >>> round(found[0].mean, 3), found[0].low < 1.1 < found[0].high, found[0].seeds
    (1.103, True, 3)
    """
    whole = {name: some for name, some in values.items() if some and all(map(math.isfinite, some))}
    single, freedom = scatter(whole.values())
    if not freedom:
        return {}
    means = {name: float(np.mean(some)) for name, some in whole.items()}
    middle, between = _between(np.array(list(means.values())), single, [len(some) for some in whole.values()])
    far = quantile(freedom)
    # How far so many configs tell their variance.
    trusted = max(0, len(whole) - 3) / max(1, len(whole) - 1)
    found: dict[int, Estimate] = {}
    for name, some in values.items():
        if name not in whole:
            found[name] = Estimate(math.inf, math.inf, math.inf, len(some))
            continue
        own = single / len(some)
        share = 1 - trusted * own / (between + own) if own > 0 else 1.0
        mean = share * means[name] + (1 - share) * middle
        doubt = (1 - share) ** 2 * (2 / max(1, len(whole) - 3) + 2 / freedom)
        width = far * math.sqrt(share * own + doubt * (means[name] - middle) ** 2)
        found[name] = Estimate(mean, mean - width, mean + width, len(some))
    return found


def scatter(values: Iterable[Sequence[float]]) -> tuple[float, int]:
    """(variance of one seed, degrees of freedom), pooled over configs; 0 where no config has two seeds.

    >>> scatter([[1.0, 1.2, 1.1], [2.0], [3.0, 3.2]])
    (0.013333333333333345, 3)
    """
    some = [np.array(one, float) for one in values]
    freedom = sum(len(one) - 1 for one in some)
    squares = sum(float(np.var(one)) * len(one) for one in some)
    return (squares / freedom if freedom else 0.0), freedom


def _between(means: np.ndarray, single: float, counts: Sequence[int]) -> tuple[float, float]:
    """(mean of the configs, variance of their means without that of the seeds)."""
    median = float(np.median(means))
    below = median - float(means.min())
    clipped = np.minimum(means, median + 3 * below)
    own = single * float(np.mean(1 / np.array(counts, float)))
    spread = float(np.var(clipped, ddof=1)) if len(clipped) > 1 else math.inf
    return float(clipped.mean()), max(0.0, spread - own)


def quantile(freedom: int) -> float:
    """Of Student's t at `LEVEL`, for both sides, with so many degrees of freedom."""
    from scipy.special import stdtrit  # pyright: ignore[reportMissingTypeStubs]

    return float(cast(float, stdtrit(freedom, 0.5 + LEVEL / 2)))
