"""Segmentation: regions of one colour each, by cells of points or by likeness."""

import torch
from torch import Tensor

from trials.data.families.base import Draws, Operation, chosen, side

_STEPS = 2.0**16  # colours are added up in whole numbers of these
_PLACES = 128  # room for the number of a cell


def _cells(images: Tensor) -> int:
    """Regions in each direction: 5 at 8 pixels, 9 at 28, 11 (128 in all, the paper's most) from 38 on."""
    return min(11, round(3.4 + 0.2 * side(images)))


def region_means(images: Tensor, regions: Tensor, count: int) -> Tensor:
    """(N, C, HW), (N, HW) int64 below `count` -> (N, C, count) float32 means; 0 of an empty region."""
    N, C, _ = images.shape
    # Sums in the lower bits and, from the 40th on, how many were added up.
    whole = (images * _STEPS).round().to(torch.int64) + 2**40
    sums = torch.zeros(N, C, count, dtype=torch.int64, device=images.device)
    sums.scatter_add_(2, regions[:, None].expand(N, C, -1), whole)
    sizes, sums = sums >> 40, sums & (2**40 - 1)
    return (sums.to(torch.float64) / (sizes.clamp(min=1) * _STEPS)).to(torch.float32)


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

    def nearest(
        self, points: list[Tensor], pixels: list[Tensor], scale: float, penalty: Tensor | None = None
    ) -> Tensor:
        """(N, HW) int64: of the cells around, the one whose point is nearest.

        `points` (N, count) and `pixels` (N or 1, HW) are coordinates, of place or of colour. Squares
        of distances are told apart in steps of 1 / `scale`; of equal ones the first cell is taken.
        """
        best: Tensor | None = None
        for around in self.around:
            distance = torch.zeros(1, 1, device=around.device) if penalty is None else penalty[:, around]
            for point, pixel in zip(points, pixels, strict=True):
                distance = distance + (point.index_select(1, around) - pixel).square_()
            # A whole number and behind it that of the cell: the least of these names the cell.
            whole = (distance * scale).clamp_(max=2.0**23).to(torch.int32)
            packed = whole.mul_(_PLACES).add_(around.to(torch.int32))
            best = packed if best is None else torch.minimum(best, packed)
        assert best is not None
        return (best & (_PLACES - 1)).to(torch.int64)


def _averaged(images: Tensor, regions: Tensor, count: int, draws: Draws) -> Tensor:
    """Most regions, 0.8 to all of them, in their mean colour."""
    flat = images.flatten(2)
    means = region_means(flat, regions, count)
    taken = means.gather(2, regions[:, None].expand(flat.shape))
    is_replaced = draws.uniform(count) < draws.between(0.8, 1.1)[:, None]
    replaced = is_replaced.gather(1, regions)[:, None]
    return chosen(replaced, taken, flat).reshape(images.shape)


def _voronoi(images: Tensor, draws: Draws, jitter: float, dropped: float = 0.0) -> Tensor:
    grid = _Cells(images, _cells(images))
    row = grid.middle_row + draws.between(-0.5, 0.5, grid.count) * (jitter * grid.height)
    column = grid.middle_column + draws.between(-0.5, 0.5, grid.count) * (jitter * grid.width)
    # A point that is dropped is further away than any other.
    penalty = (draws.uniform(grid.count) < dropped) * 1e8 if dropped else None
    regions = grid.nearest([row, column], [grid.row[None], grid.column[None]], 64.0, penalty)
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
        regions = grid.nearest(points, pixels, 2.0**14)
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
