"""Augmentations whose strength rides in the row."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch.func import vmap

from trials.data.augment import cropped, flipped, mixup, shifted, smaller_share
from trials.losses import one_hot
from trials.noise import noise, step_key

SIZE = 4096


def inside(function, key=3):
    """What a function gives inside a training step."""
    with noise(torch.tensor(key), {}):
        return function()


def pictures(count=400, channels=2, height=6, width=5, dtype=torch.uint8):
    made = torch.randint(1, 200, (count, channels, height, width), generator=torch.Generator().manual_seed(0))
    return made.to(dtype)


IMAGES = {
    "shifted": shifted,
    "cropped": lambda images, strength: cropped(images, strength, 2),
    "flipped": flipped,
}
each = pytest.mark.parametrize("name", IMAGES)


@each
def test_at_strength_0_nothing_is_changed(name):
    images = pictures()
    assert torch.equal(inside(lambda: IMAGES[name](images, torch.tensor(0.0))), images)


@each
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_type_and_shape_of_images_stay(name, dtype):
    images = pictures(dtype=dtype)
    found = inside(lambda: IMAGES[name](images, torch.tensor(1.0)))
    assert (found.dtype, found.shape) == (images.dtype, images.shape)
    assert not torch.equal(found, images)


@each
def test_every_lane_has_its_own_strength_and_numbers_and_is_the_lane_alone(name):
    images = torch.stack([pictures()] * 3)
    keys, strengths = torch.tensor([5, 6, 7]), torch.tensor([0.0, 0.5, 1.0])

    def one(key, strength, batch):
        with noise(step_key(key, torch.tensor(2)), {}):
            return IMAGES[name](batch, strength)

    together = vmap(one)(keys, strengths, images)
    for lane in range(3):
        assert torch.equal(together[lane], one(keys[lane], strengths[lane], images[lane]))
    assert torch.equal(together[0], images[0])


def moved(images, rows, columns):
    """One image moved down and right, zeros moved in."""
    found = torch.zeros_like(images)
    H, W = images.shape[-2:]  # noqa: N806
    found[..., max(0, rows) : H + min(0, rows), max(0, columns) : W + min(0, columns)] = images[
        ..., max(0, -rows) : H + min(0, -rows), max(0, -columns) : W + min(0, -columns)
    ]
    return found


def moves_of(images, found, pixels):
    """(rows, columns) by which each image was moved; every image must be one move of the original."""
    reach = range(-pixels, pixels + 1)
    moves = []
    for image, one in zip(images, found, strict=True):
        fits = [(i, j) for i in reach for j in reach if torch.equal(moved(image, i, j), one)]
        assert len(fits) == 1
        moves.append(fits[0])
    return np.array(moves)


def test_crops_are_moves_of_the_whole_image_and_all_up_to_the_reach_are_equally_frequent():
    images = pictures()
    found = moves_of(images, inside(lambda: cropped(images, torch.tensor(1.0), 2)), 2)
    for axis in range(2):
        counts = np.bincount(found[:, axis] + 2, minlength=5)
        assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.2


def test_a_smaller_strength_moves_less_far():
    images = pictures()
    for strength, furthest in ((0.25, 1), (0.5, 1), (1.0, 2), (7.0, 2)):
        found = moves_of(images, inside(lambda s=strength: cropped(images, torch.tensor(s), 2)), 2)
        assert abs(found).max() == furthest
    still = moves_of(images, inside(lambda: cropped(images, torch.tensor(0.25), 2)), 2)
    # A reach of half a pixel: of the two units drawn from, the middle one is no move.
    assert abs((still[:, 0] == 0).mean() - 0.5) < 0.1


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_share_asked_for_is_mirrored(share):
    images = pictures()
    found = inside(lambda: flipped(images, torch.tensor(share)))
    mirrored = (found == images.flip(-1)).flatten(1).all(1)
    assert (mirrored | (found == images).flatten(1).all(1)).all()
    assert abs(mirrored.to(torch.float64).mean() - share) < 0.1
    assert share < 1 or mirrored.all()


# -- mixing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.4, 0.5, 1.0, 1.5, 4.0, 30.0])
def test_shares_follow_the_beta_distribution(alpha):
    """4096 draws; a right sampler fails one at 1e-4 once in 10,000 keys, and the key is fixed here."""
    drawn = inside(lambda: smaller_share(torch.tensor(alpha), SIZE)).to(torch.float64).numpy()
    assert drawn.min() >= 0
    assert drawn.max() <= 0.5
    law = stats.beta(alpha, alpha)
    assert stats.kstest(drawn, lambda x: 2 * law.cdf(x)).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 0.05, 1e3, 1e8])
def test_shares_are_numbers_at_every_strength(alpha):
    drawn = inside(lambda: smaller_share(torch.tensor(alpha), SIZE))
    assert torch.isfinite(drawn).all()
    assert drawn.min() >= 0
    assert drawn.max() <= 0.5


def test_the_extreme_draws_give_numbers(monkeypatch):
    ends = torch.tensor([0.0, 2.0**-24, 0.25, 0.5, 0.75, 1 - 2.0**-24])
    monkeypatch.setattr("trials.data.augment.uniform", lambda *shape: torch.cartesian_prod(ends, ends).T)
    for alpha in (1e-6, 0.1, 1.0, 1e8):
        assert torch.isfinite(smaller_share(torch.tensor(alpha), len(ends) ** 2)).all()


def batch(dtype=torch.float32):
    inputs = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    return inputs, one_hot(torch.arange(50) % 4, 4)


@pytest.mark.parametrize("strength", [0.1, 1.0, 4.0])
def test_inputs_and_targets_are_mixed_with_the_neighbour_by_one_share(strength):
    inputs, targets = batch()
    mixed, soft = inside(lambda: mixup(inputs, targets, torch.tensor(strength)))
    own = (soft * targets).sum(-1)
    assert (own >= 0.5).all()
    assert own.unique().numel() > 10
    torch.testing.assert_close(soft.sum(-1), torch.ones(50))
    torch.testing.assert_close(soft, own[:, None] * targets + (1 - own)[:, None] * targets.roll(1, 0))
    torch.testing.assert_close(mixed, own[:, None] * inputs + (1 - own)[:, None] * inputs.roll(1, 0))


def test_strength_0_mixes_nothing_and_is_the_limit_of_small_strengths():
    inputs, targets = batch()
    mixed, soft = inside(lambda: mixup(inputs, targets, torch.tensor(0.0)))
    assert torch.equal(mixed, inputs)
    assert torch.equal(soft, targets)
    near, _ = inside(lambda: mixup(inputs, targets, torch.tensor(1e-4)))
    torch.testing.assert_close(near, inputs)


def test_a_negative_strength_is_no_number_rather_than_no_mixing():
    assert inside(lambda: mixup(*batch(), torch.tensor(-0.5)))[0].isnan().any()


def test_images_of_bytes_become_floats_and_a_batch_of_one_stays():
    images = pictures(3)
    mixed, _ = inside(lambda: mixup(images, torch.zeros(3, 2), torch.tensor(1.0)))
    assert mixed.dtype == torch.float32
    alone, _ = inside(lambda: mixup(images[:1], torch.zeros(1, 2), torch.tensor(1.0)))
    torch.testing.assert_close(alone, images[:1].to(torch.float32))


def test_every_lane_mixes_by_its_own_strength():
    inputs, targets = batch()

    def one(strength):
        with noise(torch.tensor(9), {}):
            return mixup(inputs, targets, strength)[1].amax(-1).mean()

    found = vmap(one)(torch.tensor([0.0, 0.2, 4.0]))
    assert found[0] == 1.0
    assert found[0] > found[1] > found[2]
    for lane, strength in enumerate([0.0, 0.2, 4.0]):
        torch.testing.assert_close(found[lane], one(torch.tensor(strength)))


def test_class_indices_are_refused_with_what_to_give_instead():
    with pytest.raises(ValueError, match=r"int64, which cannot be mixed: .*one_hot\(labels, classes\)"):
        inside(lambda: mixup(torch.zeros(3, 2), torch.arange(3), torch.tensor(0.5)))
