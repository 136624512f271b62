"""How fast copies of images are made: whole batches, against one image after another with other libraries.

    python -m tests.bench.families
    python -m tests.bench.families --picture docs/pictures/families.png

Digits of scikit-learn, 8x8 and enlarged to 28x28, whole numbers 0..255 in and out on both sides; the family
color on three channels. An operation is compared where scikit-image, scipy or Pillow has it, at magnitudes
like ours; where several have it, with the one that was faster. A family's figure is the mean of its
operations', since each image goes through one of them. Loops run in one thread, as these libraries do.
"""

import argparse
import io
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL import ImageDraw, ImageEnhance, ImageFilter, ImageOps
from scipy import ndimage
from scipy.spatial import cKDTree
from skimage import color, exposure, feature, filters, restoration, segmentation, transform, util
from sklearn.datasets import load_digits
from torch import Tensor

from trials.data.families.base import Draws, Operation
from trials.data.families.copies import copy
from trials.data.families.kinds import Image
from trials.data.families.table import FAMILIES

Pixels = NDArray[Any]  # (H, W) or (H, W, 3) uint8
Random = np.random.Generator
KIND = Image(high=255)
SIZES = (8, 28)


def whole(image: Pixels) -> Pixels:
    """Floats in [0, 1] as whole numbers."""
    return (np.clip(image, 0, 1) * 255).round().astype(np.uint8)


def jpeg(image: Pixels, random: Random) -> Pixels:
    file = io.BytesIO()
    Picture.fromarray(image).save(file, "jpeg", quality=int(random.integers(1, 7)))
    return np.asarray(Picture.open(file))


def moved(image: Pixels, matrix: tuple[float, ...]) -> Pixels:
    """By an affine map of Pillow, about the centre."""
    a, b, c, d, e, f = matrix
    H, W = image.shape  # noqa: N806
    across, down = (W - 1) / 2, (H - 1) / 2
    whole_matrix = (a, b, c + across - a * across - b * down, d, e, f + down - d * across - e * down)
    return np.asarray(
        Picture.fromarray(image).transform(
            (W, H), Picture.Transform.AFFINE, whole_matrix, Picture.Resampling.BILINEAR
        )
    )


def elastic(image: Pixels, random: Random) -> Pixels:
    H, W = image.shape  # noqa: N806
    knots = random.uniform(-1, 1, (2, 6, 6)) * 0.5 * H / 5
    moves = [ndimage.zoom(one, (H / 6, W / 6), order=1, grid_mode=True, mode="nearest") for one in knots]
    places = np.mgrid[:H, :W] + np.stack(moves)
    return whole(ndimage.map_coordinates(image / 255, places, order=1, mode="nearest"))


def averaged(image: Pixels, regions: Pixels) -> Pixels:
    sizes = np.maximum(np.bincount(regions.ravel()), 1)
    return (np.bincount(regions.ravel(), image.ravel()) / sizes).round()[regions].astype(np.uint8)


def voronoi(image: Pixels, random: Random) -> Pixels:
    H, W = image.shape  # noqa: N806
    count = 81 if H > 16 else 25
    points = random.uniform(0, (H, W), (count, 2))
    regions = cKDTree(points).query(np.stack(np.mgrid[:H, :W], -1).reshape(-1, 2))[1].reshape(H, W)
    return averaged(image, regions)


def superpixels(image: Pixels, random: Random) -> Pixels:
    regions = segmentation.slic(
        image / 255,
        n_segments=36 if len(image) > 16 else 9,
        compactness=0.1,
        max_num_iter=3,
        channel_axis=None,
        start_label=0,
    )
    return averaged(image, regions)


def noise(random: Random, size: int) -> Pixels:
    """Smooth noise in three octaves."""
    total = np.zeros((size, size))
    for octave, knots in enumerate((3, 5, 9)):
        total += ndimage.zoom(random.random((knots, knots)), size / knots, order=1) * 0.5**octave
    return total / 1.75


