"""Whether curves identify a law, and if not, which curve is missing.

The effect of annealing must not look like a trunk. A trunk is a power of the area; over the rows it moves, as
its numbers vary, along 1, the power and its derivative by the exponent. What is left of a typical effect after
these three are taken out is what the gain can be told from.
"""

from collections.abc import Sequence

import numpy as np

from schedules.laws.annealing import Annealing
from schedules.laws.curve import Curve, Floats
from schedules.laws.kernels import LAWS, REFERENCE_AREA

LEAST_DROP = 0.1  # of the peak, net, with rows after it
LEAST_LEFT = 0.05


def contrast(seen: Sequence[Annealing]) -> float:
    """The part of the effect of annealing that no trunk imitates, as a share of its size; 0 without any."""
    law = LAWS["progress"]
    effects = [law.effect(one, law.constants) for one in seen]
    size = max(float(np.abs(effect).max()) for effect in effects)
    if size == 0:
        return 0.0
    parts: list[Floats] = []
    columns: list[Floats] = []
    for one, effect in zip(seen, effects, strict=True):
        log_area = np.log(one.area / REFERENCE_AREA)
        trunk = np.exp(-0.5 * log_area)
        weight = 1.0 / np.sqrt(len(effect))
        columns.append(np.stack([np.ones_like(trunk), trunk, trunk * log_area], axis=1) * weight)
        parts.append(effect * weight)
    basis, wanted = np.concatenate(columns), np.concatenate(parts)
    linear, *_ = np.linalg.lstsq(basis, wanted, rcond=None)
    left = wanted - basis @ linear
    return float(np.sqrt(left @ left / len(seen)) / size)


def is_annealed(seen: Sequence[Annealing]) -> bool:
    """Whether a rate falls somewhere before the last row."""
    return any(float(one.drops[one.steps_since[-1] > 1].sum()) >= LEAST_DROP for one in seen)


def is_identified(seen: Sequence[Annealing]) -> bool:
    """Whether curves with these rates identify a law."""
    return is_annealed(seen) and contrast(seen) >= LEAST_LEFT


def check_identified(curves: Sequence[Curve], seen: Sequence[Annealing]) -> None:
    """Nothing, if these curves identify a law.

    Raises:
        ValueError: they do not; says which curve is missing.
    """
    names = ", ".join(curve.name for curve in curves)
    if not is_annealed(seen):
        raise ValueError(
            f"{names}: the rate never falls, so that what annealing gains is not seen: "
            f"add a curve that cools down from the same peak (wsd, linear or cosine)"
        )
    if contrast(seen) < LEAST_LEFT:
        raise ValueError(
            f"{names}: the rate falls all the time, so that what annealing gains cannot be told from what training "
            f"gains: add a curve that holds the same peak (constant), or one that holds it and then cools down (wsd)"
        )
