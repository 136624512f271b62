"""Single operations of shifts against scikit-image, scipy and Pillow, and the numbers they are drawn from."""

import io

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from scipy import ndimage, stats
from skimage import color, exposure, feature, filters, morphology, transform

from trials.data.families.artistic import posterised
from trials.data.families.base import Draws, chosen, mix_
from trials.data.families.blur import _medians
from trials.data.families.color import hue_saturation_value, red_green_blue
from trials.data.families.compression import compressed
from trials.data.families.contrast import power
from trials.data.families.convolutional import weighed
from trials.data.families.edges import canny, gradients
from trials.data.families.equalisation import equalised, otsu
from trials.data.families.exact import averaged, blurred, clouds, separable, spread, squared
from trials.data.families.letters import changed_case, is_letter, is_punctuation, kept, words
from trials.data.families.morphology import dilated, eroded
from trials.data.families.sampling import affine, background, framed, moved
from trials.data.families.segmentation import region_means
from trials.data.families.table import FAMILIES
from trials.noise import mix

NUMBERS = torch.arange(4096)


def pictures(count=4, channels=1, height=20, width=27, seed=0):
    found = np.random.default_rng(seed).random((count, channels, height, width))
    return torch.from_numpy(ndimage.gaussian_filter(found, (0, 0, 1, 1)) * 2 - 0.5).clamp(0, 1).float()


def alone(function, images):
    """A function of one (H, W) image, for each channel of each."""
    return torch.tensor(
        np.stack([np.stack([function(channel) for channel in image]) for image in images.numpy()])
    )


def close(found, wanted, tolerance=2e-5):
    torch.testing.assert_close(found.to(torch.float64), wanted.to(torch.float64), rtol=0, atol=tolerance)


# -- draws ---------------------------------------------------------------------------------------------------


def test_draws_have_the_distributions_they_name():
    draws = Draws(3, "test", examples=NUMBERS)
    assert stats.kstest(draws.uniform(), "uniform").pvalue > 1e-3
    assert stats.kstest(draws.uniform(5).flatten(), "uniform").pvalue > 1e-3
    assert stats.kstest(draws.normal(), "norm").pvalue > 1e-3
    assert stats.kstest(draws.normal(3, 3).flatten(), "norm").pvalue > 1e-3
    assert stats.chisquare(torch.bincount(draws.choice(10))).pvalue > 1e-3
    assert abs(float(draws.sign().mean())) < 4 / 64
    tails = draws.tails((-2.0, -1.0), (3.0, 5.0))
    assert bool((((tails >= -2) & (tails < -1)) | ((tails >= 3) & (tails < 5))).all())
    assert abs(float((tails > 0).float().mean()) - 0.5) < 4 * 0.5 / 64


def test_draws_of_examples_calls_and_names_are_independent():
    one, two = Draws(0, "one", examples=NUMBERS), Draws(0, "two", examples=NUMBERS)
    first, second, other = one.uniform(), one.uniform(), two.uniform()
    for pair in ((first, second), (first, other), (first[:-1], first[1:]), (first[:-1], second[1:])):
        assert abs(np.corrcoef(*pair)[0, 1]) < 4 / 64
    assert len(first.unique()) > 4090


def test_a_common_draw_is_that_of_every_example():
    one, two = Draws(0, "one", examples=NUMBERS[:3]), Draws(0, "one", examples=NUMBERS[100:])
    assert torch.equal(one.common(5), two.common(5))
    assert not torch.equal(one.common(5), one.common(5))


# -- filters -------------------------------------------------------------------------------------------------


def test_a_gaussian_is_that_of_scipy_with_what_lies_outside_left_out():
    images, sigma = pictures(), torch.tensor([0.7, 1.1, 2.0, 3.3])
    for number in range(4):

        def one(image, width=float(sigma[number])):
            blur = [
                ndimage.gaussian_filter(x, width, mode="constant", truncate=30)
                for x in (image, np.ones_like(image))
            ]
            return blur[0] / blur[1]

        close(blurred(images, sigma)[number : number + 1], alone(one, images[number : number + 1]))


def test_a_window_of_odd_width_is_that_of_scipy_within():
    images = pictures()
    found = averaged(images, torch.full((4,), 3.0))
    close(found[..., 1:-1, 1:-1], alone(lambda x: ndimage.uniform_filter(x, 3), images)[..., 1:-1, 1:-1])


