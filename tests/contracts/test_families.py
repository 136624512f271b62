"""Laws of every operation of every family of shifts, and of the copies that they make."""

import hashlib
import string
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from tests.strategies import law
from trials.data.families.base import Draws
from trials.data.families.copies import Image, Table, Text, copy
from trials.data.families.table import FAMILIES

CHARACTERS = [*string.printable[:95], "\n", "ing", "<end>"]
PADDING = CHARACTERS.index("<end>")
PROSE = "The quick brown fox, aged 7, jumps over the lazy dog. Then it sleeps!"
KINDS = {"image": Image(high=16), "table": Table(), "text": Text(CHARACTERS, PADDING)}
OPERATIONS = [
    pytest.param(kind, operation, id=f"{kind}-{family}-{operation.name}")
    for kind, families in FAMILIES.items()
    for family, operations in families.items()
    for operation in operations
]
each_operation = pytest.mark.parametrize(("kind", "operation"), OPERATIONS)
each_family = pytest.mark.parametrize(
    ("kind", "family"), [(kind, family) for kind, families in FAMILIES.items() for family in families]
)
SIZES = [(8, 8), (28, 28), (33, 21)]
few = settings(law, max_examples=5)  # there are more than a hundred operations


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def scenes(count, channels, height, width, seed=0):
    """Images of every grey value: smooth parts, an edge, and texture."""
    numbers = generator(seed)
    coarse = torch.rand(count, channels, 4, 4, generator=numbers)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=True)
    smooth[..., height // 3 :, width // 2 :] *= 0.2
    return (smooth * 0.7 + 0.3 * torch.rand(count, channels, height, width, generator=numbers)).clamp(0, 1)


def prose(count, length=60):
    """(count, length) codes from different places of a text, every third with padding."""
    codes = torch.tensor([CHARACTERS.index(one) for one in PROSE * 4])
    starts = torch.randint(0, 100, (count,), generator=generator(1))
    found = codes[starts[:, None] + torch.arange(length)]
    found[::3, length - 13 :] = PADDING
    return found


def values(kind, count=7, seed=0, channels=1, size=(8, 8)):
    """What the operations of a kind take."""
    if kind == "image":
        return scenes(count, channels, *size, seed)
    if kind == "table":
        return torch.randn(count, 9, generator=generator(seed))
    return KINDS["text"].read(prose(count))


def draws(operation, examples, seed=0):
    return Draws(seed, operation.name, examples=examples)


def in_range(kind, found):
    if kind == "image":
        return bool(((found >= 0) & (found <= 1)).all())
    return bool(found.isfinite().all())


def test_every_kind_has_families_of_several_operations():
    assert set(KINDS) == set(FAMILIES)
    assert len(FAMILIES["image"]) == 11
    for kind, families in FAMILIES.items():
        assert len(families) >= 4
        names = [operation.name for operations in families.values() for operation in operations]
        assert len(set(names)) == len(names), f"two operations of {kind} share a name, and their draws"
        assert all(len(operations) >= 4 for operations in families.values())


FORMS = [
    pytest.param(*one.values, channels, size, id=f"{one.id}-{channels}x{size[0]}x{size[1]}")
    for one in OPERATIONS
    for channels in (1, 3)
    for size in SIZES
    if one.values[0] == "image" or (channels, size) == (1, SIZES[0])
]


@pytest.mark.parametrize(("kind", "operation", "channels", "size"), FORMS)
def test_an_operation_keeps_shape_type_and_range_and_changes_nothing_it_was_given(
    kind, operation, channels, size
):
    given_values = values(kind, channels=channels, size=size)
    before = given_values.clone()
    found = operation.apply(given_values, draws(operation, torch.arange(7)))
    assert (found.shape, found.dtype) == (before.shape, before.dtype)
    assert in_range(kind, found)
    assert torch.equal(given_values, before)
    assert torch.equal(found, operation.apply(given_values, draws(operation, torch.arange(7))))


@each_operation
@given(data=st.data())
@few
def test_an_example_becomes_what_it_becomes_beside_any_others(kind, operation, data):
    size, channels = data.draw(st.sampled_from(SIZES[:2])), data.draw(st.sampled_from([1, 3]))
    whole = values(kind, channels=channels, size=size)
    members = torch.tensor(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=7)))
    numbers = torch.arange(7) + data.draw(st.integers(0, 2**31))
    found = operation.apply(whole, draws(operation, numbers))
    assert torch.equal(operation.apply(whole[members], draws(operation, numbers[members])), found[members])


