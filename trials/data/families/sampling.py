"""Images looked up at other places: every warp is this, with its own coordinates."""

import torch
import torch.nn.functional as F
from torch import Tensor


def background(images: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 1, 1): the median of each image's border, which is what is moved in."""
    frame = torch.cat(
        [images[..., 0, :], images[..., -1, :], images[..., 1:-1, 0], images[..., 1:-1, -1]], -1
    )
    return frame.median(-1).values[..., None, None]


def framed(images: Tensor, margin: int = 1) -> Tensor:
    """(N, C, H + 2 margin, W + 2 margin): the images in a frame of their background."""
    H, W = images.shape[-2:]
    found = background(images).repeat(1, 1, H + 2 * margin, W + 2 * margin)
    found[..., margin : margin + H, margin : margin + W] = images
    return found


def places(images: Tensor) -> tuple[Tensor, Tensor]:
    """(H, 1) and (1, W) float32: rows and columns, counted from the centre."""
    H, W = images.shape[-2:]
    rows = torch.arange(H, device=images.device, dtype=torch.float32) - 0.5 * (H - 1)
    columns = torch.arange(W, device=images.device, dtype=torch.float32) - 0.5 * (W - 1)
    return rows[:, None], columns[None]


def sampled(
    images: Tensor,  # (N, C, H, W)
    rows: Tensor,  # (N, H, W) where each pixel is looked up, counted from the centre
    columns: Tensor,  # (N, H, W)
) -> Tensor:  # (N, C, H, W)
    """Bilinear interpolation at the given places; beyond the image lies its background."""
    N, C, H, W = images.shape
    row = (rows + (0.5 * (H - 1) + 1)).clamp(0.0, H + 1)
    column = (columns + (0.5 * (W - 1) + 1)).clamp(0.0, W + 1)
    top, left = row.floor().clamp(max=H), column.floor().clamp(max=W)
    down, right = (row - top).reshape(N, 1, -1), (column - left).reshape(N, 1, -1)
    corner = (top * (W + 2) + left).to(torch.int64).reshape(N, 1, -1).expand(N, C, -1)
    flat = framed(images).flatten(2)
    a, b, c, d = (flat.gather(2, corner + step) for step in (0, 1, W + 2, W + 3))
    upper, lower = a + right * (b - a), c + right * (d - c)
    return (upper + down * (lower - upper)).reshape(N, C, H, W)


def affine(
    images: Tensor, matrix: Tensor, rows: Tensor | float = 0.0, columns: Tensor | float = 0.0
) -> Tensor:
    """(N, C, H, W): each pixel taken from matrix (N, 2, 2) times its place, moved by (rows, columns) (N,)."""
    row, column = places(images)
    m = matrix[:, :, :, None, None]
    move = [one[:, None, None] if isinstance(one, Tensor) else one for one in (rows, columns)]
    return sampled(
        images,
        m[:, 0, 0] * row + m[:, 0, 1] * column + move[0],
        m[:, 1, 0] * row + m[:, 1, 1] * column + move[1],
    )


def moved(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(N, C, H, W): each image looked up whole pixels (N,) int64 further; the edge is repeated beyond it."""
    H, W = images.shape[-2:]
    row = (torch.arange(H, device=images.device) + rows[:, None]).clamp(0, H - 1)
    column = (torch.arange(W, device=images.device) + columns[:, None]).clamp(0, W - 1)
    taken = images.gather(2, row[:, None, :, None].expand_as(images))
    return taken.gather(3, column[:, None, None, :].expand_as(images))


def neighbours(images: Tensor, reach: int = 1) -> list[Tensor]:
    """The (2 reach + 1)² shifted views (N, C, H, W), row by row; the edge is repeated beyond it."""
    H, W = images.shape[-2:]
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    steps = range(2 * reach + 1)
    return [padded[..., i : i + H, j : j + W] for i in steps for j in steps]