def fog(image: Pixels, random: Random) -> Pixels:
    thick = np.clip(random.uniform(0.5, 0.65) + (noise(random, len(image)) - 0.5) * 0.5, 0.2, 0.85)
    return whole(image / 255 + thick * (random.uniform(0.65, 0.95) - image / 255))


def snowflakes(image: Pixels, random: Random) -> Pixels:
    flakes = (random.random(image.shape) < random.uniform(0.05, 0.1)) * random.uniform(0.6, 1, image.shape)
    soft = ndimage.gaussian_filter(flakes, random.uniform(0.4, 0.6)) * 2
    return whole(1 - (1 - image / 255 * 0.85) * (1 - np.clip(soft, 0, 1)))


def rain(image: Pixels, random: Random) -> Pixels:
    drops = (random.random(image.shape) < 0.1) * random.uniform(0.5, 1, image.shape)
    slant = random.integers(-1, 2)
    streaks = ndimage.grey_dilation(drops, footprint=np.eye(5) if slant else np.ones((5, 1)))
    return whole(image / 255 * 0.7 * (1 - streaks) + 0.85 * streaks)


def motion(image: Pixels, random: Random) -> Pixels:
    angle, kernel = random.uniform(0, np.pi), np.zeros((7, 7))
    for step in range(-3, 4):
        kernel[3 + round(np.sin(angle) * step), 3 + round(np.cos(angle) * step)] += 1 / 7
    return ndimage.convolve(image, kernel, mode="nearest")


def hue(image: Pixels, random: Random) -> Pixels:
    found = color.rgb2hsv(image)
    found[..., 0] = (found[..., 0] + random.uniform(0.28, 0.72)) % 1
    return whole(color.hsv2rgb(found))


def filtered(kernel: list[float], scale: float, offset: float) -> Callable[[Pixels, Random], Pixels]:
    made = ImageFilter.Kernel((3, 3), kernel, scale, offset)
    return lambda image, random: np.asarray(Picture.fromarray(image).filter(made))


