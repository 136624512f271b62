"""Loss laws: fitted on a few curves, they predict the loss of any schedule before it is run."""

from schedules.laws.curve import Curve
from schedules.laws.fit import fit, memory_constants
from schedules.laws.kernels import LAWS, Law
from schedules.laws.law import Coefficients, FittedLaw, Prediction
from schedules.laws.optimise import Optimised, hold_then_power, last_loss, optimise, planned
from schedules.laws.store import from_json, to_json

__all__ = [
    "LAWS",
    "Coefficients",
    "Curve",
    "FittedLaw",
    "Law",
    "Optimised",
    "Prediction",
    "fit",
    "from_json",
    "hold_then_power",
    "last_loss",
    "memory_constants",
    "optimise",
    "planned",
    "to_json",
]
