"""Recorded data that lies beside the repository rather than in it; tests that need it are skipped without."""

import os
from pathlib import Path

import numpy as np
import pytest

from schedules.laws import Curve

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("HPO_SHARED_DATA", ROOT.parent / "shared" / "data"))
CURVES = FOLDER / "lr-schedule-loss-curves"

SIZES = ("25", "100")  # millions of weights
FITTED = ("cosine_24000", "constant_24000", "wsdcon_9")
HELD_OUT = (
    *("constant_72000", "cosine_72000", "wsd_20000_24000", "wsdld_20000_24000"),
    *("wsdcon_3", "wsdcon_18"),
)
PEAK = 3e-4
WARMUP = 2160

needs_curves = pytest.mark.skipif(
    not CURVES.is_dir(), reason=f"no {CURVES}: name the folder of the shared data in HPO_SHARED_DATA"
)


def curve(size: str, name: str) -> Curve:
    """One recorded run."""
    rows = np.loadtxt(CURVES / size / f"{name}.csv", delimiter=",", skiprows=1)
    return Curve(rows[:, 0], rows[:, 1], rows[:, 2], name=name)


def curves(size: str, names: tuple[str, ...] = (*FITTED, *HELD_OUT)) -> list[Curve]:
    """Recorded runs of one size."""
    return [curve(size, name) for name in names]


def authors_schedule(size: str) -> Curve:
    """The schedule that the authors of the data optimised on their law, from the end of warm-up on."""
    rates = np.load(CURVES / size / "optimized_schedule.npy")
    return Curve(np.arange(WARMUP, WARMUP + len(rates)), rates, name="authors", warmup_steps=WARMUP)
