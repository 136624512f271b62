"""Edges: what is left of an image when only its contours are drawn."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trials.data.families.base import Draws, Operation, blend, chosen, each, side, unit
from trials.data.families.color import luminance
from trials.data.families.convolutional import weighed
from trials.data.families.equalisation import otsu
from trials.data.families.exact import blurred
from trials.data.families.sampling import neighbours


def gradients(images: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(N, C, H, W), (N,) sigma in pixels, 0 for none -> (N, 1, H, W) slope down the rows, and along them.

    Sobel's differences of the blurred luminance, at most 1.
    """
    grey = luminance(images)
    grey = torch.where(each(sigma > 0), blurred(grey, sigma.clamp(min=0.05)), grey)
    down = torch.tensor([[-1.0, -2.0, -1.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0]], device=images.device) / 4
    along = down.reshape(1, 3, 3).mT.reshape(1, 9)
    return weighed(grey, down), weighed(grey, along)


def magnitude(images: Tensor, sigma: Tensor) -> Tensor:
    """(N, 1, H, W) float32 in [0, 1]: the size of the slope, over its largest in the image."""
    down, along = gradients(images, sigma)
    found = (down * down + along * along).sqrt()
    largest = found.amax((2, 3), keepdim=True)
    return found / torch.where(largest > 0, largest, 1.0)


def canny(
    images: Tensor,  # (N, C, H, W)
    sigma: Tensor,  # (N,) of the blur, in pixels; 0 for none
    low: Tensor | float = 0.5,  # (N,) thresholds, in units of Otsu's
    high: Tensor | float = 1.5,
) -> Tensor:  # (N, 1, H, W) bool
    """Edges one pixel wide: ridges of the slope above `high`, and those above `low` that touch them.

    J. Canny, "A computational approach to edge detection", 1986; thresholds after Otsu, at 0.5 and 1.5 of
    it, as in the paper named in the package. An image without slope has no edges.
    """
    down, along = gradients(images, sigma)
    size = (down * down + along * along).sqrt()
    largest = size.amax((2, 3), keepdim=True)
    size = size / torch.where(largest > 0, largest, 1.0)
    views, steep, flat = neighbours(size), down.abs(), along.abs()
    is_flat, is_falling = flat >= steep, (down > 0) == (along > 0)
    # Between the two neighbours that the slope runs past, by how near it comes to either.
    lean = torch.minimum(steep, flat) / torch.maximum(steep, flat).clamp(min=1e-12)
    before = blend(
        chosen(is_flat, views[3], views[1]),
        chosen(is_falling, views[0], chosen(is_flat, views[6], views[2])),
        lean,
    )
    after = blend(
        chosen(is_flat, views[5], views[7]),
        chosen(is_falling, views[8], chosen(is_flat, views[2], views[6])),
        lean,
    )
    # One of two equal neighbours is enough.
    ridge = (size >= before) & (size > after)
    threshold = otsu(size)
    high_threshold = (threshold * high).clamp(max=0.9)
    weak = ridge & (size > each(threshold * low))
    found = ridge & (size > each(high_threshold))
    while True:
        padded = F.pad(found, (1, 1, 1, 1))
        tall = padded[..., :-2, :] | padded[..., 1:-1, :] | padded[..., 2:, :]
        grown = (tall[..., :-2] | tall[..., 1:-1] | tall[..., 2:]) & weak
        if torch.equal(grown, found):
            return found
        found = grown


def _sigma(images: Tensor, draws: Draws) -> Tensor:
    """2 pixels at 227, as in the paper; 0.4 to 0.7 for small images."""
    return draws.between(0.8, 1.3) * (0.4 + 0.007 * side(images))


def _laid_over(images: Tensor, lines: Tensor, draws: Draws) -> Tensor:
    return unit(blend(images, lines, each(draws.between(0.8, 1.0))))


def _canny(images: Tensor, draws: Draws) -> Tensor:
    """White lines on black."""
    return _laid_over(images, canny(images, _sigma(images, draws)).to(images.dtype), draws)


def _canny_dark(images: Tensor, draws: Draws) -> Tensor:
    """Dark lines on white, as if drawn."""
    return _laid_over(images, 1.0 - canny(images, _sigma(images, draws)).to(images.dtype), draws)


def _sobel(images: Tensor, draws: Draws) -> Tensor:
    """The size of the slope itself."""
    return _laid_over(images, magnitude(images, _sigma(images, draws)), draws)


def _band(images: Tensor, draws: Draws) -> Tensor:
    """The difference of two Gaussians, either sign bright (D. Marr, E. Hildreth, 1980)."""
    sigma, grey = _sigma(images, draws), luminance(images)
    found = (blurred(grey, sigma) - blurred(grey, sigma * 2.0)) * each(draws.sign())
    found = found.clamp(min=0.0)
    largest = found.amax((2, 3), keepdim=True)
    return _laid_over(images, found / torch.where(largest > 0, largest, 1.0), draws)


def _contour(images: Tensor, draws: Draws) -> Tensor:
    """The border between the two classes that Otsu's threshold parts."""
    grey = blurred(luminance(images), _sigma(images, draws))
    inside = (grey >= each(otsu(unit(grey)))).to(torch.float32)
    views = neighbours(inside)
    narrow = torch.minimum(torch.minimum(views[1], views[3]), torch.minimum(views[5], views[7]))
    return _laid_over(images, inside * (1.0 - narrow), draws)


OPERATIONS = (
    Operation("canny", _canny),
    Operation("canny_dark", _canny_dark),
    Operation("sobel", _sobel),
    Operation("band", _band),
    Operation("contour", _contour),
)
