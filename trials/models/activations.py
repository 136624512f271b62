"""Activations by name."""

from torch import nn

from trials.names import hint

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def activation(name: str) -> nn.Module:
    """The activation of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r} is unknown{hint(name, ACTIVATIONS)}")
    return ACTIVATIONS[name]()


def at_least_one(name: str, value: object) -> int:
    """A size given in a config, checked."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
    return value
