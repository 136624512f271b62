"""Digits printed in fonts, in the form of scikit-learn's handwritten ones: domains that nobody trained on.

The fonts are those that matplotlib ships; nothing is loaded from a network. Every glyph is drawn large, cut
to its ink, scaled and turned, and counted in blocks of four by four of a bitmap of 32 by 32, which is how the
handwritten digits were made ("Optical Recognition of Handwritten Digits", E. Alpaydin, C. Kaynak, 1998).
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from trials.seeding import stream
from trials.task import Batch

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmr10", "cmb10", "cmss10", "cmti10", "cmtt10"),
)
_DRAWINGS = 5  # of each digit in each font
_DRAWN, _BITMAP, _BLOCK = 64, 32, 4  # pixels: a glyph's height, a bitmap's side, a block's side
_TURNED_DEGREES = 30.0


def printed() -> Batch:
    """900 upright digits: `image` (N, 1, 8, 8) uint8 from 0 to 16, `label` (N,) int64."""
    return _printed("printed", 0.0)


def turned() -> Batch:
    """As `printed`, each turned by up to 30 degrees either way."""
    return _printed("turned", _TURNED_DEGREES)


def inverted() -> Batch:
    """As `printed`, ink and ground exchanged."""
    found = _printed("inverted", 0.0)
    return {**found, "image": _BLOCK**2 - found["image"]}


def _printed(name: str, degrees: float) -> Batch:
    draw = stream(0, "printed", name)
    images: list[NDArray[np.uint8]] = []
    labels: list[int] = []
    for font in FONTS:
        for digit in range(10):
            glyph = _glyph(font, digit)
            for _ in range(_DRAWINGS):
                images.append(_counted(glyph, draw, degrees))
                labels.append(digit)
    return {"image": torch.from_numpy(np.stack(images))[:, None], "label": torch.tensor(labels)}


def _glyph(font: str, digit: int) -> NDArray[np.uint8]:
    """(H, W) ink of a digit from 0 to 255, nothing around it."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    path = Path(get_data_path()) / "fonts" / "ttf" / f"{font}.ttf"
    page = Image.new("L", (3 * _DRAWN, 3 * _DRAWN))
    face = ImageFont.truetype(str(path), _DRAWN, layout_engine=ImageFont.Layout.BASIC)
    ImageDraw.Draw(page).text((_DRAWN, _DRAWN), str(digit), 255, face)
    return np.asarray(page.crop(page.getbbox()))


def _counted(glyph: NDArray[np.uint8], draw: np.random.Generator, degrees: float) -> NDArray[np.uint8]:
    """(8, 8) a glyph on a bitmap, of another size, off the centre and turned, counted in blocks."""
    from PIL import Image

    H, W = glyph.shape
    height = draw.uniform(0.85, 1.0) * _BITMAP
    width = min(height * W / H * draw.uniform(0.9, 1.25), _BITMAP)
    angle = np.deg2rad(draw.uniform(-degrees, degrees))
    moved = draw.uniform(-1.0, 1.0, 2)
    # From a pixel of the bitmap to one of the glyph: to the centre, turned back, scaled up, from the centre.
    across, down = W / width, H / height
    cosine, sine = np.cos(angle), np.sin(angle)
    centre = _BITMAP / 2 + moved
    matrix = (
        *(cosine * across, sine * across, W / 2 - (cosine * centre[0] + sine * centre[1]) * across),
        *(-sine * down, cosine * down, H / 2 - (-sine * centre[0] + cosine * centre[1]) * down),
    )
    image = Image.fromarray(glyph).transform(
        (_BITMAP, _BITMAP), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    bitmap = np.asarray(image) >= 128
    side = _BITMAP // _BLOCK
    return bitmap.reshape(side, _BLOCK, side, _BLOCK).sum((1, 3)).astype(np.uint8)