@pytest.mark.parametrize(("kind", "operation"), [one for one in OPERATIONS if one.values[0] == "image"])
def test_plain_images_of_any_size_stay_in_range(kind, operation):
    for fill in (0.0, 1.0, 0.37):
        for size in ((4, 4), (5, 9), (28, 28)):
            images = torch.full((5, 3, *size), fill)
            assert in_range(kind, operation.apply(images, draws(operation, torch.arange(5))))


# Mean absolute change, of the full range or of a deviation; of text the share of places.
FLOORS = {"image": 0.03, "table": 0.15, "text": 0.08}


@each_operation
def test_an_operation_is_far_from_the_identity(kind, operation):
    whole = values(kind, 60, size=(28, 28))
    found = operation.apply(whole, draws(operation, torch.arange(60)))
    change = (found != whole).to(torch.float32) if kind == "text" else (found - whole).abs()
    assert change.mean() > FLOORS[kind]
    if kind != "text":  # a text may lack what an operation works on
        assert bool((change.flatten(1).amax(1) > 0).all()), "some examples were left as they were"


def example(kind, dtype=None, count=40):
    """A part of a task: whole numbers for images and text unless a dtype is given."""
    found = values(kind, count)
    if kind == "image":
        return found if dtype is torch.float32 else (found * 16).round().to(dtype or torch.uint8)
    return prose(count).to(torch.uint8) if kind == "text" else found


@each_family
@given(data=st.data())
@few
def test_a_copy_does_not_depend_on_chunks_or_on_what_else_is_copied(kind, family, data):
    part = example(kind)
    seed, draw = data.draw(st.integers(0, 2**70)), data.draw(st.integers(0, 9))
    found = copy(KINDS[kind], family, part, seed, draw)
    chunk, cut = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 39))
    assert (found.shape, found.dtype) == (part.shape, part.dtype)
    assert torch.equal(copy(KINDS[kind], family, part, seed, draw, chunk=chunk), found)
    pieces = [
        copy(KINDS[kind], family, part[:cut], seed, draw),
        copy(KINDS[kind], family, part[cut:], seed, draw, start=cut),
    ]
    assert torch.equal(torch.cat(pieces), found)


@each_family
def test_a_copy_is_another_by_seed_and_draw_and_uses_every_operation(kind, family):
    part, kept = example(kind, count=400), KINDS[kind]
    found = copy(kept, family, part, 0)
    for other in (copy(kept, family, part, 1), copy(kept, family, part, 0, draw=1)):
        assert (other != found).any(-1).to(torch.float32).mean() > 0.1
    numbers = torch.arange(400)
    taken = Draws(0, "families", kind, family, 0, examples=numbers).choice(len(FAMILIES[kind][family]))
    assert set(taken.tolist()) == set(range(len(FAMILIES[kind][family])))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(30, 8, 8), (30, 1, 8, 8), (30, 3, 9, 13), (3, 10, 3, 8, 8)])
@pytest.mark.parametrize("family", FAMILIES["image"])
def test_images_of_any_form_stay_in_their_range(family, shape, dtype):
    high = 16 if not dtype.is_floating_point else 1
    images = scenes(30, shape[-3] if len(shape) > 3 else 1, *shape[-2:]).reshape(shape)
    images = (images * high).to(dtype)
    found = copy(Image(high=16), family, images, 5)
    assert (found.shape, found.dtype) == (images.shape, images.dtype)
    assert found.min() >= 0
    assert found.max() <= high
    assert (found != images).to(torch.float32).mean() > 0.02


def test_lanes_of_a_batch_are_copied_as_one_long_part():
    images = (scenes(24, 3, 8, 8) * 255).to(torch.uint8)
    lanes = copy(Image(), "geometric", images.reshape(4, 6, 3, 8, 8), 7)
    assert torch.equal(lanes.reshape(24, 3, 8, 8), copy(Image(), "geometric", images, 7))


