"""The loss of JPEG: blocks of 8x8 pixels whose cosine coefficients are rounded to multiples of a table."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trials.data.families.exact import on_grid

# ITU-T T.81 (1992), table K.1: the luminance quantisation of quality 50.
_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61),
    *(12, 12, 14, 19, 26, 58, 60, 55),
    *(14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62),
    *(18, 22, 37, 56, 68, 109, 103, 77),
    *(24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101),
    *(72, 92, 95, 98, 112, 100, 103, 99),
)


def _cosines(device: torch.device) -> Tensor:
    """(8, 8) float64, the orthonormal cosine transform, on the grid."""
    at = torch.arange(8, device=device, dtype=torch.float64)
    waves = torch.cos((2 * at + 1) * at[:, None] * (torch.pi / 16)) * 0.5
    waves[0] = 0.5 * 0.5**0.5
    return on_grid(waves)


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """(N, C, H, W), (N,) int64 quality 1..100 of libjpeg's scale -> (N, C, H, W) float32.

    Every channel is quantised as luminance. Above a quality of about 10 little is seen.
    """
    H, W = images.shape[-2:]
    scale = torch.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    table = torch.tensor(_TABLE, device=images.device).reshape(8, 8)
    steps = ((table * scale[:, None, None] + 50) // 100).clamp(1, 255).to(torch.float64)
    padded = F.pad(images, (0, -W % 8, 0, -H % 8), mode="replicate")
    down, across = padded.shape[2] // 8, padded.shape[3] // 8
    rows, columns = (torch.block_diag(*[_cosines(images.device)] * count) for count in (down, across))
    levels = on_grid(padded).mul_(255).sub_(128)
    found = on_grid(rows @ levels) @ columns.T
    steps = steps.repeat(1, down, across)[:, None]
    kept = (found / steps).round_().mul_(steps)
    back = on_grid(rows.T @ kept) @ columns
    return (back + 128).mul_(1 / 255).clamp_(0.0, 1.0).to(torch.float32)[..., :H, :W].contiguous()
