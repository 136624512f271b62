"""Edge maps: parts that agree with scikit-image, and a family of views that is drawn image by image."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import vmap

from trials.data import edges
from trials.data.thresholds import RULES, thresholds
from trials.noise import noise


def pictures(count=6, side=24, channels=1, seed=0):
    """Smooth blobs with a little noise: (count, channels, side, side) in [0, 1]."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, channels, 5, 5, generator=draw)
    found = F.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)
    found = found + 0.02 * torch.rand(found.shape, generator=draw)
    return ((found - found.min()) / (found.max() - found.min())).to(torch.float32)


def everywhere(count, rule):
    return torch.full((count,), RULES.index(rule))


@pytest.mark.parametrize("rule", RULES)
def test_thresholds_agree_with_scikit_image_within_a_bin(rule):
    filters = pytest.importorskip("skimage.filters")
    values = pictures(12).square().flatten(1)
    found = thresholds(values, everywhere(12, rule), bins=256)
    wanted = [getattr(filters, f"threshold_{rule}")(one.numpy()) for one in values]
    width = (values.amax(1) - values.amin(1)).numpy() / 256
    assert (np.abs(found.numpy() - wanted) <= 1.001 * width + 1e-6).all()


def test_each_image_has_its_own_rule():
    values = pictures(5).flatten(1)
    mixed = thresholds(values, torch.arange(5))
    for place, rule in enumerate(RULES):
        assert mixed[place] == thresholds(values, everywhere(5, rule))[place]


def test_slopes_and_blur_agree_with_references():
    ndimage = pytest.importorskip("scipy.ndimage")
    images = pictures()
    down, along = edges.slopes(images)
    for place, one in enumerate(images[:, 0].numpy()):
        np.testing.assert_allclose(down[place, 0], ndimage.sobel(one, 0) / 4, atol=1e-6)
        np.testing.assert_allclose(along[place, 0], ndimage.sobel(one, 1) / 4, atol=1e-6)
    torch.testing.assert_close(edges.blurred(images, torch.zeros(6)), images)
    found = edges.blurred(images, torch.full((6,), 1.5))[0, 0].numpy()
    # Away from the border, where the reference mirrors the image.
    wanted = ndimage.gaussian_filter(images[0, 0].numpy(), 1.5, truncate=6)
    np.testing.assert_allclose(found[9:-9, 9:-9], wanted[9:-9, 9:-9], atol=1e-4)


def test_hysteresis_agrees_with_scikit_image():
    filters = pytest.importorskip("skimage.filters")
    size = pictures(8, seed=3)
    weak, strong = (size > 0.4).float(), (size > 0.7).float()
    found = edges.hysteresis(weak, strong, rounds=24)
    for place, one in enumerate(size[:, 0].numpy()):
        # It connects along rows and columns only, we along diagonals too: on blobs it is the same.
        wanted = filters.apply_hysteresis_threshold(one, 0.4, 0.7)
        assert (found[place, 0].numpy().astype(bool) >= wanted).all()
        assert (found[place, 0].numpy().astype(bool) != wanted).mean() < 0.01


def test_a_step_has_one_line_of_edge():
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 1.0
    found = 1.0 - edges.evaluation_edges(image)
    assert found.sum((2, 3)).item() == 16
    assert (found.sum(2) > 0).sum() == 1


def test_nothing_is_no_edge():
    assert edges.evaluation_edges(torch.full((2, 3, 9, 9), 0.4)).min() == 1.0


def test_red_green_and_blue_are_weighed_in_this_order():
    image = torch.zeros(1, 3, 4, 4)
    image[:, 0] = 1.0
    torch.testing.assert_close(edges.grey(image), torch.full((1, 1, 4, 4), 0.2989))


def test_thresholds_that_give_a_constant_map_are_replaced_by_the_usual():
    image = pictures(1)
    sigma, rule = torch.tensor([0.5]), everywhere(1, "otsu")
    usual = edges.edge_maps(image, sigma, rule, torch.tensor([0.5]), torch.tensor([1.5]))
    assert 0 < usual.mean() < 1
    never = torch.tensor([1e6])
    torch.testing.assert_close(edges.edge_maps(image, sigma, rule, never, never), usual)


def drawn(images, key):
    with noise(torch.tensor(key), {}):
        return edges.training_edges(images)


def test_training_draws_anew_for_every_image_and_step():
    """The published code draws a blur once for a whole worker, and jitters beyond use."""
    image = pictures(1, side=28).expand(64, -1, -1, -1)
    found = drawn(image, 1)
    kinds = {one.numpy().tobytes() for one in found}
    assert len(kinds) > 15
    torch.testing.assert_close(found, drawn(image, 1))
    assert not torch.equal(found, drawn(image, 2))
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_lanes_draw_as_each_would_alone():
    images, keys = pictures(8), torch.tensor([5, 6, 7])

    def of_lane(key):
        with noise(key, {}):
            return edges.training_edges(images)

    together = vmap(of_lane)(keys)
    for place, key in enumerate(keys.tolist()):
        torch.testing.assert_close(together[place], drawn(images, key))