def test_threads_change_nothing():
    images = (scenes(300, 1, 28, 28) * 255).to(torch.uint8)
    threads, found = torch.get_num_threads(), {}
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found[count] = [copy(Image(), family, images, 3) for family in FAMILIES["image"]]
    finally:
        torch.set_num_threads(threads)
    for one, other in zip(found[1], found[3], strict=True):
        assert torch.equal(one, other)


# -- strong, but not erased ----------------------------------------------------------------------------------


@cache
def digits():
    """A classifier fitted on clean digits, and digits that it has not seen."""
    found = load_digits()
    images = torch.from_numpy(found.images).to(torch.uint8)[:, None]
    fitted = LogisticRegression(C=0.002, max_iter=400).fit(images[:1200].flatten(1), found.target[:1200])
    return fitted, images[1200:], found.target[1200:]


@pytest.mark.parametrize("family", FAMILIES["image"])
def test_copies_are_hard_for_a_linear_classifier_but_not_erased(family):
    """Ten classes: 0.1 is chance, and 0.3 is 13 standard errors above."""
    fitted, images, labels = digits()
    clean = fitted.score(images.flatten(1), labels)
    shifted = fitted.score(copy(Image(high=16), family, images, 0).flatten(1), labels)
    assert clean > 0.85
    assert 0.3 < shifted < clean - 0.01


def test_the_variance_of_a_draw_is_small():
    fitted, images, labels = digits()
    drawn = [
        np.mean(
            [
                fitted.score(copy(Image(high=16), family, images, seed).flatten(1), labels)
                for family in FAMILIES["image"]
            ]
        )
        for seed in range(3)
    ]
    assert np.std(drawn) < 0.01


# -- the same on every machine -------------------------------------------------------------------------------

DIGESTS: dict[tuple[str, str], str] = {
    ("image", "arithmetic"): "101ec4441d494e43",
    ("image", "artistic"): "b1f86ad9f2dad2d7",
    ("image", "blur"): "a88814f97f46017d",
    ("image", "color"): "11d687391aa3b393",
    ("image", "contrast"): "87b7fbd31706a36e",
    ("image", "convolutional"): "0b706a7e77659420",
    ("image", "edges"): "ea3a1adbdc2ef4ee",
    ("image", "geometric"): "29fd9e48e80ac86e",
    ("image", "morphology"): "2f7969600a93fb79",
    ("image", "segmentation"): "3d2c4eeb9dfc36d5",
    ("image", "weather"): "7d9cb62b73a4c2b8",
    ("table", "noise"): "1a53a1f4b68c7506",
    ("table", "missing"): "f99872d59248c708",
    ("table", "drift"): "0de9e0b44af71200",
    ("table", "quantisation"): "b1f7cd6822e701d9",
    ("table", "tilt"): "722ef7b591a6a844",
    ("text", "characters"): "992713aa844095e4",
    ("text", "casing"): "9bb32d49d6d59e4b",
    ("text", "words"): "171e4b02a83ab35b",
    ("text", "truncation"): "a19de3793aefb465",
    ("text", "spans"): "0cde37448b87ab2a",
}


def digest(kind, family):
    """Of copies in whole numbers, so that what libraries do in the last digit of a double cannot be seen."""
    if kind == "image":
        part = torch.from_numpy(load_digits().images[:300]).to(torch.uint8)[:, None]
        colours = part.reshape(100, 3, 8, 8)
        whole = [copy(KINDS[kind], family, one, 0) for one in (part, colours)]
    elif kind == "text":
        whole = [copy(KINDS[kind], family, prose(300), 0)]
    else:
        rows = (torch.arange(300 * 9) * 7919 % 4001).reshape(300, 9) / 1000 - 2
        whole = [(copy(KINDS[kind], family, rows, 0) * 1000).round()]
    found = hashlib.blake2b(digest_size=8)
    for one in whole:
        found.update(one.to(torch.int64).numpy().tobytes())
    return found.hexdigest()