def test_medians_are_those_of_scipy():
    images = pictures()
    for reach in (1, 2):
        wanted = alone(lambda x, width=2 * reach + 1: ndimage.median_filter(x, width, mode="nearest"), images)
        assert torch.equal(_medians(images, reach), wanted)


def test_squares_are_block_means():
    images = pictures(height=20, width=28)
    means = images.reshape(4, 1, 5, 4, 7, 4).mean((3, 5))
    close(squared(images, torch.full((4,), 4)), means.repeat_interleave(4, 2).repeat_interleave(4, 3))


def test_any_kernel_is_a_correlation_of_scipy():
    images, weights = pictures(), torch.randn(1, 9, generator=torch.Generator().manual_seed(0))
    kernel = weights.reshape(3, 3).numpy()
    close(weighed(images, weights), alone(lambda x: ndimage.correlate(x, kernel, mode="nearest"), images))


def test_sums_on_the_grid_are_exact_in_any_order():
    images = pictures(height=28, width=28)
    weights = torch.rand(4, 28, 28, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(28, generator=torch.Generator().manual_seed(1))
    found = separable(images, weights, weights)
    assert torch.equal(
        found, separable(images[:, :, order][..., order], weights[..., order], weights[..., order])
    )


def test_surfaces_go_through_their_knots():
    numbers = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(0))
    close(clouds(numbers, 9, 13)[:, ::2, ::3], numbers)
    close(
        spread(3, 5, torch.device("cpu"))[0],
        torch.tensor([[1, 0, 0], [0.5, 0.5, 0], [0, 1, 0], [0, 0.5, 0.5], [0, 0, 1]]),
    )


# -- geometry ------------------------------------------------------------------------------------------------


def test_a_warp_is_that_of_scikit_image():
    images = pictures()
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = torch.tensor(turn * [[1.3, 1.3], [0.8, 0.8]], dtype=torch.float32).expand(4, 2, 2)
    found = affine(images, matrix, torch.full((4,), 1.5), torch.full((4,), -2.0))
    middle = np.array([9.5, 13.0])
    rows, columns = np.mgrid[:20, :27].astype(np.float64)
    places = np.stack([rows - middle[0], columns - middle[1]])
    places = np.einsum("ij,jhw->ihw", matrix[0].numpy().astype(np.float64), places)
    places += np.array([1.5, -2.0])[:, None, None] + middle[:, None, None]
    for number, image in enumerate(images[:, 0].numpy()):
        fill = float(background(images)[number, 0])
        wanted = transform.warp(image.astype(np.float64), places, order=1, mode="constant", cval=fill)
        close(found[number, 0], torch.from_numpy(wanted), 1e-4)


def test_a_warp_to_the_same_places_gives_the_same_image():
    images = pictures(channels=3)
    assert torch.equal(affine(images, torch.eye(2).expand(4, 2, 2)), images)
    assert torch.equal(framed(images)[..., 1:-1, 1:-1], images)


def test_a_move_by_whole_pixels_repeats_the_edge():
    images = pictures()
    wanted = alone(lambda x: ndimage.shift(x, (-2, 3), order=0, mode="nearest"), images)
    assert torch.equal(moved(images, torch.full((4,), 2), torch.full((4,), -3)), wanted)


# -- grey values and colours ---------------------------------------------------------------------------------


def test_hues_are_those_of_scikit_image_and_come_back():
    images = pictures(channels=3)
    found = torch.stack(hue_saturation_value(images), -1)
    close(found, torch.from_numpy(color.rgb2hsv(images.permute(0, 2, 3, 1).numpy())))
    close(red_green_blue(*hue_saturation_value(images)), images)


def test_gamma_is_that_of_scikit_image():
    close(
        power(pictures(), torch.full((4,), 0.3)), alone(lambda x: exposure.adjust_gamma(x, 0.3), pictures())
    )


def test_equalisation_is_that_of_scikit_image():
    # Of whole numbers, as scikit-image has bins of its own for others.
    images = (pictures() * 255).round() / 255
    whole = (images * 255).to(torch.uint8)
    close(equalised(images), alone(lambda x: exposure.equalize_hist(x), whole))


