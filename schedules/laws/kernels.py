"""Three laws of the loss under annealing: how much of a drop of the rate has been gained by now.

All are L(t) = limit + amplitude * (S(t) / S_ref)^-exponent - gain * K(t), where S is the area under the
rate in peak steps, K sums the drops of the rate (shares of the peak), each with the part of it that has
taken effect, and N_k, X_k are the steps and the area since drop k:

- "annealing": sum d_k (1 - memory^N_k). Tissue, Wang, Wang: Scaling Law with Learning Rate Annealing, 2024,
  with its sum carried out, so that `gain` is their C / (1 - memory) times the peak.
- "multi_power": sum d_k (1 - (1 + C r_k^-gamma X_k)^-beta), r_k the rate after the drop.
  Luo et al.: A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules, ICLR 2025.
- "progress": (S / S_ref)^-delta sum d_k (1 - (1 + C N_k^g X_k^(1-g))^-beta): time is counted between steps
  and area, and a drop is worth less the further the training has come. Measured on the published curves of
  two sizes to predict held-out schedules better than both (docs/benchmarks.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from schedules.laws.annealing import Annealing
from schedules.laws.curve import Floats

REFERENCE_AREA = 23_333.0  # peak steps; it scales `amplitude` and `gain` and changes no prediction

Constants = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Law:
    """One entry of the table of laws."""

    effect: Callable[[Annealing, Constants], Floats]  # K at every point, (n,)
    constants: Constants  # of the memory: what a fit begins with, or keeps
    bounds: Mapping[str, tuple[float, float]]
    fits: str  # "none" of the constants, "all" of them, or the one of a few "choices" that fits best
    meaning: str
    choices: tuple[float, ...] = ()  # of its only constant


def _annealing(seen: Annealing, constants: Constants) -> Floats:
    return _summed(seen, 1.0 - np.exp(np.log(constants["memory"]) * seen.steps_since))


def _multi_power(seen: Annealing, constants: Constants) -> Floats:
    time = constants["C"] * seen.rates ** -constants["gamma"] * seen.area_since
    return _summed(seen, -np.expm1(-constants["beta"] * np.log1p(time)))


def _progress(seen: Annealing, constants: Constants) -> Floats:
    g = constants["g"]
    # Both clocks stand at 0 for drops to come; the logarithm of 0 is a warning otherwise.
    is_past = seen.steps_since > 0
    steps = np.log(np.where(is_past, seen.steps_since, 1.0))
    area = np.log(np.maximum(seen.area_since, 1e-12))
    time = np.where(is_past, np.exp(g * steps + (1.0 - g) * area), 0.0)
    effect = -np.expm1(-constants["beta"] * np.log1p(constants["C"] * time))
    return (seen.area / REFERENCE_AREA) ** -constants["delta"] * _summed(seen, effect)


def _summed(seen: Annealing, effect: Floats) -> Floats:
    return effect @ seen.drops


LAWS: dict[str, Law] = {
    "progress": Law(
        _progress,
        # From the nine published curves of each of two sizes together, rounded: the rounding changes no
        # figure of the benchmark, and neither does delta between 0.10 and 0.20.
        {"C": 0.175, "beta": 0.135, "g": 0.45, "delta": 0.15},
        {"C": (1e-3, 5.0), "beta": (0.02, 2.0), "g": (0.0, 1.0), "delta": (-0.5, 1.0)},
        "none",
        "a drop is worth less the further training has come; predicts held-out schedules best",
    ),
    "multi_power": Law(
        _multi_power,
        # The published ones lie near these, at all sizes, once C is counted in peak steps.
        {"C": 0.112, "beta": 0.59, "gamma": 0.645},
        {"C": (1e-5, 10.0), "beta": (0.02, 3.0), "gamma": (0.0, 2.0)},
        "all",
        "a power of the area since each drop",
    ),
    "annealing": Law(
        _annealing,
        {"memory": 0.998},
        {"memory": (0.9, 0.99999)},
        "choices",
        "an exponential memory of the steps since each drop",
        (0.99, 0.995, 0.998, 0.999, 0.9995),
    ),
}
