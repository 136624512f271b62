"""Whether curves identify a law, and if not, which curve is missing.

A long stretch at the peak fixes limit, amplitude and exponent, a fall of the rate the gain. On the
published curves (25M and 100M) a law from one run that holds and then cools down, or from a cosine and a
constant, missed the others by 0.0011 or less of the loss; from one cosine alone by up to 0.0060, from one
constant alone by up to 0.0043. A cosine leaves its peak so early, and falls so evenly, that a wrong
exponent explains it as well.
"""

from collections.abc import Sequence

import numpy as np

from schedules.laws.curve import Curve

LEAST_DROP = 0.1  # of the peak, with rows after it
HOLDS = 0.98  # of the peak
# Of the steps of the longest curve. A cosine holds its peak for 0.09 of its steps.
LEAST_HOLD = 0.2
LEAST_GROWTH = 2.0  # of the area while the peak is held: an exponent is the slope over some stretch


def falls(curve: Curve) -> bool:
    """Whether the rate falls, and rows follow that show what came of it."""
    after = curve.steps >= curve.warmup_end
    lowest = np.minimum.accumulate(curve.lrs[after])
    return int((lowest <= (1 - LEAST_DROP) * curve.peak).sum()) >= 3


def held(curve: Curve) -> tuple[int, float]:
    """For how many steps the peak is held, and by what factor the area grows meanwhile."""
    settled = curve.settled()
    steps, lrs = curve.steps[settled], curve.lrs[settled]
    below = lrs < HOLDS * curve.peak
    last = steps[np.argmax(below) - 1] if below.any() else steps[-1]
    if not len(steps) or below[0]:
        return 0, 1.0
    area = curve.area_before() + np.cumsum(curve.rates())[[steps[0] - curve.steps[0], last - curve.steps[0]]]
    return int(last - steps[0]), float(area[1] / area[0])


def missing(curves: Sequence[Curve]) -> str:
    """Which curve these lack to identify a law, as advice; "" when they identify one.

    >>> steps = np.arange(100)
    >>> missing([Curve(steps, np.full(100, 0.1))]).partition(":")[0]
    'no rate falls, for three rows at least, so that what annealing gains is not seen'
    >>> missing([Curve(steps, np.minimum(0.1, 0.1 * (100 - steps) / 30))])
    ''
    """
    if not any(falls(curve) for curve in curves):
        return (
            "no rate falls, for three rows at least, so that what annealing gains is not seen: "
            "add a curve that cools down from the same peak (a wsd or a cosine)"
        )
    longest = max(int(curve.steps[-1]) - curve.warmup_end for curve in curves)
    holds = [held(curve) for curve in curves]
    if not any(steps >= LEAST_HOLD * longest and growth >= LEAST_GROWTH for steps, growth in holds):
        return (
            "no rate holds its peak for long, so that what annealing gains cannot be told from what training "
            "gains: add a curve that holds the same peak (a constant, or a wsd)"
        )
    return ""