def test_the_threshold_of_otsu_is_that_of_scikit_image():
    images = pictures()
    for number, image in enumerate(images.numpy()):
        assert abs(float(otsu(images)[number]) - filters.threshold_otsu(image, nbins=64)) < 2 / 64


def test_posterised_images_have_as_many_values_as_asked():
    images = pictures(height=60, width=60)
    for number, count in enumerate((2, 3, 4, 7)):
        assert len(posterised(images, torch.tensor([2, 3, 4, 7]))[number].unique()) == count


@pytest.mark.parametrize("quality", [1, 5, 10, 40])
def test_compression_is_that_of_libjpeg(quality):
    """Within a few grey levels: libjpeg computes in whole numbers."""
    images = (pictures(height=24, width=31) * 255).round() / 255
    found = compressed(images, torch.full((4,), quality))
    for number, image in enumerate(images[:, 0].numpy()):
        file = io.BytesIO()
        Picture.fromarray((image * 255).astype(np.uint8)).save(file, "jpeg", quality=quality)
        wanted = np.asarray(Picture.open(file)).astype(np.float64) / 255
        away = np.abs(found[number, 0].numpy() - wanted)
        # In one block of nine a coefficient may lie near the middle of two steps, and go to either.
        assert (away[:, :24] > 4 / 255).mean() < 0.12
        assert away[:, :24].mean() < 2 / 255
        # Beyond whole blocks it fills up in another way.
        assert away.mean() < 6 / 255


# -- shapes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1, 2, 3])
def test_growing_and_shrinking_is_by_an_octagon(radius):
    cross, square = ndimage.generate_binary_structure(2, 1), np.ones((3, 3))
    images = pictures()

    def grown(image, function):
        for step in range(radius):
            image = function(image, footprint=cross if step % 2 == 0 else square, mode="nearest")
        return image

    size = torch.full((4,), float(radius))
    close(dilated(images, size), alone(lambda x: grown(x, ndimage.grey_dilation), images), 1e-6)
    close(eroded(images, size), alone(lambda x: grown(x, ndimage.grey_erosion), images), 1e-6)
    if radius == 1:
        close(dilated(images, size), alone(lambda x: morphology.dilation(x, cross), images), 1e-6)


def test_a_radius_between_two_whole_ones_is_between_them():
    images = pictures()
    low, middle, high = (dilated(images, torch.full((4,), radius)) for radius in (1.0, 1.4, 2.0))
    close(middle, low + 0.4 * (high - low), 1e-6)
    mixed = dilated(images, torch.tensor([0.0, 1.4, 2.0, 1.0]))
    for number, one in enumerate((images, middle, high, low)):
        close(mixed[number], one[number], 1e-6)


def test_slopes_are_those_of_scikit_image():
    images = pictures()
    down, along = gradients(images, torch.zeros(4))
    # scikit-image counts differences over two pixels, mirrored at the edge.
    close(down[..., 1:-1, 1:-1], alone(filters.sobel_h, images)[..., 1:-1, 1:-1])
    close(along[..., 1:-1, 1:-1], alone(filters.sobel_v, images)[..., 1:-1, 1:-1])


def test_edges_are_mostly_those_of_scikit_image():
    images = torch.zeros(3, 1, 60, 60)
    images[0, 0, 20:40, 15:45] = 1.0
    row, column = np.mgrid[:60, :60] - 29.5
    images[1, 0] = torch.from_numpy((np.hypot(row, column) < 18).astype(np.float32))
    images[2, 0] = torch.from_numpy((np.abs(row + 0.5 * column) < 9).astype(np.float32))
    found = canny(images, torch.full((3,), 1.5))
    assert not bool(canny(torch.full((2, 1, 9, 9), 0.4), torch.ones(2)).any())
    for ours, image in zip(found[:, 0].numpy(), images[:, 0].numpy(), strict=True):
        theirs = feature.canny(image, 1.5)
        near = [ndimage.binary_dilation(one, np.ones((3, 3))) for one in (ours, theirs)]
        assert (ours & near[1]).sum() > 0.9 * ours.sum() > 50
        assert (theirs & near[0]).sum() > 0.9 * theirs.sum()
        assert ours.sum() < 1.15 * theirs.sum()


