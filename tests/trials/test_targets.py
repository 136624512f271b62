"""Targets: sealed, read once, of the task's form, and nothing that a study chooses by."""

import numpy as np
import pytest
import torch

from hpo.runners.faults import one_line
from trials.data.targets import Target, digest, load
from trials.task import Splits
from trials.tasks.digits_shift import DigitsShift
from trials.tasks.printed import inverted, printed, turned


def batch(count, seed=0, **changes):
    draw = torch.Generator().manual_seed(seed)
    found = {
        "x": torch.randn(count, 3, generator=draw),
        "y": torch.randint(0, 4, (count,), generator=draw),
    }
    return {**found, **changes}


class Plain:
    """A task that brings no targets along."""


SPLITS = Splits(batch(20, 1), batch(8, 2), batch(8, 3))


def written(folder, **arrays):
    np.savez(folder / "there.npz", **arrays)
    return {"there": "there.npz"}


def loaded(folder, references, task=None):
    return load(references, task or Plain(), SPLITS, folder)


def test_a_target_is_read_once():
    target = Target("there", batch(5))
    assert target.examples == 5
    torch.testing.assert_close(target.read(), batch(5))
    with pytest.raises(RuntimeError, match="target 'there' was read before"):
        target.read()


def test_a_file_has_the_types_of_the_task_where_numbers_stay_what_they_are(tmp_path):
    one = batch(5, 7)
    found = loaded(tmp_path, written(tmp_path, x=one["x"].numpy(), y=one["y"].numpy().astype(np.uint8)))
    assert found["there"].digest == digest(one)
    assert found["there"].read()["y"].dtype == torch.int64


def test_a_function_of_a_file_gives_a_target(tmp_path):
    (tmp_path / "elsewhere.py").write_text(
        "import torch\ndef there(): return {'x': torch.ones(2, 3), 'y': torch.tensor([1, 2])}\n"
    )
    found = loaded(tmp_path, {"there": "elsewhere.py:there"})
    assert found["there"].read()["y"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": np.zeros((5, 4), np.float32), "y": np.zeros(5, np.int64)}, "names, shapes or types: x (N, 4)"),
        ({"x": np.zeros((5, 3), np.float32)}, "wanted: x (N, 3) torch.float32, y (N, ) torch.int64"),
        ({"x": np.zeros((5, 3), np.float32), "y": np.full(5, 0.5)}, "y (N, ) torch.float64"),
        ({"x": np.zeros((5, 3), np.float32), "y": np.zeros(4, np.int64)}, "parts of [4, 5] examples"),
        ({"x": np.zeros((0, 3), np.float32), "y": np.zeros(0, np.int64)}, "parts of [0] examples"),
    ],
)
def test_what_is_not_of_the_form_of_the_data_is_refused(tmp_path, arrays, words):
    with pytest.raises(ValueError, match="target 'there'") as error:
        loaded(tmp_path, written(tmp_path, **arrays))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nowhere.npz", "neither a file .npz that exists nor 'module:function'"),
        ("nowhere.py:there", "there is no file"),
        ("math:pi", "'math:pi' is no function"),
    ],
)
def test_what_is_missing_is_refused(tmp_path, reference, words):
    with pytest.raises(ValueError, match="target 'there'") as error:
        loaded(tmp_path, {"there": reference})
    assert words in str(error.value)


def whole(path):
    np.savez(path, x=np.zeros((5, 3), np.float32), y=np.zeros(5, np.int64))
    return path.read_bytes()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: b"hello", "there.npz cannot be read"),
        (lambda path: b"", "there.npz cannot be read"),
        (lambda path: whole(path)[:150], "there.npz cannot be read"),
        (lambda path: whole(path).replace(bytes(20), b"damaged" + bytes(13)), "there.npz, array 'x', cannot"),
    ],
    ids=["text", "empty", "cut off", "damaged inside"],
)
def test_a_file_that_cannot_be_read_names_the_target(tmp_path, damage, words):
    path = tmp_path / "there.npz"
    path.write_bytes(damage(path))
    with pytest.raises(ValueError, match=f"target 'there': {words}") as error:
        loaded(tmp_path, {"there": "there.npz"})
    assert "numpy.savez" in str(error.value)


def test_an_array_that_is_no_numbers_is_named(tmp_path):
    for labels in (np.array(["a", "b"]), np.array([{}, None], object)):
        with pytest.raises(ValueError, match=r"target 'there': there\.npz, array 'y', cannot be read"):
            loaded(tmp_path, written(tmp_path, x=np.zeros((2, 3), np.float32), y=labels))


def test_numbers_of_other_machines_are_numbers(tmp_path):
    one = batch(5, 7)
    found = loaded(tmp_path, written(tmp_path, x=one["x"].numpy().astype(">f4"), y=one["y"].numpy()))
    assert found["there"].digest == digest(one)


def test_what_a_function_raises_names_the_target_and_the_line(tmp_path):
    (tmp_path / "wrong.py").write_text("\n\ndef there(): raise KeyError('lost')\n")
    with pytest.raises(ValueError, match=r"target 'there': KeyError: 'lost'") as raised:
        loaded(tmp_path, {"there": "wrong.py:there"})
    assert one_line("mine", raised.value).endswith("(wrong.py, line 3)")


@pytest.mark.parametrize(("place", "words"), [("val", "validation"), ("train", "training")])
def test_data_that_a_study_chooses_by_is_no_target(tmp_path, place, words):
    own = {name: part.numpy()[:6] for name, part in getattr(SPLITS, place).items()}
    with pytest.raises(ValueError, match=f"target 'there' is {words} data: 6 of its 6 examples"):
        loaded(tmp_path, written(tmp_path, **own))


def test_printed_digits_are_the_same_wherever_they_are_drawn():
    """Of the fonts and the drawing library that this version is built with."""
    for make in (printed, turned, inverted):
        one, again = make(), make()
        assert digest(one) == digest(again)
        assert one["image"].shape == (900, 1, 8, 8)
        assert int(one["image"].max()) == 16
        assert one["label"].bincount().tolist() == [90] * 10
    assert float(printed()["image"].float().mean()) < 8 < float(inverted()["image"].float().mean())


def test_a_printed_digit_looks_like_handwritten_ones():
    """The nearest mean of a handwritten class is right far more often than one time in ten."""
    task = DigitsShift()
    train, found = task.data(0).train, printed()
    means = torch.stack(
        [train["image"][train["label"] == digit].float().mean(0).flatten() for digit in range(10)]
    )
    nearest = torch.cdist(found["image"].float().flatten(1), means).argmin(1)
    assert float((nearest == found["label"]).float().mean()) > 0.4


def test_a_task_brings_its_own_targets_unless_a_study_names_some(tmp_path):
    task = DigitsShift()
    assert list(load({}, task, task.data(0), tmp_path)) == ["printed", "turned", "inverted"]
    some = load({"there": "trials.tasks.printed:turned"}, task, task.data(0), tmp_path)
    assert list(some) == ["there"]