LOOPS: dict[str, dict[str, Callable[[Pixels, Random], Pixels]]] = {
    "arithmetic": {
        "gaussian_noise": lambda x, r: whole(
            util.random_noise(x, "gaussian", r, var=r.uniform(0.2, 0.5) ** 2)
        ),
        "salt_and_pepper": lambda x, r: whole(util.random_noise(x, "s&p", r, amount=r.uniform(0.2, 0.45))),
        "shot_noise": lambda x, r: whole(r.poisson(x / 255 * 3.5 + 0.4) / 3.5),
        "invert": lambda x, r: np.asarray(ImageOps.invert(Picture.fromarray(x))),
        "solarize": lambda x, r: np.asarray(
            ImageOps.solarize(Picture.fromarray(x), int(r.integers(32, 128)))
        ),
        "compress": jpeg,
    },
    "artistic": {
        "cartoon": lambda x, r: np.asarray(
            ImageOps.posterize(Picture.fromarray(whole(restoration.denoise_bilateral(x, 3, 0.3))), 2)
        ),
        "brush": lambda x, r: np.asarray(
            ImageOps.posterize(Picture.fromarray(x).filter(ImageFilter.MaxFilter(3)), 2)
        ),
    },
    "blur": {
        "gaussian": lambda x, r: ndimage.gaussian_filter(x, r.uniform(1.1, 1.6)),
        "average": lambda x, r: ndimage.uniform_filter(x, 3),
        "median": lambda x, r: np.asarray(Picture.fromarray(x).filter(ImageFilter.MedianFilter(3))),
        "motion": motion,
    },
    "color": {
        "hue": hue,
        "saturation": lambda x, r: np.asarray(
            ImageEnhance.Color(Picture.fromarray(x)).enhance(r.uniform(2, 4))
        ),
        "grey": lambda x, r: np.asarray(ImageEnhance.Color(Picture.fromarray(x)).enhance(r.uniform(0, 0.2))),
        "quantise": lambda x, r: np.asarray(ImageOps.posterize(Picture.fromarray(x), 1)),
    },
    "contrast": {
        "gamma": lambda x, r: exposure.adjust_gamma(x, r.uniform(0.15, 0.35)),
        "log": lambda x, r: exposure.adjust_log(x),
        "linear": lambda x, r: np.asarray(
            ImageEnhance.Contrast(Picture.fromarray(x)).enhance(r.uniform(2, 3))
        ),
        "sigmoid": lambda x, r: exposure.adjust_sigmoid(x, r.uniform(0.4, 0.6), r.uniform(10, 25)),
        "equalise": lambda x, r: np.asarray(ImageOps.equalize(Picture.fromarray(x))),
        "equalise_in_tiles": lambda x, r: whole(exposure.equalize_adapthist(x, max(2, len(x) // 4), 0.05)),
    },
    "convolutional": {
        "sharpen": filtered([-1, -1, -1, -1, 9, -1, -1, -1, -1], 1, 0),
        "emboss": filtered([-2, -1, 0, -1, 0, 1, 0, 1, 2], 3, 128),
        "laplacian": lambda x, r: whole(np.abs(ndimage.laplace(x / 255)) * 0.35),
        "edge_detect": filtered([0, 1, 0, 1, -4, 1, 0, 1, 0], 1, 128),
    },
    "edges": {
        "canny": lambda x, r: feature.canny(x, r.uniform(0.5, 0.8)).astype(np.uint8) * 255,
        "sobel": lambda x, r: whole(filters.sobel(ndimage.gaussian_filter(x / 255, r.uniform(0.5, 0.8)))),
    },
    "geometric": {
        "scale": lambda x, r: moved(x, (1 / r.uniform(1.25, 1.75), 0, 0, 0, 1 / r.uniform(0.5, 0.75), 0)),
        "translate": lambda x, r: moved(x, (1, 0, r.uniform(3, 7), 0, 1, r.uniform(3, 7))),
        "rotate": lambda x, r: np.asarray(
            Picture.fromarray(x).rotate(r.uniform(15, 45), Picture.Resampling.BILINEAR)
        ),
        "shear": lambda x, r: moved(x, (1, r.uniform(0.27, 0.58), 0, 0, 1, 0)),
        "elastic": elastic,
        "swirl": lambda x, r: whole(transform.swirl(x, strength=r.uniform(2, 4), radius=len(x) / 2, order=1)),
    },
    "morphology": {
        "dilate": lambda x, r: ndimage.grey_dilation(x, footprint=ndimage.generate_binary_structure(2, 1)),
        "erode": lambda x, r: ndimage.grey_erosion(x, footprint=ndimage.generate_binary_structure(2, 1)),
        "open": lambda x, r: ndimage.grey_opening(x, (2, 2)),
        "close": lambda x, r: ndimage.grey_closing(x, (3, 3)),
    },
    "segmentation": {"voronoi_random": voronoi, "superpixels": superpixels},
    "weather": {"fog": fog, "snowflakes": snowflakes, "rain": rain},
}


def pictures(count: int, channels: int, size: int) -> Tensor:
    """(count, channels, size, size) uint8."""
    digits = torch.from_numpy(load_digits().images[:count]).to(torch.float32)[:, None] * (255 / 16)
    large = torch.nn.functional.interpolate(digits, (size, size), mode="bicubic").clamp(0, 255)
    tints = torch.tensor([1.0, 0.7, 0.4])[:channels, None, None]
    return (large * tints).round().to(torch.uint8)


def operation(family: str, name: str) -> Operation:
    return next(one for one in FAMILIES["image"][family] if one.name == name)


def batched(one: Operation, images: Tensor) -> None:
    """One operation on all of them, in chunks as large as `copy` takes."""
    numbers = torch.arange(len(images))
    for members in numbers.split(max(1, 2**16 // images[0].numel())):
        taken = images[members]
        KIND.write(one.apply(KIND.read(taken), Draws(0, one.name, examples=members)), taken)


def looped(function: Callable[[Pixels, Random], Pixels], images: Iterable[Pixels]) -> None:
    random = np.random.default_rng(0)
    for image in images:
        function(image, random)


def microseconds(work: Callable[[], None], count: int, runs: int) -> list[float]:
    """Per image, of each run, after one that is not counted."""
    work()
    found: list[float] = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        found.append((time.perf_counter() - start) / count * 1e6)
    return found


def spread(values: list[float], digits: int = 1) -> str:
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def compare(runs: int, threads: int) -> None:
    """Print the tables."""
    print(f"torch {torch.__version__}, {runs} runs, median (least..most), microseconds an image")
    for size in SIZES:
        compare_at(size, runs, threads)


def compare_at(size: int, runs: int, threads: int) -> None:
    """The table of images of one size."""
    few, many = 200, 1797
    print(f"\n{size}x{size}\n")
    print(f"| family | operations | loop | batches, 1 thread | batches, {threads} threads | faster by |")
    print("| --- | --- | --- | --- | --- | --- |")
    totals = {"loop": [0.0] * runs, "one": [0.0] * runs, "all": [0.0] * runs}
    for family, loops in LOOPS.items():
        images = pictures(many, 3 if family == "color" else 1, size)
        single = [one.transpose(1, 2, 0).squeeze() for one in images[:few].numpy()]
        rows: dict[str, list[list[float]]] = {"loop": [], "one": [], "all": []}
        for name, function in loops.items():
            ours = operation(family, name)
            rows["loop"].append(microseconds(lambda f=function, s=single: looped(f, s), few, runs))
            for column, number in (("one", 1), ("all", threads)):
                torch.set_num_threads(number)
                rows[column].append(microseconds(lambda o=ours, i=images: batched(o, i), many, runs))
        means = {
            column: [statistics.mean(one) for one in zip(*found, strict=True)]
            for column, found in rows.items()
        }
        for column, found in means.items():
            totals[column] = [a + b for a, b in zip(totals[column], found, strict=True)]
        line(family, len(loops), means)
    line("all families once", sum(map(len, LOOPS.values())), totals)
    torch.set_num_threads(threads)
    images = pictures(many, 1, size)
    made = microseconds(
        lambda: [copy(KIND, family, images, 0) for family in FAMILIES["image"]] and None, many, runs
    )
    count = sum(map(len, FAMILIES["image"].values()))
    print(f"\nCopies of all {len(FAMILIES['image'])} families, {count} operations: {spread(made)} an image.")


def line(name: str, count: int, means: dict[str, list[float]]) -> None:
    faster = [statistics.median(means["loop"]) / statistics.median(means[one]) for one in ("one", "all")]
    cells = " | ".join(spread(means[one]) for one in ("loop", "one", "all"))
    print(f"| {name} | {count} | {cells} | {faster[0]:.0f}x, {faster[1]:.0f}x |", flush=True)


def draw(path: Path, cell: int = 56) -> None:
    """A picture of what every family does: a row a family, its operations on one digit."""
    image = pictures(10, 1, 28)[3:4]
    most = max(map(len, FAMILIES["image"].values()))
    columns = min(most, 12)
    sheet = Picture.new("L", (100 + (columns + 1) * (cell + 4), len(FAMILIES["image"]) * (cell + 4) + 4), 255)
    pen = ImageDraw.Draw(sheet)
    for row, (family, operations) in enumerate(FAMILIES["image"].items()):
        top = 4 + row * (cell + 4)
        pen.text((4, top + cell // 2 - 6), family, fill=0)
        shown = [image]
        for one in operations[:columns]:
            found = one.apply(KIND.read(image), Draws(1, one.name, examples=torch.tensor([row])))
            shown.append(KIND.write(found, image))
        for column, pixels in enumerate(shown):
            large = Picture.fromarray(pixels[0, 0].numpy()).resize((cell, cell), Picture.Resampling.NEAREST)
            sheet.paste(large, (100 + column * (cell + 4), top))
    sheet.save(path, optimize=True)


def main() -> None:
    """Measure, or draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--picture", type=Path, help="draw the families there instead")
    given = parser.parse_args()
    if given.picture:
        draw(given.picture)
    else:
        compare(given.runs, given.threads)


if __name__ == "__main__":
    main()