def test_means_of_regions_are_those_of_scipy():
    images = pictures().flatten(2)
    regions = torch.randint(0, 7, (4, images.shape[-1]), generator=torch.Generator().manual_seed(0))
    found = region_means(images, regions, 8)
    for number in range(4):
        wanted = ndimage.mean(images[number, 0].numpy(), regions[number].numpy(), np.arange(7))
        close(found[number, 0, :7], torch.from_numpy(wanted))
    assert bool((found[..., 7] == 0).all())


def operation(kind, family, name):
    return next(one for one in FAMILIES[kind][family] if one.name == name)


def test_segments_are_of_one_colour_each():
    images = pictures(height=28, width=28)
    for one in FAMILIES["image"]["segmentation"]:
        found = one.apply(images, Draws(0, one.name, examples=torch.arange(4)))
        assert all(len(found[number].unique()) < 784 / 2 for number in range(4))


def test_a_jigsaw_moves_pixels_and_makes_none():
    images = pictures(height=28, width=28)
    found = operation("image", "geometric", "jigsaw").apply(images, Draws(0, examples=torch.arange(4)))
    assert torch.equal(found.flatten(1).sort(1).values, images.flatten(1).sort(1).values)
    assert not torch.equal(found, images)


# -- tables and text -----------------------------------------------------------------------------------------


def test_what_drifts_is_the_same_for_every_row():
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    for name in ("gain", "offset", "units"):
        found = operation("table", "drift", name).apply(rows, Draws(0, name, examples=torch.arange(50)))
        for column in range(6):
            slope, intercept = np.polyfit(rows[:, column], found[:, column], 1)
            close(found[:, column], rows[:, column] * slope + intercept, 1e-4)


def points(*lines):
    width = max(map(len, lines))
    return torch.tensor([[ord(one) for one in line] + [0] * (width - len(line)) for line in lines])


def strings(text):
    return ["".join(chr(one) for one in line if one) for line in text.tolist()]


def test_text_is_seen_in_words_letters_and_marks():
    text = points(" One two, three!", "x")
    assert words(text)[0].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3]
    assert is_letter(text)[0].sum() == 11
    assert is_punctuation(text)[0].sum() == 2
    assert strings(changed_case(text, "swapcase")) == [" oNE TWO, THREE!", "X"]
    assert strings(changed_case(points("Straße Ärger"), "upper")) == ["STRAßE ÄRGER"]
    assert strings(kept(text, is_letter(text))) == ["Onetwothree", "x"]


@pytest.mark.parametrize(
    "name", ["swap", "scramble_words", "shuffle_spans", "rotate", "reverse_span", "shuffle_words"]
)
def test_what_only_moves_characters_keeps_them_all_and_padding_at_the_end(name):
    text = points("The quick brown fox jumps over it", "Short one")
    family = (
        "spans" if name not in ("swap", "scramble_words") else "characters" if name == "swap" else "words"
    )
    found = operation("text", family, name).apply(text, Draws(0, examples=torch.arange(2)))
    assert [sorted(one) for one in strings(found)] == [sorted(one) for one in strings(text)]
    assert torch.equal(found == 0, text == 0)
    assert not torch.equal(found, text)


def test_truncation_keeps_a_piece_as_it_was():
    text = points("The quick brown fox jumps over the lazy dog", "Short one of twenty")
    for name in ("keep_head", "keep_tail", "keep_middle"):
        found = operation("text", "truncation", name).apply(text, Draws(0, examples=torch.arange(2)))
        for piece, whole in zip(strings(found), strings(text), strict=True):
            assert piece in whole
            assert 0.25 * len(whole) < len(piece) < 0.65 * len(whole)


def test_mixing_in_32_bits_is_mixing():
    values = torch.cat(
        [torch.arange(1 << 12), torch.arange((1 << 32) - (1 << 12), 1 << 32), NUMBERS * 1048573]
    )
    narrow = torch.where(values >= 2**31, values - 2**32, values).to(torch.int32)
    for length in (1, 7, len(values)):  # also what is left over of a vector's width
        assert torch.equal(mix_(narrow[:length].clone()).to(torch.int64) & 0xFFFFFFFF, mix(values[:length]))


def test_a_choice_by_mask_is_exact():
    one, other = torch.randn(2, 999, generator=torch.Generator().manual_seed(0))
    mask = one > 0.3
    assert torch.equal(chosen(mask, one, other), torch.where(mask, one, other))
