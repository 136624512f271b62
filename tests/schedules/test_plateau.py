"""Rates that fall when the validation loss stops falling."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schedules import Trace, accelat, plateau
from tests.strategies import law
from tests.training import Valley, obey


def factors_for(tuner, losses):
    """The factor of each segment with an evaluation, when its validation loss is this."""
    found = []
    losses = list(losses)
    while (wish := tuner.ask()) is not None:
        segment = wish.segment
        loss = losses.pop(0) if segment.evals else 1.0
        if segment.evals:
            found.append(float(segment.lr(0)))
        tuner.tell([Trace(segment, np.ones(segment.steps), np.full(segment.evals, loss))])
    return found


@given(
    losses=st.lists(st.floats(0.1, 3.0) | st.just(np.nan), min_size=2, max_size=40),
    patience=st.integers(0, 4),
    cooldown=st.integers(0, 3),
    threshold=st.sampled_from([0.0, 1e-4, 0.2]),
    mode=st.sampled_from(["relative", "absolute"]),
    floor=st.sampled_from([0.0, 0.05]),
)
@law
def test_plateau_decides_as_torch_does(losses, patience, cooldown, threshold, mode, floor):
    steps = len(losses)
    tuner = plateau(
        steps,
        steps,
        0.5,
        patience,
        threshold,
        mode,
        cooldown,
        segment_steps=1,
        warmup_fraction=0,
        floor=floor,
    )
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    peer = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "min", 0.5, patience, threshold, mode[:3], cooldown, floor, eps=0.0
    )
    wanted = []
    for loss in losses:
        wanted.append(optimizer.param_groups[0]["lr"])
        peer.step(loss)
    assert factors_for(tuner, losses) == wanted


def test_accelat_lowers_after_five_quiet_segments():
    found = factors_for(accelat(30, 30, segment_steps=1), [1.0] * 30)
    # The sixth mean is the first that may count; from then on a drop every fifth segment.
    assert found[:6] == [1.0] * 6
    assert found[6:12] == [0.8] * 5 + [0.8 * 0.8]


def test_accelat_does_not_lower_while_the_mean_falls_and_stops_at_its_floor():
    assert set(factors_for(accelat(30, 30, segment_steps=1), 1 - 0.01 * np.arange(30))) == {1.0}
    assert factors_for(accelat(90, 90, factor=0.1, floor=0.05, segment_steps=1), [1.0] * 90)[-1] == 0.05


@pytest.mark.parametrize("make", [plateau, accelat])
def test_the_run_has_the_steps_it_may_have(make):
    out = obey(make(120, 100), Valley(), 100)
    assert (out.spent, len(out.rates)) == (100, 100)
    out = obey(make(100, 500), Valley(), 500)
    assert (out.spent, len(out.rates)) == (100, 100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: plateau(100, 100, factor=1.0), "factor=1.0 must be a number above 0 and below 1"),
        (lambda: plateau(100, 100, patience=-1), "patience=-1 must be a whole number at least 0"),
        (lambda: plateau(100, 100, mode="rel"), "mode='rel' must be one of"),
        (lambda: plateau(100, 100, segment_steps=100), "segment_steps=100 must be below the 100 steps"),
        (lambda: accelat(100, 100, threshold=-1.0), "threshold=-1.0 must be a number at least 0"),
    ],
)
def test_a_wrong_argument_is_named_with_what_would_be_right(make, message):
    with pytest.raises(ValueError, match=message):
        make()
