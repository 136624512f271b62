"""Rules: move a factor on the rate along what the last update did, at every step and on the device.

A rule is arithmetic on scalars, the same on floats and on tensors of any shape (one number for each lane and
weight group), so that it can be part of a compiled step: no branches, nothing read back. It multiplies the
schedule's factor, which goes on as ever.

Signals at step t, of the gradient g and of d = weights before - weights after an update:

- `hypergradient`: <g(t), d(t-1)> / factor(t-1). Every optimizer here moves weights in proportion to the
  rate, so this is exactly minus the derivative of the loss at step t by the factor at step t-1.
- `grad_cosine`: the cosine between g(t) and d(t-1), 0 before there is an update.
- `update_dot`: <d(t-1), d(t-2)>; `update_cosine`: the cosine between them, 0 before there are two.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from schedules.check import FACTOR, Interval, number

Scalar = Any  # a float, or a tensor that holds one number for each lane and weight group

FLOATS = {  # float hyperparameters of every rule, and what they may be
    "rule_rate": Interval(),
    "rule_bound": Interval(1, FACTOR.high),  # below 1 there is no factor between 1 / bound and bound
}

SIGNALS = ("hypergradient", "grad_cosine", "update_dot", "update_cosine")


def check_floats(config: Mapping[str, object]) -> None:
    """Do nothing if the floats of a rule that a config has are legal; other names are ignored.

    >>> check_floats({"rule_rate": 0.05, "lr": 0.1})

    Raises:
        ValueError: one is not.
    """
    for name, legal in FLOATS.items():
        if name in config:
            number(name, config[name], legal)


class Rule(Protocol):
    """Chooses a factor while training, on the device, at every step."""

    @property
    def meaning(self) -> str:
        """One line for a table."""
        ...

    @property
    def defaults(self) -> Mapping[str, float]:
        """Its float hyperparameters; they ride in the row, so each trial may have its own."""
        ...

    def update(self, factor: Scalar, signals: Mapping[str, Scalar], hyper: Mapping[str, Scalar]) -> Scalar:
        """The factor of this step from that of the last; `signals` as above. Arithmetic only."""
        ...


def _clip(value: Scalar, bound: Scalar) -> Scalar:
    """The value within [1 / bound, bound].

    >>> [_clip(value, 4.0) for value in (0.1, 1.5, 9.0)]
    [0.25, 1.5, 4.0]
    """
    if isinstance(value, float):
        return max(1.0 / bound, min(bound, value))
    return value.minimum(0.0 * value + bound).maximum(0.0 * value + 1.0 / bound)


@dataclass(frozen=True, slots=True)
class Additive:
    """Factor + rule_rate * signal, clipped to [1 / rule_bound, rule_bound]."""

    signal: str
    meaning: str
    defaults: Mapping[str, float] = field(default_factory=dict[str, float])

    def update(self, factor: Scalar, signals: Mapping[str, Scalar], hyper: Mapping[str, Scalar]) -> Scalar:
        """See `Rule.update`."""
        return _clip(factor + hyper["rule_rate"] * signals[self.signal], hyper["rule_bound"])


@dataclass(frozen=True, slots=True)
class Multiplicative:
    """Factor * (1 + rule_rate * signal), clipped to [1 / rule_bound, rule_bound]."""

    signal: str
    meaning: str
    defaults: Mapping[str, float] = field(default_factory=dict[str, float])

    def update(self, factor: Scalar, signals: Mapping[str, Scalar], hyper: Mapping[str, Scalar]) -> Scalar:
        """See `Rule.update`."""
        return _clip(factor * (1.0 + hyper["rule_rate"] * signals[self.signal]), hyper["rule_bound"])


# Written by hand; tests/contracts/test_rules.py holds every entry to the laws of a rule.
RULES: dict[str, Rule] = {
    # A. G. Baydin et al., "Online Learning Rate Adaptation with Hypergradient Descent", ICLR 2018: equation 6
    # for the factor, and its multiplicative form, equation 8.
    "hypergradient": Multiplicative(
        "grad_cosine",
        "raises the rate while gradients agree with the last update, by equal ratios",
        {"rule_rate": 0.05, "rule_bound": 100.0},
    ),
    "hypergradient_additive": Additive(
        "hypergradient",
        "moves the factor along the derivative of the loss by it",
        {"rule_rate": 1.0, "rule_bound": 100.0},
    ),
    # Z. Wang et al., "FedHyper: A Universal and Robust Learning Rate Scheduler for Federated Learning with
    # Hypergradient Descent", ICLR 2024: the server's rule, a step being a round; bounds of the global rule.
    "fedhyper": Additive(
        "update_dot",
        "adds the product of the last two updates; with many weights it soon sits at a bound",
        {"rule_rate": 1.0, "rule_bound": 3.0},
    ),
    "fedhyper_normalised": Additive(
        "update_cosine",
        "adds the cosine between the last two updates, whatever the number of weights",
        {"rule_rate": 0.01, "rule_bound": 3.0},
    ),
}
