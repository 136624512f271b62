"""The shapes: step -> factor, in order of growing complexity.

A shape is stretched over `horizon` steps. It reaches its last value, the floor where it has one, at
step == horizon, one past the last update, so that no update is wasted; from there on it holds. Fractions are
fractions of the horizon, rounded to whole steps where something happens at a step. Progress p is
step / horizon, no more than 1. The peak of every shape is 1: the size of the learning rate is another choice.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from schedules.check import COUNT, FACTOR, FRACTION, POSITIVE, SHARE, UNIT, number, numbers, one_of, whole
from schedules.elementwise import Floats, between, elementwise, geometric, half_cosine, ramp
from schedules.types import Schedule

COOLDOWNS = ("linear", "exponential", "sqrt")


def constant(factor: float = 1.0) -> Schedule:
    """The same factor at every step.

    >>> constant(0.5)([0, 1000]).tolist()
    [0.5, 0.5]
    """
    factor = number("factor", factor, FACTOR)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        return np.full_like(steps, factor)

    return schedule


def linear(horizon: int, floor: float = 0.0) -> Schedule:
    """Straight down: floor + (1 - floor) * (1 - p).

    Li, Yumer, Ramanan: Budgeted Training: Rethinking Deep Neural Network Training Under Resource Constraints,
    ICLR 2020.

    >>> linear(100)([0, 25, 100, 200]).tolist()
    [1.0, 0.75, 0.0, 0.0]
    """
    return power(horizon, 1.0, floor)


def power(horizon: int, power: float = 2.0, floor: float = 0.0) -> Schedule:
    """A polynomial decay: floor + (1 - floor) * (1 - p)^power. Power 1 is linear, above 1 falls early.

    Chen, Papandreou, Kokkinos, Murphy, Yuille: DeepLab: Semantic Image Segmentation with Deep Convolutional
    Nets, Atrous Convolution, and Fully Connected CRFs, 2016 ("poly", power 0.9).

    >>> power(100, power=2)([0, 50, 100]).tolist()
    [1.0, 0.25, 0.0]
    """
    horizon = whole("horizon", horizon, COUNT)
    power = number("power", power, POSITIVE)
    floor = number("floor", floor, UNIT)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        return between(floor, 1.0, np.power(1.0 - ramp(steps, 0, horizon), power))

    return schedule


def cosine(horizon: int, floor: float = 0.0) -> Schedule:
    """Half a cosine: floor + (1 - floor) * (1 + cos(pi * p)) / 2.

    Loshchilov, Hutter: SGDR: Stochastic Gradient Descent with Warm Restarts, ICLR 2017, eq. 5, one period.

    >>> cosine(100, floor=0.1)([0, 50, 100]).round(3).tolist()
    [1.0, 0.55, 0.1]
    """
    horizon = whole("horizon", horizon, COUNT)
    floor = number("floor", floor, UNIT)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        return half_cosine(1.0, floor, ramp(steps, 0, horizon))

    return schedule


def exponential(horizon: int, floor: float = 0.01) -> Schedule:
    """Equal ratios from 1 to the floor, which must be above 0: floor^p.

    >>> exponential(100, floor=0.01)([0, 50, 100]).round(6).tolist()
    [1.0, 0.1, 0.01]
    """
    horizon = whole("horizon", horizon, COUNT)
    floor = number("floor", floor, SHARE)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        return geometric(1.0, floor, ramp(steps, 0, horizon))

    return schedule


def inverse_sqrt(horizon: int, timescale_fraction: float = 0.1) -> Schedule:
    """Inverse square root of the step: sqrt(c / (c + p)) with the timescale c as a fraction of the horizon.

    It reaches no floor: at the horizon it is sqrt(c / (c + 1)), about 0.3 for c = 0.1.

    Vaswani et al.: Attention Is All You Need, 2017, eq. 3, where the timescale is the warm-up; with a
    timescale of its own in Zhai, Kolesnikov, Houlsby, Beyer: Scaling Vision Transformers, 2022.

    >>> inverse_sqrt(120, timescale_fraction=0.25)([0, 90, 120]).round(4).tolist()
    [1.0, 0.5, 0.4472]
    """
    horizon = whole("horizon", horizon, COUNT)
    timescale = number("timescale_fraction", timescale_fraction, POSITIVE)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        return np.sqrt(timescale / (timescale + ramp(steps, 0, horizon)))

    return schedule


def multistep(horizon: int, milestones: Sequence[float] = (0.5, 0.75), drop: float = 0.1) -> Schedule:
    """A staircase: drop^n once n of the milestones, fractions of the horizon in any order, are passed.

    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2016: a tenth at 50 % and at 75 % of
    64,000 steps.

    >>> multistep(100)([0, 49, 50, 75]).round(4).tolist()
    [1.0, 1.0, 0.1, 0.01]
    """
    horizon = whole("horizon", horizon, COUNT)
    passed_at = np.sort([round(part * horizon) for part in numbers("milestones", milestones, UNIT)])
    stairs = np.power(number("drop", drop, UNIT), np.arange(len(passed_at) + 1.0))

    @elementwise
    def schedule(steps: Floats) -> Floats:
        return stairs[np.searchsorted(passed_at, steps, side="right")]

    return schedule


def rex(horizon: int, beta: float = 0.5, floor: float = 0.0) -> Schedule:
    """Reflected exponential: holds up longer than linear, then falls faster. With z = 1 - p:

        floor + (1 - floor) * z / (z + beta * (1 - z))

    beta = 1/2 is the paper's z / (1/2 + z/2); 1 is linear; 0.1 is the form z / (0.1 + 0.9 z) of a widely
    copied repository; towards 0 it holds the peak and drops at the end. The last value is held: there is no
    hidden restart after the horizon.

    Chen, Wolfe, Kyrillidis: REX: Revisiting Budgeted Training with an Improved Schedule, MLSys 2022; beta as
    in the repository google/init2winit.

    >>> rex(100)([0, 10, 50, 90, 100]).round(3).tolist()
    [1.0, 0.947, 0.667, 0.182, 0.0]
    """
    horizon = whole("horizon", horizon, COUNT)
    beta = number("beta", beta, POSITIVE)
    floor = number("floor", floor, UNIT)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        progress = ramp(steps, 0, horizon)
        left = 1.0 - progress
        return between(floor, 1.0, left / (left + beta * progress))

    return schedule


def wsd(
    horizon: int,
    cooldown_fraction: float = 0.2,
    cooldown: Literal["linear", "exponential", "sqrt"] = "linear",
    floor: float | None = None,
) -> Schedule:
    """Stable, then decay: 1, and over the last `cooldown_fraction` of the horizon down to the floor.

    With c from 0 to 1 over the cooldown: "linear" is floor + (1 - floor) * (1 - c); "sqrt" the same with
    1 - sqrt(c), which falls fastest at first; "exponential" is floor^c, equal ratios. The floor is 0 unless
    given, and 0.1 for "exponential", which cannot reach 0. Put `warmup` before it for warm-up-stable-decay.

    Hu et al.: MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training Strategies,
    2024. "sqrt": Hägele et al.: Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations,
    2024.

    >>> wsd(100, cooldown_fraction=0.2)([0, 80, 90, 100]).tolist()
    [1.0, 1.0, 0.5, 0.0]
    >>> wsd(100, cooldown_fraction=0.2, cooldown="sqrt")([80, 85, 100]).tolist()
    [1.0, 0.5, 0.0]
    """
    horizon = whole("horizon", horizon, COUNT)
    fraction = number("cooldown_fraction", cooldown_fraction, SHARE)
    form = one_of("cooldown", cooldown, COOLDOWNS)
    if form == "exponential":
        last = number('floor of cooldown="exponential"', 0.1 if floor is None else floor, SHARE)
    else:
        last = number("floor", 0.0 if floor is None else floor, UNIT)
    cooldown_steps = max(1, round(fraction * horizon))

    @elementwise
    def schedule(steps: Floats) -> Floats:
        progress = ramp(steps, horizon - cooldown_steps, cooldown_steps)
        if form == "exponential":
            return geometric(1.0, last, progress)
        return between(1.0, last, np.sqrt(progress) if form == "sqrt" else progress)

    return schedule


def one_cycle(
    horizon: int, peak_fraction: float = 0.3, start_factor: float = 0.04, floor: float = 0.0
) -> Schedule:
    """Up to the peak and down again, each along half a cosine: start_factor -> 1 -> floor.

    The learning rate of the policy alone: momentum is another choice.

    Smith, Topin: Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates, 2017,
    in the two-phase form of the fastai library, whose start is 1/25 of the peak.

    >>> one_cycle(100)([0, 30, 65, 100]).round(3).tolist()
    [0.04, 1.0, 0.5, 0.0]
    """
    horizon = whole("horizon", horizon, COUNT)
    peak_steps = _peak_steps(horizon, peak_fraction)
    start = number("start_factor", start_factor, UNIT)
    floor = number("floor", floor, UNIT)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        rise = half_cosine(start, 1.0, ramp(steps, 0, peak_steps))
        fall = half_cosine(1.0, floor, ramp(steps, peak_steps, horizon - peak_steps))
        return np.where(steps < peak_steps, rise, fall)

    return schedule


def slow_start_fast_decay(
    horizon: int,
    peak_fraction: float = 0.5,
    start_factor: float = 0.01,
    power: float = 1.0,
    floor: float = 0.01,
) -> Schedule:
    """For robust fine-tuning: a smooth rise from near the old rate, then a quick, near exponential fall.

    By equal ratios from start_factor to 1; then floor^(c^power) with c from 0 to 1 over the rest. A power
    below 1 falls fastest at first. Both ends must be above 0.

    Jeddi, Shafiee, Wong: A Simple Fine-tuning Is All You Need: Towards Robust Deep Learning Via Adversarial
    Fine-tuning, 2020; the parametrisation is this project's.

    >>> slow_start_fast_decay(100)([0, 25, 50, 75, 100]).round(4).tolist()
    [0.01, 0.1, 1.0, 0.1, 0.01]
    """
    horizon = whole("horizon", horizon, COUNT)
    peak_steps = _peak_steps(horizon, peak_fraction)
    start = number("start_factor", start_factor, SHARE)
    power = number("power", power, POSITIVE)
    floor = number("floor", floor, SHARE)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        rise = geometric(start, 1.0, ramp(steps, 0, peak_steps))
        fall = geometric(1.0, floor, np.power(ramp(steps, peak_steps, horizon - peak_steps), power))
        return np.where(steps < peak_steps, rise, fall)

    return schedule


def rewarm(horizon: int, peak_fraction: float = 0.01, floor: float = 0.1) -> Schedule:
    """Straight up from the floor to 1, then half a cosine down to it.

    For going on from a decayed checkpoint with new data.

    Gupta et al.: Continual Pre-Training of Large Language Models: How to (re)warm your model?, 2023.

    >>> rewarm(100, peak_fraction=0.1)([0, 5, 10, 55, 100]).round(3).tolist()
    [0.1, 0.55, 1.0, 0.55, 0.1]
    """
    horizon = whole("horizon", horizon, COUNT)
    peak_steps = _peak_steps(horizon, peak_fraction)
    floor = number("floor", floor, UNIT)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        rise = between(floor, 1.0, ramp(steps, 0, peak_steps))
        fall = half_cosine(1.0, floor, ramp(steps, peak_steps, horizon - peak_steps))
        return np.where(steps < peak_steps, rise, fall)

    return schedule


def infinite(
    horizon: int,
    settle_fraction: float = 0.3,
    plateau_factor: float = 0.5,
    anneal_fraction: float = 0.1,
    floor: float = 0.01,
) -> Schedule:
    """Half a cosine from 1 to plateau_factor, hold, and down to the floor by equal ratios.

    The annealing to the floor takes the last `anneal_fraction` of the horizon; settling takes the first
    `settle_fraction` of the steps before it, the trunk. Training that goes on later starts from the
    checkpoint before the annealing.

    Ibrahim et al.: Simple and Scalable Strategies to Continually Pre-train Large Language Models, 2024.

    >>> infinite(1000, anneal_fraction=0.2, settle_fraction=0.5)([0, 200, 400, 800, 1000]).round(3).tolist()
    [1.0, 0.75, 0.5, 0.5, 0.01]
    """
    horizon = whole("horizon", horizon, COUNT)
    anneal_steps = max(1, round(number("anneal_fraction", anneal_fraction, SHARE) * horizon))
    trunk_steps = horizon - anneal_steps
    settle_steps = round(number("settle_fraction", settle_fraction, UNIT) * trunk_steps)
    plateau = number("plateau_factor", plateau_factor, SHARE)
    floor = number("floor", floor, SHARE)

    @elementwise
    def schedule(steps: Floats) -> Floats:
        trunk = half_cosine(1.0, plateau, ramp(steps, 0, settle_steps))
        return np.where(
            steps < trunk_steps, trunk, geometric(plateau, floor, ramp(steps, trunk_steps, anneal_steps))
        )

    return schedule


def _peak_steps(horizon: int, peak_fraction: float) -> int:
    """The step of the peak; at least one step is left to come down."""
    return min(round(number("peak_fraction", peak_fraction, FRACTION) * horizon), horizon - 1)
