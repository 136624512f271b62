"""Automatic thresholds that part the values of an image into small and large, for whole batches.

By a histogram of equal bins between the smallest and the largest value. Without branches on values, so that
they run inside a compiled step. Definitions agree with scikit-image within a bin.
"""

import torch
from torch import Tensor

RULES = ("otsu", "yen", "mean", "isodata", "li")
_BINS = 64
_LI_ROUNDS = 16  # of a fixed-point iteration that is at rest after a few


def thresholds(
    values: Tensor,  # (B, P) float32
    rule: Tensor,  # (B,) int64, places in RULES
    bins: int = _BINS,
) -> Tensor:  # (B,)
    """What parts the values of each image by its own rule."""
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    width = (high - low).clamp(min=1e-12) / bins
    place = ((values - low) / width).floor().clamp(0, bins - 1).to(torch.int64)
    nothing = torch.zeros(len(values), bins, device=values.device)
    counts = nothing.scatter_add(1, place, torch.ones_like(values))  # whole numbers: any order gives the same
    centres = low + width * (torch.arange(bins, device=values.device) + 0.5)
    found = torch.stack(
        [
            _otsu(counts, centres),
            _yen(counts, centres),
            values.mean(1),
            _isodata(counts, centres, width),
            _li(values - low) + low[:, 0],
        ],
        1,
    )
    return found.gather(1, rule[:, None])[:, 0]


def _at_largest(criterion: Tensor, centres: Tensor) -> Tensor:
    """(B, bins - 1) -> (B,) the centre below the first largest cut; cuts that are no number are none."""
    best = torch.where(criterion.isfinite(), criterion, -torch.inf).argmax(1, keepdim=True)
    return centres.gather(1, best)[:, 0]


def _otsu(counts: Tensor, centres: Tensor) -> Tensor:
    """The largest variance between the classes (N. Otsu, 1979)."""
    below, sums = counts.cumsum(1)[:, :-1], (counts * centres).cumsum(1)
    above = counts.sum(1, keepdim=True) - below
    apart = sums[:, :-1] / below - (sums[:, -1:] - sums[:, :-1]) / above
    return _at_largest(below * above * apart.square(), centres)


def _yen(counts: Tensor, centres: Tensor) -> Tensor:
    """The largest entropic correlation (J. Yen, F. Chang, S. Chang, 1995)."""
    share = counts / counts.sum(1, keepdim=True)
    below, squares = share.cumsum(1)[:, :-1], share.square().cumsum(1)
    above = squares[:, -1:] - squares[:, :-1]
    return _at_largest(2 * torch.log(below * (1 - below)) - torch.log(squares[:, :-1] * above), centres)


def _isodata(counts: Tensor, centres: Tensor, width: Tensor) -> Tensor:
    """The lowest that lies midway between the means of the classes (T. Ridler, S. Calvard, 1978)."""
    below, sums = counts.cumsum(1)[:, :-1], (counts * centres).cumsum(1)
    above = counts.sum(1, keepdim=True) - below
    middle = 0.5 * (sums[:, :-1] / below + (sums[:, -1:] - sums[:, :-1]) / above)
    apart = middle - centres[:, :-1]
    is_met = (apart >= 0) & (apart < width)
    # Where rounding meets none, the nearest.
    criterion = torch.where(is_met, 1.0, -apart.abs() / width)
    return _at_largest(criterion, centres)


def _li(values: Tensor) -> Tensor:
    """The least cross-entropy between image and classes (C. Li, P. Tam, 1998), of values from 0 on."""
    found = values.mean(1, keepdim=True)
    for _ in range(_LI_ROUNDS):
        is_large = (values > found).to(values.dtype)
        count = is_large.sum(1, keepdim=True)
        large = (values * is_large).sum(1, keepdim=True) / count.clamp(min=1)
        rest = (values * (1 - is_large)).sum(1, keepdim=True) / (values.shape[1] - count).clamp(min=1)
        step = (large - rest) / (large.clamp(min=1e-12).log() - rest.clamp(min=1e-12).log())
        found = torch.where((rest > 0) & (large > rest), step, torch.where(rest > 0, found, rest))
    return found[:, 0]