@each_family
def test_copies_are_the_same_on_every_machine(kind, family):
    assert digest(kind, family) == DIGESTS[kind, family]


# -- what is wrong -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAMILIES)
def test_an_unknown_family_is_told_the_nearest(kind):
    known = next(iter(FAMILIES[kind]))
    with pytest.raises(
        ValueError, match=f"unknown family '{known}x' of {kind} shifts; did you mean '{known}'"
    ):
        copy(KINDS[kind], f"{known}x", example(kind), 0)


@pytest.mark.parametrize(
    ("kind", "part", "message"),
    [
        (
            Image(high=16),
            torch.full((2, 1, 8, 8), 17),
            r"values 17 to 17, not within 0\.\.16 of Image\(high=16\)",
        ),
        (Image(), torch.full((2, 1, 8, 8), -1), r"values -1 to -1, not within 0\.\.255"),
        (Image(), torch.full((2, 1, 8, 8), 1.5), r"float32 have values 1\.5 to 1\.5, not within \[0, 1\]"),
        (Image(), torch.full((2, 1, 8, 8), torch.nan), r"values nan to nan, not within \[0, 1\]"),
        (Image(), torch.zeros(2, 64), r"shape \(2, 64\)"),
        (Image(), torch.zeros(2, 1, 8, 3), "under 4 pixels"),
        (Image(), torch.zeros(2, 1, 8, 8, dtype=torch.bool), r"images are torch\.bool"),
        (Table(), torch.randn(50, 2) * 30, r"column 0 has mean .* and no scale: standardise"),
        (Table(), torch.randn(50, 2) + torch.tensor([0.0, 9.0]), "column 1 has mean"),
        (Table(), torch.zeros(5, 2, dtype=torch.int64), r"\(N, F\) floats are right"),
        (Table(), torch.tensor([[0.0], [torch.nan]]), "nan in row 1, column 0: impute it first"),
        (Table(scale=(1.0,)), torch.zeros(5, 2), "scale has 1 columns, the table has 2"),
        (Text("ab"), torch.tensor([[0, 2]]), r"text has codes 0\.\.2, characters are 0\.\.1"),
        (Text("ab"), torch.zeros(2, 2), r"\(N, L\) whole numbers are right"),
    ],
)
def test_a_part_that_is_not_what_it_is_said_to_be_is_refused(kind, part, message):
    with pytest.raises(ValueError, match=message):
        copy(kind, next(iter(FAMILIES[kind.name])), part, 0)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: Image(high=0), "high=0 must be at least 1"),
        (lambda: Table(scale=(1.0, -1.0)), r"scale\[1\]=-1\.0 must be at least 0"),
        (lambda: Table(center=(1.0,)), "center without scale"),
        (lambda: Table(scale=(1.0,), center=(1.0, 2.0)), "center has 2 columns, scale has 1"),
        (lambda: Text("aba"), "characters have 'a' twice"),
        (lambda: Text("ab", padding=2), "padding=2 must be a code, 0 to 1"),
    ],
)
def test_a_kind_that_cannot_be_is_refused(made, message):
    with pytest.raises(ValueError, match=message):
        made()


def test_columns_in_their_own_units_become_what_standardised_ones_become():
    rows = torch.randn(80, 3, generator=generator(3), dtype=torch.float64).to(torch.float32)
    scale, center = (2.0, 100.0, 0.0), (5.0, -300.0, 7.0)
    own = rows * torch.tensor(scale) + torch.tensor(center)
    for family in FAMILIES["table"]:
        found = copy(Table(scale, center), family, own, 1)
        standard = (own - torch.tensor(center)) / torch.tensor([2.0, 100.0, torch.inf])
        wanted = copy(Table(), family, standard, 1)
        torch.testing.assert_close(found[:, :2], (wanted * torch.tensor(scale) + torch.tensor(center))[:, :2])
        assert torch.equal(found[:, 2], own[:, 2]), "a column of scale 0 is left alone"


def test_an_empty_part_has_an_empty_copy():
    for kind, family in (("image", "blur"), ("table", "noise"), ("text", "words")):
        part = example(kind)[:0]
        assert copy(KINDS[kind], family, part, 0).shape == part.shape
