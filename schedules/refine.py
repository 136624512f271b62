"""From the gradient norms of a finished trial to a better schedule.

Defazio, Cutkosky, Mehta, Mishchenko: When, Why and How Much? Adaptive Learning Rate Scheduling by
Refinement, 2023. With G_t the smoothed norm at step t = 1 … T and w_t = G_t^-2 (SGD: l2 norms) or 1 / G_t
(Adam: l1 norms):

    factor_t = w_t * (w_{t+1} + … + w_T),    divided by the largest

Only the shape is learnt: the peak is to be searched again. The theory is convex and takes the norms for
fixed, so that refining a refined trial need not help.
"""

from typing import Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schedules.check import Interval, number, one_of

Floats = NDArray[np.float64]
Form = Literal["sgd", "adam"]
FORMS: tuple[Form, ...] = ("sgd", "adam")
QUIETEST = 1.0  # percentile that norms are raised to: where the loss is interpolated, weights would explode


def refine(norms: ArrayLike, form: Form = "sgd", smoothing: float = 0.1) -> Floats:
    """The refined factor of every step, at most 1, and 0 at the last. (T,).

    Args:
        norms: (T,) of the gradient at every step, before clipping: l2 for "sgd", l1 for "adam" (and for any
            method whose update forgets the size of the gradient).
        form: how the update uses the gradient.
        smoothing: width of the median filter, as a share of the steps.

    Raises:
        ValueError: fewer than 2 norms; norms that are negative, not finite, or 0 everywhere.

    >>> refine([3.0] * 5).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    weights = _weights(norms, form, smoothing)
    # Summed from the end: what comes after each step.
    after = np.concatenate([np.cumsum(weights[:0:-1])[::-1], [0.0]])
    factors = weights * after
    return factors / factors.max()


def smoothed(norms: ArrayLike, smoothing: float = 0.1) -> Floats:
    """The running median, over 2 * floor(smoothing * T / 2) + 1 steps. (T,).

    Beyond the start the first norm holds; at the end the norms are reflected.

    >>> smoothed([1.0, 1.0, 9.0, 1.0, 1.0], smoothing=0.6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    from scipy import ndimage  # pyright: ignore

    values = _checked(norms)
    width = 2 * int(number("smoothing", smoothing, Interval(0, 1)) * len(values) / 2) + 1
    if width == 1:
        return values
    extended = np.pad(np.pad(values, (0, 2 * width), mode="reflect"), (2 * width, 0), mode="edge")
    found = cast(Any, ndimage).median_filter(extended, size=width, mode="nearest")
    return np.asarray(found, dtype=np.float64)[2 * width :][: len(values)]


def _weights(norms: ArrayLike, form: Form, smoothing: float) -> Floats:
    one_of("form", form, FORMS)
    values = smoothed(norms, smoothing)
    largest = float(values.max())
    if largest == 0:
        raise ValueError("norms are 0 nearly everywhere: no schedule can be told from them")
    # Of the largest, so that neither squares nor their inverses leave the range of numbers.
    values = values / largest
    values = np.maximum(values, max(float(np.percentile(values, QUIETEST)), 1e-9))
    weights = values**-2.0 if form == "sgd" else 1.0 / values
    return weights / weights.max()


def _checked(norms: ArrayLike) -> Floats:
    values = np.asarray(norms, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"norms of shape {values.shape} must be one number for each of at least 2 steps")
    legal = np.isfinite(values) & (values >= 0)
    if not legal.all():
        step = int(np.argmin(legal))
        raise ValueError(f"norm={values[step]} at step {step} must be a finite number, at least 0")
    return values
