"""Segmentation: regions of one colour each, by cells of points or by likeness."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, side

_STEPS = 2.0**16  # colours are added up in whole numbers of these


def _cells(images: Tensor) -> int:
    """Regions in each direction: 5 at 8 pixels, 9 at 28, 11 (128 in all, the paper's most) from 38 on."""
    return min(11, round(3.4 + 0.2 * side(images)))


def region_means(images: Tensor, regions: Tensor, count: int) -> Tensor:
    """(N, C, HW), (N, HW) int64 below `count` -> (N, C, count) float32 means; 0 of an empty region."""
    N, C, _ = images.shape
    whole = (images * _STEPS).round().to(torch.int64)
    sums = torch.zeros(N, C, count, dtype=torch.int64, device=images.device)
    sums.scatter_add_(2, regions[:, None].expand(N, C, -1), whole)
    sizes = torch.zeros(N, count, dtype=torch.int64, device=images.device)
    sizes.scatter_add_(1, regions, torch.ones_like(regions))
    return (sums.to(torch.float64) / (sizes.clamp(min=1)[:, None] * _STEPS)).to(torch.float32)


class _Cells:
    """A grid of cells x cells over (H, W), and for each pixel the 3x3 cells around it."""

    def __init__(self, images: Tensor, cells: int) -> None:
        H, W = images.shape[-2:]
        device = images.device
        self.count, self.cells = cells * cells, cells
        self.row = torch.arange(H, device=device).repeat_interleave(W)
        self.column = torch.arange(W, device=device).repeat(H)
        down, across = self.row * cells // H, self.column * cells // W
        steps = (0, -1, 1)  # a pixel's own cell first, which wins where two are equally near
        self.around = [
            (down + i).clamp(0, cells - 1) * cells + (across + j).clamp(0, cells - 1)
            for i in steps
            for j in steps
        ]
        number = torch.arange(self.count, device=device)
        self.middle_row = (number // cells + 0.5) * (H / cells) - 0.5
        self.middle_column = (number % cells + 0.5) * (W / cells) - 0.5
        self.height, self.width = H / cells, W / cells

    def nearest(self, points: list[Tensor], pixels: list[Tensor], penalty: Tensor | None = None) -> Tensor:
        """(N, HW) int64: of the cells around, the one whose point is nearest.

        `points` (N, count) and `pixels` (N or 1, HW) are coordinates, of place or of colour.
        """
        best: Tensor | None = None
        chosen: Tensor | None = None
        for around in self.around:
            distance = torch.zeros_like(points[0][:, around])
            for point, pixel in zip(points, pixels, strict=True):
                away = point[:, around] - pixel
                distance = distance + away * away
            if penalty is not None:
                distance = distance + penalty[:, around]
            if best is None or chosen is None:
                best, chosen = distance, around.expand(len(distance), -1)
            else:
                chosen = torch.where(distance < best, around, chosen)
                best = torch.minimum(distance, best)
        assert chosen is not None
        return chosen


def _averaged(images: Tensor, regions: Tensor, count: int, draws: Draws) -> Tensor:
    """Most regions, 0.8 to all of them, in their mean colour."""
    flat = images.flatten(2)
    means = region_means(flat, regions, count)
    taken = means.gather(2, regions[:, None].expand(flat.shape))
    is_replaced = draws.uniform(count) < draws.between(0.8, 1.1)[:, None]
    replaced = is_replaced.gather(1, regions)[:, None]
    return torch.where(replaced, taken, flat).reshape(images.shape)


def _voronoi(images: Tensor, draws: Draws, jitter: float, dropped: float = 0.0) -> Tensor:
    grid = _Cells(images, _cells(images))
    row = grid.middle_row + draws.between(-0.5, 0.5, grid.count) * (jitter * grid.height)
    column = grid.middle_column + draws.between(-0.5, 0.5, grid.count) * (jitter * grid.width)
    # A point that is dropped is further away than any other.
    penalty = (draws.uniform(grid.count) < dropped) * 1e8 if dropped else None
    regions = grid.nearest([row, column], [grid.row[None], grid.column[None]], penalty)
    return _averaged(images, regions, grid.count, draws)


def _voronoi_regular(images: Tensor, draws: Draws) -> Tensor:
    """Cells of points near a regular grid."""
    return _voronoi(images, draws, 0.4)


def _voronoi_random(images: Tensor, draws: Draws) -> Tensor:
    """Cells of points anywhere, one in each square of a grid."""
    return _voronoi(images, draws, 1.0)


def _voronoi_uneven(images: Tensor, draws: Draws) -> Tensor:
    """Small and large cells: a third of the points left out."""
    return _voronoi(images, draws, 0.8, 0.33)


def _superpixels(images: Tensor, draws: Draws) -> Tensor:
    """Regions alike in place and colour, from a grid, refined three times.

    R. Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", 2012.
    """
    grid = _Cells(images, max(3, round(0.65 * _cells(images))))
    C = images.shape[1]
    flat = images.flatten(2)
    # How much a full step of colour counts against a cell's width of distance.
    weight = draws.between(0.8, 2.0)[:, None]
    places = [(grid.row / grid.height)[None], (grid.column / grid.width)[None]]
    pixels = [*places, *(flat[:, channel] * weight for channel in range(C))]
    features = torch.cat([flat, _fractions(grid, flat)], 1)
    own = grid.around[0].expand(len(flat), -1)
    regions = own
    for _ in range(3):
        means = region_means(features, regions, grid.count)
        points = [means[:, C] * grid.cells, means[:, C + 1] * grid.cells]
        points += [means[:, channel] * weight for channel in range(C)]
        regions = grid.nearest(points, pixels)
    return _averaged(images, regions, grid.count, draws)


def _fractions(grid: _Cells, flat: Tensor) -> Tensor:
    """(N, 2, HW) row and column in [0, 1), in units of the image."""
    row, column = grid.row / (grid.height * grid.cells), grid.column / (grid.width * grid.cells)
    return torch.stack([row, column]).to(flat.dtype).expand(len(flat), 2, -1)


OPERATIONS = (
    Operation("voronoi_regular", _voronoi_regular),
    Operation("voronoi_random", _voronoi_random),
    Operation("voronoi_uneven", _voronoi_uneven),
    Operation("superpixels", _superpixels),
)
